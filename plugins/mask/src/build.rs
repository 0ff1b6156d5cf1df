//! From word lists to the automaton: the words are read and sorted, then the tries grow from them.
#![expect(clippy::indexing_slicing, reason = "spans lie within the arena, their lists within `lists`")]

mod grow;

use crate::{
    class::is_word,
    fold::width_fold,
    letters::{Before, END, Reading, Symbol, parts},
    matcher::{Emit, List, Matcher, Options, RootEdges, Word},
    sparse::Sparse,
};

/// Why word lists were refused. Their author can fix each of these.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// No list has a word: a search that can never find anything.
    #[error("the word list is empty: write at least one word")]
    NoWords,
    /// A word has no characters, or only such that are looked through, so it would match everywhere.
    #[error("word {word} of list {list} has no character that can be seen: write one, or remove the word")]
    EmptyWord {
        /// The list, counted from 0.
        list: usize,
        /// The word's place in it, from 0.
        word: usize,
    },
    /// A word has more zero-width characters in a row than are looked through, so it would never be found.
    #[error(
        "word {word} of list {list} has more than {max} zero-width characters in a row: remove some, or allow more"
    )]
    ZeroWidth {
        /// The list, counted from 0.
        list: usize,
        /// The word's place in it, from 0.
        word: usize,
        /// [`Options::zero_width_max`].
        max: u8,
    },
    /// The words have more than 2³⁰ characters together.
    #[error("the word list is too large: write fewer words")]
    TooLarge,
}

/// The symbols of all words, one word after the other.
type Arena = Vec<Symbol>;

/// A word as it is read: its symbols in the arena, and its place among the words of all lists.
#[derive(Clone, Copy)]
struct Span {
    /// The first three symbols, so that most comparisons need no look into the arena.
    key: u64,
    start: u32,
    symbols: u32,
    index: u32,
}

impl Span {
    fn of<'a>(&self, arena: &'a Arena) -> &'a [Symbol] {
        &arena[self.start as usize..][..self.symbols as usize]
    }
}

impl Matcher {
    /// Builds the automaton of one list: once per list, in time linear in its size (and a sort).
    ///
    /// A word that is there twice (after folding) is reported under its first place. Zero-width characters of a
    /// word are dropped where they are looked through.
    ///
    /// # Errors
    ///
    /// [`BuildError`], if the list or one of its words is empty, or if it is too large.
    ///
    /// # Examples
    ///
    /// ```
    /// use rust_proxy_mask::{BuildError, Matcher, Options};
    ///
    /// let refused = Matcher::new(&["word", ""], Options::default());
    /// assert_eq!(refused.unwrap_err(), BuildError::EmptyWord { list: 0, word: 1 });
    /// ```
    pub fn new<W: AsRef<str>>(words: &[W], options: Options) -> Result<Self, BuildError> {
        Self::of_lists(&[List { words, whole_words: false }], options)
    }

    /// Builds the automaton of several lists, which are searched as one: leftmost, then longest, then first
    /// list.
    ///
    /// # Errors
    ///
    /// As [`Matcher::new`]; a list without words is fine beside others.
    ///
    /// # Examples
    ///
    /// See [`List`].
    pub fn of_lists<W: AsRef<str>>(lists: &[List<'_, W>], options: Options) -> Result<Self, BuildError> {
        let mut matcher = Self {
            reading: Reading {
                options,
                ends: lists.iter().any(|list| list.whole_words),
                kana: !options.width_sensitive && lists.iter().flat_map(|list| list.words).any(has_parts),
            },
            children: Vec::new(),
            labels: Vec::new(),
            levels: Vec::new(),
            settled: Sparse::default(),
            words: Vec::new(),
            joins: Vec::new(),
            root: RootEdges::new(&[], true),
            inside: RootEdges::new(&[], true),
            lists: Vec::with_capacity(lists.len()),
        };
        let (arena, mut spans) = matcher.read(lists)?;
        let text = |span: &Span| span.of(&arena);
        spans.sort_unstable_by(|a, b| {
            a.key.cmp(&b.key).then_with(|| text(a).cmp(text(b))).then(a.index.cmp(&b.index))
        });
        // Those that may begin between two word characters.
        let mut inside = if matcher.reading.ends { spans.clone() } else { Vec::new() };
        inside.retain(|span| {
            let whole = lists[matcher.place(span.index).0 as usize].whole_words;
            !whole || !char::from_u32(text(span)[0]).is_some_and(is_word)
        });
        for spans in [&mut spans, &mut inside] {
            spans.dedup_by(|later, first| text(later) == text(first));
        }
        let outside = spans.len();
        spans.extend(inside);
        let marks = |span: &Span| text(span).iter().filter(|symbol| **symbol >= END).count() as u32;
        let letters = |span: &Span| span.symbols - if matcher.reading.has_marks() { marks(span) } else { 0 };
        let word = |span: &Span| Word { index: span.index, symbols: span.symbols, letters: letters(span) };
        matcher.words = spans.iter().map(word).collect();
        matcher.grow(&arena, &spans, outside);
        matcher.joins.shrink_to_fit();
        matcher.levels.shrink_to_fit();
        matcher.settled.shrink_to_fit();
        Ok(matcher)
    }

    /// The words as they are read.
    fn read<W: AsRef<str>>(&mut self, lists: &[List<'_, W>]) -> Result<(Arena, Vec<Span>), BuildError> {
        let mut arena = Arena::new();
        let mut spans = Vec::with_capacity(lists.iter().map(|list| list.words.len()).sum());
        for (list, List { words, whole_words }) in lists.iter().enumerate() {
            for (word, text) in words.iter().enumerate() {
                let start = arena.len();
                if !self.read_word(text.as_ref(), *whole_words, &mut arena) {
                    let max = self.reading.options.zero_width_max;
                    return Err(BuildError::ZeroWidth { list, word, max });
                }
                if arena.len() == start {
                    return Err(BuildError::EmptyWord { list, word });
                }
                // Every table is at most twice as long as the arena, so this one check covers all casts.
                if arena.len() >= Emit::MAX as usize / 2 {
                    return Err(BuildError::TooLarge);
                }
                let symbols = &arena[start..];
                let key = |place| symbols.get(place).map_or(0, |symbol| u64::from(*symbol));
                spans.push(Span {
                    key: key(0) << 42 | key(1) << 21 | key(2),
                    start: start as u32,
                    symbols: symbols.len() as u32,
                    index: spans.len() as u32,
                });
            }
            self.lists.push(spans.len() as u32);
        }
        if spans.is_empty() { Err(BuildError::NoWords) } else { Ok((arena, spans)) }
    }

    /// Appends a word's symbols. Refuses more zero-width characters between letters than are looked through.
    fn read_word(&self, word: &str, whole: bool, arena: &mut Arena) -> bool {
        let reading = &self.reading;
        let start = arena.len();
        let mut before = Before::default();
        let mut skipped = 0;
        for c in word.chars() {
            let Some(letter) = reading.letter(c) else {
                skipped += 1;
                continue;
            };
            if skipped > usize::from(reading.options.zero_width_max) && arena.len() > start {
                return false;
            }
            skipped = 0;
            if reading.has_marks() {
                let read = before.read(reading, c, letter);
                arena.extend(read.before.into_iter().chain([read.letter]).chain(read.behind));
            } else {
                arena.push(letter as Symbol);
            }
        }
        // Where a word is found within longer ones, it is open what follows it; a kana must be complete.
        arena.extend(before.end().filter(|mark| whole || *mark != END));
        true
    }
}

/// Whether a word has a letter that half-width text may write as two characters, or the second of these.
fn has_parts<W: AsRef<str>>(word: &W) -> bool {
    word.as_ref().chars().any(|c| match c {
        '\u{3099}'..='ヿ' | 'ｦ'..='ﾟ' => {
            let letter = width_fold(c);
            matches!(letter, '\u{3099}' | '\u{309a}') || parts(letter).is_some()
        }
        _ => false,
    })
}
