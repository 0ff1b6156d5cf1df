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
    assert!(asks_for_a_stream(br#"{"model":"m","messages":[],"stream":true}"#));
    for body in [r#"{"stream":false}"#, r#"{"stream":null}"#, r#"{"stream":"true"}"#, "{}", "{", "[]"] {
        assert!(!asks_for_a_stream(body.as_bytes()), "{body}");
    }
}
