//! One text on its way through the automaton.

use std::collections::VecDeque;

use crate::{
    letters::{Before, Symbol},
    matcher::{Emit, Matcher, Matches, ROOT, Settled},
};

/// A word that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match {
    /// Its first byte, counted from the beginning of the text.
    pub start: u32,
    /// The byte after its last one.
    pub end: u32,
    /// The list of the word, counted from 0.
    pub list: u32,
    /// The word: its place in the list.
    pub word: u32,
    /// The word's length in characters, without those that are looked through.
    pub chars: u32,
}

/// The place of one text in the search; `size_of` plus four bytes per letter that is kept back.
///
/// Use one per text, always with the same [`Matcher`].
#[derive(Debug, Clone, Default)]
pub struct Scanner {
    node: u32,
    /// Where the text that is kept back begins.
    start: u32,
    /// Its symbols: the path of `node`.
    kept: VecDeque<Kept>,
    /// What the letter before says about the next one.
    before: Before,
    /// The number of characters that were looked through since.
    skipped: u16,
    /// Work of [`Scanner::report`]; kept for its allocation.
    stack: Vec<Step>,
}

/// Not a type parameter: matches are rare, and a plugin has the search in it once.
type Found<'a> = &'a mut dyn FnMut(Match);

/// One symbol's UTF-8 length, and that of what was looked through behind it.
#[derive(Debug, Clone, Copy)]
struct Kept {
    bytes: u8,
    skipped: u16,
}

/// What remains to be reported; offsets in symbols from the first kept one.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// A node's list, from its text's place on.
    List(Emit, u32),
    /// The lists of a node and its successors while deeper than `stop`; their texts all stop at `end`.
    Chain { node: u32, stop: u32, end: u32 },
}

impl Scanner {
    /// A scanner at the beginning of a text.
    ///
    /// # Examples
    ///
    /// ```
    /// use rust_proxy_mask::{Matcher, Options, Scanner};
    ///
    /// let matcher = Matcher::new(&["abc"], Options::default())?;
    /// assert_eq!(Scanner::new().push(&matcher, "xab", false, |_| ()), Some(1));
    /// # Ok::<(), rust_proxy_mask::BuildError>(())
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next piece of the text; `last` says that nothing follows.
    ///
    /// Called for each piece in order. Reports the matches that this piece decides, in order; each begins at
    /// or after the place that the call before returned. Returns the place from which on text must be kept
    /// back, or `None` if all of it is free. After `last`, the scanner is at the end of its text.
    ///
    /// # Examples
    ///
    /// ```
    /// use rust_proxy_mask::{Match, Matcher, Options, Scanner};
    ///
    /// let matcher = Matcher::new(&["ab", "abcd"], Options::default())?;
    /// let mut scanner = Scanner::new();
    /// assert_eq!(scanner.push(&matcher, "-abc", false, |_| ()), Some(1));
    /// let mut found = None;
    /// assert_eq!(scanner.push(&matcher, "-", false, |m| found = Some(m)), None);
    /// assert_eq!(found, Some(Match { start: 1, end: 3, list: 0, word: 0, chars: 2 }));
    /// # Ok::<(), rust_proxy_mask::BuildError>(())
    /// ```
    pub fn push(
        &mut self,
        matcher: &Matcher,
        text: &str,
        last: bool,
        mut found: impl FnMut(Match),
    ) -> Option<u32> {
        if matcher.reading.has_marks() {
            self.read::<true>(matcher, text, &mut found);
        } else {
            self.read::<false>(matcher, text, &mut found);
        }
        if last {
            self.end(matcher, &mut found);
        }
        (self.node != ROOT).then_some(self.start)
    }

    /// Reads a piece; most lists have no marks, and that much less work.
    fn read<const MARKS: bool>(&mut self, matcher: &Matcher, text: &str, found: Found<'_>) {
        let reading = &matcher.reading;
        let mut rest = text;
        loop {
            if self.node == ROOT {
                let (plain, behind) = rest.split_at(matcher.plain(rest));
                self.start += plain.len() as u32;
                if MARKS && let Some(letter) = plain.chars().next_back() {
                    self.skipped = 0;
                    self.before = Before::default();
                    self.before.read(reading, letter, letter);
                }
                rest = behind;
            }
            let mut chars = rest.chars();
            let Some(c) = chars.next() else { break };
            rest = chars.as_str();
            let bytes = c.len_utf8() as u8;
            let Some(letter) = reading.letter(c) else {
                self.skip(matcher, bytes, found);
                continue;
            };
            self.skipped = 0;
            if !MARKS {
                self.step(matcher, letter as Symbol, bytes, false, found);
                continue;
            }
            let read = self.before.read(reading, c, letter);
            for (symbol, bytes) in [(read.before, 0), (Some(read.letter), bytes), (read.behind, 0)] {
                if let Some(symbol) = symbol {
                    self.step(matcher, symbol, bytes, read.inside, found);
                }
            }
        }
    }

    /// Looks through a character. Past as many as are allowed nothing reaches.
    fn skip(&mut self, matcher: &Matcher, bytes: u8, found: Found<'_>) {
        self.skipped = self.skipped.saturating_add(1);
        if self.skipped > u16::from(matcher.reading.options.zero_width_max) {
            self.end(matcher, found);
        }
        match self.kept.back_mut() {
            Some(kept) => kept.skipped += u16::from(bytes),
            None => self.start += u32::from(bytes),
        }
    }

    /// Nothing follows: all that was read is settled.
    fn end(&mut self, matcher: &Matcher, found: Found<'_>) {
        if let Some(mark) = std::mem::take(&mut self.before).end() {
            self.step(matcher, mark, 0, false, found);
        }
        while self.node != ROOT {
            self.settle(matcher, found);
        }
    }

    #[inline]
    fn step(&mut self, matcher: &Matcher, c: Symbol, bytes: u8, inside: bool, found: Found<'_>) {
        loop {
            if let Some(child) = matcher.child(self.node, c, inside) {
                let mut kept = Kept { bytes, skipped: 0 };
                if bytes == 0
                    && let Some(letter) = self.kept.back_mut()
                {
                    // What was looked through stands behind a letter's mark, so that it ends no match.
                    kept.skipped = std::mem::take(&mut letter.skipped);
                }
                self.kept.push_back(kept);
                self.node = child;
                // A word that cannot grow is certain now, not with the next character.
                while self.node != ROOT && matcher.is_leaf(self.node) {
                    self.settle(matcher, found);
                }
                return;
            }
            if self.node == ROOT {
                self.start += u32::from(bytes);
                return;
            }
            self.settle(matcher, found);
        }
    }

    /// No match at `start` grows any more: reports what thereby is certain, and goes on behind it.
    #[inline]
    fn settle(&mut self, matcher: &Matcher, found: Found<'_>) {
        let Settled { next, emit } = matcher.settled(self.node);
        if !emit.is_none() {
            self.report(matcher, emit, found);
        }
        self.node = next;
        // What is kept is the path of a node.
        self.release(self.kept.len() as u32 - matcher.depth(next));
    }

    /// Reports a list of matches; lets the symbols go up to the end of the last one.
    fn report(&mut self, matcher: &Matcher, emit: Emit, found: Found<'_>) {
        let mut gone = 0;
        self.stack.push(Step::List(emit, 0));
        while let Some(step) = self.stack.pop() {
            match step {
                Step::List(emit, at) => match emit.matches() {
                    Matches::None(_) => {}
                    Matches::Word(word) => {
                        let word = matcher.word(word);
                        self.release(at - gone);
                        let start = self.start;
                        let end = self.release(word.symbols);
                        gone = at + word.symbols;
                        let (list, place) = matcher.place(word.index);
                        found(Match { start, end, list, word: place, chars: word.letters });
                    }
                    Matches::Join(join) => {
                        let join = matcher.join(join);
                        let end = at + join.end;
                        self.stack.push(Step::Chain { node: join.from, stop: join.stop, end });
                        self.stack.push(Step::List(join.before, at));
                    }
                },
                Step::Chain { node, stop, end } => {
                    let (link, depth) = (matcher.settled(node), matcher.depth(node));
                    if depth > stop {
                        let next = matcher.emitting(link.next);
                        self.stack.push(Step::Chain { node: next, stop, end });
                        self.stack.push(Step::List(link.emit, end - depth));
                    }
                }
            }
        }
    }

    /// Lets symbols go; returns the end of the last one, before what was looked through behind it.
    #[inline]
    fn release(&mut self, symbols: u32) -> u32 {
        let mut end = self.start;
        for kept in std::iter::from_fn(|| self.kept.pop_front()).take(symbols as usize) {
            end = self.start + u32::from(kept.bytes);
            self.start = end + u32::from(kept.skipped);
        }
        end
    }
}
