use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use futures_util::{FutureExt, stream};
use http::header::ALLOW;
use serde_json::Value;
use tower::ServiceExt;

use bytes::Bytes;

use super::*;
use crate::app::router;
use crate::fake::{Fake, KEY, json, server, text};

const CHAT: &str = "/v1/chat/completions";
const ORIGINS: &str = "origins = ['https://app.example.com']";
const KEYS: &str = "[[server.keys]]\nname = 'first'\nkey = 'env::OTHER_KEY'\n\
                    [[server.keys]]\nname = 'second'\nkey = 'env::KEY'";

/// Sends a request; a `host` of `localhost` unless the headers have one.
async fn send(lines: &str, method: &str, path: &str, headers: &[(&str, &str)], body: Body) -> Response {
    let mut request = http::Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "localhost");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(body).expect("a request");
    let response = router(&server(lines), Fake::echo()).oneshot(request).await.expect("an answer");
    assert!(response.headers().contains_key("x-request-id"));
    response
}

async fn get(lines: &str, headers: &[(&str, &str)]) -> Response {
    send(lines, "GET", "/v1/models", headers, Body::empty()).await
}

/// The answer refuses with this status and code, in a message that names this.
async fn check_refused(response: Response, status: u16, code: &str, named: &str) {
    assert_eq!(response.status(), status);
    let Value::Object(body) = json(response).await else { panic!("an object") };
    let error = &body["error"];
    let kind = if status < 500 { "invalid_request_error" } else { "server_error" };
    assert_eq!((error["code"].as_str(), error["type"].as_str()), (Some(code), Some(kind)));
    assert_eq!(error["param"], Value::Null);
    assert!(error["message"].as_str().expect("a message").contains(named), "{error}");
}

#[tokio::test]
async fn a_loopback_address_serves_known_hosts_only() {
    let lines = "hosts = ['gateway.local']";
    for host in ["localhost", "LOCALHOST:3000", "127.0.0.1:1", "[::1]", "[::1]:3000", "Gateway.local:80"] {
        assert_eq!(get(lines, &[("host", host)]).await.status(), 200, "{host}");
    }
    for host in ["evil.example", "localhost.evil.example", "127.0.0.2", "", "localhost:3000:1", "[::1"] {
        check_refused(get(lines, &[("host", host)]).await, 403, "host_not_allowed", "`server.hosts`").await;
    }
}

#[tokio::test]
async fn every_name_of_the_host_counts() {
    let both = [("host", "localhost"), ("host", "evil.example")];
    check_refused(get("", &both).await, 403, "host_not_allowed", "`server.hosts`").await;
    let absolute = send("", "GET", "http://evil.example/health", &[], Body::empty()).await;
    check_refused(absolute, 403, "host_not_allowed", "`server.hosts`").await;
    let absolute = send("", "GET", "http://localhost/health", &[], Body::empty()).await;
    assert_eq!(absolute.status(), 200);
    let none = http::Request::get("/health").body(Body::empty()).expect("a request");
    let none = router(&server(""), Fake::echo()).oneshot(none).await.expect("an answer");
    check_refused(none, 403, "host_not_allowed", "`server.hosts`").await;
}

#[tokio::test]
async fn its_own_loopback_address_is_a_known_host() {
    assert_eq!(get("listen = '127.0.0.2:0'", &[("host", "127.0.0.2:3000")]).await.status(), 200);
}

#[tokio::test]
async fn another_address_serves_any_host_unless_they_are_listed() {
    let key = ("x-api-key", KEY);
    let any = format!("listen = '0.0.0.0:0'\n{KEYS}");
    assert_eq!(get(&any, &[("host", "any.example"), key]).await.status(), 200);
    let listed = format!("listen = '0.0.0.0:0'\nhosts = ['one.example']\n{KEYS}");
    assert_eq!(get(&listed, &[("host", "one.example"), key]).await.status(), 200);
    let other = get(&listed, &[("host", "any.example"), key]).await;
    check_refused(other, 403, "host_not_allowed", "`server.hosts`").await;
}

#[tokio::test]
async fn web_pages_are_refused_unless_listed() {
    for origin in ["https://evil.example", "null", "http://app.example.com", "https://app.example.com:444"] {
        let refused = get(ORIGINS, &[("origin", origin)]).await;
        assert!(!refused.headers().contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));
        check_refused(refused, 403, "origin_not_allowed", "`server.origins`").await;
    }
    let two = [("origin", "https://app.example.com"), ("origin", "https://evil.example")];
    check_refused(get(ORIGINS, &two).await, 403, "origin_not_allowed", "`server.origins`").await;
    let preflight = [("origin", "https://evil.example"), ("access-control-request-method", "POST")];
    let preflight = send(ORIGINS, "OPTIONS", CHAT, &preflight, Body::empty()).await;
    check_refused(preflight, 403, "origin_not_allowed", "`server.origins`").await;
}

#[tokio::test]
async fn a_listed_web_page_can_read_answers_and_errors() {
    let lines = format!("{ORIGINS}\n{KEYS}");
    let origin = ("origin", "https://app.example.com");
    for (key, status) in [(KEY, 200), ("wrong", 401)] {
        let response = get(&lines, &[origin, ("x-api-key", key)]).await;
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], "https://app.example.com");
        assert_eq!(response.headers()[VARY], "origin");
    }
}

#[tokio::test]
async fn the_preflight_of_a_listed_page_needs_no_key() {
    let lines = format!("{ORIGINS}\n{KEYS}");
    let headers = [
        ("origin", "https://app.example.com"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,content-type"),
    ];
    let response = send(&lines, "OPTIONS", CHAT, &headers, Body::empty()).await;
    assert_eq!(response.status(), 204);
    assert_eq!(response.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], "https://app.example.com");
    assert_eq!(response.headers()[ACCESS_CONTROL_ALLOW_METHODS], "GET, POST");
    assert_eq!(response.headers()[ACCESS_CONTROL_ALLOW_HEADERS], "authorization,content-type");
    assert_eq!(text(response).await, "");
}

#[tokio::test]
async fn keys_are_needed_where_they_are_configured() {
    let bearer = format!("bearer  {KEY}");
    for header in [("authorization", bearer.as_str()), ("x-api-key", KEY)] {
        assert_eq!(get(KEYS, &[header]).await.status(), 200);
    }
    let both = [("authorization", "Bearer for-somebody-else"), ("x-api-key", KEY)];
    assert_eq!(get(KEYS, &both).await.status(), 200);
    let basic = format!("Basic {KEY}");
    let longer = format!("Bearer {KEY}x");
    for value in ["Bearer", "Bearer ", "Bearer a-client-key", &longer, &basic, KEY, ""] {
        let response = get(KEYS, &[("authorization", value)]).await;
        assert_eq!(response.headers()[http::header::WWW_AUTHENTICATE], "Bearer");
        check_refused(response, 401, "invalid_api_key", "`server.keys`").await;
    }
    check_refused(get(KEYS, &[]).await, 401, "invalid_api_key", "Authorization: Bearer").await;
    let unknown = send(KEYS, "GET", "/v1/unknown", &[], Body::empty()).await;
    check_refused(unknown, 401, "invalid_api_key", "`server.keys`").await;
    assert_eq!(send(KEYS, "GET", HEALTH, &[], Body::empty()).await.status(), 200);
}

#[tokio::test]
async fn a_key_is_ignored_where_none_are_configured() {
    assert_eq!(get("", &[("authorization", "Bearer anything")]).await.status(), 200);
}

#[tokio::test]
async fn a_body_must_be_json() {
    for value in ["application/json", "Application/JSON; charset=utf-8"] {
        let response = send("", "POST", CHAT, &[("content-type", value)], "{}".into()).await;
        assert_eq!(text(response).await, "{}");
    }
    for value in ["text/plain", "application/json5", "application/x-www-form-urlencoded", ""] {
        let response = send("", "POST", CHAT, &[("content-type", value)], "{}".into()).await;
        check_refused(response, 415, "unsupported_media_type", "application/json").await;
    }
    let response = send("", "POST", CHAT, &[], "{}".into()).await;
    check_refused(response, 415, "unsupported_media_type", "application/json").await;
}

/// A body that tells whether it was read.
fn watched(read: &Arc<AtomicBool>) -> Body {
    let read = Arc::clone(read);
    Body::from_stream(stream::once(async move {
        read.store(true, Ordering::Relaxed);
        Ok::<_, std::convert::Infallible>(Bytes::from_static(b"{}"))
    }))
}

#[tokio::test]
async fn nothing_of_a_refused_body_is_read() {
    let json = ("content-type", "application/json");
    let too_long = ("content-length", "9");
    let lines = format!("body_max = '8B'\n{KEYS}");
    let key = ("x-api-key", KEY);
    for (headers, status) in [
        (vec![("host", "evil.example"), key, json], 403),
        (vec![("origin", "https://evil.example"), key, json], 403),
        (vec![json], 401),
        (vec![key], 415),
        (vec![key, json, too_long], 413),
    ] {
        let read = Arc::new(AtomicBool::new(false));
        let response = send(&lines, "POST", CHAT, &headers, watched(&read)).await;
        assert_eq!((response.status().as_u16(), read.load(Ordering::Relaxed)), (status, false));
    }
    let read = Arc::new(AtomicBool::new(false));
    let response = send(&lines, "POST", CHAT, &[key, json], watched(&read)).await;
    assert_eq!((response.status().as_u16(), read.load(Ordering::Relaxed)), (200, true));
}

#[tokio::test]
async fn a_body_has_a_limit() {
    let json = ("content-type", "application/json");
    let lines = "body_max = '8B'";
    let chunked = |bytes: &'static [&'static str]| {
        Body::from_stream(stream::iter(bytes.iter().map(|piece| Ok::<_, std::convert::Infallible>(*piece))))
    };
    let fits = send(lines, "POST", CHAT, &[json], chunked(&["12345", "678"])).await;
    assert_eq!(text(fits).await, "12345678");
    let long = send(lines, "POST", CHAT, &[json], chunked(&["12345", "6789"])).await;
    check_refused(long, 413, "body_too_large", "`server.body_max`").await;
    let announced =
        send(lines, "POST", CHAT, &[json, ("content-length", "9")], Body::from("123456789")).await;
    check_refused(announced, 413, "body_too_large", "8 bytes").await;
}

#[tokio::test]
async fn the_bodies_in_memory_have_a_budget() {
    let kept = Arc::new(std::sync::Mutex::new(Vec::new()));
    let keep = Arc::clone(&kept);
    let fake = Fake::new(move |body| {
        keep.lock().expect("no panic").push(body);
        Ok(crate::app::Answer::Whole(Bytes::from_static(b"{}")))
    });
    let app = router(&server("body_max = '8B'\nbodies_max = '9B'"), fake);
    let post = |body: Body| {
        let request = http::Request::post(CHAT).header("host", "localhost");
        let request = request.header("content-type", "application/json").body(body).expect("a request");
        let app = app.clone();
        async move { app.oneshot(request).await.expect("an answer") }
    };
    let (send, mut frames) = tokio::sync::mpsc::channel::<Result<&str, std::convert::Infallible>>(1);
    let slow = Body::from_stream(stream::poll_fn(move |cx| frames.poll_recv(cx)));
    let mut slow = Box::pin(post(slow));
    send.send(Ok("12345")).await.expect("a reader");
    assert!((&mut slow).now_or_never().is_none());

    // What has arrived counts while it is read, and while an exchange has it.
    assert_eq!(post(Body::from("1234")).await.status(), 200);
    let refused = post(Body::from("1")).await;
    assert_eq!(refused.headers()[http::header::RETRY_AFTER], "1");
    check_refused(refused, 503, "overloaded", "`server.bodies_max`").await;
    kept.lock().expect("no panic").clear();
    assert_eq!(post(Body::from("1234")).await.status(), 200);
    kept.lock().expect("no panic").clear();
    // A client that leaves makes room.
    drop(slow);
    assert_eq!(post(Body::from("12345678")).await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_arrive_is_given_up() {
    let never = Body::from_stream(stream::pending::<Result<Bytes, std::convert::Infallible>>());
    let json = ("content-type", "application/json");
    let response = send("exchange_max = '1s'", "POST", CHAT, &[json], never).await;
    check_refused(response, 408, "body_too_slow", "`server.exchange_max`").await;
}

#[tokio::test(start_paused = true)]
async fn the_bodies_of_a_newer_configuration_have_its_time_and_the_same_budget() {
    let (old, new) = (server("bodies_max = '9B'\nbody_max = '8B'"), server("exchange_max = '1s'"));
    let bodies = super::Bodies::new(&old);
    let request = |body| {
        let request = http::Request::post(CHAT).header("content-type", "application/json");
        request.body(body).expect("a request")
    };
    let renewed = bodies.renewed(&new);
    let start = tokio::time::Instant::now();
    let never = Body::from_stream(stream::pending::<Result<Bytes, std::convert::Infallible>>());
    assert!(matches!(renewed.read(request(never)).await, Err(super::Refusal::Slow)));
    assert_eq!(start.elapsed().as_secs(), 1);
    let _kept = bodies.read(request(Body::from("12345678"))).await.expect("a body");
    assert!(matches!(renewed.read(request(Body::from("12"))).await, Err(super::Refusal::Full)));
}

#[tokio::test]
async fn a_body_that_breaks_off_is_refused() {
    let broken = Body::from_stream(stream::once(async { Err::<Bytes, _>(std::io::Error::other("cut")) }));
    let response = send("", "POST", CHAT, &[("content-type", "application/json")], broken).await;
    check_refused(response, 400, "body_broken", "to its end").await;
}

#[tokio::test]
async fn unknown_routes_and_methods_are_json_too() {
    let unknown = send("", "POST", "/v1/embeddings", &[], Body::empty()).await;
    check_refused(unknown, 404, "unknown_route", CHAT).await;
    let method = send("", "DELETE", CHAT, &[], Body::empty()).await;
    assert_eq!(method.headers()[ALLOW], "POST");
    check_refused(method, 405, "method_not_allowed", "(HTTP 405)").await;
}
