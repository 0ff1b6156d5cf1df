//! ① Who may ask, and what a request must look like, before a byte of its body is read or anything is spent.
//!
//! In this order: the Host that was asked for, the Origin of a web page, the client's key; then, for a
//! request with a body, its type and its size. The first two are for the gateway on a developer's machine:
//! any web page can send requests to a loopback address, and with a name that it makes resolve to one (DNS
//! rebinding) also read the answers. So only known Host names are served there, and pages only where the
//! configuration lists them.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, HOST, ORIGIN, VARY,
};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use rust_proxy_core::config::Server;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::respond::ApiError;

mod body;

pub(crate) use body::Bodies;

/// The one path that needs no key: a probe has none.
pub(crate) const HEALTH: &str = "/health";

/// Why the gateway itself refuses a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// DNS rebinding, or a name that the operator has not listed.
    #[error("this Host is not served here: `server.hosts` lists the names that are")]
    Host,
    /// A web page that the operator has not listed.
    #[error("requests from web pages of this Origin are not allowed: `server.origins` lists those that are")]
    Origin,
    /// No key, or none that is configured.
    #[error("a key is needed that is listed in `server.keys`: send it as `Authorization: Bearer KEY`")]
    Key,
    /// A body that is not JSON; also what keeps a plain HTML form out.
    #[error("the body must be JSON: send `Content-Type: application/json`")]
    ContentType,
    /// A body larger than the setting.
    #[error("the body is larger than {0} bytes: `server.body_max` is the limit")]
    TooLarge(usize),
    /// A body for which there is no room beside the others.
    #[error("the bodies of other requests fill `server.bodies_max`; try again in a second")]
    Full,
    /// A body that did not arrive in time.
    #[error("the body did not arrive within `server.exchange_max`")]
    Slow,
    /// A connection lost, or framing broken, within the body.
    #[error("the body could not be read to its end")]
    Broken,
    /// A path that does not exist here.
    #[error(
        "there is no such route: POST /v1/chat/completions, POST /chat, GET /v1/models and GET /health are served"
    )]
    Route,
    /// A path that does not exist on the operator's listener.
    #[error("there is no such route: GET /admin/state, GET /metrics and POST /admin/reload are served")]
    AdminRoute,
    /// A web page that wants to operate the gateway.
    #[error("requests from web pages are not taken here")]
    AdminOrigin,
    /// No token, or not the operator's.
    #[error("the token of `admin.token` is needed: send it as `Authorization: Bearer TOKEN`")]
    AdminToken,
    /// A path that exists, with another method.
    #[error("this route does not take this method: the `allow` header lists those that it takes")]
    Method,
}

/// Logs a refusal, and gives it the form that the client gets.
pub(crate) fn refuse(refusal: Refusal) -> Response {
    tracing::info!(reason = %refusal, "request refused");
    ApiError::from(refusal).into_response()
}

/// The name of the request's key, among its extensions.
#[derive(Debug, Clone)]
pub(crate) struct KeyName(pub(crate) String);

/// Who may ask.
pub(crate) struct Guard {
    /// None: any Host.
    hosts: Option<Hosts>,
    origins: Vec<String>,
    keys: Vec<Key>,
}

struct Hosts {
    names: Vec<String>,
    listen: IpAddr,
}

struct Key {
    name: String,
    /// A digest has one length, so that comparing it tells nothing of the key's.
    digest: [u8; 32],
}

impl Guard {
    /// The guard of a configuration.
    pub(crate) fn new(server: &Server) -> Self {
        let listen = server.listen.ip();
        let checked = listen.is_loopback() || !server.hosts.is_empty();
        let hosts = checked.then(|| Hosts { names: server.hosts.clone(), listen });
        let key = |key: &rust_proxy_core::config::ClientKey| Key {
            name: key.name.clone(),
            digest: digest(key.key.expose().as_bytes()),
        };
        Self { hosts, origins: server.origins.clone(), keys: server.keys.iter().map(key).collect() }
    }

    /// A request names its host in the Host header, or in an absolute target, or in both.
    fn host(&self, request: &Request) -> Result<(), Refusal> {
        let Some(hosts) = &self.hosts else {
            return Ok(());
        };
        let headers = request.headers().get_all(HOST).iter().map(|value| value.to_str().ok()?.parse().ok());
        let mut asked: Vec<Option<Authority>> = headers.collect();
        asked.extend(request.uri().authority().cloned().map(Some));
        let served =
            |asked: &Option<Authority>| asked.as_ref().is_some_and(|asked| hosts.serve(asked.host()));
        if !asked.is_empty() && asked.iter().all(served) { Ok(()) } else { Err(Refusal::Host) }
    }

    /// The listed origin that a request comes from, if it comes from a web page.
    fn origin(&self, headers: &HeaderMap) -> Result<Option<HeaderValue>, Refusal> {
        let mut origins = headers.get_all(ORIGIN).iter();
        let Some(origin) = origins.next() else {
            return Ok(None);
        };
        let listed = self.origins.iter().any(|listed| listed.as_bytes() == origin.as_bytes());
        if listed && origins.next().is_none() { Ok(Some(origin.clone())) } else { Err(Refusal::Origin) }
    }
    /// The name of the request's key; none are needed where none are configured.
    fn key(&self, request: &Request) -> Result<Option<&str>, Refusal> {
        if self.keys.is_empty() || request.uri().path() == HEALTH {
            return Ok(None);
        }
        let headers = request.headers();
        let bearer = bearer_of(headers);
        let plain = headers.get("x-api-key").map(HeaderValue::as_bytes);
        let mut found = None;
        for given in [bearer, plain].into_iter().flatten().map(digest) {
            // All of them, always: the time taken does not tell which one was near.
            for key in &self.keys {
                if bool::from(key.digest.ct_eq(&given)) {
                    found = Some(key.name.as_str());
                }
            }
        }
        found.map(Some).ok_or(Refusal::Key)
    }
}

impl Hosts {
    fn serve(&self, host: &str) -> bool {
        let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        ["localhost", "127.0.0.1", "[::1]"].iter().any(|name| host.eq_ignore_ascii_case(name))
            || ip.is_ok_and(|ip| ip == self.listen)
            || self.names.iter().any(|name| host.eq_ignore_ascii_case(name))
    }
}

/// A digest to compare secrets by: it has one length, whatever theirs.
pub(crate) fn digest(secret: &[u8]) -> [u8; 32] {
    Sha256::digest(secret).into()
}

/// The token of a request's `Authorization: Bearer TOKEN`.
pub(crate) fn bearer_of(headers: &HeaderMap) -> Option<&[u8]> {
    headers.get(AUTHORIZATION).and_then(|value| bearer(value.as_bytes()))
}

/// The token of `Bearer TOKEN`; the scheme's case is free.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

/// The middleware in front of every route.
pub(crate) async fn guard(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    if let Err(refusal) = guard.host(&request) {
        return refuse(refusal);
    }
    let origin = match guard.origin(request.headers()) {
        Ok(origin) => origin,
        Err(refusal) => return refuse(refusal),
    };
    let Some(origin) = origin else {
        return admit(&guard, request, next).await;
    };
    // Browsers send no key with a preflight.
    let mut response = if is_preflight(&request) {
        preflight(request.headers())
    } else {
        admit(&guard, request, next).await
    };
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("x-request-id, retry-after"));
    headers.append(VARY, HeaderValue::from_static("origin"));
    response
}

async fn admit(guard: &Guard, mut request: Request, next: Next) -> Response {
    match guard.key(&request) {
        Ok(name) => {
            if let Some(name) = name {
                tracing::Span::current().record("key", name);
                request.extensions_mut().insert(KeyName(name.to_owned()));
            }
            next.run(request).await
        }
        Err(refusal) => refuse(refusal),
    }
}

fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// A listed origin may send what it likes: the answer names the headers that it asked for.
fn preflight(asked: &HeaderMap) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
    if let Some(names) = asked.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

#[cfg(test)]
mod tests;
