use tower::ServiceExt;

use super::*;
use crate::fake::{json as read_json, text as read_text};

mod end_to_end;

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

/// Posts to the Dev API, signed unless the headers say otherwise.
async fn post(body: &Value, with: impl FnOnce(&mut HeaderMap)) -> Response {
    let body = body.to_string();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs().to_string();
    let sign = verify::sign("key", "n", &now, "d", &body);
    let signed = [
        ("nonce", "n"),
        ("timestamp", &now),
        ("device-id", "d"),
        ("os-type", "3"),
        ("sid", "s"),
        ("sign", &sign),
    ];
    let mut headers: HeaderMap = signed
        .into_iter()
        .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")))
        .collect();
    with(&mut headers);
    let mut request = http::Request::post("/chat").body(Body::from(body)).expect("a request");
    *request.headers_mut() = headers;
    router(settings()).oneshot(request).await.expect("an answer")
}

#[tokio::test(start_paused = true)]
async fn the_dev_api_answers_in_events_of_its_own() {
    let response = post(&json!({ "messages": conversation(), "stream": true }), |_| {}).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let text = read_text(response).await;
    let events = text.strip_suffix("data: [DONE]\n\n").expect("the terminal").split_terminator("\n\n");
    let events: Vec<Value> = events
        .map(|event| serde_json::from_str(event.strip_prefix("data: ").expect("data")).expect("JSON"))
        .collect();
    let answer: String = events.iter().filter_map(|event| event["delta"].as_str()).collect();
    assert_eq!(answer, ANSWER);
    assert_eq!(events.last().expect("an event")["finish_reason"], "stop");
}

#[tokio::test(start_paused = true)]
async fn the_dev_api_answers_whole_and_like_openai() {
    let whole = read_json(post(&json!({ "messages": conversation() }), |_| {}).await).await;
    assert_eq!((&whole["text"], &whole["finish_reason"]), (&json!(ANSWER), &json!("stop")));
    let request = json!({ "messages": conversation(), "stream_format": "openai" });
    let openai = read_json(post(&request, |_| {}).await).await;
    assert_eq!(openai["choices"][0]["message"]["content"], ANSWER);
}

#[tokio::test]
async fn the_dev_api_says_why_it_refuses() {
    let body = json!({ "messages": conversation() });
    let set = |name: &'static str, value: &'static str| {
        move |headers: &mut HeaderMap| {
            headers.insert(name, HeaderValue::from_static(value));
        }
    };
    let missing = post(&body, |headers| drop(headers.remove("sid"))).await;
    for (response, status, code, message) in [
        (missing, 400, "missing_header", "the header `sid` is missing"),
        (
            post(&body, set("timestamp", "now")).await,
            400,
            "malformed_header",
            "the header `timestamp` must be Unix seconds",
        ),
        (
            post(&body, set("device-id", "e")).await,
            401,
            "forged",
            "the signature is not that of this request",
        ),
    ] {
        assert_eq!(response.status(), status);
        let error = &read_json(response).await["error"];
        assert_eq!(error["code"], code);
        assert!(error["message"].as_str().expect("text").starts_with(message), "{error}");
    }
}

#[tokio::test]
async fn pages_are_served() {
    let page = async |path: &str| {
        let request = http::Request::get(path).body(Body::empty()).expect("a request");
        router(settings()).oneshot(request).await.expect("an answer")
    };
    for (name, _) in PAGES {
        let response = page(&format!("/pages/{name}")).await;
        assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
        assert!(read_text(response).await.starts_with("<!doctype html>"));
    }
    assert_eq!(page("/pages/other.html").await.status(), 404);
}
