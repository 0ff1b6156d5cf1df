//! What no link touches leaves byte for byte.

use serde_json::json;

use super::links::{Fake, holding, masking};
use super::support::*;
use super::*;
use crate::lane::Outcome;

/// Streams with all that real upstreams send and more, without their terminal marker.
fn streams() -> Vec<String> {
    let odd = concat!(
        "event: message\nid: 7\ndata:{ \"choices\" : [ {\"delta\":{\"role\":\"assistant\", \"content\":\"a\\/b \\u00e9\\ud83d\\ude00\"},",
        "\"index\":0, \"x\":1.50e3} ] , \"unknown\" : {\"a\":[1 ,2]}, \"big\":123456789012345678901234567890}\n\n",
        ": a comment\n\n",
        "retry: 3000\n\n",
        "data: {\"choices\":[{\"index\":0,\ndata: \"delta\":{\"content\":\"two lines\"}}]}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\\ud800 lone \\udc00\",\"reasoning\":null},",
        "\"logprobs\":{\"content\":[]},\"finish_reason\":null}],\"usage\":null}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"length\"}]}\n\n",
        "data: {\"choices\":[],\"usage\":{\"total_tokens\":3}}\n\n",
    );
    let calls = [
        role(),
        frame(0, &json!({"content": "let me look"}), None),
        frame(
            0,
            &json!({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}]}),
            None,
        ),
        frame(0, &json!({"tool_calls": [{"index": 0, "function": {"arguments": "{\"a\":1}"}}]}), None),
        frame(0, &json!({}), Some("tool_calls")),
    ];
    let choices = [
        frame(1, &json!({"role": "assistant", "content": ""}), None),
        frame(0, &json!({"role": "assistant", "reasoning_content": "hm"}), None),
        frame_of(
            &json!([{"index": 0, "delta": {"content": "a"}}, {"index": 1, "delta": {"refusal": "no", "content": "b"}}]),
        ),
        frame(1, &json!({"content": "c"}), Some("stop")),
        frame(0, &json!({"content": null}), Some("")),
        frame(0, &json!({}), Some("content_filter")),
        usage(),
    ];
    vec![odd.to_owned(), calls.concat(), choices.concat()]
}

fn check(plugins: &[Fake], stream: &str, parts: Vec<&[u8]>) {
    let client = read(plugins, Script::parts(parts));
    let left_out =
        stream.strip_prefix(&client.body()).unwrap_or_else(|| panic!("{}\n{stream}", client.body()));
    // Of the blank lines around the terminal marker some may go with it.
    assert!(left_out.replace("data: [DONE]", "").trim().is_empty(), "{left_out}");
    assert_eq!(client.end, Some(End::Complete));
}

#[test]
fn untouched_streams_leave_byte_for_byte_at_any_chunking() {
    let idle = || Fake::answering(Ok(Outcome::default()));
    for plugins in [vec![], vec![idle(), idle()], vec![masking(&["zz"], "*")]] {
        for stream in streams() {
            for stream in [stream.clone(), stream.replace('\n', "\r\n"), stream.replace('\n', "\r")] {
                let stream = stream.clone() + "data: [DONE]" + &stream[stream.len() - 1..].repeat(2);
                for size in [1, 2, 3, 7, 64, 1000, stream.len()] {
                    check(&plugins, &stream, stream.as_bytes().chunks(size).collect());
                }
            }
        }
    }
}

#[test]
fn what_is_held_and_released_unchanged_leaves_byte_for_byte() {
    // The third has a frame of two choices, one of which ends before the other.
    for stream in streams().into_iter().take(2) {
        let client = read(&[holding(), holding()], Script::parts(stream.as_bytes().chunks(5)));
        assert_eq!(client.end, Some(End::Complete));
        // Frames without text did not wait, so the order is another.
        let (mut left, mut came) = (client.frames, Vec::new());
        let mut decoder = Decoder::default();
        decoder.push(stream.as_bytes());
        while let Some(block) = decoder.next_block().unwrap() {
            came.push(String::from_utf8(block.raw.to_vec()).unwrap());
        }
        left.sort();
        came.sort();
        assert_eq!(left, came);
    }
}

#[test]
fn a_byte_order_mark_is_the_streams_and_no_frames() {
    // Behind another frame, or a heartbeat, it would be part of a field's name, and its frame lost.
    let parts =
        ["\u{feff}".to_owned() + &delta("sec"), frame(0, &json!({"reasoning": "x"}), None), delta("ond")];
    let client = read(&[masking(&["secret"], "*")], Script::parts(parts.iter().chain([&finish()])));
    assert_eq!((client.text().as_str(), &client.end), ("second", &Some(End::Complete)));
    assert!(client.frames[0] == parts[1] && !client.body().contains('\u{feff}'), "{:#?}", client.frames);
    assert_eq!(read_body(&[], &(parts.concat() + &finish())).frames[0], delta("sec"));
}

#[test]
fn a_missing_marker_is_still_complete() {
    for end in ["", "\n\n", "data: [DONE]", "data: [DONE]\n", "data: [DONE]\r\n\r\n"] {
        let client = read_body(&[], &[delta("a"), finish(), end.to_owned()].concat());
        assert_eq!((client.text().as_str(), client.end), ("a", Some(End::Complete)), "{end:?}");
    }
}

#[test]
fn what_says_nothing_is_dropped() {
    let nothing = [
        ": connected\n\n",
        "retry: 3\n\n",
        "event: ping\ndata: {\"type\":\"ping\"}\n\n",
        "data: {\"choices\":[]}\n\n",
        "data: {\"choices\":[],\"prompt_filter_results\":[{}],\"usage\":null}\n\n",
        "data:\n\n",
    ];
    let body = [nothing.concat(), delta("a"), nothing[2..].concat(), finish(), DONE.to_owned()].concat();
    for size in [1, body.len()] {
        let client = read(&[], Script::parts(body.as_bytes().chunks(size)));
        assert_eq!((client.body(), client.end), (delta("a") + &finish(), Some(End::Complete)));
    }
}
