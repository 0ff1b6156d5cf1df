//! One request by wasi:http.

use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingResponse, Method, OutgoingBody, OutgoingRequest,
    Scheme,
};
use wasip2::io::streams::StreamError;

/// How much of a body is shown.
const SHOWN: usize = 40;

/// Sends what a line asks for.
pub(crate) fn send(line: &str) -> Result<FutureIncomingResponse, String> {
    let mut words = line.split(' ');
    let first = words.next().unwrap_or_default();
    match first {
        // Handles without end.
        "leak-fields" => loop {
            std::mem::forget(Fields::new());
        },
        // One handle without end.
        "fill-fields" => {
            let fields = Fields::new();
            for number in 0_u32.. {
                let added = fields.append(&format!("x-{number}"), &[b'x'; 1024]);
                added.map_err(|error| format!("header {number}: {error:?}"))?;
            }
        }
        _ => {}
    }
    if first.contains("://") {
        let (scheme, rest) = first.split_once("://").unwrap_or_default();
        let slash = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(slash);
        return request("GET", scheme, authority, path, words);
    }
    let (scheme, authority) = words.next().and_then(|origin| origin.split_once("://")).ok_or("no origin")?;
    let path = words.next().unwrap_or("/");
    request(first, scheme, authority, path, words)
}

fn request<'a>(
    method: &str,
    scheme: &str,
    authority: &str,
    path: &str,
    words: impl Iterator<Item = &'a str>,
) -> Result<FutureIncomingResponse, String> {
    let (headers, mut body) = (Fields::new(), None);
    for word in words {
        match word.split_once(':') {
            Some((name, value)) => {
                headers.append(name, value.as_bytes()).map_err(|error| format!("header: {error:?}"))?;
            }
            None => body = Some(word),
        }
    }
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.to_owned()),
    };
    let method = match method {
        "GET" => Method::Get,
        "POST" => Method::Post,
        "CONNECT" => Method::Connect,
        other => Method::Other(other.to_owned()),
    };
    let request = OutgoingRequest::new(headers);
    request.set_method(&method).map_err(|()| "method refused")?;
    request.set_scheme(Some(&scheme)).map_err(|()| "scheme refused")?;
    request.set_authority(Some(authority)).map_err(|()| "authority refused")?;
    request.set_path_with_query(Some(path)).map_err(|()| "path refused")?;
    let outgoing = request.body().map_err(|()| "body refused")?;
    let sent = handle(request, None).map_err(|error| name(&error))?;
    if let Some(body) = body {
        let stream = outgoing.write().map_err(|()| "stream refused")?;
        for _ in 0..body.strip_prefix('*').map_or(1, |times| times.parse().unwrap_or(1)) {
            let bytes = if body.starts_with('*') { vec![b'x'; 4096] } else { body.as_bytes().to_vec() };
            // The answer says why, if it is refused.
            if stream.blocking_write_and_flush(&bytes).is_err() {
                break;
            }
        }
    }
    // Fails where the host has given up already; the answer says why.
    let _ = OutgoingBody::finish(outgoing, None);
    Ok(sent)
}

/// Waits for an answer and tells what it was.
pub(crate) fn answer(sent: Result<FutureIncomingResponse, String>) -> String {
    sent.and_then(|sent| {
        sent.subscribe().block();
        match sent.get() {
            Some(Ok(Ok(response))) => Ok(show(&response)),
            Some(Ok(Err(error))) => Err(name(&error)),
            _ => Err("no answer".to_owned()),
        }
    })
    .unwrap_or_else(|error| error)
}

fn show(response: &IncomingResponse) -> String {
    let status = response.status();
    let location = response.headers().get("location").pop();
    let location =
        location.map(|value| format!(" > {}", String::from_utf8_lossy(&value))).unwrap_or_default();
    let Ok(body) = response.consume() else { return "no body".to_owned() };
    let Ok(stream) = body.stream() else { return "no stream".to_owned() };
    let (mut first, mut length) = (Vec::new(), 0);
    let error = loop {
        match stream.blocking_read(64 << 10) {
            Ok(bytes) => {
                length += bytes.len();
                first.extend(bytes.iter().take(SHOWN.saturating_sub(first.len())));
            }
            Err(StreamError::Closed) => break String::new(),
            Err(StreamError::LastOperationFailed(error)) => {
                let said = || error.to_debug_string().lines().next().unwrap_or_default().to_owned();
                let code = wasip2::http::types::http_error_code(&error);
                break format!(" {}", code.map_or_else(said, |code| name(&code)));
            }
        }
    };
    format!("{status} {length} {}{location}{error}", String::from_utf8_lossy(&first))
}

/// An error's name, without its details.
fn name(error: &ErrorCode) -> String {
    let name = format!("{error:?}");
    let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != ':').unwrap_or(name.len());
    name[..end].rsplit("::").next().unwrap_or_default().to_owned()
}
