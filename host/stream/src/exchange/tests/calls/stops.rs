//! What a client gets of tool calls that a stop cuts off.

use serde_json::{Value, json};

use super::{arguments, fragment, head};
use crate::exchange::End;
use crate::exchange::tests::links::Fake;
use crate::exchange::tests::support::*;
use crate::lane::{Batch, Edit, Hold, Outcome, Stop};

#[test]
fn a_block_ends_a_call_at_the_first_text_that_was_not_released() {
    let blocking = || {
        Fake::new(|| {
            |batch: &Batch<'_>| {
                let bad = batch
                    .pieces
                    .iter()
                    .find_map(|piece| Some((piece.lane, piece.text.find("bad")?, piece.offset)));
                Ok(bad.map_or_else(Outcome::default, |(lane, at, offset)| Outcome {
                    edits: vec![Edit {
                        lane,
                        start: offset + u32::try_from(at).unwrap(),
                        end: offset + u32::try_from(at).unwrap() + 3,
                        text: String::new(),
                    }],
                    holds: vec![Hold { lane, start: offset + u32::try_from(at).unwrap() + 3 }],
                    stop: Some(Stop::Block("x".into())),
                    ..Outcome::default()
                }))
            }
        })
    };
    let parts = [
        role(),
        head(0),
        fragment(0, "{\\\"a\\\":\\\"x\\\",\\\"b\\\":\\\"y"),
        fragment(0, " bad z\\\",\\\"c\\\":\\\"w\\\"}"),
        head(1),
        finish(),
    ];
    let client = read(&[blocking()], Script::parts(&parts));
    assert_eq!(arguments(&client)[&0], "{\"a\":\"x\",\"b\":\"y ");
    assert_eq!(
        (client.finishes(), &client.end),
        (vec![(0, "content_filter".to_owned())], &Some(End::Stopped))
    );
    // What stands behind that text in the same read is not sent either.
    let last = [&parts[3], &fragment(0, "{\\\"d\\\":\\\"v\\\"}")].map(String::as_str).concat();
    let client = read(&[blocking()], Script::parts([&parts[..3].concat(), &last]));
    assert_eq!(arguments(&client)[&0], "{\"a\":\"x\",\"b\":\"y ");
    // In one read the client has nothing of the call, and gets nothing of it.
    let client = read_body(&[blocking()], &parts.concat());
    assert!(arguments(&client).is_empty() && !client.body().contains("tool_calls"), "{:#?}", client.frames);
    // A whole answer keeps the text of its message only.
    let call = json!({"id": "c", "function": {"name": "f", "arguments": "{\"a\":\"bad\"}"}});
    let message = json!({"content": "good", "tool_calls": [call]});
    let body =
        json!({"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}).to_string();
    let answer: Value = serde_json::from_str(&whole(&[blocking()], &body).unwrap()).unwrap();
    assert_eq!(answer["choices"][0]["message"], json!({"role": "assistant", "content": "good"}));
}

#[test]
fn what_was_sent_is_not_sent_again_by_a_block() {
    let parts =
        [head(0), fragment(0, "{\\\"a\\\":\\\"x\\\\u00"), fragment(0, "e9 ban"), fragment(0, "ana y")];
    let blocking = Fake::new(|| {
        |batch: &Batch<'_>| {
            let hold = batch.pieces.iter().find(|piece| piece.text.contains("ban"));
            let hold = hold.map(|piece| Hold { lane: piece.lane, start: piece.offset + 3 });
            let ends = batch.pieces.iter().any(|piece| piece.text.contains("ana"));
            let stop = ends.then(|| Stop::Block("x".into()));
            let holds = batch
                .pieces
                .iter()
                .filter(|_| ends)
                .map(|piece| Hold { lane: piece.lane, start: piece.offset });
            Ok(Outcome {
                holds: if ends { holds.collect() } else { hold.into_iter().collect() },
                stop,
                ..Outcome::default()
            })
        }
    });
    let client = read(&[blocking], Script::parts(&parts));
    assert!(arguments(&client)[&0].matches("e9").count() <= 1, "{:?}", arguments(&client));
    assert_eq!(client.end, Some(End::Stopped));
}

#[test]
fn a_custom_call_that_the_client_knows_nothing_of_is_left_out_by_a_block() {
    let custom =
        json!({"tool_calls": [{"index": 0, "id": "c", "custom": {"name": "sql", "input": "hello banana"}}]});
    let blocking = Fake::new(|| {
        |batch: &Batch<'_>| {
            let holds = batch.pieces.iter().map(|piece| Hold { lane: piece.lane, start: piece.offset + 6 });
            let holds: Vec<_> = holds.collect();
            let stop = (!holds.is_empty()).then(|| Stop::Block("x".into()));
            Ok(Outcome { holds, stop, ..Outcome::default() })
        }
    });
    let client = read_body(&[blocking], &(role() + &frame(0, &custom, None)));
    assert!(!client.body().contains("custom"), "{}", client.body());
}
