//! Exact search for word lists in text that arrives in pieces.
//!
//! For every way of cutting a text into pieces, the matches that a [`Scanner`] reports are those of the whole
//! text: **leftmost-longest**, not overlapping. That is: of all words that occur, the one that begins first
//! counts; of those that begin there, the longest; of equal ones, that of the first list; and the search goes
//! on after its end. A word that is to be found whole ([`List::whole_words`]) occurs only where it is.
//!
//! After each piece the scanner says from where on text must be kept back. The answer is the smallest that is
//! right: the earliest place where a match may still begin, grow, or turn out not to be whole. A byte that no
//! continuation can make part of a match is free at once, and a match is reported with the piece that decides
//! it.
//!
//! What is equal is for finding only; a match is a span of the text as it came. [`Options`] has the choices:
//! case, width, and characters without a width, which are looked through.
//!
//! # Algorithm
//!
//! The words form a trie. Scanning is always at one node of it, whose path is exactly the text that is kept
//! back. A character that has an edge moves down. One that has none settles the text of the node: `next` is
//! the node to go on from, `emit` the list of the matches that thereby became certain. Both depend on the
//! node alone, so they are computed once, in breadth-first order, as Aho and Corasick compute failure links;
//! the difference is that a node below a word reports it and goes on *behind* it. A move down adds one
//! character to what is kept, `next` takes at least one away: the time is linear in text and matches, however
//! the words repeat within one another, with no second look at the text. (A node's depth is looked up among the
//! levels: that adds the logarithm of the longest word's length where a search does not begin anew.)
//!
//! Whole words change none of this, because where a run of word characters ends is read like a character
//! (`letters` has these marks), and a second root, for places inside of such a run, leads to the words that
//! may begin there. Both are there only if a list asks for them. A character that is looked through leaves
//! the search at its node, and counts to the letter before it; one too many ends the search there, as the end
//! of the text does.
//!
//! # Limits
//!
//! What is kept back is at most the longest word, with [`Options::zero_width_max`] characters behind each
//! letter; a scanner keeps four bytes per letter of it, and never text. A matcher takes about 8 bytes per trie
//! node, 8 more for one whose text holds a match or ends with the beginning of another word (16 more still for
//! some), and 12 per word. Lanes are shorter than 4 GiB. Case folding is Unicode's *simple* folding, one
//! character to one: `ẞ` equals `ß`, but not `ss`. Half-width kana with a mark (`ｶﾞ`) equal the letter (`ガ`);
//! nothing else is composed.
//!
//! # Examples
//!
//! ```
//! use rust_proxy_mask::{Matcher, Options, Scanner};
//!
//! let matcher = Matcher::new(&["secret", "secretary", "密码"], Options::default())?;
//! let mut scanner = Scanner::new();
//! let mut spans = Vec::new();
//!
//! // "secret" is found, but may become "secretary": it is kept, and what stands before it is free.
//! assert_eq!(scanner.push(&matcher, "my SECRET", false, |m| spans.push((m.start, m.end))), Some(3));
//! assert!(spans.is_empty());
//! // Now it is certain; "密" may become "密码".
//! assert_eq!(scanner.push(&matcher, " 密", false, |m| spans.push((m.start, m.end))), Some(10));
//! assert_eq!(spans, [(3, 9)]);
//! // The end of the text settles everything.
//! assert_eq!(scanner.push(&matcher, "", true, |m| spans.push((m.start, m.end))), None);
//! assert_eq!(spans, [(3, 9)]);
//! # Ok::<(), rust_proxy_mask::BuildError>(())
//! ```

mod build;
mod class;
mod fold;
mod letters;
mod matcher;
mod scanner;
mod sparse;

#[cfg(test)]
mod tests;

pub use build::BuildError;
pub use class::ZERO_WIDTH;
pub use fold::{simple_fold, width_fold};
pub use matcher::{List, Matcher, Options};
pub use scanner::{Match, Scanner};

/// What takes the place of a match.
///
/// # Examples
///
/// ```
/// use rust_proxy_mask::{Mask, Match};
///
/// let found = Match { start: 0, end: 6, list: 0, word: 0, chars: 2 };
/// assert_eq!(Mask::PerCharacter('*').text(&found), "**");
/// assert_eq!(Mask::Fixed("[removed]".to_owned()).text(&found), "[removed]");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mask {
    /// This character, once for each character of the word.
    PerCharacter(char),
    /// This text, once for the whole match.
    Fixed(String),
}

impl Mask {
    /// The text that takes the place of `found`.
    pub fn text(&self, found: &Match) -> String {
        match self {
            Self::PerCharacter(c) => std::iter::repeat_n(*c, found.chars as usize).collect(),
            Self::Fixed(text) => text.clone(),
        }
    }
}
