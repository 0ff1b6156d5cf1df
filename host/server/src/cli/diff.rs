//! `check --diff`: what a reload would change in the gateway that runs.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rust_proxy_core::config::{Admin, Sources};
use rust_proxy_core::needs_restart;
use tokio::net::TcpStream;

use crate::admin::{GatewayState, STATE};
use crate::text::one_line;

/// A gateway on this machine answers in milliseconds.
const WITHIN: Duration = Duration::from_secs(10);
/// Far more than the state of any gateway.
const STATE_MAX: usize = 16 << 20;

/// Asks the gateway that has this operator's listener, and says what would change.
///
/// # Errors
/// Why it could not be asked.
pub(super) async fn against(admin: &Admin, sources: &Sources) -> Result<String, String> {
    let listen = admin.listen;
    let asked = tokio::time::timeout(WITHIN, ask(admin)).await;
    let state = asked.unwrap_or_else(|_| Err("it does not answer".to_owned()));
    let state = state.map_err(|error| format!("the gateway at {listen} (`admin.listen`): {error}"))?;
    let new = sources.sealed(admin.token.expose().as_bytes());
    let mut text = format!("against the gateway at {listen}, generation {}:\n", state.generation);
    let lines = compare(&state.sources, &new);
    if lines.is_empty() {
        text.push_str("  nothing would change\n");
    }
    for line in lines {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {line}");
    }
    Ok(text)
}

/// A line for each difference. The names of old ones come from who answered, and go to a terminal.
fn compare(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Vec<String> {
    let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let line = |name: &String| {
        let mark = match (old.get(name), new.get(name)) {
            (Some(old), Some(new)) if old == new => return None,
            (Some(_), Some(_)) => '~',
            (None, _) => '+',
            (_, None) => '-',
        };
        let what = match name {
            _ if needs_restart(name) => ": refused, it changes with a restart only",
            _ if mark == '-' => "",
            name if name.starts_with("the plugin ") || name.starts_with("the signer ") => ": loaded anew",
            _ => "",
        };
        Some(format!("{mark} {}{what}", one_line(name)))
    };
    names.into_iter().filter_map(line).collect()
}

async fn ask(admin: &Admin) -> Result<GatewayState, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let stream = TcpStream::connect(admin.listen).await.map_err(|error| text(&error))?;
    let (mut sender, connection) =
        http1::handshake::<_, Empty<Bytes>>(TokioIo::new(stream)).await.map_err(|error| text(&error))?;
    let mut bearer = HeaderValue::from_str(&format!("Bearer {}", admin.token.expose()))
        .map_err(|_| "the token does not fit a header".to_owned())?;
    bearer.set_sensitive(true);
    let request = Request::get(STATE)
        .header(HOST, admin.listen.to_string())
        .header(AUTHORIZATION, bearer)
        .body(Empty::new())
        .map_err(|error| text(&error))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| text(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), STATE_MAX).collect().await;
        let body = body.map_err(|error| text(&error))?.to_bytes();
        match status {
            StatusCode::OK => {
                serde_json::from_slice(&body).map_err(|_| "it is no gateway of this version".to_owned())
            }
            StatusCode::UNAUTHORIZED => Err("it has another `admin.token`".to_owned()),
            status => Err(format!("it answers {status}")),
        }
    };
    tokio::select! {
        answer = answer => answer,
        // Ends first only where the connection broke.
        ended = connection => Err(ended.err().map_or("the connection was closed".to_owned(), |error| text(&error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_difference_has_a_line_that_says_what_comes_of_it() {
        let map = |entries: &[(&str, &str)]| -> BTreeMap<String, String> {
            entries.iter().map(|(name, seal)| ((*name).to_owned(), (*seal).to_owned())).collect()
        };
        let old = map(&[
            ("a", "1"),
            ("server.listen", "1"),
            ("the plugin p", "1"),
            ("the plugin q", "1"),
            ("z", "1"),
        ]);
        let new = map(&[("a", "1"), ("b", "1"), ("server.listen", "2"), ("the plugin p", "2"), ("z", "2")]);
        assert_eq!(
            compare(&old, &new),
            [
                "+ b",
                "~ server.listen: refused, it changes with a restart only",
                "~ the plugin p: loaded anew",
                "- the plugin q",
                "~ z",
            ]
        );
        assert_eq!(compare(&old, &old), Vec::<String>::new());
        assert_eq!(compare(&map(&[("a\n+ b\u{1b}[2J", "1")]), &map(&[])), ["- a + b [2J"]);
    }
}
