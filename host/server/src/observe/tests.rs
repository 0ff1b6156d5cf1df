use std::cell::RefCell;
use std::io;
use std::sync::Once;

use rust_proxy_stream::ExchangeError;
use rust_proxy_stream::exchange::End;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::app::{Answer, router};
use crate::fake::{Fake, KEY, end, endless, frame, script, server, text};

thread_local! {
    /// What was logged on this thread, which is what a test logged that has a runtime of its own.
    static LOG: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

struct Log;

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.with_borrow_mut(|log| log.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Begins a log of this thread. One subscriber serves all tests: those that come and go while other tests run
/// miss events.
fn start_log() {
    static GLOBAL: Once = Once::new();
    GLOBAL.call_once(|| tracing_subscriber::fmt().json().with_writer(|| Log).init());
    LOG.take();
}

fn logged() -> Vec<Value> {
    let text = String::from_utf8(LOG.take()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn request(id: Option<&str>) -> Request {
    let request = http::Request::post("/v1/chat/completions?query-value")
        .header("host", "localhost")
        .header("content-type", "application/json")
        .header("x-api-key", KEY)
        .header("x-other", "header-value");
    let request = match id {
        Some(id) => request.header(REQUEST_ID, id),
        None => request,
    };
    request.body(Body::from(r#"{"secret":"body-value"}"#)).unwrap()
}

const KEYS: &str = "[[server.keys]]\nname = 'the-team'\nkey = 'env::KEY'";

async fn answer(fake: Fake, request: Request) -> Response {
    router(&server(KEYS), fake).oneshot(request).await.unwrap()
}

async fn id_for(given: Option<&str>) -> String {
    let response = answer(Fake::echo(), request(given)).await;
    response.headers()[REQUEST_ID].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_harmless_id_is_taken_over_and_any_other_replaced() {
    let longest = "x".repeat(REQUEST_ID_MAX);
    for id in ["a", "A-b_c.9", &longest] {
        assert_eq!(id_for(Some(id)).await, id);
    }
    let too_long = "x".repeat(REQUEST_ID_MAX + 1);
    for id in [None, Some(""), Some("a b"), Some("a\u{e9}"), Some("a;b"), Some(too_long.as_str())] {
        let uuid: Uuid = id_for(id).await.parse().unwrap();
        assert_eq!(uuid.get_version_num(), 7);
    }
}

/// A request whose answer is read to its end (or dropped) leaves this closing line, and nothing that is
/// secret.
async fn check(fake: Fake, read: bool, status: u16, end: &str) {
    start_log();
    let response = answer(fake, request(Some("the-id"))).await;
    let bytes = if read {
        text(response).await.len()
    } else {
        drop(response);
        0
    };
    let lines = logged();
    let all = Value::from(lines.clone()).to_string();
    for secret in [KEY, "body-value", "query-value", "header-value"] {
        assert!(!all.contains(secret), "{all}");
    }
    let closing: Vec<_> = lines.iter().filter(|line| line["fields"]["message"] == "answered").collect();
    let [closing] = closing.as_slice() else { panic!("one closing line: {all}") };
    let mut fields = closing["fields"].clone();
    assert!(fields.as_object_mut().unwrap().remove("ms").unwrap().is_number());
    fields.as_object_mut().unwrap().remove("message");
    assert_eq!(fields, json!({ "status": status, "end": end, "bytes": bytes }));
    let span = &closing["span"];
    assert_eq!((&span["id"], &span["key"]), (&json!("the-id"), &json!("the-team")));
    assert_eq!((&span["method"], &span["path"]), (&json!("POST"), &json!("/v1/chat/completions")));
}

#[tokio::test]
async fn a_whole_answer_has_a_closing_line() {
    check(Fake::echo(), true, 200, "whole").await;
    check(Fake::echo(), false, 200, "dropped").await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_has_a_closing_line() {
    let stream = |last: fn() -> End| {
        Fake::new(move |_| Ok(Answer::Events(script([(0, frame("data: a\n\n")), (0, end(last()))]))))
    };
    check(stream(|| End::Complete), true, 200, "complete").await;
    check(stream(|| End::Stopped), true, 200, "stopped").await;
    let failed = || End::Failed(ExchangeError::Deadline);
    check(stream(failed), true, 200, "failed").await;
    let endless = Fake::new(|_| Ok(Answer::Events(endless(vec![frame("a")]).0)));
    check(endless, false, 200, "dropped").await;
}

/// Logs when it is dropped, as a link does.
struct Says;

impl Drop for Says {
    fn drop(&mut self) {
        tracing::info!("link done");
    }
}

#[tokio::test]
async fn what_ends_with_the_client_is_logged_with_its_request() {
    start_log();
    let fake = Fake::new(|_| {
        let says = Says;
        let (events, _) = endless(vec![frame("a")]);
        let events = futures_util::StreamExt::map(events, move |event| {
            let _ = &says;
            event
        });
        Ok(Answer::Events(Box::pin(events)))
    });
    drop(answer(fake, request(Some("the-id"))).await);
    let lines = logged();
    let messages: Vec<_> = lines.iter().map(|line| &line["fields"]["message"]).collect();
    assert_eq!(messages, ["link done", "answered"]);
    assert_eq!(lines[0]["span"]["id"], "the-id");
}

#[tokio::test]
async fn an_error_has_a_closing_line() {
    let failing = Fake::new(|_| Err(ExchangeError::Overloaded));
    check(failing, true, 503, "error").await;
}
