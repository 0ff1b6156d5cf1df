use rust_proxy_stream::exchange::End;
use tower::ServiceExt;

use super::*;
use crate::fake::{Fake, end, frame, json as read_json, script, server, text};

async fn send(fake: Fake, request: http::request::Builder, body: &'static str) -> Response {
    let request = request.header("host", "localhost").body(Body::from(body)).expect("a request");
    router(&server(""), fake).oneshot(request).await.expect("an answer")
}

async fn chat(fake: Fake) -> Response {
    let request = http::Request::post("/v1/chat/completions").header("content-type", "application/json");
    send(fake, request, r#"{"model":"m1"}"#).await
}

#[tokio::test]
async fn a_whole_answer_is_json() {
    let response = chat(Fake::echo()).await;
    assert_eq!(response.status(), 200);
    assert_eq!(read_json(response).await, json!({ "model": "m1" }));
}

#[tokio::test(start_paused = true)]
async fn a_streamed_answer_is_an_event_stream() {
    let response =
        chat(Fake::new(|_| Ok(Answer::Events(script([(1, frame("data: a\n\n")), (1, end(End::Complete))])))));
    let response = response.await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(text(response).await, "data: a\n\ndata: [DONE]\n\n");
}

#[tokio::test]
async fn an_error_is_a_status() {
    let response = chat(Fake::new(|_| Err(ExchangeError::UnknownModel("m9".into())))).await;
    assert_eq!(response.status(), 404);
    assert_eq!(read_json(response).await["error"]["code"], "model_not_found");
}

#[tokio::test]
async fn models_have_openais_shape() {
    let response = send(Fake::echo(), http::Request::get("/v1/models"), "").await;
    let model = |id| json!({ "id": id, "object": "model", "created": 0, "owned_by": "rust-proxy" });
    assert_eq!(read_json(response).await, json!({ "object": "list", "data": [model("m1"), model("m2")] }));
}

#[tokio::test]
async fn health_is_ok() {
    let response = send(Fake::echo(), http::Request::get("/health"), "").await;
    assert_eq!(read_json(response).await, json!({ "status": "ok" }));
}

#[test]
fn a_stream_is_asked_for_by_name() {
    assert_eq!(asks_for_a_stream(br#"{"model":"m","messages":[],"stream":true}"#), Some(true));
    for body in [r#"{"stream":false}"#, r#"{"stream":"true"}"#, "{", "[]"] {
        assert_eq!(asks_for_a_stream(body.as_bytes()), Some(false), "{body}");
    }
    for body in [r#"{"stream":null}"#, "{}"] {
        assert_eq!(asks_for_a_stream(body.as_bytes()), None, "{body}");
    }
}

#[tokio::test]
async fn chat_is_a_dialect_and_listed_headers_come_along() {
    let request = http::Request::post("/chat")
        .header("content-type", "application/json")
        .header("X-Device-Id", "d")
        .header("x-device-id", "twin")
        .header("x-other", "secret");
    let response = send(Fake::tells(), request, r#"{"message":"a"}"#).await;
    let expect = json!({ "dialect": "chat", "key": null, "headers": [["x-device-id", "d"]], "body": r#"{"message":"a"}"# });
    assert_eq!(read_json(response).await, expect);
}

#[tokio::test]
async fn chat_has_the_guards_of_the_other_routes() {
    let request = http::Request::post("/chat").header("content-type", "text/plain");
    assert_eq!(send(Fake::echo(), request, "{}").await.status(), 415);
    let request = http::Request::post("/chat").header("content-type", "application/json");
    let request = request.header("origin", "https://evil.example").header("host", "localhost");
    assert_eq!(send(Fake::echo(), request, "{}").await.status(), 403);
    assert_eq!(send(Fake::echo(), http::Request::get("/chat"), "").await.status(), 405);
}

#[tokio::test(start_paused = true)]
async fn a_late_chat_is_answered_as_a_stream_unless_it_says_no() {
    let late = || Fake::new(|_| Ok(Answer::Events(script([(60_000, end(End::Complete))]))));
    let request = || http::Request::post("/chat").header("content-type", "application/json");
    let response = send(late(), request(), r#"{"message":"a"}"#).await;
    assert!(text(response).await.starts_with(": ping\n\n"));
}
