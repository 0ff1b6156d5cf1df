//! What a client sees of an answer that flows.

use rust_proxy_testkit::{Gate, Script, ScriptedUpstream, Setup, deltas, frame, queued};
use serde_json::json;

use crate::masking;

#[tokio::test]
async fn each_piece_arrives_before_the_next_is_sent() {
    let gate = Gate::new();
    let pieces = ["One", " after", " the", " other"];
    let script = pieces.iter().fold(Script::stream(), |script, piece| script.delta(piece).wait_for(&gate));
    let upstream = ScriptedUpstream::start([script.finish("stop").done()]).await;
    for setup in [Setup::new().upstream(&upstream), masking(&upstream)] {
        let gateway = setup.start().await;
        let mut response = gateway.ask("hello").await;
        assert_eq!(response.head.header("content-type"), Some("text/event-stream"));
        for piece in pieces {
            assert_eq!(response.delta().await, piece);
            gate.open();
        }
        assert_eq!(response.body().await, frame(&json!({}), Some("stop")) + "data: [DONE]\n\n");
    }
}

/// Odd spacing, comments, unknown fields, all line ends, several choices, escapes, all channels, usage.
const ODD: &str = concat!(
    "data: {\"choices\" : [ {\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"index\":0} ],\"x\":1.50}\n\n",
    ": a comment\n\n",
    "id: 7\r\nretry: 10\r\ndata:{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\\u00e9\\n\"},\"new\":null}]}\r\n\r\n",
    "data: {\"choices\":[{\"index\":1,\"delta\":{\"reasoning_content\":\"h\\/m\"},\"logprobs\":{\"content\":[]}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"密\"}},{\"index\":1,\"delta\":{\"refusal\":\"no\"}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"t\"}]}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
    "data: {\"choices\":[{\"index\":1,\"delta\":{},\"finish_reason\":\"length\"}]}\n\n",
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2,\"total_tokens\":3}}\n\n",
);

#[tokio::test]
async fn an_untouched_stream_leaves_byte_for_byte() {
    let upstream = ScriptedUpstream::start([Script::stream().bytes(ODD).done()]).await;
    for setup in [Setup::new().upstream(&upstream), masking(&upstream)] {
        let response = setup.start().await.ask("hello").await;
        assert_eq!(response.body().await, format!("{ODD}data: [DONE]\n\n"));
    }
}

#[tokio::test]
async fn an_untouched_answer_leaves_byte_for_byte() {
    let body = r#"{ "choices":[{"index":0,"message":{"content":"a\u00e9","x":1.50},"finish_reason":"stop"}],"y":[ ]}"#;
    let upstream = ScriptedUpstream::start([Script::new(200, "application/json").bytes(body)]).await;
    for setup in [Setup::new().upstream(&upstream), masking(&upstream)] {
        let response = setup.start().await.ask_whole("hello").await;
        assert_eq!(response.head.header("content-type"), Some("application/json"));
        assert_eq!(response.body().await, body);
    }
}

#[tokio::test]
async fn usage_is_asked_for_and_arrives_after_the_finish_reason() {
    let usage =
        json!({ "choices": [], "usage": { "prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3 } });
    let script = Script::stream().delta("hi").finish("stop").event(&usage).done();
    let upstream = ScriptedUpstream::start([script]).await;
    let gateway = masking(&upstream).start().await;
    let request = json!({
        "model": "m", "messages": [{ "role": "user", "content": "hello" }],
        "stream": true, "stream_options": { "include_usage": true },
    });
    let body = gateway.chat(&request).await.body().await;
    let end = format!("{}data: {usage}\n\ndata: [DONE]\n\n", frame(&json!({}), Some("stop")));
    assert!(body.ends_with(&end), "{body}");
    assert_eq!(upstream.only_request().json()["stream_options"], request["stream_options"]);
}

#[tokio::test]
async fn an_upstream_without_a_done_is_still_complete() {
    let upstream = ScriptedUpstream::start([Script::stream().delta("hi").finish("stop")]).await;
    let body = masking(&upstream).start().await.ask("hello").await.body().await;
    assert!(body.ends_with("data: [DONE]\n\n"), "{body}");
}

#[tokio::test]
async fn pings_with_data_and_empty_frames_are_not_forwarded() {
    let script = Script::stream()
        .bytes(": first\n\n")
        .bytes("event: ping\ndata: {\"type\": \"ping\"}\n\n")
        .event(json!({ "choices": [] }))
        .delta("hi");
    let upstream = ScriptedUpstream::start([script.finish("stop").done()]).await;
    let body = Setup::new().upstream(&upstream).start().await.ask("hello").await.body().await;
    let expected = frame(&json!({ "content": "hi" }), None) + &frame(&json!({}), Some("stop"));
    assert_eq!(body, expected + "data: [DONE]\n\n");
}

#[tokio::test]
async fn a_silent_upstream_is_covered_by_comments() {
    let gate = Gate::new();
    // Before the upstream's head, before its first event, between two, and while text is held back.
    let script = Script::stream().wait_for(&gate).delta("sec").wait_for(&gate).delta("ond").wait_for(&gate);
    let upstream = ScriptedUpstream::start([script.finish("stop").done()]).await;
    let gateway = masking(&upstream).server("heartbeat = '50ms'").start().await;
    let mut response = gateway.ask("hello").await;
    assert_eq!(response.status(), 200);
    for _ in 0..3 {
        assert_eq!(response.event().await.as_deref(), Some(": ping\n\n"));
    }
    gate.open();
    gate.open();
    while response.event().await.expect("an open stream") == ": ping\n\n" {}
    assert_eq!(response.event().await.map(|event| event.starts_with("data: ")), Some(true));
    assert_eq!(response.event().await.as_deref(), Some(": ping\n\n"));
    gate.open();
    let body = response.body().await;
    assert!(body.ends_with("data: [DONE]\n\n"), "{body}");
    assert_eq!(deltas(&body), "");
}

#[tokio::test]
async fn a_client_that_leaves_closes_the_connection_to_the_upstream() {
    let stalled = [Script::silent(), Script::stream().stall(), Script::stream().delta("hi").stall()];
    let upstream = ScriptedUpstream::start(stalled).await;
    let gateway = masking(&upstream).start().await;
    for has_begun in [false, false, true] {
        if has_begun {
            let mut response = gateway.ask("hello").await;
            assert_eq!(response.delta().await, "hi");
            drop(response);
        } else {
            let waiting = gateway.ask("hello");
            tokio::select! {
                response = waiting => panic!("{response:?}"),
                () = upstream.asked() => {}
            }
        }
        upstream.abandoned().await;
    }
    let whole = Script::new(200, "application/json").bytes("{\"choices\":[").stall();
    let upstream = ScriptedUpstream::start([Script::silent(), whole]).await;
    let gateway = masking(&upstream).start().await;
    for _ in 0..2 {
        tokio::select! {
            response = gateway.ask_whole("hello") => panic!("{response:?}"),
            () = upstream.asked() => {}
        }
        upstream.abandoned().await;
    }
}

#[tokio::test]
async fn a_client_that_closes_its_half_has_left() {
    let upstream = ScriptedUpstream::start([Script::stream().delta("hi").stall()]).await;
    let gateway = masking(&upstream).start().await;
    let mut response = gateway.ask("hello").await;
    assert_eq!(response.delta().await, "hi");
    response.close_half().await;
    upstream.abandoned().await;
    response.closed().await;
}

#[tokio::test]
async fn a_client_that_said_too_much_and_left_is_missed_by_heartbeats() {
    let upstream = ScriptedUpstream::start([Script::stream().delta("hi").stall()]).await;
    let gateway = masking(&upstream).server("heartbeat = '50ms'").start().await;
    let body = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"hello"}]}"#;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {}",
        body.len()
    );
    // What stands behind a request hides from the server that its connection has ended.
    let mut response = gateway.request(&format!("{head}\r\n\r\n{body}\r\nGET /health HTTP/1.1\r\n")).await;
    assert_eq!(response.delta().await, "hi");
    drop(response);
    upstream.abandoned().await;
}

#[tokio::test]
async fn what_a_client_does_not_read_is_not_taken_from_its_upstream() {
    const PIECES: usize = 20;
    const PIECE: usize = 1 << 20;
    // A few pieces: one that is read, one that is written, and what waits for either.
    const HELD_MAX: usize = 4 * PIECE;
    let text = "word ".repeat(PIECE / 5);
    let script = (0..PIECES).fold(Script::stream().delta("One"), |script, _| script.delta(&text));
    let upstream = ScriptedUpstream::start([script.finish("stop").done()]).await;
    let gateway = masking(&upstream).start().await;
    let mut response = gateway.ask("hello").await;
    assert_eq!(response.delta().await, "One");
    let sent = upstream.sent().await;
    // The system's buffers can be large, and are not the gateway's.
    let held = sent.saturating_sub(queued(&[upstream.address(), gateway.address]));
    assert!(held < HELD_MAX, "{held} of {sent} bytes are held for a client that reads nothing");
    let rest = response.body().await;
    assert_eq!(deltas(&rest).len(), PIECES * text.len());
    assert!(rest.ends_with("data: [DONE]\n\n"));
}
