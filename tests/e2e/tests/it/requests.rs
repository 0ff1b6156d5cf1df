//! What a gateway asks of its clients, and what it hands on.

use rust_proxy_testkit::{Script, ScriptedUpstream, Setup};
use serde_json::{Value, json};

use crate::{masking, message};

const KEYS: &str = "[[server.keys]]\nname = 'test'\nkey = 'env::CLIENT_KEY'";

#[tokio::test]
async fn the_providers_name_and_key_are_sent_and_the_clients_are_not() {
    let upstream = ScriptedUpstream::start([Script::says(["hi"])]).await;
    let gateway = masking(&upstream).toml(KEYS).start().await;
    let body = json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }] }).to_string();
    for header in ["authorization: Bearer", "x-api-key:"] {
        gateway.post(&format!("{header} CLIENT_KEY-0123456789\r\ncookie: CLIENT_KEY\r\n"), &body).await;
    }
    for seen in upstream.seen() {
        assert_eq!(seen.head.start, "POST /v1/chat/completions HTTP/1.1");
        assert_eq!(seen.head.header("authorization"), Some("Bearer UPSTREAM_KEY-0123456789"));
        assert_eq!(seen.json()["model"], "upstream-m");
        assert!(!format!("{seen:?}").contains("CLIENT_KEY"), "{seen:?}");
    }
    assert_eq!(upstream.seen().len(), 2);
}

#[tokio::test]
async fn unknown_fields_and_their_spelling_are_kept() {
    let upstream = ScriptedUpstream::start([Script::whole("hi")]).await;
    let body = |model: &str, text: &str| {
        format!(
            r#"{{ "seed":1.50, "model" : "{model}","x":{{"b":1,"a":[ ]}},"messages":[{{"role":"user","content":"{text}","y":1e2}}],"max_completion_tokens":5}}"#
        )
    };
    masking(&upstream).start().await.post("", &body("m", "hello")).await;
    assert_eq!(upstream.seen()[0].body, body("upstream-m", "hello"));
    masking(&upstream).start().await.post("", &body("m", "secret")).await;
    assert_eq!(
        upstream.seen()[1].json(),
        serde_json::from_str::<Value>(&body("upstream-m", "******")).unwrap()
    );
}

#[tokio::test]
async fn a_key_is_needed_where_keys_are_configured() {
    let upstream = ScriptedUpstream::start([Script::says(["hi"])]).await;
    let gateway = Setup::new().upstream(&upstream).toml(KEYS).start().await;
    for header in ["", "authorization: Bearer UPSTREAM_KEY-0123456789\r\n", "authorization: Bearer \r\n"] {
        let response = gateway.post(header, "{}").await;
        assert_eq!(response.status(), 401);
        assert_eq!(response.head.header("www-authenticate"), Some("Bearer"));
        assert_eq!(response.json().await.pointer("/error/code"), Some(&json!("invalid_api_key")));
    }
    let health = gateway.request("GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert_eq!(health.status(), 200);
    assert_eq!(upstream.seen().len(), 0);
}

#[tokio::test]
async fn models_are_listed_by_our_names() {
    let gateway = Setup::new().start().await;
    let models = gateway.request("GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n").await.json().await;
    assert_eq!(models["data"][0]["id"], "m");
    assert_eq!(models["data"].as_array().map(Vec::len), Some(1));
}

/// Requests that are refused with this status, each by a message that says this, before the upstream is asked.
async fn check_refused(status: u16, requests: &[(String, &str)]) {
    let upstream = ScriptedUpstream::start([Script::says(["hi"])]).await;
    let gateway = masking(&upstream).start().await;
    for (body, says) in requests {
        let response = gateway.post("", body).await;
        assert_eq!(response.status(), status, "{body}");
        assert!(response.head.header("x-request-id").is_some_and(|id| !id.is_empty()), "{body}");
        let error = response.json().await;
        assert!(message(&error).contains(says), "{body}: {error}");
    }
    assert_eq!(upstream.seen().len(), 0);
}

/// A request that is right but for one key.
fn with(key: &str, value: Value) -> String {
    let mut body = json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }] });
    body[key] = value;
    body.to_string()
}

#[tokio::test]
async fn a_model_that_is_not_configured_is_404() {
    let requests =
        ["nowhere", "upstream-m", "M", ""].map(|model| (with("model", json!(model)), "does not exist here"));
    check_refused(404, &requests).await;
}

#[tokio::test]
async fn a_body_that_makes_no_sense_is_400_and_says_what_to_send() {
    let requests = [
        (String::new(), "not a JSON object"),
        ("{".to_owned(), "not a JSON object"),
        ("[]".to_owned(), "not a JSON object"),
        (r#"{"model":"m"}"#.to_owned(), "send a list of messages"),
        (r#"{"messages":[{"role":"user","content":"hi"}]}"#.to_owned(), "name a model"),
        (with("model", json!(1)), "a string"),
        (with("stream", json!("yes")), "true or false"),
        (with("stream_options", json!(1)), "an object"),
        (with("messages", json!("hi")), "a list of messages"),
        (with("messages", json!([])), "send at least one message"),
        (with("messages", json!([1])), "`messages[0]`: must be an object"),
        (with("messages", json!([{ "role": 1, "content": "hi" }])), "`messages[0].role`"),
        (with("messages", json!([{ "role": "user", "content": 1 }])), "`messages[0].content`"),
    ];
    check_refused(400, &requests).await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_413() {
    let upstream = ScriptedUpstream::start([Script::says(["hi"])]).await;
    let gateway = Setup::new().upstream(&upstream).server("body_max = '1KiB'").start().await;
    let response = gateway.ask(&"x".repeat(1024)).await;
    assert_eq!(response.status(), 413);
    assert!(message(&response.json().await).contains("server.body_max"));
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    let announced = format!("{head}content-length: 1025\r\n\r\n");
    assert_eq!(gateway.request(&announced).await.status(), 413, "before the body is sent");
    let chunk = format!("400\r\n{}\r\n", "x".repeat(1024));
    let unannounced = format!("{head}transfer-encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n");
    assert_eq!(gateway.request(&unannounced).await.status(), 413);
    assert_eq!(gateway.ask("short").await.status(), 200);
}

#[tokio::test]
async fn a_body_that_is_not_json_by_its_type_is_415() {
    let gateway = Setup::new().start().await;
    for kind in ["content-type: text/plain\r\n", ""] {
        let request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n{kind}content-length: 2\r\n\r\n{{}}"
        );
        assert_eq!(gateway.request(&request).await.status(), 415);
    }
}

#[tokio::test]
async fn other_routes_are_404_with_a_json_error() {
    let gateway = Setup::new().start().await;
    for path in ["/v1/embeddings", "/v1/responses", "/", "/v1/chat/completions/"] {
        let request = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{{}}");
        let response = gateway.request(&request).await;
        assert_eq!(response.status(), 404);
        assert!(!message(&response.json().await).is_empty());
    }
}
