use proptest::prelude::*;
use proptest::sample::Index;

use super::buffer::{Buffer, HELD_MAX};
use super::flow::{LaneText, Segment};
use crate::lane::{Channel, Edit, Lane};

fn buffer() -> Buffer {
    Buffer::new(Lane { id: 7, choice: 0, part: 0, channel: Channel::Text, name: None, pointer: None })
}

fn original(text: &str, source_end: u32) -> LaneText {
    let mut new = LaneText { lane: 7, ..LaneText::default() };
    new.push_original(text, source_end);
    new
}

fn edit(start: u32, end: u32, text: &str) -> Edit {
    Edit { lane: 7, start, end, text: text.into() }
}

/// What comes out of a buffer with "abcdef" in it, as (text, source end, changed).
fn check(edits: &[Edit], hold: Option<u32>, expected: &[(&str, u32, bool)]) {
    let mut buffer = buffer();
    buffer.push(original("abc", 3));
    buffer.push(original("def", 6));
    let edits: Vec<&Edit> = edits.iter().collect();
    buffer.check(&edits, hold).unwrap();
    let out = buffer.release(&edits, hold);
    assert_eq!(spans(&out), expected);
    let rest = buffer.release_all();
    assert_eq!(rest.text, "abcdef"[hold.unwrap_or(6) as usize..]);
    assert_eq!(buffer.held(), 0);
}

fn spans(out: &LaneText) -> Vec<(&str, u32, bool)> {
    let mut at = 0;
    let span = |segment: &Segment| {
        at += segment.length;
        (&out.text[at - segment.length..at], segment.source_end, segment.changed)
    };
    let spans = out.segments.iter().map(span).collect();
    assert_eq!(at, out.text.len(), "segments cover the text");
    spans
}

#[test]
fn segments_tell_what_the_text_stands_for() {
    check(&[], None, &[("abcdef", 6, false)]);
    check(&[], Some(0), &[]);
    check(&[], Some(2), &[("ab", 2, false)]);
    check(&[edit(1, 3, "*")], None, &[("a", 1, false), ("*", 3, true), ("def", 6, false)]);
    check(&[edit(0, 0, "x"), edit(6, 6, "y")], None, &[("x", 0, true), ("abcdef", 6, false), ("y", 6, true)]);
    check(&[edit(0, 6, "")], None, &[("", 6, true)]);
    check(
        &[edit(1, 2, ""), edit(2, 2, "x")],
        Some(4),
        &[("a", 1, false), ("", 2, true), ("x", 2, true), ("cd", 4, false)],
    );
}

#[test]
fn offsets_go_on_behind_what_was_released() {
    let mut buffer = buffer();
    buffer.push(original("abc", 3));
    buffer.release(&[], Some(2));
    buffer.push(original("dé", 6));
    assert_eq!((buffer.text_from(3), buffer.end(), buffer.held()), ("dé", 6, 4));
    for (edits, hold) in
        [(vec![edit(1, 3, "")], None), (vec![], Some(1)), (vec![], Some(5)), (vec![], Some(7))]
    {
        assert!(buffer.check(&edits.iter().collect::<Vec<_>>(), hold).is_err(), "{edits:?} {hold:?}");
    }
    let edit = edit(2, 4, "*");
    buffer.check(&[&edit], None).unwrap();
    assert_eq!(spans(&buffer.release(&[&edit], None)), [("*", 4, true), ("é", 6, false)]);
    assert!(HELD_MAX < u32::MAX as usize);
}

/// A character and, where it is the upstream's, its place there.
type Char = (char, Option<usize>);

/// A link as simple as can be: it keeps its text as characters.
#[derive(Default)]
struct Model {
    held: Vec<Char>,
}

/// What a link does in one step: how much it releases, and what it replaces in that.
#[derive(Debug, Clone)]
struct Step {
    hold: Option<Index>,
    edits: Vec<(Index, Index, String)>,
}

impl Step {
    /// The step's edits and hold in characters of `length` that are there.
    fn places(&self, length: usize) -> (Vec<(usize, usize, &str)>, usize) {
        let hold = self.hold.map_or(length, |hold| hold.index(length + 1));
        let mut cuts: Vec<usize> =
            self.edits.iter().flat_map(|(a, b, _)| [a, b]).map(|at| at.index(hold + 1)).collect();
        cuts.sort_unstable();
        let texts = self.edits.iter().map(|(.., text)| text.as_str());
        (cuts.chunks(2).zip(texts).map(|(cut, text)| (cut[0], cut[1], text)).collect(), hold)
    }
}

impl Model {
    fn step(&mut self, new: Vec<Char>, step: &Step) -> Vec<Char> {
        self.held.extend(new);
        let (edits, hold) = step.places(self.held.len());
        let (mut out, mut at) = (Vec::new(), 0);
        for (start, end, text) in edits {
            out.extend_from_slice(&self.held[at..start]);
            out.extend(text.chars().map(|char| (char, None)));
            at = end;
        }
        out.extend_from_slice(&self.held[at..hold]);
        self.held.drain(..hold);
        out
    }
}

/// The same step by a buffer.
fn step(buffer: &mut Buffer, new: LaneText, step: &Step) -> LaneText {
    buffer.push(new);
    let start = buffer.end() - u32::try_from(buffer.held()).unwrap();
    let text = buffer.text_from(start).to_owned();
    let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    let offsets: Vec<u32> = ends.map(|at| start + u32::try_from(at).unwrap()).collect();
    let (edits, hold) = step.places(offsets.len() - 1);
    let edits: Vec<Edit> =
        edits.into_iter().map(|(from, to, text)| edit(offsets[from], offsets[to], text)).collect();
    let (edits, hold) = (edits.iter().collect::<Vec<_>>(), step.hold.map(|_| offsets[hold]));
    buffer.check(&edits, hold).unwrap();
    buffer.release(&edits, hold)
}

fn steps() -> impl Strategy<Value = Vec<(String, [Step; 3])>> {
    let edit = (any::<Index>(), any::<Index>(), "[xé]{0,2}");
    let step = (prop::option::of(any::<Index>()), prop::collection::vec(edit, 0..3))
        .prop_map(|(hold, edits)| Step { hold, edits });
    prop::collection::vec(("[aé😀]{0,4}", prop::array::uniform3(step)), 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn three_links_do_as_the_model_does(steps in steps()) {
        let mut buffers = [buffer(), buffer(), buffer()];
        let mut models: [Model; 3] = Default::default();
        let mut whole = String::new();
        let mut position = 0;
        let end = Step { hold: None, edits: Vec::new() };
        let last = (String::new(), [end.clone(), end.clone(), end]);
        for (text, links) in steps.into_iter().chain([last]) {
            let mut new = LaneText { lane: 7, ..LaneText::default() };
            let mut expected: Vec<Char> =
                text.char_indices().map(|(at, char)| (char, Some(whole.len() + at))).collect();
            whole += &text;
            if !text.is_empty() {
                new.push_original(&text, u32::try_from(whole.len()).unwrap());
            }
            for ((buffer, model), link) in buffers.iter_mut().zip(&mut models).zip(&links) {
                new = step(buffer, new, link);
                expected = model.step(expected, link);
            }
            prop_assert_eq!(&new.text, &expected.iter().map(|(char, _)| *char).collect::<String>());
            // Segments cover the upstream's text without gaps, and what is not changed is the upstream's.
            let mut got: Vec<Char> = Vec::new();
            for (text, source_end, changed) in spans(&new) {
                let source_end = source_end as usize;
                prop_assert!(source_end >= position);
                if changed {
                    got.extend(text.chars().map(|char| (char, None)));
                } else {
                    prop_assert_eq!(text, &whole[position..source_end]);
                    got.extend(text.char_indices().map(|(at, char)| (char, Some(position + at))));
                }
                position = source_end;
            }
            prop_assert_eq!(got, expected);
        }
        prop_assert_eq!(position, whole.len());
    }
}
