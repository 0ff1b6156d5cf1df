use tower::ServiceExt;

use super::*;
use crate::fake::{json as read_json, text as read_text};

fn settings() -> Settings {
    Settings { delay: Duration::from_millis(60), key: "key".to_owned(), answers: Answers::Own }
}

async fn ask(request: Value) -> Response {
    let request = http::Request::post("/v1/chat/completions").body(Body::from(request.to_string()));
    router(settings()).oneshot(request.expect("a request")).await.expect("an answer")
}

/// The chunks of a streamed answer that ends as it should.
async fn chunks_of(request: Value) -> Vec<Value> {
    let response = ask(request).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let text = read_text(response).await;
    let frames = text.strip_suffix("data: [DONE]\n\n").expect("the terminal");
    let chunk =
        |frame: &str| serde_json::from_str(frame.strip_prefix("data: ").expect("data")).expect("JSON");
    frames.split_terminator("\n\n").map(chunk).collect()
}

fn conversation() -> Value {
    json!([
        { "role": "user", "content": "first" },
        { "role": "assistant", "content": "hello" },
        { "role": "user", "content": [{ "type": "text", "text": "b\u{e4}n" }, { "type": "text", "text": "ana" }] },
    ])
}

const ANSWER: &str = "You said: \"b\u{e4}n ana\". Banana bread is classified.";

#[tokio::test]
async fn a_whole_answer_quotes_the_last_user_text() {
    let answer = read_json(ask(json!({ "model": "demo", "messages": conversation() })).await).await;
    assert_eq!(answer["model"], "demo");
    assert_eq!(answer["choices"][0]["message"]["content"], ANSWER);
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert!(answer["usage"]["total_tokens"].is_number());
}

#[tokio::test(start_paused = true)]
async fn a_streamed_answer_comes_in_pieces() {
    let options = json!({ "include_usage": true });
    let request = json!({ "messages": conversation(), "stream": true, "stream_options": options });
    let chunks = chunks_of(request).await;
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    let pieces = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str());
    assert_eq!(pieces.collect::<String>(), ANSWER);
    let [.., finish, usage] = chunks.as_slice() else { panic!("two chunks") };
    assert_eq!(finish["choices"][0]["finish_reason"], "stop");
    assert_eq!(usage["choices"], json!([]));
    assert!(usage["usage"]["completion_tokens"].is_number());
}

#[tokio::test(start_paused = true)]
async fn usage_comes_only_when_asked_for() {
    let chunks = chunks_of(json!({ "messages": conversation(), "stream": true })).await;
    assert!(chunks.iter().all(|chunk| chunk.get("usage").is_none()));
}

#[tokio::test]
async fn what_cannot_be_read_is_refused() {
    let response = ask(json!({ "messages": "hello" })).await;
    assert_eq!(response.status(), 400);
    assert_eq!(read_json(response).await["error"]["param"], "messages");
}
