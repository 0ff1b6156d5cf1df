//! [`Fetch`] over `wasi:http`, and chance.

use std::time::Instant;

use url::{Position, Url};
use wasip2::{
    clocks::monotonic_clock::subscribe_duration,
    http::{
        outgoing_handler,
        types::{ErrorCode, Fields, FutureIncomingResponse, IncomingBody, OutgoingRequest, Scheme},
    },
    io::{
        poll::{Pollable, poll},
        streams::StreamError,
    },
};

use crate::fetch::{Fetch, Head};

/// How much of a body is read at once.
const READ: u64 = 64 * 1024;

/// The host's HTTP client.
#[derive(Debug)]
pub(crate) struct Http<'a> {
    pub(crate) user_agent: &'a str,
    pub(crate) max_bytes: usize,
}

impl Fetch for Http<'_> {
    type Sent = FutureIncomingResponse;

    fn send(&mut self, url: &Url) -> Result<FutureIncomingResponse, String> {
        let headers = [
            ("user-agent", self.user_agent),
            ("accept", "text/html, application/xhtml+xml, text/plain, application/json;q=0.9"),
            ("accept-encoding", "identity"),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
        let headers =
            Fields::from_list(&headers).map_err(|error| format!("cannot be asked for: {error:?}"))?;
        let request = OutgoingRequest::new(headers);
        let scheme = if url.scheme() == "https" { Scheme::Https } else { Scheme::Http };
        request
            .set_scheme(Some(&scheme))
            .and_then(|()| request.set_authority(Some(&url[Position::BeforeHost..Position::AfterPort])))
            .and_then(|()| {
                request.set_path_with_query(Some(&url[Position::BeforePath..Position::AfterQuery]))
            })
            .map_err(|()| "cannot be asked for: its URL is refused".to_owned())?;
        outgoing_handler::handle(request, None).map_err(|error| failure(&error))
    }

    fn receive(
        &mut self,
        sent: FutureIncomingResponse,
        deadline: Instant,
        wants: impl FnOnce(&Head) -> bool,
    ) -> Result<(Head, Vec<u8>), String> {
        wait(&sent.subscribe(), deadline)?;
        let response = match sent.get() {
            Some(Ok(Ok(response))) => response,
            Some(Ok(Err(error))) => return Err(failure(&error)),
            Some(Err(())) | None => return Err("has no answer".to_owned()),
        };
        let headers = response.headers();
        let header = |name: &str| {
            let value = headers.get(name).into_iter().next()?;
            Some(String::from_utf8_lossy(&value).into_owned())
        };
        let head = Head {
            status: response.status(),
            content_type: header("content-type"),
            location: header("location"),
        };
        if !wants(&head) {
            return Ok((head, Vec::new()));
        }
        if let Some(encoding) = header("content-encoding").filter(|encoding| encoding != "identity") {
            return Err(format!("is compressed with {encoding:?}"));
        }
        let too_large = || format!("is larger than {} bytes (`max_page_bytes`)", self.max_bytes);
        if header("content-length").and_then(|length| length.parse().ok()) > Some(self.max_bytes) {
            return Err(too_large());
        }
        drop(headers);
        let body = response.consume().map_err(|()| "has no body".to_owned())?;
        let bytes = read(&body, self.max_bytes, deadline)?.ok_or_else(too_large)?;
        Ok((head, bytes))
    }
}

/// The whole body, or nothing if it is larger than `max`.
fn read(body: &IncomingBody, max: usize, deadline: Instant) -> Result<Option<Vec<u8>>, String> {
    let stream = body.stream().map_err(|()| "has no body".to_owned())?;
    let ready = stream.subscribe();
    let mut bytes = Vec::new();
    loop {
        wait(&ready, deadline)?;
        match stream.read(READ) {
            Ok(read) => bytes.extend(read),
            Err(StreamError::Closed) => return Ok(Some(bytes)),
            Err(StreamError::LastOperationFailed(error)) => {
                return Err(format!("broke off: {}", error.to_debug_string()));
            }
        }
        if bytes.len() > max {
            return Ok(None);
        }
    }
}

fn wait(event: &Pollable, deadline: Instant) -> Result<(), String> {
    let left = deadline.saturating_duration_since(Instant::now());
    let timer = subscribe_duration(u64::try_from(left.as_nanos()).unwrap_or(u64::MAX));
    // What is there counts, even if it is late: the page before this one may have used the time.
    if poll(&[event, &timer]).contains(&0) { Ok(()) } else { Err("took too long (`timeout_ms`)".to_owned()) }
}

fn failure(error: &ErrorCode) -> String {
    match error {
        ErrorCode::HttpRequestDenied | ErrorCode::DestinationIpProhibited => {
            "is not granted (`grant.http`)".to_owned()
        }
        error => format!("cannot be had: {error:?}"),
    }
}

/// A number that nobody can foresee: `std`'s own source of chance on WASI is not meant to be one.
pub(crate) fn tag() -> u64 {
    wasip2::random::random::get_random_u64()
}
