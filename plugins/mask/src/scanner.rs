//! One text on its way through the automaton.

use std::collections::VecDeque;

use crate::matcher::{Emit, Matcher, Matches, ROOT};

/// A word that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match {
    /// Its first byte, counted from the beginning of the text.
    pub start: u32,
    /// The byte after its last one.
    pub end: u32,
    /// The word: its place in the list that the matcher was built from.
    pub word: u32,
    /// Its length in characters.
    pub chars: u32,
}

/// The place of one text in the search; `size_of` plus a byte per character that is kept back.
///
/// Use one per text, always with the same [`Matcher`].
#[derive(Debug, Clone, Default)]
pub struct Scanner {
    node: u32,
    /// Where the text that is kept back begins.
    start: u32,
    /// The UTF-8 lengths of its characters: the path of `node`.
    kept: VecDeque<u8>,
    /// Work of [`Scanner::settle`]; kept for its allocation.
    stack: Vec<Step>,
}

/// What remains to be reported; offsets in characters from the first kept one.
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
    /// assert_eq!(found, Some(Match { start: 1, end: 3, word: 0, chars: 2 }));
    /// # Ok::<(), rust_proxy_mask::BuildError>(())
    /// ```
    pub fn push(
        &mut self,
        matcher: &Matcher,
        text: &str,
        last: bool,
        mut found: impl FnMut(Match),
    ) -> Option<u32> {
        let mut rest = text;
        loop {
            if self.node == ROOT {
                let (plain, behind) = rest.split_at(matcher.plain(rest));
                self.start += plain.len() as u32;
                rest = behind;
            }
            let mut chars = rest.chars();
            let Some(c) = chars.next() else { break };
            rest = chars.as_str();
            self.step(matcher, matcher.fold(c), c.len_utf8() as u8, &mut found);
        }
        while last && self.node != ROOT {
            self.settle(matcher, &mut found);
        }
        (self.node != ROOT).then_some(self.start)
    }

    fn step(&mut self, matcher: &Matcher, c: char, bytes: u8, found: &mut impl FnMut(Match)) {
        loop {
            if let Some(child) = matcher.child(self.node, c) {
                self.kept.push_back(bytes);
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
    fn settle(&mut self, matcher: &Matcher, found: &mut impl FnMut(Match)) {
        let node = matcher.node(self.node);
        // Characters that were let go since the call began.
        let mut gone = 0;
        self.stack.push(Step::List(node.emit, 0));
        while let Some(step) = self.stack.pop() {
            match step {
                Step::List(emit, at) => match emit.matches() {
                    Matches::None(_) => {}
                    Matches::Word(word) => {
                        let word = matcher.word(word);
                        self.release(at - gone);
                        let start = self.start;
                        self.release(word.chars);
                        gone = at + word.chars;
                        found(Match { start, end: self.start, word: word.index, chars: word.chars });
                    }
                    Matches::Join(join) => {
                        let join = matcher.join(join);
                        let end = at + join.end;
                        self.stack.push(Step::Chain { node: join.from, stop: join.stop, end });
                        self.stack.push(Step::List(join.before, at));
                    }
                },
                Step::Chain { node, stop, end } => {
                    let link = matcher.node(node);
                    if link.depth > stop {
                        let next = matcher.emitting(link.next);
                        self.stack.push(Step::Chain { node: next, stop, end });
                        self.stack.push(Step::List(link.emit, end - link.depth));
                    }
                }
            }
        }
        self.node = node.next;
        self.release(node.depth - gone - matcher.node(node.next).depth);
    }

    fn release(&mut self, chars: u32) {
        self.start += self.kept.drain(..chars as usize).map(u32::from).sum::<u32>();
    }
}
