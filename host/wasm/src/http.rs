//! `wasi:http` for guests: from the guest's requests to a [`Fetch`] and back, counted.
//!
//! This crate opens no socket. Which target is allowed is the `Fetch`'s affair; how many requests and bytes an
//! exchange may use is counted here. A guest that waits is suspended on its fiber, and its request runs in a task
//! that ends with the guest's resources.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderName, Request, Response, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use rust_proxy_stream::fetch::{Fetch, FetchBody, FetchError, FetchRequest, FetchResponse};
use tracing::Instrument;
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttpHooks,
};

use crate::limits::Limits;

/// The most that a guest may write to a request's body at once, so that little of it waits here.
const WRITE_MAX: usize = 64 << 10;

/// The HTTP of one instance.
pub(crate) struct Outgoing(Arc<Account>);

/// What an instance has left of its plugin's limits.
struct Account {
    plugin: Arc<str>,
    fetch: Option<Arc<dyn Fetch>>,
    limits: Limits,
    /// How many requests were made. More than the limit, if the guest tried.
    requests: AtomicU32,
    /// How many bytes of bodies may still be sent and received.
    bytes_left: AtomicU64,
    /// How many requests no grant covers.
    denied: AtomicU64,
}

type Answered = Result<(Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>), Error>;

impl Outgoing {
    pub(crate) fn new(plugin: Arc<str>, fetch: Option<Arc<dyn Fetch>>, limits: Limits) -> Self {
        let (requests, bytes_left) = (AtomicU32::new(0), AtomicU64::new(limits.fetch));
        Self(Arc::new(Account { plugin, fetch, limits, requests, bytes_left, denied: AtomicU64::new(0) }))
    }

    /// How many requests were made, the bytes of their bodies, and how many were denied.
    pub(crate) fn spent(&self) -> (u64, u64, u64) {
        let Account { limits, requests, bytes_left, denied, .. } = &*self.0;
        let requests = requests.load(Ordering::Relaxed).min(limits.requests);
        let fetched = limits.fetch.saturating_sub(bytes_left.load(Ordering::Relaxed));
        (requests.into(), fetched, denied.load(Ordering::Relaxed))
    }
}

impl WasiHttpHooks for Outgoing {
    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        Arc::new(|name: &HeaderName| {
            DEFAULT_FORBIDDEN_HEADERS.contains(name) || [header::TE, header::TRAILER].contains(name)
        })
    }

    fn set_host_header(&mut self) -> bool {
        // The client that connects says whom it connected to.
        false
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        WRITE_MAX
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Answered> + Send> {
        let account = Arc::clone(&self.0);
        let send = async move {
            let response = account.send(request, options).await;
            let response = response.map_err(|error| match account.tell(&error) {
                // There is no answer yet, so it was the request's.
                Error::HttpResponseBodySize(size) => Error::HttpRequestBodySize(size),
                error => error,
            })?;
            // Nothing goes on beside the body: it reads the connection itself.
            let beside: Box<dyn Future<Output = Result<(), Error>> + Send> =
                Box::new(std::future::ready(Ok(())));
            Ok((response, beside))
        };
        // Runs in a task of its own; what it logs belongs to the exchange.
        Box::new(send.in_current_span())
    }
}

impl Account {
    async fn send(
        self: &Arc<Self>,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
    ) -> Result<Response<WasiBody>, FetchError> {
        let Some(fetch) = &self.fetch else {
            return Err(denied("wasi:http", "grant = { http = [\"https://HOST\"] }".to_owned()));
        };
        let most = self.limits.requests;
        let made = self.requests.fetch_add(1, Ordering::Relaxed);
        if made >= most {
            return Err(denied(
                "another request",
                format!("limits = {{ requests = {} }}", most.saturating_add(1)),
            ));
        }
        let (head, body) = request.into_parts();
        let headers = head.headers.iter().map(|(name, value)| (name.to_string(), value_of(value))).collect();
        let request = FetchRequest {
            method: head.method.to_string(),
            url: head.uri.to_string(),
            headers,
            body: self.request_body(body).await?,
            first_byte: options.as_ref().and_then(|options| options.first_byte_timeout),
            idle: options.as_ref().and_then(|options| options.between_bytes_timeout),
        };
        let FetchResponse { status, headers, body } = fetch.fetch(request).await?;
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(name, value.as_ref());
        }
        let account = Arc::clone(self);
        let body = body.map(move |part| match part.and_then(|part| account.spend(part)) {
            Ok(part) => Ok(Frame::data(part)),
            Err(error) => Err(account.tell(&error)),
        });
        response.body(StreamBody::new(body).boxed_unsync()).map_err(|_| FetchError::Header)
    }

    /// The request's body; `None` where the guest finished it without a byte.
    ///
    /// Waits for the first byte, so that a request without a body does not look like one with one.
    async fn request_body(self: &Arc<Self>, body: WasiBody) -> Result<Option<FetchBody>, FetchError> {
        let account = Arc::clone(self);
        let mut parts = body.into_data_stream().map(move |part| match part {
            Ok(part) => account.spend(part),
            Err(_) => Err(FetchError::Unfinished),
        });
        match parts.next().await {
            None => Ok(None),
            Some(Err(error)) => Err(error),
            Some(Ok(first)) => Ok(Some(Box::pin(stream::iter([Ok(first)]).chain(parts)))),
        }
    }

    fn spend(&self, part: Bytes) -> Result<Bytes, FetchError> {
        let size = part.len() as u64;
        let spend = |left: u64| left.checked_sub(size);
        let spent = self.bytes_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend);
        spent.map(|_| part).map_err(|_| FetchError::TooLarge)
    }

    /// What the guest is told: less than the log where it was denied, so that it learns nothing of the network
    /// around the host.
    fn tell(&self, error: &FetchError) -> Error {
        let plugin = &*self.plugin;
        if let FetchError::Denied { .. } = error {
            self.denied.fetch_add(1, Ordering::Relaxed);
        }
        match error {
            // A guest that goes on trying writes no more lines than it has requests.
            FetchError::Denied { what, grant }
                if self.requests.load(Ordering::Relaxed) <= self.limits.requests + 1 =>
            {
                tracing::warn!(plugin, "{what} is not granted; [plugins.{plugin}] needs {grant}");
            }
            FetchError::Denied { .. } => {}
            FetchError::TooLarge => {
                let limit = self.limits.fetch;
                tracing::warn!(
                    plugin,
                    "more than {limit} bytes fetched; limits = {{ fetch = \"…\" }} would allow more"
                );
            }
            error => tracing::debug!(plugin, %error, "a fetch failed"),
        }
        match error {
            FetchError::Denied { .. } => Error::HttpRequestDenied,
            FetchError::Url => Error::HttpRequestUriInvalid,
            FetchError::Method => Error::HttpRequestMethodInvalid,
            FetchError::Name(_) => Error::DnsError { rcode: None, info_code: None },
            FetchError::Timeout("connect") => Error::ConnectionTimeout,
            FetchError::Timeout("first_byte") => Error::HttpResponseTimeout,
            FetchError::Timeout(_) => Error::ConnectionReadTimeout,
            FetchError::Incomplete(_) => Error::HttpResponseIncomplete,
            FetchError::TooLarge => Error::HttpResponseBodySize(Some(self.limits.fetch)),
            FetchError::Connection(_) => Error::DestinationUnavailable,
            _ => Error::HttpProtocolError,
        }
    }
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Outgoing").field(&self.0.plugin).finish()
    }
}

fn denied(what: &str, grant: String) -> FetchError {
    FetchError::Denied { what: what.to_owned(), grant }
}

fn value_of(value: &http::HeaderValue) -> Bytes {
    Bytes::copy_from_slice(value.as_bytes())
}
