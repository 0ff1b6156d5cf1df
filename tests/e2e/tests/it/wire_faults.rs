//! Every way in which an upstream's stream can begin, go on and end on the wire, and what the client gets of it.

use rust_proxy_testkit::{Gate, Script, ScriptedUpstream, deltas, frame};
use serde_json::{Value, json};

use crate::{last_error, masking, message};

/// What a client gets of a stream.
enum Gets {
    /// A status and the code of a JSON error, whose message has these words.
    Status(u16, &'static str, &'static str),
    /// What [`begun`] sends, and then the one error event with this code, whose message has these words.
    Error(&'static str, &'static str),
    /// This text and a proper end.
    Answer(String),
}
use Gets::{Answer, Error, Status};

const TOO_LONG: usize = (16 << 20) + 1;

fn piece(text: &str) -> String {
    frame(&json!({ "content": text }), None)
}

fn finish() -> String {
    frame(&json!({}), Some("stop"))
}

fn reported() -> Value {
    json!({ "error": { "message": "out of memory", "type": "server_error" } })
}

/// `A` is sent, ` sec` is held in part, since it may become a listed word; the rest comes once the client has seen
/// that.
fn begun(gate: &Gate) -> Script {
    Script::stream().delta("A").delta(" sec").wait_for(gate)
}

fn gzipped(status: u16, kind: &str) -> Script {
    Script::new(status, kind)
        .header("content-encoding", "gzip")
        .bytes(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff")
}

/// Plays each script, and checks what the client gets of it.
async fn check(cases: Vec<(&'static str, Script, Gets)>, gate: &Gate, provider: &str) {
    let upstream = ScriptedUpstream::start(cases.iter().map(|(_, script, _)| script.clone())).await;
    let gateway = masking(&upstream).provider(provider).start().await;
    for (name, _, gets) in cases {
        let mut response = gateway.ask("hello").await;
        assert!(response.head.header("x-request-id").is_some_and(|id| !id.is_empty()), "{name}");
        match gets {
            Status(status, code, says) => {
                assert_eq!(response.status(), status, "{name}");
                assert_eq!(response.head.header("content-type"), Some("application/json"), "{name}");
                let error = response.json().await;
                check_error(name, &error, code, says);
                assert!(error.get("choices").is_none(), "{name}: {error}");
            }
            Error(code, says) => {
                assert_eq!(response.status(), 200, "{name}");
                assert_eq!(response.delta().await, "A", "{name}");
                assert_eq!(response.delta().await, " ", "{name}");
                gate.open();
                let rest = response.body().await;
                assert!(!rest.contains("sec") && !rest.contains("finish_reason"), "{name}: {rest}");
                check_error(name, &last_error(&rest), code, says);
            }
            Answer(text) => {
                assert_eq!(response.status(), 200, "{name}");
                assert_eq!(response.head.header("content-type"), Some("text/event-stream"), "{name}");
                let body = response.body().await;
                assert!(deltas(&body) == text, "{name}: {} bytes", body.len());
                assert_eq!(body.matches(r#""finish_reason":"stop""#).count(), 1, "{name}");
                assert!(body.ends_with("data: [DONE]\n\n") && !body.contains("error"), "{name}");
            }
        }
    }
}

fn check_error(name: &str, error: &Value, code: &str, says: &str) {
    assert_eq!(error["error"]["code"], code, "{name}: {error}");
    let message = message(error);
    assert!(message.contains(says), "{name}: {error}");
    assert!(!message.contains('<') && !message.contains("127.0.0.1"), "{name}: {error}");
}

#[tokio::test]
async fn a_failure_before_the_first_event_is_a_status() {
    let page = "<html><body>Bad gateway</body></html>";
    let unreachable = || Status(502, "upstream_unreachable", "cannot be reached");
    let incomplete = |says| Status(502, "upstream_incomplete", says);
    let protocol = |says| Status(502, "upstream_protocol", says);
    let failed = |says| Status(502, "upstream_failed", says);
    let cases = vec![
        ("closed before the head", Script::hang_up(), unreachable()),
        ("reset before the head", Script::hang_up_hard(), unreachable()),
        ("no HTTP", Script::raw("nonsense\r\n\r\n"), unreachable()),
        ("half a head", Script::raw("HTTP/1.1 200 OK\r\ncontent-"), unreachable()),
        ("reset behind the head", Script::stream().reset(), incomplete("broke off")),
        ("cut behind the head", Script::stream().cut(), incomplete("broke off")),
        ("nothing", Script::stream(), incomplete("before its first chunk")),
        ("nothing of a length", Script::stream().length(9).cut(), incomplete("broke off")),
        (
            "nothing but pings",
            Script::stream().bytes(": a\n\nevent: ping\ndata: {}\n\n"),
            incomplete("first chunk"),
        ),
        ("nothing but an end", Script::stream().done(), incomplete("before its first chunk")),
        (
            "reset in the first event",
            Script::stream().bytes("data: {\"choi").reset(),
            incomplete("broke off"),
        ),
        ("cut in the first event", Script::stream().bytes("data: {\"choi").cut(), incomplete("broke off")),
        ("ended in the first event", Script::stream().bytes("data: {\"choi"), incomplete("within an event")),
        ("an error as the first event", Script::stream().event(reported()).done(), failed("out of memory")),
        (
            "an error by name",
            Script::stream().bytes(": a\n\nevent: error\ndata: out of memory\n\n").done(),
            failed("out of memory"),
        ),
        (
            "an error by field",
            Script::stream().bytes("error: {\"code\":500,\"message\":\"out of memory\"}\n\n").done(),
            failed("out of memory"),
        ),
        ("an error in place of a stream", Script::json(200, &reported()), failed("out of memory")),
        ("the same and no end", Script::json(200, &reported()).length(9999), protocol("application/json")),
        ("no JSON", Script::stream().event("nonsense").done(), protocol("cannot be read")),
        ("no chunk", Script::stream().event(r#"{"object":"list"}"#).done(), protocol("`choices`")),
        ("no UTF-8", Script::stream().bytes(b"data: \xff\n\n").done(), protocol("not UTF-8")),
        (
            "an event without end",
            Script::stream().bytes(vec![b'a'; TOO_LONG]).stall(),
            protocol("longer than"),
        ),
        ("a page with 200", Script::new(200, "text/html").bytes(page), protocol("`text/html`")),
        ("a whole answer", Script::whole("hi"), protocol("`application/json`")),
        ("a stream by another name", Script::new(200, "text/plain").delta("hi"), protocol("`text/plain`")),
        ("compressed", gzipped(200, "text/event-stream"), protocol("`content-encoding: gzip`")),
        (
            "a compressed error",
            gzipped(500, "application/json"),
            failed("the upstream answered 500 (HTTP 502)"),
        ),
        ("a page with 502", Script::new(502, "text/html").bytes(page), failed("the upstream answered 502")),
        ("no words with 500", Script::new(500, "text/plain"), failed("the upstream answered 500 (HTTP 502)")),
        ("500", Script::json(500, &reported()), failed("answered 500: out of memory (HTTP 502)")),
        ("503", Script::json(503, &reported()), Status(503, "upstream_failed", "out of memory")),
        (
            "a redirect",
            Script::new(307, "text/html").header("location", "http://127.0.0.1:1/").bytes(page),
            failed("the upstream answered 307, and redirects are not followed"),
        ),
        ("429", Script::json(429, &reported()), Status(429, "upstream_refused", "out of memory")),
        (
            "429 in plain words",
            Script::new(429, "text/plain").bytes("slow down,\r\nplease"),
            Status(429, "upstream_refused", "slow down,\r\nplease"),
        ),
        (
            "half of an error",
            Script::new(500, "application/json").bytes("{\"error\":{\"mess").cut(),
            failed("the upstream answered 500 (HTTP 502)"),
        ),
        (
            "an error that is too long",
            Script::json(400, &json!({ "error": { "message": "a".repeat(100_000) } })),
            Status(400, "upstream_refused", "the upstream answered 400"),
        ),
        // Its words are not worth more than two seconds.
        (
            "429 without end",
            Script::json(429, &reported()).stall(),
            Status(429, "upstream_refused", "the upstream answered 429"),
        ),
    ];
    check(cases, &Gate::new(), "").await;
}

#[tokio::test]
async fn a_failure_behind_the_first_event_is_one_event_and_no_held_text() {
    let gate = Gate::new();
    let begun = || begun(&gate);
    let incomplete = |says| Error("upstream_incomplete", says);
    let protocol = |says| Error("upstream_protocol", says);
    let failed = |says| Error("upstream_failed", says);
    let long = format!("data: {}", "a".repeat(TOO_LONG));
    let sent = piece("A") + &piece(" sec");
    let cases = vec![
        ("reset between events", begun().reset(), incomplete("broke off")),
        ("cut between events", begun().cut(), incomplete("broke off")),
        ("ended between events", begun(), incomplete("choice 0 has no finish reason")),
        ("ended by marker alone", begun().done(), incomplete("choice 0 has no finish reason")),
        ("reset in an event", begun().bytes("data: {\"choices\":[").reset(), incomplete("broke off")),
        ("cut in an event", begun().bytes("data: {\"choices\":[").cut(), incomplete("broke off")),
        ("ended in an event", begun().bytes("data: {\"choices\":["), incomplete("within an event")),
        (
            "ended behind an event's last line",
            begun().bytes(piece("ret").trim_end()),
            incomplete("within an event"),
        ),
        (
            "shorter than its length",
            Script::stream().length(9999).bytes(&sent).wait_for(&gate).cut(),
            incomplete("broke off"),
        ),
        (
            "longer than its length",
            Script::stream()
                .length(sent.len() + 9)
                .bytes(&sent)
                .wait_for(&gate)
                .bytes(piece("ret") + &finish()),
            incomplete("within an event"),
        ),
        (
            "HTTP/1.0, closed",
            Script::http10().bytes(&sent).wait_for(&gate),
            incomplete("choice 0 has no finish reason"),
        ),
        (
            "HTTP/1.0, closed in an event",
            Script::http10().bytes(&sent).wait_for(&gate).bytes("data: {"),
            incomplete("within"),
        ),
        ("an error object", begun().event(reported()).finish("stop").done(), failed("out of memory")),
        (
            "an error by name",
            begun().bytes("event: error\ndata: out of memory\n\n").done(),
            failed("out of memory"),
        ),
        (
            "an error by field",
            begun().bytes("error: {\"code\":500,\"message\":\"out of memory\"}\n\n").finish("stop").done(),
            failed("out of memory"),
        ),
        ("an error as its reason", begun().finish("error").done(), failed("ended with an error")),
        (
            "an error beside choices",
            begun().event(r#"{"error":{"message":"out of memory"},"choices":[]}"#).finish("stop").done(),
            failed("out of memory"),
        ),
        ("no JSON", begun().event("nonsense").finish("stop").done(), protocol("cannot be read")),
        ("no UTF-8", begun().bytes(b"data: \xff\n\n").finish("stop").done(), protocol("not UTF-8")),
        ("an event without end", begun().bytes(long).stall(), protocol("longer than")),
    ];
    check(cases, &gate, "").await;
}

#[tokio::test]
async fn a_stall_ends_by_the_time_limits_of_the_provider() {
    let timeout = |says| Status(504, "upstream_timeout", says);
    let event = || Error("upstream_timeout", "idle");
    let gate = Gate::new();
    let begun = || begun(&gate);
    let cases = vec![
        ("before the head", Script::silent(), timeout("first_byte")),
        ("before the first event", Script::stream().stall(), timeout("idle")),
        ("behind comments", Script::stream().bytes(": a\n\n").stall(), timeout("idle")),
        ("in the first event", Script::stream().bytes("data: {").stall(), timeout("idle")),
        ("between events", begun().stall(), event()),
        ("in an event", begun().bytes("data: {").stall(), event()),
    ];
    check(cases, &gate, "timeouts = { first_byte_ms = 500, idle_ms = 500 }").await;
}

#[tokio::test]
async fn what_is_odd_and_whole_is_an_answer() {
    let whole =
        || [piece("A sec"), piece("ret 密"), piece("码"), finish(), "data: [DONE]\n\n".into()].concat();
    let masked = || Answer("A ****** **".into());
    let odd = [
        "\u{feff}: connected\n\nretry: 3000\n\nid: 1\nevent: message\n",
        &piece("A sec"),
        "event: ping\ndata: {\"type\":\"ping\"}\n\n: still there\n\ndata:\n\n\n\n",
        &piece("ret 密"),
        "id: 2\nretry: 7\nunknown\n",
        &piece("码"),
        &finish(),
        "data: [DONE]\n\n",
    ];
    let without_marker = [piece("A sec"), piece("ret 密"), piece("码"), finish()].concat();
    let filler = "lorem ipsum ".repeat(5_000_000 / 12);
    let cases = vec![
        ("byte by byte", Script::stream().drip(whole()), masked()),
        ("byte by byte, CRLF", Script::stream().drip(whole().replace('\n', "\r\n")), masked()),
        ("CRLF", Script::stream().bytes(whole().replace('\n', "\r\n")), masked()),
        ("CR", Script::stream().bytes(whole().replace('\n', "\r")), masked()),
        ("comments, pings, retry, id", Script::stream().bytes(odd.concat()), masked()),
        ("without marker", Script::stream().bytes(&without_marker), masked()),
        ("a marker without its blank line", Script::stream().bytes(whole().trim_end()), masked()),
        ("cut behind the marker", Script::stream().bytes(whole()).cut(), masked()),
        ("more behind the marker", Script::stream().bytes(whole()).event("nonsense"), masked()),
        ("two markers and more", Script::stream().bytes(whole()).done().delta("more").done(), masked()),
        (
            "the same byte by byte",
            Script::stream().drip(whole() + "data: [DONE]\n\n" + &piece("more")),
            masked(),
        ),
        ("of a length", Script::stream().length(whole().len()).bytes(whole()), masked()),
        ("HTTP/1.0", Script::http10().bytes(whole()), masked()),
        ("HTTP/1.0 without marker", Script::http10().bytes(&without_marker), masked()),
        (
            "identity as its coding",
            Script::stream().header("content-encoding", "identity").bytes(whole()),
            masked(),
        ),
        (
            "5 MB in one event",
            Script::says([format!("{filler}secret"), " 密码".to_owned()].iter().map(String::as_str)),
            Answer(format!("{filler}****** **")),
        ),
    ];
    check(cases, &Gate::new(), "").await;
}

#[tokio::test]
async fn a_whole_answer_that_fails_is_a_status() {
    let whole = r#"{"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"}]}"#;
    let plain = || Script::new(200, "application/json");
    let cases = [
        ("cut", plain().bytes(&whole[..30]).cut(), 502, "upstream_incomplete"),
        ("reset", plain().bytes(&whole[..30]).reset(), 502, "upstream_incomplete"),
        (
            "shorter than its length",
            plain().length(whole.len() + 1).bytes(whole).cut(),
            502,
            "upstream_incomplete",
        ),
        ("half of it", plain().bytes(&whole[..30]), 502, "upstream_protocol"),
        ("nothing", plain(), 502, "upstream_protocol"),
        (
            "no UTF-8",
            plain().bytes(whole.replace('a', "\u{e9}").into_bytes().split_off(60)),
            502,
            "upstream_protocol",
        ),
        ("a page", Script::new(200, "text/html").bytes("<html>"), 502, "upstream_protocol"),
        ("an error object", Script::json(200, &reported()), 502, "upstream_failed"),
        ("no choices", Script::json(200, &json!({ "choices": [] })), 502, "upstream_incomplete"),
        ("compressed", gzipped(200, "application/json"), 502, "upstream_protocol"),
        ("429", Script::json(429, &reported()), 429, "upstream_refused"),
    ];
    let upstream = ScriptedUpstream::start(cases.iter().map(|(_, script, ..)| script.clone())).await;
    let gateway = masking(&upstream).start().await;
    for (name, _, status, code) in cases {
        let response = gateway.ask_whole("hello").await;
        assert_eq!(response.status(), status, "{name}");
        check_error(name, &response.json().await, code, "");
    }
}

#[tokio::test]
async fn bodies_are_asked_for_as_they_are() {
    let upstream = ScriptedUpstream::start([Script::says(["hi"])]).await;
    masking(&upstream).start().await.ask("hello").await.body().await;
    assert_eq!(upstream.only_request().head.header("accept-encoding"), Some("identity"));
}
