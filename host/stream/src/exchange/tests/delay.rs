//! Nothing waits that need not: after each frame the client has what no continuation can change, of every lane, and
//! the end of every choice that has ended.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::client::Client;
use super::links::{Fake, looking, masked, masking};
use super::support::*;
use crate::exchange::Reply;

const LANES: [(u64, &str); 4] = [(0, "content"), (0, "reasoning_content"), (1, "content"), (1, "refusal")];

/// What a frame adds to each of the lanes, and which of the two choices it ends.
type Frame = ([Option<String>; LANES.len()], [bool; 2]);

fn frames() -> impl Strategy<Value = Vec<Frame>> {
    let text = prop::option::weighted(0.4, "[ab密]{0,3}");
    let ends = prop::array::uniform2(prop::bool::weighted(0.1));
    let frame = (prop::array::uniform4(text), ends);
    prop::collection::vec(frame, 1..8).prop_map(|mut frames| {
        let mut ended = [false; 2];
        for (texts, ends) in &mut frames {
            for (text, (choice, _)) in texts.iter_mut().zip(LANES) {
                text.take_if(|_| ended[choice as usize]);
            }
            for (ends, ended) in ends.iter_mut().zip(&mut ended) {
                *ends &= !*ended;
                *ended |= *ends;
            }
        }
        frames
    })
}

/// One chunk with all that the frame says.
fn written((texts, ends): &Frame) -> String {
    let choice = |index: u64| {
        let mine = texts.iter().zip(LANES).filter(|(_, (choice, _))| *choice == index);
        let delta: Map<String, Value> =
            mine.filter_map(|(text, (_, field))| Some((field.to_owned(), text.clone()?.into()))).collect();
        let ends = ends[index as usize];
        let finish = ends.then_some("stop");
        (ends || !delta.is_empty()).then(|| json!({"index": index, "delta": delta, "finish_reason": finish}))
    };
    frame_of(&(0..2).filter_map(choice).collect())
}

/// An answer to a request for two choices.
fn read_two(plugins: &[Fake], script: Script) -> Client {
    let message = json!({"role": "user", "content": "hi"});
    let request = json!({"model": "m", "n": 2, "stream": true, "messages": [message]});
    match Scene::new(plugins, script).run(&request) {
        Ok(Reply::Stream(stream)) => Client::of(stream),
        other => panic!("{other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn after_each_frame_the_client_has_all_that_is_safe(
        frames in frames(),
        words in prop::collection::vec("[ab密]{1,4}", 1..4),
        mask in prop::sample::select(vec!["*", ""]),
        looks in any::<bool>(),
    ) {
        let mut plugins: Vec<Fake> = vec![masking(&words, mask)];
        plugins.extend(looks.then(looking));
        let written: Vec<String> = frames.iter().map(written).collect();
        for sent in 1..=frames.len() {
            let client = read_two(&plugins, Script::parts(&written[..sent]).left_open());
            let ended = |choice: u64| frames[..sent].iter().any(|(_, ends)| ends[choice as usize]);
            let mut expected = BTreeMap::new();
            for (lane, (choice, field)) in LANES.into_iter().enumerate() {
                let so_far: String = frames[..sent].iter().filter_map(|(texts, _)| texts[lane].clone()).collect();
                let text = masked(&so_far, &words, mask, ended(choice));
                if !text.is_empty() {
                    expected.insert((choice, field.to_owned()), text);
                }
            }
            prop_assert_eq!(client.texts(), expected, "{:#?}", &client.frames);
            let mut finishes: Vec<u64> = client.finishes().into_iter().map(|(choice, _)| choice).collect();
            finishes.sort_unstable();
            let expected: Vec<u64> = (0..2).filter(|choice| ended(*choice)).collect();
            prop_assert_eq!(finishes, expected, "{:#?}", &client.frames);
        }
    }

    #[test]
    fn after_each_fragment_the_client_has_all_that_is_safe_of_a_calls_arguments(
        values in prop::collection::vec("[ab密]{0,5}", 1..4),
        lengths in prop::collection::vec(1..4usize, 1..4),
        words in prop::collection::vec("[ab密]{1,4}", 1..4),
        mask in prop::sample::select(vec!["*", ""]),
    ) {
        let document: Vec<char> = json!(values).to_string().chars().collect();
        let (mut frames, mut sent) = (Vec::new(), 0);
        for length in lengths.iter().cycle() {
            if sent == document.len() {
                break;
            }
            let end = document.len().min(sent + length);
            let fragment: String = document[sent..end].iter().collect();
            sent = end;
            let call = json!({"index": 0, "id": (frames.is_empty()).then_some("c"), "function": {"arguments": fragment}});
            frames.push(frame(0, &json!({ "tool_calls": [call] }), None));
            let client = read(&[masking(&words, mask)], Script::parts(&frames).left_open());
            let seen: String = client
                .chunks()
                .iter()
                .filter_map(|chunk| chunk["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"].as_str().map(str::to_owned))
                .collect();
            // Every other piece between quotes is a value; the last of all is still open.
            let so_far: String = document[..sent].iter().collect();
            let pieces: Vec<&str> = so_far.split('"').collect();
            let piece = |(at, piece): (usize, &&str)| match at % 2 {
                0 => (*piece).to_owned(),
                _ => masked(piece, &words, mask, at + 1 < pieces.len()),
            };
            let expected: Vec<String> = pieces.iter().enumerate().map(piece).collect();
            prop_assert_eq!(seen, expected.join("\""), "{:#?}", &client.frames);
        }
    }
}
