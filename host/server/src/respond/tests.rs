use http_body_util::BodyExt;
use rust_proxy_stream::lane::Rejection;
use rust_proxy_stream::stage::{Fault, FaultKind};
use serde_json::{Value, json};

use super::*;

/// What a client reads of an error, and the `Retry-After` of the answer.
async fn read(error: ApiError) -> (u16, Value, Option<String>) {
    let response = error.into_response();
    let status = response.status().as_u16();
    let retry_after = response.headers().get(RETRY_AFTER).map(|value| value.to_str().unwrap().to_owned());
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap(), retry_after)
}

#[track_caller]
fn check(error: impl Into<ExchangeError>, status: u16, kind: &str, code: &str, message: &str) {
    let error = ApiError::from(&error.into());
    let body = json!({ "error": { "message": message, "type": kind, "param": error.param, "code": code } });
    let read = futures_util::FutureExt::now_or_never(read(error)).expect("nothing to wait for");
    assert_eq!((read.0, read.1), (status, body));
}

fn upstream(status: u16, message: &str) -> UpstreamError {
    UpstreamError::Status { status, message: message.to_owned(), retry_after: None }
}

fn rejected(status: u16) -> ExchangeError {
    ExchangeError::Rejected {
        plugin: "filter".into(),
        rejection: Rejection { status, message: "not that word".into() },
    }
}

#[test]
fn what_the_client_can_mend() {
    let unknown = ExchangeError::UnknownModel("gpt-9".into());
    let message = "the model `gpt-9` does not exist here (HTTP 404)";
    check(unknown, 404, "invalid_request_error", "model_not_found", message);
    check(rejected(403), 403, "invalid_request_error", "rejected_by_plugin", "not that word");
    check(rejected(451), 451, "invalid_request_error", "rejected_by_plugin", "not that word (HTTP 451)");
    check(rejected(200), 400, "invalid_request_error", "rejected_by_plugin", "not that word");
    check(rejected(7), 400, "invalid_request_error", "rejected_by_plugin", "not that word");
}

#[tokio::test]
async fn an_invalid_request_names_its_parameter() {
    let error = ExchangeError::invalid("messages[0].role", "`role` is missing");
    let (status, body, _) = read((&error).into()).await;
    assert_eq!(status, 400);
    let expect = json!({ "error": {
        "message": "`role` is missing",
        "type": "invalid_request_error", "param": "messages[0].role", "code": null,
    } });
    assert_eq!(body, expect);
}

#[test]
fn what_the_operator_can_mend() {
    let fault = Fault::new(FaultKind::Trap, "wasm backtrace: 0x1234 at /home/me");
    let error = ExchangeError::Plugin { plugin: "mask".into(), error: fault.into() };
    let message =
        "plugin `mask` failed, and its step is fail_closed; the gateway's log has the details (HTTP 500)";
    check(error, 500, "plugin_error", "plugin_failed", message);
    let message = "the gateway has too many exchanges at once; try again in a second (HTTP 503)";
    check(ExchangeError::Overloaded, 503, "server_error", "overloaded", message);
    let message = "the exchange took longer than its deadline (HTTP 504)";
    check(ExchangeError::Deadline, 504, "server_error", "deadline_exceeded", message);
}

#[test]
fn an_upstreams_status() {
    let kind = "upstream_error";
    check(upstream(400, "too long"), 400, kind, "upstream_refused", "too long");
    check(upstream(404, "no such model"), 404, kind, "upstream_refused", "no such model (HTTP 404)");
    check(upstream(413, "too large"), 413, kind, "upstream_refused", "too large (HTTP 413)");
    check(upstream(422, "odd: 422"), 422, kind, "upstream_refused", "odd: 422");
    check(upstream(429, "slow down"), 429, kind, "upstream_refused", "slow down");
    check(upstream(409, ""), 409, kind, "upstream_refused", "the upstream answered 409");
    for status in [401, 403] {
        let message = format!("the upstream refused the gateway's own credentials with {status}");
        check(upstream(status, "wrong key sk-123"), status, kind, "upstream_credential", &message);
    }
    let failed = |status: u16, ours: u16| {
        let message = format!("the upstream answered {status}: oh");
        let suffix = if status == ours { String::new() } else { format!(" (HTTP {ours})") };
        check(upstream(status, "oh"), ours, kind, "upstream_failed", &(message + &suffix));
    };
    failed(500, 502);
    failed(502, 502);
    failed(503, 503);
    failed(529, 503);
    let message = "the upstream answered 302, and redirects are not followed (HTTP 502)";
    check(upstream(302, "it leads to http://10.0.0.7/"), 502, kind, "upstream_failed", message);
    check(upstream(504, ""), 502, kind, "upstream_failed", "the upstream answered 504 (HTTP 502)");
}

#[test]
fn an_upstream_that_gives_no_answer() {
    let kind = "upstream_error";
    let message = "the upstream cannot be reached; the gateway's log says why (HTTP 502)";
    let error = UpstreamError::Unreachable("connect to 10.0.0.7:443 refused".into());
    check(error, 502, kind, "upstream_unreachable", message);
    let message = "the upstream took longer than `timeouts.idle_ms` (HTTP 504)";
    check(UpstreamError::Timeout("timeouts.idle_ms"), 504, kind, "upstream_timeout", message);
    let message = "the upstream's answer broke off: no finish reason (HTTP 502)";
    check(UpstreamError::Incomplete("no finish reason".into()), 502, kind, "upstream_incomplete", message);
    let message = "the upstream's answer cannot be read: not JSON (HTTP 502)";
    check(UpstreamError::Protocol("not JSON".into()), 502, kind, "upstream_protocol", message);
    let message = "the upstream failed: overloaded (HTTP 502)";
    check(UpstreamError::Reported("overloaded".into()), 502, kind, "upstream_failed", message);
    let message = "the gateway has no credential for the upstream; its log says why (HTTP 502)";
    let error = UpstreamError::Credential("/run/token: no such file".into());
    check(error, 502, kind, "upstream_credential", message);
}

#[tokio::test]
async fn retry_after_is_handed_on() {
    let limited = |retry_after: &str| UpstreamError::Status {
        status: 429,
        message: "slow down".into(),
        retry_after: Some(retry_after.into()),
    };
    assert_eq!(read((&limited("17")).into()).await.2.as_deref(), Some("17"));
    assert_eq!(read((&limited("17\r\nx: y")).into()).await.2, None);
    assert_eq!(read((&ExchangeError::Overloaded).into()).await.2.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_message_is_cut() {
    let error = ExchangeError::UnknownModel("x".repeat(1 << 20));
    let (_, body, _) = read((&error).into()).await;
    assert!(body["error"]["message"].as_str().unwrap().len() < MESSAGE_MAX + 32);
}

#[test]
fn an_event_tells_the_status_too() {
    let error = ApiError::from(&upstream(429, "slow\ndown"));
    let expect = concat!(
        r#"data: {"error":{"message":"slow\ndown (HTTP 429)","type":"upstream_error","param":null,"#,
        r#""code":"upstream_refused"},"choices":"slow\ndown (HTTP 429)"}"#,
        "\n\n"
    );
    assert_eq!(error.event(), expect);
}

#[test]
fn a_log_line_is_one_line_without_credentials() {
    assert_eq!(log_line(&upstream(500, "a\nb").into()), "the upstream answered 500: a b");
    let line = log_line(&upstream(401, "wrong key sk-123").into());
    assert_eq!(line, "the upstream refused the gateway's credentials with 401");
}
