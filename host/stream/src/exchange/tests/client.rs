//! A client that reads what arrives.

use std::collections::BTreeMap;

use futures_util::{FutureExt, StreamExt};
use serde_json::Value;

use super::*;

/// Where half a surrogate pair stands in a text of ours: a private character.
const HALF: u32 = 0x10_0000;

/// Makes each half of a surrogate pair that stands alone in JSON a private character: clients in JavaScript and
/// Python read them, serde does not.
pub(super) fn mark_halves(json: &str) -> String {
    let (mut out, mut rest) = (String::new(), json);
    let unit = |text: &str| u32::from_str_radix(text.strip_prefix("\\u")?.get(..4)?, 16).ok();
    while let Some(char) = rest.chars().next() {
        let length = match (unit(rest), rest.get(6..).and_then(unit)) {
            (Some(0xd800..0xdc00), Some(0xdc00..0xe000)) => 12,
            (Some(half @ 0xd800..0xe000), _) => {
                out.push(char::from_u32(HALF + half).unwrap());
                rest = &rest[6..];
                continue;
            }
            _ if char == '\\' => 1 + rest[1..].chars().next().unwrap().len_utf8(),
            _ => char.len_utf8(),
        };
        out.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    out
}

/// Joins the halves that [`mark_halves`] marked.
pub(super) fn join_halves(text: &str) -> String {
    let half = |char: char| u16::try_from(u32::from(char).checked_sub(HALF)?).ok();
    let units = text.chars().flat_map(|char| match half(char) {
        Some(half) => vec![half],
        None => char.encode_utf16(&mut [0; 2]).to_vec(),
    });
    String::from_utf16_lossy(&units.collect::<Vec<_>>())
}

/// The places of a delta that are texts as they stand, by what they are called here.
const TEXTS: [(&str, &str); 7] = [
    ("content", "/content"),
    ("reasoning_content", "/reasoning_content"),
    ("reasoning", "/reasoning"),
    ("refusal", "/refusal"),
    ("details", "/reasoning_details/0/text"),
    ("transcript", "/audio/transcript"),
    ("input", "/tool_calls/0/custom/input"),
];

/// What a client got.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) frames: Vec<String>,
    /// `None` for a stream that waits for its upstream.
    pub(super) end: Option<End>,
}

impl Client {
    pub(super) fn of(mut stream: ResponseStream) -> Self {
        let mut client = Self { frames: Vec::new(), end: None };
        while let Some(event) = stream.next().now_or_never() {
            match event {
                Some(StreamEvent::Frame(frame)) => {
                    assert_eq!(client.end, None, "nothing follows the end");
                    client.frames.push(String::from_utf8(frame.to_vec()).unwrap());
                }
                Some(StreamEvent::End(end)) => assert_eq!(client.end.replace(end), None, "one end"),
                None => {
                    assert!(client.end.is_some(), "the end is told");
                    break;
                }
            }
        }
        client
    }

    pub(super) fn body(&self) -> String {
        self.frames.concat()
    }

    /// The data of the frames that are not comments. Each frame is one whole event.
    pub(super) fn chunks(&self) -> Vec<Value> {
        let chunk = |frame: &String| {
            let mut decoder = Decoder::default();
            decoder.push(frame.as_bytes());
            let block = decoder.next_block().unwrap().expect("a whole event");
            assert_eq!(decoder.finish(), Ok(None), "one event: {frame:?}");
            block.data.map(|data| serde_json::from_str(&mark_halves(&data)).expect(&data))
        };
        self.frames.iter().filter_map(chunk).collect()
    }

    /// All text by choice and field; none follows its choice's finish reason, and none of these follows a
    /// usage frame.
    pub(super) fn texts(&self) -> BTreeMap<(u64, String), String> {
        let mut texts: BTreeMap<(u64, String), String> = BTreeMap::new();
        let (mut finished, mut usage) = (BTreeMap::new(), false);
        for chunk in self.chunks() {
            assert!(!usage, "usage is last");
            usage = !chunk["usage"].is_null();
            for choice in chunk["choices"].as_array().expect("a list of choices") {
                let index = choice["index"].as_u64().unwrap();
                for (field, place) in TEXTS {
                    let text = choice["delta"].pointer(place).and_then(Value::as_str);
                    if let Some(text) = text.filter(|text| !text.is_empty()) {
                        assert!(!finished.contains_key(&index), "no text after the finish: {chunk}");
                        *texts.entry((index, field.to_owned())).or_default() += text;
                    }
                }
                if let Some(reason) = choice["finish_reason"].as_str() {
                    assert_eq!(finished.insert(index, reason.to_owned()), None, "one finish reason");
                }
            }
        }
        texts.into_iter().map(|(lane, text)| (lane, join_halves(&text))).collect()
    }

    pub(super) fn text(&self) -> String {
        self.texts().remove(&(0, "content".to_owned())).unwrap_or_default()
    }

    /// The finish reasons, in the order of their frames.
    pub(super) fn finishes(&self) -> Vec<(u64, String)> {
        let chunks = self.chunks();
        let choices = chunks.iter().flat_map(|chunk| chunk["choices"].as_array().unwrap());
        let finish =
            |choice: &Value| Some((choice["index"].as_u64()?, choice["finish_reason"].as_str()?.to_owned()));
        choices.filter_map(finish).collect()
    }
}
