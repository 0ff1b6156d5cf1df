//! An exchange whose upstream answers with any body.

use std::collections::BTreeMap;
use std::sync::Arc;

use rust_proxy_mask::Mask;
use rust_proxy_stream::exchange::End;

use crate::exchange::{streamed, whole};
use crate::json::{Json, unescaped};
use crate::links::{Deed, pipeline};
use crate::mask::{List, Rules};
use crate::reading::{Answer, Place};
use crate::source::{Source, split};
use crate::sse;

/// Any bytes as a stream or, where they begin with `{`, as a whole answer.
///
/// # Panics
/// If the client gets anything else than it should.
pub fn check(input: &[u8]) {
    const LISTS: [&[&str]; 4] = [
        &["secret", "secretary", "cret s"],
        &["ab", "abc", "bcd", "b"],
        &["é", "😀b", "ÉÉÉ"],
        &["\"", "\\n", "\n\n"],
    ];
    let (body, mut choices) = split(input);
    let scene = Scene::new(&mut choices, LISTS);
    if body.first() == Some(&b'{') {
        scene.check_whole(body);
    } else {
        scene.check(body, &choices.cut(body));
    }
}

/// The links of an exchange.
#[derive(Debug)]
pub(crate) struct Scene {
    deeds: Vec<Deed>,
    pub(crate) list: Arc<List>,
    mask: Mask,
    /// Whether answers keep to the dialect, so that all of them is known to be read.
    strict: bool,
}

impl Scene {
    /// Chooses links and one of the word lists.
    pub(crate) fn new<W: AsRef<[&'static str]> + Copy>(choices: &mut Source<'_>, lists: [W; 4]) -> Self {
        let words = choices.pick(&lists);
        let list = Arc::new(List::new(words.as_ref(), Rules::default()).expect("a word list"));
        Self::of(choices, list, false)
    }

    /// Chooses links for a word list.
    pub(crate) fn of(choices: &mut Source<'_>, list: Arc<List>, strict: bool) -> Self {
        let mask = match choices.below(4) {
            0 | 1 => Mask::PerCharacter('*'),
            2 => Mask::Fixed(String::new()),
            _ => Mask::Fixed("aé".to_owned()),
        };
        let masking = Deed::Mask(Arc::clone(&list), mask.clone());
        let deeds = match choices.below(8) {
            0 | 1 => vec![masking],
            2 => vec![Deed::Hold, masking],
            3 => vec![masking, Deed::Hold],
            4 => vec![Deed::Look, masking, Deed::Look],
            5 => vec![Deed::Block(Arc::clone(&list))],
            6 => vec![Deed::Look],
            _ => vec![],
        };
        Self { deeds, list, mask, strict }
    }

    fn masks(&self) -> bool {
        self.deeds.iter().any(|deed| matches!(deed, Deed::Mask(..)))
    }

    fn blocks(&self) -> bool {
        self.deeds.iter().any(|deed| matches!(deed, Deed::Block(_)))
    }

    fn touches(&self) -> bool {
        self.deeds.iter().any(|deed| !matches!(deed, Deed::Look))
    }

    /// What the links make of a whole text.
    fn masked(&self, text: &str) -> String {
        if !self.masks() {
            return text.to_owned();
        }
        let (mut out, mut from) = (String::new(), 0);
        for found in self.list.find(text) {
            out.push_str(&text[from..found.start as usize]);
            out.push_str(&self.mask.text(&found));
            from = found.end as usize;
        }
        out + &text[from..]
    }

    /// Whether no listed word may be in what the client reads. Other masks may make a word with what is around
    /// them.
    pub(crate) fn hides(&self) -> bool {
        self.blocks() || (self.masks() && self.mask == Mask::PerCharacter('*'))
    }

    /// Checks an exchange with this stream, which comes in these pieces; answers how it ended, and with the
    /// tokens that log probabilities show.
    ///
    /// # Panics
    /// If the client gets anything else than it should: one end, whole events, each text as the links leave the
    /// whole of it (the beginning of that, if the answer is not complete), the upstream's bytes where no link
    /// touches anything, and the same however the stream was cut.
    pub(crate) fn check(&self, stream: &[u8], pieces: &[&[u8]]) -> (End, Vec<String>) {
        let pipeline = pipeline(&self.deeds);
        let came = Answer::of_stream(stream);
        let mut ends =
            [(streamed(&pipeline, pieces)), (streamed(&pipeline, &[stream]))].map(|(frames, end)| {
                for frame in &frames {
                    let read = sse::read(frame);
                    assert!(read.blocks.len() == 1 && read.error.is_none(), "a frame is an event: {frame:?}");
                }
                let got = Answer::of_stream(&frames.concat());
                if !came.odd {
                    self.compare(&came, &got, &end);
                    let ended = !got.choices.is_empty() && got.choices == got.finished;
                    assert!(ended || matches!(end, End::Failed(_)), "every choice has a finish reason");
                }
                let looked_at = !self.deeds.is_empty();
                assert!(!(looked_at && got.late), "no text of a choice follows its finish reason");
                // What repeats text leaves as it came if it does repeat it.
                let repeats = looked_at && came.repeats && !self.strict;
                if !self.touches() && !came.halved && !came.odd && !repeats {
                    assert!(came.kept.starts_with(&got.kept), "untouched: {:#?}\n{:#?}", came.kept, got.kept);
                    assert!(
                        end != End::Complete || came.kept == got.kept,
                        "all of it: {:#?}\n{:#?}",
                        came.kept,
                        got.kept
                    );
                }
                (got.texts, got.arguments, got.tokens, end)
            });
        if self.blocks() {
            // Which text is blocked first depends on what comes together.
            ends.iter_mut().for_each(|(texts, arguments, ..)| {
                texts.clear();
                arguments.clear();
            });
        }
        let [(texts, arguments, tokens, end), whole] = ends;
        assert_eq!((texts, &end), (whole.0, &whole.3), "a cut changes nothing");
        // But for the spelling of an escape that is cut where its frame cannot wait.
        assert_eq!(spelled(&arguments), spelled(&whole.1), "a cut changes nothing");
        (end, tokens)
    }

    /// Checks an exchange with this whole answer.
    ///
    /// # Panics
    /// As [`check`](Self::check).
    pub(crate) fn check_whole(&self, body: &[u8]) {
        let Ok(got) = whole(&pipeline(&self.deeds), body) else { return };
        let (came, answer) = (Answer::of_whole(body), Answer::of_whole(&got));
        if self.deeds.is_empty() || !(self.touches() || came.repeats) {
            assert_eq!(got, body, "untouched");
        }
        if !came.odd {
            self.compare(&came, &answer, if self.blocks() { &End::Stopped } else { &End::Complete });
        }
    }

    fn compare(&self, came: &Answer, got: &Answer, end: &End) {
        let complete = *end == End::Complete;
        assert!(!got.broken, "what the client gets can be read");
        assert!(!(complete && came.broken), "what is not an answer is not complete");
        let expected: BTreeMap<Place, String> =
            came.texts.iter().map(|(place, text)| (*place, self.masked(text))).collect();
        for (place, text) in &got.texts {
            let whole = expected.get(place).map_or("", String::as_str);
            // Of a pair that was cut in two, the first half may have left.
            let text = if complete { text.as_str() } else { text.trim_end_matches('\u{fffd}') };
            assert!(whole.starts_with(text), "{place:?}: {text:?} is of {whole:?}");
            assert!(!self.hides() || self.list.find(text).is_empty(), "{place:?} shows a word: {text:?}");
        }
        let found = came.texts.values().any(|text| !self.list.find(text).is_empty());
        // There are other places that a word can be in.
        let elsewhere = !self.strict || !came.arguments.is_empty();
        assert!(*end != End::Stopped || (self.blocks() && (found || elsewhere)), "nothing to stop for");
        if complete {
            let missing =
                expected.iter().find(|(place, text)| got.texts.get(place) != Some(text) && !text.is_empty());
            assert_eq!(missing, None, "all of each text: {:?}", got.texts);
            assert!(!(self.blocks() && found), "a word, and no stop");
        }
        if complete && !self.blocks() {
            for (place, text) in &came.arguments {
                self.compare_arguments(place, text, got.arguments.get(place).map_or("", String::as_str));
            }
        }
    }

    /// Each string value of arguments is a text of its own; what is not JSON is one as a whole.
    fn compare_arguments(&self, place: &Place, came: &str, got: &str) {
        if let Some(value) = Json::parse(came) {
            let expected = value.map(&|text| self.masked(text));
            let answer = Json::parse(got).map(|value| value.map(&str::to_owned));
            assert_eq!(answer, Some(expected), "{place:?}: {came} became {got}");
        }
        if !self.masks() {
            assert_eq!(unescaped(got), unescaped(came), "{place:?}");
        }
        // Space before it is still JSON.
        let raw = came.trim_start_matches([' ', '\t', '\n', '\r']);
        if self.strict && Json::parse(came).is_none() && !raw.starts_with(['{', '[', '"']) {
            let space = &came[..came.len() - raw.len()];
            assert_eq!(got, format!("{space}{}", self.masked(raw)), "{place:?}");
        }
    }
}

fn spelled(arguments: &BTreeMap<Place, String>) -> BTreeMap<Place, String> {
    arguments.iter().map(|(place, text)| (*place, unescaped(text))).collect()
}
