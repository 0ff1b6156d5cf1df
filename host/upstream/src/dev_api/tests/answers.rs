//! What becomes of answers, at every split.

use futures_util::{FutureExt, StreamExt, stream};
use serde_json::{Value, json};

use super::*;

fn target(response: ResponseOptions, request: &'static str) -> Target {
    Target::new(Arc::new(response), &asked(request))
}

const PLAIN: &str = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"a"}]}"#;
const WITH_USAGE: &str = r#"{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"a"}]}"#;

fn pieces(pieces: impl IntoIterator<Item = &'static [u8]>) -> rust_proxy_stream::upstream::BodyStream {
    let pieces: Vec<_> = pieces.into_iter().map(|piece| Ok(Bytes::from_static(piece))).collect();
    Box::pin(stream::iter(pieces))
}

/// What a stream becomes, and the error that it ends with.
async fn converted(
    body: rust_proxy_stream::upstream::BodyStream,
    target: Target,
) -> (String, Option<UpstreamError>) {
    let (mut text, mut body) = (Vec::new(), convert(body, target));
    while let Some(piece) = body.next().await {
        match piece {
            Ok(bytes) => text.extend_from_slice(&bytes),
            Err(error) => return (String::from_utf8(text).expect("text"), Some(error)),
        }
    }
    (String::from_utf8(text).expect("text"), None)
}

/// The same for every split of `input` in two, and in bytes.
async fn at_every_split(
    input: &'static str,
    response: &ResponseOptions,
    request: &'static str,
) -> (String, Option<UpstreamError>) {
    let input = input.as_bytes();
    let untimed = |(text, error): (String, Option<UpstreamError>)| {
        let text =
            text.split("\"created\":").map(|part| part.trim_start_matches(|c: char| c.is_ascii_digit()));
        (text.collect::<Vec<_>>().join("\"created\":0"), error)
    };
    let whole = untimed(converted(pieces([input]), target(response.clone(), request)).await);
    for at in 1..input.len() {
        let split = converted(pieces([&input[..at], &input[at..]]), target(response.clone(), request)).await;
        assert_eq!(untimed(split), whole, "split at {at}");
    }
    assert_eq!(untimed(converted(pieces(input.chunks(1)), target(response.clone(), request)).await), whole);
    whole
}

fn chunks(text: &str) -> Vec<Value> {
    let events = text.strip_suffix("data: [DONE]\n\n").expect("the terminal").split_terminator("\n\n");
    events.map(event_json).collect()
}

fn event_json(event: &str) -> Value {
    let data = event.strip_prefix("data: ").expect("data").replace("\ndata: ", "\n");
    serde_json::from_str(&data).expect("JSON")
}

fn delta(chunk: &Value) -> &Value {
    &chunk["choices"][0]["delta"]
}

#[tokio::test]
async fn own_events_become_chunks() {
    let input = concat!(
        ": hello\r\n\r\nevent: ping\ndata: {}\n\ndata: {\"delta\":\"\"}\n\ndata: {\"delta\":\"\\u4f60\\ud83d\"}\n\n",
        "data: {\"delta\":\"\\ude00好\",\"n\":1}\n\ndata: {\"other\":1}\n\n",
        "data: {\"finish_reason\":\"length\",\"usage\":{\"prompt_tokens\":1,\n",
        "data: \"completion_tokens\":2}}\n\ndata: [DONE]\n\ndata: {\"delta\":\"late\"}\n\n",
    );
    let (text, error) = at_every_split(input, &ResponseOptions::default(), WITH_USAGE).await;
    assert_eq!(error, None);
    // The halves stay as they came: the exchange joins them.
    assert!(text.contains(r#""delta":{"role":"assistant","content":"\u4f60\ud83d"}"#), "{text}");
    assert!(text.contains(r#""delta":{"content":"\ude00好"}"#), "{text}");
    let events = text.strip_suffix("data: [DONE]\n\n").expect("the terminal").split_terminator("\n\n");
    let [finish, usage]: [Value; 2] =
        events.skip(2).map(event_json).collect::<Vec<_>>().try_into().expect("four events");
    assert_eq!((delta(&finish), &finish["choices"][0]["finish_reason"]), (&json!({}), &json!("length")));
    assert_eq!((&usage["choices"], &usage["usage"]["completion_tokens"]), (&json!([]), &json!(2)));
    assert_eq!((&usage["id"], &usage["model"]), (&json!("chatcmpl-r1"), &json!("m")));
    assert_eq!(text.matches("data: [DONE]").count(), 1);
    assert!(!text.contains("late"));
}

#[tokio::test]
async fn usage_comes_only_when_asked_for_and_an_empty_answer_is_one() {
    let input = "data: {\"done\":true,\"usage\":{\"prompt_tokens\":1}}\n\n";
    let (text, error) = at_every_split(input, &ResponseOptions::default(), PLAIN).await;
    assert_eq!(error, None);
    let chunks = chunks(&text);
    assert_eq!(chunks.len(), 1);
    assert_eq!(delta(&chunks[0]), &json!({ "role": "assistant", "content": "" }));
    assert_eq!(chunks[0]["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn openais_chunks_pass_byte_for_byte() {
    let input = concat!(
        ": note\n\ndata:{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}] }\r\n\r\n",
        "data: {\"error\":1}\n\ndata: [DONE]\n\n"
    );
    let (text, error) = at_every_split(input, &ResponseOptions::default(), PLAIN).await;
    // The comment was there before anything told the form.
    assert_eq!((text.as_str(), error), (&input[": note\n\n".len()..], None));
    let forced = ResponseOptions { format: Format::OpenAi, ..ResponseOptions::default() };
    assert_eq!(at_every_split(input, &forced, PLAIN).await, (input.to_owned(), None));
}

#[tokio::test]
async fn a_cut_stream_has_no_end() {
    let (text, error) =
        at_every_split("data: {\"delta\":\"a\"}\n\n", &ResponseOptions::default(), PLAIN).await;
    assert!(text.contains("\"a\"") && !text.contains("stop") && !text.contains("[DONE]"), "{text}");
    assert_eq!(error, None);
    let (_, error) =
        at_every_split("data: {\"delta\":\"a\"}\n\ndata: {\"de", &ResponseOptions::default(), PLAIN).await;
    assert!(matches!(error, Some(UpstreamError::Incomplete(_))), "{error:?}");
    let by_close = ResponseOptions { end: None, ..ResponseOptions::default() };
    let (text, _) = at_every_split("data: {\"delta\":\"a\"}\n\n", &by_close, PLAIN).await;
    assert_eq!(chunks(&text).len(), 2);
}

#[tokio::test]
async fn errors_are_reported_behind_what_came_before() {
    let own = ResponseOptions {
        error: "/code".parse().ok(),
        error_ok: vec![json!(0), json!("ok")],
        error_message: "/info/msg".parse().ok(),
        ..ResponseOptions::default()
    };
    let reported = |message: &str| Some(UpstreamError::Reported(message.to_owned()));
    for (response, event, expect) in [
        (ResponseOptions::default(), "data: {\"error\":{\"message\":\"bad\"}}\n\n", reported("bad")),
        (ResponseOptions::default(), "event: error\ndata: {\"message\":\"worse\"}\n\n", reported("worse")),
        (own.clone(), "data: {\"code\":7,\"info\":{\"msg\":\"seven\"}}\n\n", reported("seven")),
        (own.clone(), "data: {\"code\":7}\n\n", reported("7")),
        (own.clone(), "data: {\"code\":0,\"delta\":\"b\"}\n\n", None),
        (own, "data: {\"code\":\"ok\"}\n\n", None),
    ] {
        let input: &'static str = format!("data: {{\"delta\":\"a\"}}\n\n{event}").leak();
        let (text, error) = at_every_split(input, &response, PLAIN).await;
        assert!(text.contains("\"a\""), "{text}");
        assert_eq!(error, expect, "{event}");
    }
}

#[tokio::test]
async fn what_is_in_no_form_is_an_error() {
    for input in [
        "data: hello\n\n",
        "data: {\"delta\":{\"content\":\"a\"}}\n\n",
        "data: {\"finish_reason\":\"stop\"}\n\ndata: {\"delta\":\"a\"}\n\n",
    ] {
        let (_, error) = at_every_split(input, &ResponseOptions::default(), PLAIN).await;
        assert!(matches!(error, Some(UpstreamError::Protocol(_))), "{input}: {error:?}");
    }
}

#[tokio::test]
async fn text_and_ends_are_found_where_the_settings_say() {
    let response = ResponseOptions {
        text: "/data/0/t".parse().expect("a pointer"),
        finish_reason: None,
        end: Some("END".to_owned()),
        done: "/data/0/last".parse().ok(),
        ..ResponseOptions::default()
    };
    let input = "data: {\"data\":[{\"t\":\"a\",\"last\":false}]}\n\ndata: {\"data\":[{\"t\":\"b\",\"last\":1}]}\n\ndata: END\n\n";
    let (text, error) = at_every_split(input, &response, PLAIN).await;
    let chunks = chunks(&text);
    let texts: Vec<_> =
        chunks.iter().map(|chunk| delta(chunk)["content"].as_str().unwrap_or_default()).collect();
    assert_eq!((texts, error), (vec!["a", "b", ""], None));
}

#[tokio::test]
async fn whole_answers_become_completions_or_streams() {
    let body =
        Bytes::from_static(br#"{"text":"a\u4f60","finish_reason":"max_tokens","usage":{"total_tokens":3}}"#);
    let of = |response: ResponseOptions| target(response, PLAIN);
    let plain = of(ResponseOptions::default());
    let whole = plain.read_whole(&body).expect("an answer").into_body(&plain);
    let mut whole: Value = serde_json::from_slice(&whole).expect("JSON");
    assert!(whole["created"].take().is_number());
    let message = json!({ "role": "assistant", "content": "a你" });
    let choice = json!({ "index": 0, "message": message, "finish_reason": "length" });
    let usage = json!({ "total_tokens": 3 });
    let expect = json!({ "id": "chatcmpl-r1", "object": "chat.completion", "created": null, "model": "m", "choices": [choice], "usage": usage });
    assert_eq!(whole, expect);
    let mut stream = plain.read_whole(&body).expect("an answer").into_stream(&plain).expect("a stream");
    let mut text = String::new();
    while let Some(piece) = stream.next().await {
        text.push_str(std::str::from_utf8(&piece.expect("a piece")).expect("text"));
    }
    assert_eq!(chunks(&text).len(), 2);

    let openai = Bytes::from_static(br#"{ "choices":[] }"#);
    assert_eq!(plain.read_whole(&openai).expect("an answer").into_body(&plain), openai);
    for (body, expect) in [
        (r#"{"error":"no"}"#, "the upstream failed: no"),
        (r#"{"texts":"a"}"#, "there is no text at `/text`, where `response.whole` looks for it"),
        (r#"{"text":1}"#, "`/text` is not a string"),
        ("<html>", "it is not JSON"),
    ] {
        let error =
            plain.read_whole(&Bytes::from_static(body.as_bytes())).err().expect("is refused").to_string();
        assert!(error.ends_with(expect), "{error}");
    }
}

#[tokio::test]
async fn a_stream_that_nobody_asked_for_is_gathered() {
    let gathered = async |input: &'static str, max| {
        gather(pieces(input.as_bytes().chunks(1)), target(ResponseOptions::default(), PLAIN), max).await
    };
    let events = "data: {\"delta\":\"a\\ud83d\"}\n\ndata: {\"delta\":\"\\ude00\"}\n\n";
    let whole = gathered(format!("{events}data: [DONE]\n\n").leak(), 100).await.expect("an answer");
    let whole: Value = serde_json::from_slice(&whole).expect("JSON");
    assert_eq!(whole["choices"][0]["message"]["content"], "a😀");
    assert!(matches!(gathered(events, 100).await, Err(UpstreamError::Incomplete(_))));
    assert!(matches!(gathered(events, 3).await, Err(UpstreamError::Protocol(_))));
}

#[tokio::test]
async fn a_gathered_stream_ends_where_a_streamed_one_does() {
    let settings = |end: Option<&str>| ResponseOptions {
        end: end.map(str::to_owned),
        done: "/last".parse().ok(),
        ..ResponseOptions::default()
    };
    let a = "data: {\"delta\":\"a\"}\n\n";
    for (end, rest, expect) in [
        // Whatever follows, and where nothing ever follows.
        (Some("[DONE]"), "data: [DONE]\n\ndata: {\"delta\":\"b\"}\n\n", Some("a")),
        (Some("END"), "data: {\"delta\":\"b\",\"last\":true}\n\ndata: {\"delta\":\"c\"}\n\n", Some("ab")),
        (Some("[DONE]"), "data: {\"finish_reason\":\"stop\"}\n\ndata: {\"delta\":\"b\"}\n\n", None),
    ] {
        let input: &'static str = format!("{a}{rest}").leak();
        let open = || -> rust_proxy_stream::upstream::BodyStream {
            Box::pin(pieces([input.as_bytes()]).chain(stream::pending()))
        };
        let gathered = gather(open(), target(settings(end), PLAIN), 100).now_or_never();
        let text = |body: Result<Bytes, UpstreamError>| {
            let body: Value = serde_json::from_slice(&body.ok()?).expect("JSON");
            body["choices"][0]["message"]["content"].as_str().map(str::to_owned)
        };
        assert_eq!(gathered.and_then(text).as_deref(), expect, "{input}");
    }
    // An answer that has no end in its form ends with its body, if it has begun.
    let of = async |input: &'static str| {
        gather(pieces([input.as_bytes()]), target(settings(None), PLAIN), 100).await
    };
    assert!(of(a).await.is_ok());
    assert!(matches!(of(": nothing\n\n").await, Err(UpstreamError::Incomplete(_))));
}
