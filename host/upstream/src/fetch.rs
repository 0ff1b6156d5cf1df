//! The one way out for plugins: a [`Fetch`] that checks the target, resolves it, vets the address, and connects
//! to exactly that address.
//!
//! The name is looked up once per connection, by the resolver that vets: there is no second answer that could
//! be another. A connection that is kept serves the same origin only.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Body, Method, Url};
use rust_proxy_stream::UpstreamError;
use rust_proxy_stream::fetch::{Fetch, FetchError, FetchRequest, FetchResponse};

use crate::egress::{self, EgressError, SendError, Timeouts, causes};
use crate::grant::{Grant, Target, address, origin};
use crate::vetting::vet;

/// Until a connection is made; a plugin's other time limits are within its `wall`.
const CONNECT: Duration = Duration::from_secs(5);
/// The longest URL.
const URL_MAX: usize = 16 << 10;

/// The HTTP of one plugin. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct GuardedFetch {
    grant: Arc<Grant>,
    /// A client for each port: a resolver is not told which port its answer is for.
    clients: Arc<BTreeMap<u16, reqwest::Client>>,
    timeouts: Timeouts,
}

impl GuardedFetch {
    /// Makes the HTTP of a plugin whose calls may take `wall`.
    ///
    /// # Errors
    /// The reason, where TLS cannot be set up.
    pub fn new(grant: Grant, wall: Duration) -> Result<Self, EgressError> {
        Self::with_lookup(grant, wall, &(Arc::new(SystemLookup) as Arc<dyn Lookup>))
    }

    fn with_lookup(grant: Grant, wall: Duration, lookup: &Arc<dyn Lookup>) -> Result<Self, EgressError> {
        let timeouts = Timeouts { connect: CONNECT.min(wall), first_byte: wall, idle: wall, total: wall };
        let mut clients = BTreeMap::new();
        for port in grant.http.iter().map(Target::port) {
            if let Entry::Vacant(client) = clients.entry(port) {
                let resolver =
                    Vetted { port, private: grant.private.clone().into(), lookup: Arc::clone(lookup) };
                let builder =
                    egress::builder(timeouts.connect)?.referer(false).dns_resolver(Arc::new(resolver));
                client.insert(egress::build(builder)?);
            }
        }
        Ok(Self { grant: Arc::new(grant), clients: Arc::new(clients), timeouts })
    }

    /// The client for a URL that is granted, by name or by an address that is vetted.
    fn client(&self, url: &Url) -> Result<&reqwest::Client, FetchError> {
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return Err(FetchError::Url);
        };
        let client = self.clients.get(&port).filter(|_| self.grant.covers(url));
        let Some(client) = client else {
            let origin = origin(url.scheme(), host, port);
            return Err(FetchError::Denied {
                grant: format!("grant = {{ http = [\"{origin}\"] }}"),
                what: origin,
            });
        };
        // No resolver is asked for these.
        if let Some(address) = address(url) {
            let address = SocketAddr::new(address, port);
            vet(address, &self.grant.private).map_err(|kind| prohibited(host, address, kind))?;
        }
        Ok(client)
    }
}

#[async_trait]
impl Fetch for GuardedFetch {
    async fn fetch(&self, request: FetchRequest) -> Result<FetchResponse, FetchError> {
        let url = parse(&request.url)?;
        let client = self.client(&url)?;
        let method = Method::from_bytes(request.method.as_bytes()).map_err(|_| FetchError::Method)?;
        // One makes a tunnel, the other shows what was added on the way.
        if matches!(method, Method::CONNECT | Method::TRACE) {
            return Err(FetchError::Method);
        }
        let mut call = client.request(method, url).headers(headers(request.headers)?);
        if let Some(body) = request.body {
            call = call.body(Body::wrap_stream(body));
        }
        let mut timeouts = self.timeouts;
        timeouts.first_byte =
            request.first_byte.map_or(timeouts.first_byte, |wanted| wanted.min(timeouts.first_byte));
        timeouts.idle = request.idle.map_or(timeouts.idle, |wanted| wanted.min(timeouts.idle));
        let answer = egress::send(call, timeouts).await.map_err(|error| unsent(&error))?;
        Ok(FetchResponse {
            status: answer.status(),
            headers: answer.headers().iter().map(|(name, value)| (name.to_string(), bytes(value))).collect(),
            body: Box::pin(answer.into_stream().map(|part| part.map_err(broken))),
        })
    }
}

impl fmt::Debug for GuardedFetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedFetch").field("grant", &self.grant).finish_non_exhaustive()
    }
}

/// Looks names up. Another one stands in for the system's in tests.
trait Lookup: Send + Sync {
    fn lookup(&self, name: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>>;
}

struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup(&self, name: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let name = name.to_owned();
        Box::pin(async move { Ok(tokio::net::lookup_host((name, port)).await?.collect()) })
    }
}

/// Resolves names to the addresses that may be connected to; the client sees no other.
struct Vetted {
    port: u16,
    private: Arc<[SocketAddr]>,
    lookup: Arc<dyn Lookup>,
}

impl Resolve for Vetted {
    fn resolve(&self, name: Name) -> Resolving {
        let (port, private) = (self.port, Arc::clone(&self.private));
        let found = self.lookup.lookup(name.as_str(), port);
        Box::pin(async move {
            let found = found.await.map_err(|error| FetchError::Name(error.to_string()))?;
            let mut refused = FetchError::Name("it has no address".to_owned());
            let mut vetted = Vec::with_capacity(found.len());
            for address in found {
                match vet(address, &private) {
                    Ok(()) => vetted.push(address),
                    Err(kind) => refused = prohibited(name.as_str(), address, kind),
                }
            }
            if vetted.is_empty() { Err(refused.into()) } else { Ok(Box::new(vetted.into_iter()) as Addrs) }
        })
    }
}

fn prohibited(host: &str, address: SocketAddr, kind: &str) -> FetchError {
    FetchError::Denied {
        what: format!("{host} leads to {address} ({kind}), which"),
        grant: format!("grant = {{ private = [\"{address}\"] }}"),
    }
}

/// The URL, if it says nothing that would be taken for something else on the way.
fn parse(text: &str) -> Result<Url, FetchError> {
    let url = Url::parse(text).map_err(|_| FetchError::Url)?;
    let plain = url.username().is_empty() && url.password().is_none();
    let fetchable = matches!(url.scheme(), "http" | "https");
    if plain && fetchable && text.len() <= URL_MAX { Ok(url) } else { Err(FetchError::Url) }
}

/// The headers, without those that say how the connection is to be used: that is the client's affair.
fn headers(headers: Vec<(String, bytes::Bytes)>) -> Result<HeaderMap, FetchError> {
    let mut map = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| FetchError::Header)?;
        let value = HeaderValue::from_maybe_shared(value).map_err(|_| FetchError::Header)?;
        if !of_the_connection(&name) {
            map.append(name, value);
        }
    }
    Ok(map)
}

fn of_the_connection(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("proxy-")
        || [
            "connection",
            "host",
            "http2-settings",
            "keep-alive",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
        ]
        .contains(&name)
}

fn bytes(value: &HeaderValue) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(value.as_bytes())
}

fn unsent(error: &SendError) -> FetchError {
    let error = match error {
        SendError::Timeout(limit) => return FetchError::Timeout(limit),
        SendError::Failed(error) => error,
    };
    // The resolver and the request's body say what they have to say through the client.
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(ours) = error.downcast_ref::<FetchError>() {
            return ours.clone();
        }
        cause = error.source();
    }
    FetchError::Connection(causes(error))
}

fn broken(error: UpstreamError) -> FetchError {
    match error {
        UpstreamError::Timeout(limit) => FetchError::Timeout(limit),
        error => FetchError::Incomplete(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
