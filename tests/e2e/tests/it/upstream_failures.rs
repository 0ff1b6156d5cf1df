//! An upstream that fails before its answer, as a status, and who is asked then. `wire_faults` has what can go
//! wrong in an answer.

use rust_proxy_testkit::{Gate, Script, ScriptedUpstream, Setup, deltas, frame, unreachable_url};
use serde_json::{Value, json};

use crate::{last_error, masking, message};

/// What a client gets, streaming or not, of an upstream that fails before its first event.
async fn check_status(script: Script, status: u16, code: &str, says: &str) -> Value {
    let upstream = ScriptedUpstream::start([script]).await;
    check_setup(Setup::new().upstream(&upstream), status, code, says).await
}

async fn check_setup(setup: Setup, status: u16, code: &str, says: &str) -> Value {
    let gateway = setup.start().await;
    let mut error = Value::Null;
    for response in [gateway.ask("hello").await, gateway.ask_whole("hello").await] {
        assert_eq!(response.status(), status);
        assert_eq!(response.head.header("content-type"), Some("application/json"));
        assert!(response.head.header("x-request-id").is_some());
        error = response.json().await;
        assert_eq!(error["error"]["code"], code, "{error}");
        assert!(message(&error).contains(says), "{error}");
    }
    error
}

#[tokio::test]
async fn an_upstream_that_cannot_be_reached_is_502() {
    let url = unreachable_url().await;
    let response = Setup::new().variable("UPSTREAM", &url).start().await.ask("hello").await;
    assert_eq!(response.status(), 502);
    let error = response.json().await;
    assert!(message(&error).contains("cannot be reached"), "{error}");
    assert!(!error.to_string().contains("127.0.0.1"), "{error}");
}

#[tokio::test]
async fn refused_credentials_are_told_without_the_upstreams_words() {
    let body = json!({ "error": { "message": "Incorrect API key provided: UPSTREAM_KEY" } });
    for status in [401, 403] {
        let says = format!("the gateway's own credentials with {status}");
        let error = check_status(Script::json(status, &body), status, "upstream_credential", &says).await;
        assert!(!error.to_string().contains("UPSTREAM_KEY"), "{error}");
    }
}

#[tokio::test]
async fn statuses_that_a_client_can_act_on_are_kept() {
    let body = json!({ "error": { "message": "slow down", "type": "tokens", "param": null, "code": null } });
    let script = Script::json(429, &body).header("retry-after", "7");
    check_status(script.clone(), 429, "upstream_refused", "slow down").await;
    let upstream = ScriptedUpstream::start([script]).await;
    let response = masking(&upstream).start().await.ask("hello").await;
    assert_eq!(response.head.header("retry-after"), Some("7"));
    check_status(Script::json(400, &body), 400, "upstream_refused", "slow down").await;
    check_status(Script::json(422, &body), 422, "upstream_refused", "slow down (HTTP 422)").await;
}

#[tokio::test]
async fn a_failure_of_the_upstream_is_502_or_503() {
    let body = json!({ "error": { "message": "oh no" } });
    check_status(Script::json(500, &body), 502, "upstream_failed", "answered 500: oh no").await;
    check_status(Script::json(503, &body), 503, "upstream_failed", "answered 503: oh no").await;
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_is_504() {
    let timeouts = "timeouts = { first_byte_ms = 300, idle_ms = 300 }";
    for (script, says) in [(Script::silent(), "first_byte"), (Script::stream().stall(), "idle")] {
        let upstream = ScriptedUpstream::start([script]).await;
        let setup = Setup::new().upstream(&upstream).provider(timeouts);
        check_setup(setup, 504, "upstream_timeout", says).await;
        upstream.abandoned().await;
    }
}

#[tokio::test]
async fn what_came_before_the_failure_in_one_read_is_sent() {
    let cut = frame(&json!({ "content": "kept" }), None) + "data: {";
    let upstream = ScriptedUpstream::start([Script::stream().bytes(cut).cut()]).await;
    let body = masking(&upstream).start().await.ask("hello").await.body().await;
    assert_eq!(deltas(&body), "kept");
    assert_eq!(last_error(&body)["error"]["code"], "upstream_incomplete");
}

/// `m` with a second provider, `env::SECOND`.
fn with_fallback(first: &str, second: &ScriptedUpstream) -> Setup {
    let provider = "type = 'openai'\napi_key_location = 'none'\n";
    Setup::new().variable("FIRST", first).variable("SECOND", &second.url()).toml(&format!(
        "[models.two]\nrouting = ['first', 'second']\n\
         [models.two.providers.first]\n{provider}api_base = 'env::FIRST'\nmodel_name = 'one'\n\
         [models.two.providers.second]\n{provider}api_base = 'env::SECOND'\nmodel_name = 'other'"
    ))
}

#[tokio::test]
async fn the_second_provider_is_asked_where_the_first_fails() {
    let second = ScriptedUpstream::start([Script::says(["from the second"])]).await;
    let failures = [Script::json(500, &json!({})), Script::json(401, &json!({})), Script::hang_up()];
    let first = ScriptedUpstream::start(failures).await;
    for url in [first.url(), first.url(), first.url(), unreachable_url().await] {
        let response = with_fallback(&url, &second).start().await.ask_model("two", "hello").await;
        assert_eq!(deltas(&response.body().await), "from the second");
    }
    assert_eq!(first.seen().len(), 3);
    for request in second.seen() {
        assert_eq!(request.json()["model"], "other");
        assert_eq!(request.head.header("authorization"), None);
    }
}

#[tokio::test]
async fn the_second_provider_is_asked_where_the_first_never_begins() {
    let error = json!({ "error": { "message": "overloaded model" } });
    let failures = [
        Script::stream().event(&error).done(),
        Script::stream().bytes(": a\n\nevent: ping\ndata: {}\n\n").event(&error),
        Script::stream(),
        Script::stream().reset(),
        Script::stream().bytes("data: {\"choi").cut(),
        Script::json(200, &error),
        Script::new(200, "text/html").bytes("<html>"),
        Script::stream().event("nonsense"),
        Script::stream().header("content-encoding", "gzip"),
        Script::stream().bytes("error: {\"code\":500,\"message\":\"overloaded model\"}\n\n").done(),
    ];
    let number = failures.len();
    let first = ScriptedUpstream::start(failures).await;
    let second = ScriptedUpstream::start([Script::says(["from the second"])]).await;
    let gateway = with_fallback(&first.url(), &second).start().await;
    for place in 0..number {
        let body = gateway.ask_model("two", "hello").await.body().await;
        assert_eq!(deltas(&body), "from the second", "failure {place}: {body}");
        assert!(body.ends_with("data: [DONE]\n\n"), "failure {place}: {body}");
    }
    assert_eq!((first.seen().len(), second.seen().len()), (number, number));

    let failures = [Script::json(200, &error), Script::json(200, &json!({ "choices": [] }))];
    let number = failures.len();
    let first = ScriptedUpstream::start(failures).await;
    let second = ScriptedUpstream::start([Script::whole("from the second")]).await;
    let gateway = with_fallback(&first.url(), &second).start().await;
    let request = json!({ "model": "two", "messages": [{ "role": "user", "content": "hello" }] });
    for _ in 0..number {
        let answer = gateway.chat(&request).await.json().await;
        assert_eq!(answer["choices"][0]["message"]["content"], "from the second");
    }
    assert_eq!((first.seen().len(), second.seen().len()), (number, number));
}

#[tokio::test]
async fn the_second_provider_is_asked_behind_heartbeats_too() {
    let gate = Gate::new();
    let error = json!({ "error": { "message": "overloaded model" } });
    let first = ScriptedUpstream::start([Script::stream().wait_for(&gate).event(error)]).await;
    let second = ScriptedUpstream::start([Script::says(["from the second"])]).await;
    let gateway = with_fallback(&first.url(), &second).server("heartbeat = '50ms'").start().await;
    let mut response = gateway.ask_model("two", "hello").await;
    assert_eq!(response.event().await.as_deref(), Some(": ping\n\n"));
    gate.open();
    let body = response.body().await;
    assert_eq!(deltas(&body), "from the second", "{body}");
    assert!(body.ends_with("data: [DONE]\n\n") && !body.contains("error"), "{body}");
}

#[tokio::test]
async fn no_other_provider_is_asked_once_an_answer_has_begun() {
    let error = json!({ "error": { "message": "overloaded model" } });
    let first = ScriptedUpstream::start([Script::stream().delta("begun").event(error)]).await;
    let second = ScriptedUpstream::start([Script::says(["from the second"])]).await;
    let body =
        with_fallback(&first.url(), &second).start().await.ask_model("two", "hello").await.body().await;
    assert_eq!(deltas(&body), "begun");
    assert_eq!(last_error(&body)["error"]["code"], "upstream_failed");
    assert_eq!(second.seen().len(), 0);
}

#[tokio::test]
async fn a_request_that_is_at_fault_itself_is_not_asked_again() {
    let second = ScriptedUpstream::start([Script::says(["from the second"])]).await;
    let first = ScriptedUpstream::start([Script::json(400, &json!({ "error": { "message": "no" } }))]).await;
    let response = with_fallback(&first.url(), &second).start().await.ask_model("two", "hello").await;
    assert_eq!(response.status(), 400);
    assert_eq!(second.seen().len(), 0);
}
