//! What is sent, and what a signer can and cannot do to it.

use serde_json::{Value, json};

use super::*;

async fn draft(options: DevApiOptions) -> Draft {
    provider(options).draft(&asked(REQUEST)).await.expect("a request")
}

async fn refusal(options: DevApiOptions) -> String {
    provider(options).draft(&asked(REQUEST)).await.expect_err("is refused").to_string()
}

fn sent(draft: &Draft, name: &str) -> String {
    draft.headers.get(name).map(|value| value.to_str().expect("text").to_owned()).unwrap_or_default()
}

#[tokio::test]
async fn by_default_values_are_headers_and_the_body_is_the_clients() {
    let draft = draft(options()).await;
    assert_eq!(draft.url(), "http://127.0.0.1:1/chat");
    assert_eq!(draft.body, REQUEST.replace("ours", "theirs"));
    let nonce: Uuid = sent(&draft, "nonce").parse().expect("a UUID");
    assert_eq!(nonce.get_version_num(), 4);
    let timestamp: u64 = sent(&draft, "timestamp").parse().expect("seconds");
    assert!((1_600_000_000..10_000_000_000).contains(&timestamp));
    let values = ["device-id", "os-type", "sid"].map(|name| sent(&draft, name));
    assert_eq!(values, ["device-1", "3", "session-1"]);
}

#[tokio::test]
async fn every_place_is_a_setting() {
    let mut options = options();
    options.endpoint = "https://api.example.com/base".to_owned();
    options.device_id = source("a&b=c/\u{4f60}");
    options.request = RequestOptions {
        path: "/v9/ask".to_owned(),
        nonce: Some(Place::Query("n".to_owned())),
        timestamp: Some(body("/meta/t")),
        timestamp_unit: TimeUnit::Milliseconds,
        device_id: Some(Place::Query("device id".to_owned())),
        os_type: Some(body("/meta/os")),
        sid: Some(header("x-session")),
        model: "/bot".parse().ok(),
        messages: "/input/history".parse().ok(),
        stream: "/input/stream".parse().ok(),
        user_text: "/input/text".parse().ok(),
        keep_others: false,
        constants: vec![
            (header("x-app"), Hidden::new("app")),
            (Place::Query("v".to_owned()), Hidden::new("1 2")),
            (body("/meta/flags"), Hidden::new(r#"[1,{"a":null}]"#)),
        ],
        ..RequestOptions::default()
    };
    let draft = draft(options).await;
    let url = draft.url();
    let nonce = url.split("&n=").nth(1).and_then(|rest| rest.split('&').next()).expect("a nonce");
    assert!(nonce.parse::<Uuid>().is_ok(), "{url}");
    let before = "https://api.example.com/base/v9/ask?v=1%202";
    assert_eq!(url, format!("{before}&n={nonce}&device%20id=a%26b%3Dc%2F%E4%BD%A0"));
    let mut body: Value = serde_json::from_str(&draft.body).expect("JSON");
    let timestamp = body["meta"]["t"].take();
    assert!(timestamp.as_u64().expect("a number") > 1_600_000_000_000);
    assert_eq!(
        body,
        json!({
            "bot": "theirs",
            "input": {
                "history": [
                    { "role": "user", "content": "first" },
                    { "role": "assistant", "content": "a" },
                    { "role": "user", "content": [{ "type": "text", "text": "你" }, { "type": "text", "text": "b" }] },
                ],
                "stream": false,
                "text": "你\nb",
            },
            "meta": { "flags": [1, { "a": null }], "os": "3", "t": null },
        })
    );
    assert_eq!(
        (sent(&draft, "x-app"), sent(&draft, "x-session")),
        ("app".to_owned(), "session-1".to_owned())
    );
    assert!(!draft.headers.contains_key("nonce") && !draft.headers.contains_key("device-id"));
}

#[tokio::test]
async fn moved_fields_leave_the_others_as_they_came() {
    let mut options = options();
    options.request.messages = "/chat/messages".parse().ok();
    options.request.timestamp = Some(body("/t"));
    options.request.timestamp_is_text = true;
    let draft = draft(options).await;
    assert!(draft.body.contains(r#""temperature":1.0"#), "{}", draft.body);
    let body: Value = serde_json::from_str(&draft.body).expect("JSON");
    assert_eq!((&body["model"], body.get("messages")), (&json!("theirs"), None));
    assert_eq!(body["chat"]["messages"][0]["content"], "first");
    assert!(body["t"].is_string());
}

#[tokio::test]
async fn a_value_in_the_way_is_the_clients_to_move() {
    let mut options = options();
    options.request.sid = Some(body("/temperature/sid"));
    let error = provider(options).draft(&asked(REQUEST)).await.expect_err("is refused");
    assert!(
        matches!(&error, UpstreamError::Request(why) if why.contains("`/temperature/sid` cannot be set")),
        "{error}"
    );
}

#[tokio::test]
async fn a_value_may_come_from_the_client_by_a_header() {
    let mut options = options();
    options.device_id = Some(Source { headers: vec!["x-device-id".to_owned()], otherwise: None });
    let mut request = asked(REQUEST);
    let error = provider(options.clone()).draft(&request).await.expect_err("is refused");
    assert!(
        matches!(&error, UpstreamError::Request(why) if why == "the header `x-device-id` is missing"),
        "{error}"
    );
    request.headers = vec![("x-device-id".to_owned(), "theirs".to_owned())];
    assert_eq!(
        sent(&provider(options.clone()).draft(&request).await.expect("a request"), "device-id"),
        "theirs"
    );
    request.headers.clear();
    options.device_id =
        Some(Source { headers: vec!["x-device-id".to_owned()], otherwise: Some(Hidden::new("ours")) });
    assert_eq!(sent(&provider(options).draft(&request).await.expect("a request"), "device-id"), "ours");
}

#[tokio::test]
async fn a_signer_gets_the_listed_arguments_and_the_bodys_bytes() {
    let arguments = [Argument::Timestamp, Argument::DeviceId, Argument::Content, Argument::Model];
    let mut options = signed_by(Tells, &arguments, Results::One(body("/sign")));
    options.request.constants = vec![(Place::Query("key".to_owned()), Hidden::new("secret"))];
    let draft = draft(options).await;
    let told: Value = serde_json::from_str(&draft.body).expect("JSON");
    let (body, timestamp) = (REQUEST.replace("ours", "theirs"), sent(&draft, "timestamp"));
    assert_eq!(
        told["sign"],
        format!(
            "POST http://127.0.0.1:1/chat | timestamp={timestamp} device-id=device-1 | \
             timestamp={timestamp} device_id=device-1 content={body} model=theirs | {body}"
        )
    );
}

#[tokio::test]
async fn the_signed_text_is_a_setting() {
    for (content, expect) in
        [(Content::UserText, "你\nb"), (Content::At("/messages/1/content".parse().expect("a pointer")), "a")]
    {
        let mut options = signed_by(Tells, &[Argument::Url], Results::One(body("/sign")));
        options.request.content = content;
        options.request.sid = Some(Place::Query("sid".to_owned()));
        let told: Value = serde_json::from_str(&draft(options).await.body).expect("JSON");
        let url = "http://127.0.0.1:1/chat?sid=session-1";
        assert_eq!(told["sign"], format!("POST {url} |  | url={url} | {expect}"));
    }
    let mut options = signed_by(Tells, &[], Results::One(header("sign")));
    options.request.content = Content::At("/messages".parse().expect("a pointer"));
    assert!(refusal(options).await.ends_with("the body has no text at `/messages` to sign"));
}

#[tokio::test]
async fn each_attempt_is_signed_anew() {
    let provider = provider(signed_by(Tells, &[Argument::Nonce], Results::One(Place::Query("s".to_owned()))));
    let request = asked(REQUEST);
    let (one, two) = (provider.draft(&request).await, provider.draft(&request).await);
    assert_ne!(one.expect("a request").url(), two.expect("a request").url());
}

#[tokio::test]
async fn results_go_where_they_are_listed() {
    let places =
        [("a", header("authorization")), ("b", Place::Query("b".to_owned())), ("c", body("/auth/c"))];
    let places = BTreeMap::from(places.map(|(name, place)| (name.to_owned(), place)));
    let gives = Gives::these(&[("c", "\",\"model\":\"x"), ("b", "1&admin=1#"), ("a", "Sig x")]);
    let draft = draft(signed_by(gives, &[], Results::Named(places))).await;
    assert_eq!(sent(&draft, "authorization"), "Sig x");
    assert_eq!(draft.url(), "http://127.0.0.1:1/chat?b=1%26admin%3D1%23");
    let body: Value = serde_json::from_str(&draft.body).expect("JSON");
    assert_eq!((&body["auth"]["c"], &body["model"]), (&json!("\",\"model\":\"x"), &json!("theirs")));
}

#[tokio::test]
async fn hostile_results_are_refused() {
    let long = "x".repeat(9000);
    let one = || Results::One(header("sign"));
    let named = || Results::Named(BTreeMap::from([("a".to_owned(), header("sign"))]));
    for (results, given, expect) in [
        (one(), vec![], "it gave 0 results in place of one"),
        (one(), vec![("a", "1"), ("b", "2")], "it gave 2 results in place of one"),
        (one(), vec![("a", "")], "\"a\" is empty or longer than 8192 bytes"),
        (one(), vec![("a", long.as_str())], "\"a\" is empty or longer than 8192 bytes"),
        (one(), vec![("a", "1\r\nhost: evil")], "the header `sign` cannot hold the value"),
        (one(), vec![("a", "\u{4f60}")], "the header `sign` cannot hold the value"),
        (named(), vec![], "it did not give \"a\""),
        (named(), vec![("a", "1"), ("host", "evil")], "it gave \"host\", which `results` does not list"),
        (named(), vec![("a", "1"), ("content-length", "0")], "which `results` does not list"),
        (named(), vec![("a", "1"), ("A", "1")], "it gave \"A\", which `results` does not list"),
        (named(), vec![("a", "1"), ("a", "2")], "it gave \"a\" twice"),
        (named(), vec![("a\r\n\u{1b}[31m", "1")], "it gave \"a\\r\\n\\u{1b}[31m\""),
    ] {
        let error = refusal(signed_by(Gives::these(&given), &[], results)).await;
        assert!(error.starts_with("no credential for the upstream: the signer `sig`: "), "{error}");
        assert!(error.contains(expect) && !error.contains("evil\""), "{error}");
    }
}

#[tokio::test]
async fn a_signer_that_fails_is_named_with_the_cause() {
    let failed = Gives(Err(StageError::Failed("no key".to_owned())));
    let error = refusal(signed_by(failed, &[], Results::One(header("sign")))).await;
    assert_eq!(error, "no credential for the upstream: the signer `sig` refused: no key");
    let trapped = Gives(Err(Fault::new(FaultKind::Trap, "unreachable").into()));
    let error = refusal(signed_by(trapped, &[], Results::One(header("sign")))).await;
    let cause = "Failed to get WasmSigner instance: signer `sig`: trap: unreachable; see [signers.sig]";
    assert_eq!(error, format!("no credential for the upstream: {cause}"));
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_reached_is_named_with_the_cure() {
    let error = provider(options()).ask(&asked(REQUEST)).await.expect_err("nobody listens");
    let UpstreamError::Unreachable(text) = error else { panic!("{error}") };
    assert!(text.starts_with("Request failed: ") && text.contains("refused"), "{text}");
    assert!(text.ends_with("is `endpoint` of the provider `dev` right, and reachable from here?"), "{text}");
}

#[test]
fn headers_of_the_transport_are_not_for_use() {
    for name in ["Host", "content-length", "Transfer-Encoding", "connection", "a b", ""] {
        assert!(name.parse::<SettableHeader>().is_err(), "{name}");
    }
    assert!("Authorization".parse::<SettableHeader>().is_ok());
    assert!(header("A").collides(&header("a")) && body("/a/b").collides(&body("/a")));
    assert!(!body("/a").collides(&header("a")));
}

#[test]
fn values_are_not_shown() {
    let shown = format!("{:?}", options());
    assert!(!shown.contains("device-1") && !shown.contains("session-1"), "{shown}");
}
