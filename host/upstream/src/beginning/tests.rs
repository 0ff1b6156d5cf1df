use std::sync::Arc;

use futures_util::FutureExt;

use super::*;

const CHUNK: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n";
/// What an answer does not begin with.
const NOTHING: &str = concat!(
    ": connected\n\n",
    "retry: 3\r\n\r\n",
    "event: ping\ndata: {\"type\":\"ping\"}\n\n",
    "data:\n\n",
    "data: {\"choices\":[],\"prompt_filter_results\":[{}]}\n\n",
);

/// A body in these parts, then pending for ever. `read` counts who still has it.
fn open(parts: &[&[u8]], read: &Arc<()>) -> BodyStream {
    let read = Arc::clone(read);
    let parts: Vec<_> = parts.iter().map(|part| Ok(Bytes::copy_from_slice(part))).collect();
    Box::pin(stream::iter(parts).chain(stream::pending()).inspect(move |_| {
        let _alive = &read;
    }))
}

fn closed(text: &str, size: usize) -> BodyStream {
    let parts: Vec<_> = text.as_bytes().chunks(size).map(|part| Ok(Bytes::copy_from_slice(part))).collect();
    Box::pin(stream::iter(parts))
}

fn ready<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("nothing waits")
}

fn begun_stream(body: BodyStream) -> Result<BodyStream, UpstreamError> {
    match ready(begun(UpstreamReply::Stream(body)))? {
        UpstreamReply::Stream(body) => Ok(body),
        UpstreamReply::Whole(_) => panic!("it was a stream"),
    }
}

#[test]
fn a_stream_is_given_on_byte_for_byte_at_any_chunking() {
    let text = [NOTHING, CHUNK, CHUNK, "data: [DONE]\n\n"].concat();
    for size in [1, 2, 3, 50, text.len()] {
        let parts = ready(begun_stream(closed(&text, size)).expect("an answer").collect::<Vec<_>>());
        let parts: Vec<Bytes> = parts.into_iter().collect::<Result<_, _>>().expect("no error");
        assert_eq!(parts.concat(), text.as_bytes(), "{size}");
        assert!(parts.iter().all(|part| part.len() <= size));
    }
}

#[test]
fn nothing_is_awaited_behind_the_first_event() {
    let body = open(&[NOTHING.as_bytes(), CHUNK.as_bytes()], &Arc::default());
    let mut body = begun_stream(body).expect("an answer");
    assert_eq!(ready(body.next()), Some(Ok(Bytes::from(NOTHING))));
    assert_eq!(ready(body.next()), Some(Ok(Bytes::from(CHUNK))));
    assert!(body.next().now_or_never().is_none());
}

#[test]
fn nothing_has_begun_before_the_first_event() {
    let read = Arc::new(());
    let waiting = begun(UpstreamReply::Stream(open(&[NOTHING.as_bytes(), &CHUNK.as_bytes()[..20]], &read)));
    let mut waiting = Box::pin(waiting);
    assert!(waiting.as_mut().now_or_never().is_none());
    drop(waiting);
    assert_eq!(Arc::strong_count(&read), 1);
}

#[test]
fn what_fails_before_its_first_event_has_not_begun() {
    let error = "data: {\"error\":{\"message\":\"no memory\"}}\n\n";
    let cases = [
        (String::new(), "broke off: it ended before its first chunk"),
        ("data: [DONE]\n\n".to_owned(), "broke off: it ended before its first chunk"),
        (CHUNK[..30].to_owned(), "broke off: the stream ended within an event"),
        (error.to_owned(), "failed: no memory"),
        (format!("event: error\n{error}"), "failed: no memory"),
        ("event: error\ndata: no memory\n\n".to_owned(), "failed: no memory"),
        (
            "error: {\"code\":500,\"message\":\"no memory\"}\n\ndata: [DONE]\n\n".to_owned(),
            "failed: no memory",
        ),
        ("data: {\"error\":\"no memory\",\"choices\":[{}]}\n\n".to_owned(), "failed: no memory"),
        ("data: nonsense\n\n".to_owned(), "cannot be read: it is no JSON"),
        ("data: {\"object\":\"list\"}\n\n".to_owned(), "cannot be read: it is no JSON, or has no `choices`"),
    ];
    for (text, says) in cases {
        for text in [text.clone(), [NOTHING, text.as_str()].concat()] {
            let refused = begun_stream(closed(&text, 7)).err().expect(&text).to_string();
            assert!(refused.contains(says), "{text}: {refused}");
        }
    }
    let broken: BodyStream = Box::pin(stream::iter([
        Ok(Bytes::from_static(NOTHING.as_bytes())),
        Err(UpstreamError::Timeout("idle")),
    ]));
    assert_eq!(begun_stream(broken).err(), Some(UpstreamError::Timeout("idle")));
}

#[test]
fn what_fails_behind_its_first_event_has_begun() {
    let body = closed(&[CHUNK, "data: nonsense\n\n"].concat(), 1000);
    assert!(begun_stream(body).is_ok());
}

#[test]
fn reading_ahead_has_an_end() {
    let comments = format!(": {}\n\n", "c".repeat(1000)).repeat(1000);
    let long = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{}", "a".repeat(AHEAD_MAX));
    for text in [comments, long] {
        let body = open(&[text.as_bytes()], &Arc::default());
        let mut body = begun_stream(body).expect("it is given on");
        assert_eq!(ready(body.next()), Some(Ok(Bytes::from(text))));
    }
}

#[test]
fn a_whole_answer_that_is_an_error_or_none_at_all_has_not_begun() {
    let whole = |body: &'static str| ready(begun(UpstreamReply::Whole(Bytes::from_static(body.as_bytes()))));
    assert!(whole(r#"{"choices":[{"message":{"content":"a"}}]}"#).is_ok());
    for (body, says) in [
        (r#"{"error":{"message":"no memory"}}"#, "failed: no memory"),
        ("<html>", "cannot be read: it is no JSON"),
        ("", "cannot be read: it is no JSON"),
        (r#"{"choices":[],"usage":{}}"#, "broke off: it has no choices"),
    ] {
        assert!(whole(body).expect_err(body).to_string().contains(says), "{body}");
    }
}
