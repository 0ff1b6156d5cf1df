use rust_proxy_stream::ExchangeError;

use super::*;
use crate::fake::{Events, end, endless, frame, json, pieces, script, text};

const HEARTBEAT_TIME: Duration = Duration::from_millis(10);
const PING: &str = ": ping\n\n";
const DONE: &str = "data: [DONE]\n\n";

fn broken_off() -> ExchangeError {
    UpstreamError::Incomplete("no finish reason".into()).into()
}

fn cut_off() -> End {
    End::Failed(broken_off())
}

/// The event of `cut_off`.
const CUT_OFF: &str = concat!(
    r#"data: {"error":{"message":"the upstream's answer broke off: no finish reason (HTTP 502)","#,
    r#""type":"upstream_error","param":null,"code":"upstream_incomplete"},"#,
    r#""choices":"the upstream's answer broke off: no finish reason (HTTP 502)"}"#,
    "\n\n"
);

/// The answer to an exchange that has these events at once.
async fn answer_with(events: Events) -> Response {
    answer(std::future::ready(Ok(Answer::Events(events))), || panic!("not asked"), HEARTBEAT_TIME).await
}

/// The answer to an exchange that gives this after a pause.
async fn answer_after(pause: u64, streaming: bool, given: Result<Answer<Events>, ExchangeError>) -> Response {
    let exchange = async move {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        given
    };
    answer(exchange, move || streaming, HEARTBEAT_TIME).await
}

/// The events, each after its pause, become these pieces, each at its time.
async fn check<const N: usize>(events: [(u64, StreamEvent); N], expect: &[(u128, &str)], mark: &'static str) {
    let start = Instant::now();
    let response = answer_with(script(events)).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["cache-control"], "no-cache");
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    let end = response.extensions().get::<EndMark>().expect("a mark").clone();
    let pieces = pieces(start, response.into_body()).await;
    let pieces: Vec<_> = pieces.iter().map(|(at, text)| (*at, text.as_str())).collect();
    assert_eq!(pieces, expect);
    assert_eq!(end.get(), Some(mark));
}

#[tokio::test(start_paused = true)]
async fn a_complete_stream_ends_with_the_terminal() {
    check(
        [(1, frame("a")), (2, frame("b")), (3, end(End::Complete))],
        &[(1, "a"), (3, "b"), (6, DONE)],
        "complete",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_stopped_stream_ends_with_the_terminal() {
    check([(0, end(End::Stopped))], &[(0, DONE)], "stopped").await;
}

#[tokio::test(start_paused = true)]
async fn heartbeats_go_out_before_the_first_frame() {
    check(
        [(25, frame("a")), (0, end(End::Complete))],
        &[(10, PING), (20, PING), (25, "adata: [DONE]\n\n")],
        "complete",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_there_at_once_leaves_as_one_part_up_to_a_bound() {
    let long = "x".repeat(JOINED_MAX - 2);
    let frames = [(1, frame("a")), (0, frame("b")), (5, frame(&long)), (0, frame("cd")), (0, frame("e"))];
    let events: Vec<_> = frames.into_iter().chain([(0, end(End::Complete))]).collect();
    let events: [_; 6] = events.try_into().expect("six");
    let joined = format!("{long}cd");
    check(events, &[(1, "ab"), (6, &joined), (6, "edata: [DONE]\n\n")], "complete").await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_does_not_go_with_what_came_before_it() {
    let start = Instant::now();
    let failed = End::Failed(UpstreamError::Incomplete("cut".to_owned()).into());
    let response = answer_with(script([(1, frame("a")), (0, frame("b")), (0, end(failed))])).await;
    let pieces = pieces(start, response.into_body()).await;
    assert_eq!(pieces[0], (1, "ab".to_owned()));
    assert!(pieces[1].1.starts_with("data: {\"error\"") && pieces.len() == 2, "{pieces:?}");
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_goes_out_when_nothing_else_did() {
    check(
        [(1, frame("a")), (9, frame("b")), (15, frame("c")), (11, end(End::Complete))],
        &[(1, "a"), (10, "b"), (20, PING), (25, "c"), (35, PING), (36, DONE)],
        "complete",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_early_failure_is_a_status() {
    let response = answer_with(script([(9, end(End::Failed(ExchangeError::Overloaded)))])).await;
    assert_eq!(response.status(), 503);
    assert_eq!(json(response).await["error"]["code"], "overloaded");
}

#[tokio::test(start_paused = true)]
async fn a_late_failure_is_one_event_and_no_terminal() {
    check([(1, frame("a")), (1, end(cut_off()))], &[(1, "a"), (2, CUT_OFF)], "failed").await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_after_a_heartbeat_is_an_event() {
    check([(11, end(cut_off()))], &[(10, PING), (11, CUT_OFF)], "failed").await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_without_an_end_does_not_look_complete() {
    let response = answer_with(script([(0, frame("a"))])).await;
    let pieces = pieces(Instant::now(), response.into_body()).await;
    assert_eq!(pieces.len(), 2);
    assert!(pieces[1].1.starts_with(r#"data: {"error":"#), "{pieces:?}");
}

#[tokio::test(start_paused = true)]
async fn the_exchange_is_dropped_with_the_body() {
    let (events, dropped) = endless(vec![frame("a")]);
    drop(answer_with(events).await);
    assert!(dropped.await.is_err());
}

#[tokio::test(start_paused = true)]
async fn the_exchange_is_dropped_with_a_client_that_did_not_wait_for_the_head() {
    let (events, dropped) = endless(Vec::new());
    let waited = tokio::time::timeout(HEARTBEAT_TIME / 2, answer_with(events)).await;
    assert!(waited.is_err());
    assert!(dropped.await.is_err());
}

#[tokio::test(start_paused = true)]
async fn the_exchange_is_freed_before_its_last_bytes_are_read() {
    let (events, dropped) = endless(vec![end(End::Complete)]);
    let response = answer_with(events).await;
    assert!(dropped.await.is_err());
    assert_eq!(pieces(Instant::now(), response.into_body()).await, [(0, DONE.to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn heartbeats_go_out_before_the_exchange_has_answered() {
    let start = Instant::now();
    let events = script([(3, frame("a")), (0, end(End::Complete))]);
    let response = answer_after(25, true, Ok(Answer::Events(events))).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let pieces = pieces(start, response.into_body()).await;
    // What is there at once leaves as one part.
    let expect = [(10, PING), (20, PING), (28, "adata: [DONE]\n\n")];
    assert_eq!(pieces, expect.map(|(at, text)| (at, text.to_owned())));
}

#[tokio::test(start_paused = true)]
async fn the_time_before_the_exchange_has_answered_counts() {
    let start = Instant::now();
    let events = script([(7, frame("a")), (0, end(End::Complete))]);
    let response = answer_after(7, true, Ok(Answer::Events(events))).await;
    let pieces = pieces(start, response.into_body()).await;
    let expect = [(10, PING), (14, "adata: [DONE]\n\n")];
    assert_eq!(pieces, expect.map(|(at, text)| (at, text.to_owned())));
}

#[tokio::test(start_paused = true)]
async fn a_whole_answer_is_waited_for() {
    let response = answer_after(25, false, Ok(Answer::Whole("{}".into()))).await;
    assert_eq!(json(response).await, serde_json::json!({}));
    let response = answer_after(25, false, Err(ExchangeError::Deadline)).await;
    assert_eq!(response.status(), 504);
}

#[tokio::test(start_paused = true)]
async fn an_exchange_that_fails_is_a_status_until_a_heartbeat_went_out() {
    assert_eq!(answer_after(9, true, Err(broken_off())).await.status(), 502);
    let response = answer_after(11, true, Err(broken_off())).await;
    assert_eq!(response.status(), 200);
    assert_eq!(text(response).await, format!("{PING}{CUT_OFF}"));
}

#[tokio::test(start_paused = true)]
async fn a_whole_answer_in_a_stream_is_a_failure() {
    let text = text(answer_after(11, true, Ok(Answer::Whole("{}".into()))).await).await;
    assert!(text.contains("upstream_protocol") && !text.contains("[DONE]"), "{text}");
}
