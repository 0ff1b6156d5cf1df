use std::collections::{BTreeMap, BTreeSet};

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use rust_proxy_core::config::{Config, Folder};
use rust_proxy_stream::ExchangeError;
use rust_proxy_stream::exchange::End;
use tower::ServiceExt;

use super::*;
use crate::app::{Answer, Chat, router_with};
use crate::fake::{Fake, end, endless, frame, script, server, text};
use crate::ingress::Bodies;

/// What a TOML key, and so a label, may hold: a quote, a backslash and a line feed.
const MODEL: &str = "a \"b\" \\ c\n{} é";

/// An engine with the model [`MODEL`], whose provider cannot be reached.
async fn engine() -> Engine {
    let toml = format!(
        "[models.{MODEL:?}]\nrouting = ['main']\nproviders.main = {{ type = 'openai', \
         api_base = 'http://127.0.0.1:1/v1', api_key_location = 'none' }}"
    );
    let config = Config::parse(&toml, "test.toml", &Folder::new(""), &BTreeMap::new());
    Engine::start(&config.unwrap_or_else(|problems| panic!("{problems}"))).await.expect("it starts")
}

fn metrics_of(engine: Engine, counters: &Counters) -> Metrics {
    let record = Record { changed: 1, unchanged: 2, refused: 3, refusal: None };
    Metrics::new(engine, counters, watch::channel(record).1)
}

/// The routes for clients.
fn app<C: Chat>(chat: C, counters: &Counters) -> Router {
    let server = server("");
    router_with(&server, chat, Bodies::new(&server), counters.clone())
}

/// Asks `path` for a chat, and reads the answer to its end.
async fn ask<C: Chat>(chat: C, counters: &Counters, path: &str, body: String) {
    let request =
        http::Request::post(path).header("host", "localhost").header("content-type", "application/json");
    let app = self::app(chat, counters);
    text(app.oneshot(request.body(Body::from(body)).expect("a request")).await.expect("an answer")).await;
}

/// Where `Metrics` are mounted, one scrape.
async fn scrape(metrics: &Metrics) -> String {
    let metrics = metrics.clone();
    let app = Router::new().route("/metrics", get(async move || metrics.response()));
    let request = http::Request::get("/metrics").body(Body::empty()).expect("a request");
    let response = app.oneshot(request).await.expect("an answer");
    assert_eq!(response.headers()[CONTENT_TYPE], "text/plain; version=0.0.4; charset=utf-8");
    text(response).await
}

/// The samples of a text.
fn samples(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with('#')).collect()
}

/// Each of `expect` is a line of `text`.
#[track_caller]
fn check(text: &str, expect: &[&str]) {
    for line in expect {
        assert!(samples(text).contains(line), "{line} is not in:\n{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_are_counted_when_they_have_ended() {
    let (counters, chat) = (Counters::default(), "/v1/chat/completions");
    let body = || r#"{"stream":true}"#.to_owned();
    let metrics = metrics_of(engine().await, &counters);
    // 20 s to the first text, with a heartbeat before it; 5 ms more to the end.
    let slow = || script([(20_000, frame("data: a\n\n")), (5, end(End::Complete))]);
    ask(Fake::new(move |_| Ok(Answer::Events(slow()))), &counters, chat, body()).await;
    let cut = || script([(4, frame("data: a\n\n")), (0, end(End::Failed(ExchangeError::Deadline)))]);
    ask(Fake::new(move |_| Ok(Answer::Events(cut()))), &counters, chat, body()).await;
    ask(Fake::echo(), &counters, "/chat", "{}".to_owned()).await;
    ask(Fake::new(|_| Err(ExchangeError::Overloaded)), &counters, chat, body()).await;
    ask(Fake::echo(), &counters, "/a-path-of-a-client", "{}".to_owned()).await;
    let text = scrape(&metrics).await;
    check(
        &text,
        &[
            r#"rust_proxy_requests_total{route="/v1/chat/completions",status="2xx",end="complete"} 1"#,
            r#"rust_proxy_requests_total{route="/v1/chat/completions",status="2xx",end="failed"} 1"#,
            r#"rust_proxy_requests_total{route="/chat",status="2xx",end="whole"} 1"#,
            r#"rust_proxy_requests_total{route="/v1/chat/completions",status="5xx",end="error"} 1"#,
            r#"rust_proxy_requests_total{route="other",status="4xx",end="error"} 1"#,
            r#"rust_proxy_first_byte_seconds_bucket{route="/v1/chat/completions",le="0.005"} 1"#,
            r#"rust_proxy_first_byte_seconds_bucket{route="/v1/chat/completions",le="10"} 1"#,
            r#"rust_proxy_first_byte_seconds_bucket{route="/v1/chat/completions",le="30"} 2"#,
            r#"rust_proxy_first_byte_seconds_sum{route="/v1/chat/completions"} 20.004"#,
            r#"rust_proxy_first_byte_seconds_count{route="/chat"} 1"#,
            r#"rust_proxy_request_duration_seconds_sum{route="/v1/chat/completions"} 20.009"#,
            r#"rust_proxy_first_byte_seconds_count{route="/v1/chat/completions"} 2"#,
            r#"rust_proxy_request_duration_seconds_count{route="/v1/chat/completions"} 3"#,
            r#"rust_proxy_response_bytes_total{route="/chat"} 2"#,
            "rust_proxy_streams_open 0",
        ],
    );
    assert_eq!(text.matches("rust_proxy_requests_total{").count(), 5);
    assert!(!text.contains("a-path-of-a-client"));
}

#[tokio::test]
async fn a_stream_is_open_until_its_body_is_gone() {
    let counters = Counters::default();
    let metrics = metrics_of(engine().await, &counters);
    let (events, _dropped) = endless(vec![frame("data: a\n\n")]);
    let events = std::sync::Mutex::new(Some(events));
    let fake =
        Fake::new(move |_| Ok(Answer::Events(events.lock().expect("no panic").take().expect("one request"))));
    let request =
        http::Request::post("/chat").header("host", "localhost").header("content-type", "application/json");
    let app = self::app(fake, &counters);
    let response = app.oneshot(request.body(Body::from("{}")).expect("a request")).await.expect("an answer");
    check(&scrape(&metrics).await, &["rust_proxy_streams_open 1"]);
    drop(response);
    let end = r#"rust_proxy_requests_total{route="/chat",status="2xx",end="dropped"} 1"#;
    check(&scrape(&metrics).await, &["rust_proxy_streams_open 0", end]);
}

#[tokio::test]
async fn names_of_the_configuration_are_escaped() {
    let (engine, counters) = (engine().await, Counters::default());
    let metrics = metrics_of(engine.clone(), &counters);
    for model in [MODEL, "a-model-of-a-client"] {
        let body = serde_json::json!({ "model": model, "messages": [{ "role": "user", "content": "hi" }] });
        ask(engine.clone(), &counters, "/chat", body.to_string()).await;
    }
    let text = scrape(&metrics).await;
    let labels = r#"{model="a \"b\" \\ c\n{} é",provider="main""#;
    check(
        &text,
        &[
            &format!("rust_proxy_upstream_attempts_total{labels}}} 1"),
            &format!("rust_proxy_upstream_errors_total{labels},kind=\"unreachable\"}} 1"),
            &format!("rust_proxy_upstream_tokens_total{labels},kind=\"prompt\"}} 0"),
            "rust_proxy_exchanges 0",
            "rust_proxy_exchanges_max 1000",
            "rust_proxy_exchange_refusals_total 0",
            "rust_proxy_generation 1",
            "rust_proxy_reloads_total{result=\"changed\"} 1",
            "rust_proxy_reloads_total{result=\"refused\"} 3",
        ],
    );
    assert!(!text.contains("a-model-of-a-client"));
}

#[tokio::test]
async fn engines_of_a_process_stay_apart() {
    let (first, second) = (Counters::default(), Counters::default());
    let (engine, other) = (engine().await, engine().await);
    let body = serde_json::json!({ "model": MODEL, "messages": [{ "role": "user", "content": "hi" }] });
    ask(engine.clone(), &first, "/chat", body.to_string()).await;
    let text = scrape(&metrics_of(other, &second)).await;
    assert!(!text.contains(r#"route="/chat""#) && !text.contains("unreachable"), "{text}");
}

#[tokio::test]
async fn the_documentation_has_every_name_and_no_other() {
    let (engine, counters) = (engine().await, Counters::default());
    ask(Fake::echo(), &counters, "/chat", "{}".to_owned()).await;
    let text = scrape(&metrics_of(engine, &counters)).await;
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let exported: BTreeSet<&str> = types.filter_map(|line| line.split(' ').next()).collect();
    let documentation = include_str!("../../../../docs/metrics.md");
    let rows = documentation.lines().filter_map(|line| line.strip_prefix("| `"));
    let documented: BTreeSet<&str> =
        rows.filter_map(|row| row.split(['`', '{']).next()).filter(|name| name.starts_with(PREFIX)).collect();
    assert_eq!(exported, documented);
}
