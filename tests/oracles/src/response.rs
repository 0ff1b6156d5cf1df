//! An exchange whose upstream answers with any body.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use rust_proxy_mask::Mask;
use rust_proxy_stream::exchange::End;

use crate::arguments::{self, Fit, Stretch};
use crate::exchange::{streamed, whole};
use crate::json::Json;
use crate::links::{Deed, pipeline};
use crate::mask::{List, Rules};
use crate::reading::{Answer, Kept, Place, Token};
use crate::source::{Source, split};
use crate::sse;

/// Any bytes as a stream or, where they begin with `{`, as a whole answer.
///
/// # Panics
/// As [`Scene::check`].
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
}

impl Scene {
    /// Chooses links and one of the word lists.
    pub(crate) fn new<W: AsRef<[&'static str]> + Copy>(choices: &mut Source<'_>, lists: [W; 4]) -> Self {
        let words = choices.pick(&lists);
        let list = Arc::new(List::new(words.as_ref(), Rules::default()).expect("a word list"));
        Self::of(choices, list)
    }

    /// Chooses links for a word list.
    pub(crate) fn of(choices: &mut Source<'_>, list: Arc<List>) -> Self {
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
        Self { deeds, list, mask }
    }

    fn masks(&self) -> bool {
        self.deeds.iter().any(|deed| matches!(deed, Deed::Mask(..)))
    }

    fn blocks(&self) -> bool {
        self.deeds.iter().any(|deed| matches!(deed, Deed::Block(_)))
    }

    /// Whether any link looks at the answer.
    pub(crate) fn looks(&self) -> bool {
        !self.deeds.is_empty()
    }

    fn only_looks(&self) -> bool {
        self.deeds.iter().all(|deed| matches!(deed, Deed::Look))
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

    /// What of a whole text the links can let pass: one that blocks takes the rest away where no more follows.
    fn released(&self, text: &str) -> String {
        match self.list.find(text).first().filter(|_| self.blocks()) {
            Some(first) => text[..first.start as usize].to_owned(),
            None => self.masked(text),
        }
    }

    /// Whether no listed word may be in what the client reads. Other masks may make a word with what is around
    /// them.
    pub(crate) fn hides(&self) -> bool {
        self.blocks() || (self.masks() && self.mask == Mask::PerCharacter('*'))
    }

    /// Checks an exchange with this stream, which comes in these pieces; answers how it ended.
    ///
    /// # Panics
    /// If the client gets anything else than it should: one end, whole events, each text as the links leave the
    /// whole of it (the beginning of that, if the answer is not complete), no token of a text that it does not
    /// get, the upstream's bytes where no link touches anything, and the same however the stream was cut.
    pub(crate) fn check(&self, stream: &[u8], pieces: &[&[u8]]) -> End {
        let pipeline = pipeline(&self.deeds);
        let came = Answer::of_stream(stream);
        let mut ends =
            [(streamed(&pipeline, pieces)), (streamed(&pipeline, &[stream]))].map(|(frames, end)| {
                for frame in &frames {
                    let read = sse::read(frame);
                    assert!(read.blocks.len() == 1 && read.error.is_none(), "a frame is an event: {frame:?}");
                }
                let body = frames.concat();
                let got = Answer::of_stream(&body);
                if self.deeds.is_empty() {
                    self.check_bytes(stream, &body, &end);
                } else if !came.odd {
                    self.compare(&came, &got, &end);
                    self.compare_kept(&came, &got, &end);
                }
                let ended = !got.choices.is_empty() && got.choices == got.finished;
                assert!(
                    came.odd || ended || matches!(end, End::Failed(_)),
                    "every choice has a finish reason"
                );
                assert!(!got.late || self.deeds.is_empty(), "no text of a choice follows its finish reason");
                let texts = |call: &String| arguments::read(call).map(|(stretches, _)| stretches);
                let calls = |calls: &Vec<String>| calls.iter().map(texts).collect();
                let arguments: Vec<Vec<_>> = got.arguments.values().map(calls).collect();
                (got.texts, arguments, end)
            });
        if self.blocks() {
            // Which text is blocked first depends on what comes together.
            ends.iter_mut().for_each(|(texts, arguments, _)| {
                texts.clear();
                arguments.clear();
            });
        }
        let [one, whole] = ends;
        assert_eq!(one, whole, "a cut changes nothing");
        one.2
    }

    /// Without links all that is passed on leaves byte for byte, whatever it is.
    fn check_bytes(&self, came: &[u8], got: &[u8], end: &End) {
        let lines = |body: &[u8]| -> Vec<String> { Answer::of_blocks(body) };
        let (came, got) = (lines(came), lines(got));
        assert!(came.starts_with(&got), "untouched: {came:#?}\n{got:#?}");
        assert!(*end != End::Complete || came == got, "all of it: {came:#?}\n{got:#?}");
    }

    /// Checks an exchange with this whole answer.
    ///
    /// # Panics
    /// As [`check`](Self::check).
    pub(crate) fn check_whole(&self, body: &[u8]) {
        let Ok(reply) = whole(&pipeline(&self.deeds), body) else { return };
        let (came, got) = (Answer::of_whole(body), Answer::of_whole(&reply));
        if self.only_looks() && (self.deeds.is_empty() || came.passes_whole()) {
            assert_eq!(reply, body, "untouched");
        }
        if self.deeds.is_empty() || came.odd {
            return;
        }
        let blocked = self.blocks() && self.finds(&came);
        self.compare(&came, &got, if blocked { &End::Stopped } else { &End::Complete });
    }

    /// Whether there is a listed word in any text.
    fn finds(&self, came: &Answer) -> bool {
        let arguments = came.arguments.values().flatten().filter_map(|call| arguments::read(call));
        let arguments: Vec<_> = arguments.flat_map(|(stretches, _)| stretches).collect();
        let texts = came.texts.values().chain(came.titles.iter().map(|(_, title)| title)).map(String::as_str);
        let mut all = texts.chain(arguments.iter().filter_map(Stretch::text));
        all.any(|text| !self.list.find(text).is_empty())
    }

    fn compare(&self, came: &Answer, got: &Answer, end: &End) {
        let complete = *end == End::Complete;
        assert!(!got.broken, "what the client gets can be read");
        assert!(!(complete && came.broken), "what is not an answer is not complete");
        let expected: BTreeMap<Place, String> =
            came.texts.iter().map(|(place, text)| (*place, self.masked(text))).collect();
        for (place, text) in &got.texts {
            let whole = expected.get(place).map_or("", String::as_str);
            assert!(whole.starts_with(text), "{place:?}: {text:?} is of {whole:?}");
            self.check_hidden(place, text);
        }
        let mut titles: Vec<_> =
            came.titles.iter().map(|(choice, title)| (*choice, self.masked(title))).collect();
        for title in &got.titles {
            let at = titles.iter().position(|known| known == title);
            titles.swap_remove(at.unwrap_or_else(|| panic!("a title of nobody: {title:?}")));
        }
        let found = self.finds(came);
        assert!(*end != End::Stopped || (self.blocks() && found), "nothing to stop for");
        if complete {
            let missing =
                expected.iter().find(|(place, text)| got.texts.get(place) != Some(text) && !text.is_empty());
            assert_eq!(missing, None, "all of each text: {:?}", got.texts);
            assert!(!(self.blocks() && found), "a word, and no stop");
        }
        self.compare_arguments(came, got, complete);
        self.compare_notes(came, got);
        self.compare_tokens(came, got, end);
    }

    fn check_hidden(&self, place: &Place, text: &str) {
        assert!(!self.hides() || self.list.find(text).is_empty(), "{place:?} shows a word: {text:?}");
    }

    fn compare_arguments(&self, came: &Answer, got: &Answer, complete: bool) {
        for (place, calls) in &got.arguments {
            for call in calls {
                let (stretches, _) = arguments::read(call).expect("no deeper than what came");
                stretches.iter().filter_map(Stretch::text).for_each(|text| self.check_hidden(place, text));
            }
            assert!(came.arguments.contains_key(place), "arguments of nobody: {place:?}");
        }
        for (place, calls) in &came.arguments {
            let got = got.arguments.get(place).map(|calls| calls.concat()).unwrap_or_default();
            let stretches: Option<Vec<_>> = calls.iter().map(|call| arguments::read(call)).collect();
            let Some(stretches) = stretches else {
                assert!(!complete, "arguments that are too deep");
                continue;
            };
            let stretches: Vec<Stretch> =
                stretches.into_iter().flat_map(|(stretches, _)| stretches).collect();
            match arguments::fit(&stretches, &|text| self.released(text), &got) {
                Fit::All => {}
                Fit::Beginning if !complete => {}
                _ => panic!("{place:?}: {calls:?} became {got:?} "),
            }
        }
    }

    /// The stretches of a text that links edit.
    fn edits(&self, came: &Answer, place: Place) -> Vec<Range<usize>> {
        let text = came.texts.get(&place).filter(|_| self.masks());
        let found = text.map(|text| self.list.find(text)).unwrap_or_default();
        found.iter().map(|found| found.start as usize..found.end as usize).collect()
    }

    /// What is true of a text as it came is not said of one that was edited.
    fn compare_notes(&self, came: &Answer, got: &Answer) {
        let true_still = came
            .notes
            .iter()
            .filter(|(place, end, _)| self.edits(came, *place).iter().all(|edit| edit.start >= *end));
        let shown = |(place, end, _): &&(Place, usize, Json)| {
            !self.blocks() || *end <= got.texts.get(place).map_or(0, String::len)
        };
        let mut notes: Vec<_> = true_still.filter(shown).map(|(place, _, what)| (place, what)).collect();
        for (place, _, what) in &got.notes {
            let at = notes.iter().position(|known| *known == (place, what));
            notes.swap_remove(at.unwrap_or_else(|| panic!("not true of {place:?}: {what:?}")));
        }
    }

    /// Tokens leave with their text, and none of what was edited.
    fn compare_tokens(&self, came: &Answer, got: &Answer, end: &End) {
        let complete = *end == End::Complete;
        assert!(!got.others, "tokens that no link has seen");
        let places: BTreeSet<Place> =
            came.tokens.iter().chain(&got.tokens).map(|token| token.place).collect();
        for place in places {
            let edits = self.edits(came, place);
            // What was released and not sent goes with an answer that fails; a token that does not fit may show it.
            let texts = if *end == End::Stopped { &got.texts } else { &came.texts };
            let length = texts.get(&place).map_or(0, String::len);
            let leaves = came.tokens.iter().filter(|token| {
                let edited = |edit: &Range<usize>| edit.start < token.end && token.start < edit.end;
                token.place == place && token.fits && token.end <= length && !edits.iter().any(edited)
            });
            let leaves: Vec<&Token> = leaves.collect();
            let all = complete && self.only_looks() && came.kept.iter().all(|kept| !kept.parted);
            let mut rest = leaves.iter();
            // One that was ahead goes where its frame could not wait for it.
            let may_go = |token: &&Token| !all || token.ahead;
            for token in got.tokens.iter().filter(|token| token.place == place) {
                let known = rest.find(|known| known.entry == token.entry || !may_go(known));
                assert!(
                    known.is_some_and(|known| known.entry == token.entry),
                    "{token:?} is not of {leaves:#?}"
                );
            }
            assert!(rest.all(may_go), "more of {leaves:#?}");
        }
    }

    /// What no link touches leaves byte for byte, but for log probabilities. A block that ends within a character
    /// waits for the next one with its text, and those between go first.
    fn compare_kept(&self, came: &Answer, got: &Answer, end: &End) {
        if !self.only_looks() || came.kept.iter().any(|kept| kept.parted) {
            return;
        }
        let of = |kept: &[Kept], place: &Place| -> Vec<String> {
            let of = kept.iter().filter(|kept| !kept.bare && kept.places.contains(place));
            of.map(|kept| kept.says.clone()).collect()
        };
        let sorted = |kept: &[Kept]| -> Vec<String> {
            let mut all: Vec<_> =
                kept.iter().filter(|kept| !kept.bare).map(|kept| kept.says.clone()).collect();
            all.sort();
            all
        };
        for place in came.kept.iter().flat_map(|kept| &kept.places) {
            let (came, got) = (of(&came.kept, place), of(&got.kept, place));
            assert!(came.starts_with(&got), "untouched: {came:#?}\n{got:#?}");
        }
        let (mut missing, got) = (sorted(&came.kept), sorted(&got.kept));
        for says in &got {
            let at = missing.iter().position(|known| known == says);
            missing.swap_remove(at.unwrap_or_else(|| panic!("touched: {says}")));
        }
        assert!(*end != End::Complete || missing.is_empty(), "all of it: {missing:#?}");
    }
}
