//! The automaton. Node numbers come from the builder and stay within the tables.
#![expect(
    clippy::indexing_slicing,
    reason = "node, word and join numbers are the builder's and lie within their tables"
)]

use crate::{
    letters::{Reading, Symbol},
    sparse::Sparse,
};

pub(crate) const ROOT: u32 = 0;

/// How words are compared with text.
///
/// # Examples
///
/// ```
/// use rust_proxy_mask::{Matcher, Options};
///
/// let count = |options, text| {
///     let mut count = 0;
///     Matcher::new(&["Word"], options).unwrap().find(text, |_| count += 1);
///     count
/// };
/// let text = "word Word Ｗord W\u{200b}ord";
/// assert_eq!(count(Options::default(), text), 4);
/// assert_eq!(count(Options { case_sensitive: true, ..Options::default() }, text), 3);
/// assert_eq!(count(Options { width_sensitive: true, ..Options::default() }, text), 3);
/// assert_eq!(count(Options { zero_width_max: 0, ..Options::default() }, text), 3);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Compare characters as they are, instead of folding their case first. Off by default.
    pub case_sensitive: bool,
    /// Tell full-width and half-width forms from the ordinary ones. Off by default.
    pub width_sensitive: bool,
    /// How many characters of [`ZERO_WIDTH`](crate::ZERO_WIDTH) in a row are looked through: they count as not
    /// there. With 0 they are characters like others.
    ///
    /// By default 4: emoji need two (a variation selector and a joiner), text that hides words mostly has
    /// one, and what the reader waits for stays short.
    pub zero_width_max: u8,
}

impl Default for Options {
    fn default() -> Self {
        Self { case_sensitive: false, width_sensitive: false, zero_width_max: 4 }
    }
}

/// Words, some of which are searched for differently.
///
/// # Examples
///
/// ```
/// use rust_proxy_mask::{List, Matcher, Options};
///
/// let lists = [List { words: &["art"], whole_words: true }, List { words: &["key"], whole_words: false }];
/// let matcher = Matcher::of_lists(&lists, Options::default())?;
/// let mut found = Vec::new();
/// matcher.find("party monkey, art", |m| found.push((m.list, m.word, m.start)));
/// assert_eq!(found, [(1, 0, 9), (0, 0, 14)]);
/// # Ok::<(), rust_proxy_mask::BuildError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct List<'a, W> {
    /// The words.
    pub words: &'a [W],
    /// Find no word inside of a longer one: at neither of its edges may two word characters stand side by side.
    ///
    /// Word characters are letters, numbers, combining marks and `_`, except those of scripts without spaces
    /// between words (Han, kana, Thai, …). So `art` is not in `party`, but `密码` is in `改密码` and in `a密码b`.
    pub whole_words: bool,
}

/// Word lists, ready for searching. Shared by any number of [`Scanner`](crate::Scanner)s.
///
/// Built by [`Matcher::new`]; the module documentation has the algorithm.
#[derive(Clone)]
pub struct Matcher {
    pub(crate) reading: Reading,
    /// The first child of each node. Nodes are numbered breadth-first, so that the children of one are neighbours; one
    /// more than there are nodes, so that the children of each end where those of the one after it begin.
    pub(crate) children: Vec<u32>,
    /// The symbol that leads to each node; sorted among siblings.
    pub(crate) labels: Vec<Symbol>,
    /// The first node of each depth from 1 on. While the tries grow, as many as the parent at work is deep.
    pub(crate) levels: Vec<u32>,
    /// What follows once the text of a node is settled.
    pub(crate) settled: Sparse<Settled>,
    pub(crate) words: Vec<Word>,
    pub(crate) joins: Vec<Join>,
    /// Where a word begins.
    pub(crate) root: RootEdges,
    /// Where a word begins between two word characters: without those that are to be found whole.
    pub(crate) inside: RootEdges,
    /// The number of words up to the end of each list.
    pub(crate) lists: Vec<u32>,
}

/// What follows once a node's text is settled, since no longer word is there. By default the search begins anew, as it
/// does behind most nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Settled {
    /// Where it goes on; always nearer to the root.
    pub(crate) next: u32,
    /// The matches that are certain by then.
    pub(crate) emit: Emit,
}

/// A word: its place among those of all lists, and its length.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Word {
    pub(crate) index: u32,
    pub(crate) symbols: u32,
    /// The symbols without marks.
    pub(crate) letters: u32,
}

/// A list of matches in four bytes: the kind in the upper two bits. By default none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Emit(u32);

/// What an [`Emit`] stands for.
pub(crate) enum Matches {
    /// None. Carries the next node on the way to the root that has any (or the root).
    None(u32),
    /// One word, at the beginning of the node's text.
    Word(u32),
    /// Two lists, one after the other.
    Join(u32),
}

impl Emit {
    /// Tables longer than this are refused by the builder.
    pub(crate) const MAX: u32 = (1 << 30) - 1;

    pub(crate) const fn none(then: u32) -> Self {
        Self(then)
    }

    pub(crate) const fn word(word: u32) -> Self {
        Self(1 << 30 | word)
    }

    pub(crate) const fn join(join: u32) -> Self {
        Self(2 << 30 | join)
    }

    pub(crate) const fn is_none(self) -> bool {
        self.0 <= Self::MAX
    }

    pub(crate) const fn matches(self) -> Matches {
        let value = self.0 & Self::MAX;
        match self.0 >> 30 {
            0 => Matches::None(value),
            1 => Matches::Word(value),
            _ => Matches::Join(value),
        }
    }
}

/// The matches of `before`, then those of the nodes from `from` along `next` while deeper than `stop`.
///
/// The list of a node is that of its parent and what its own character settled behind; sharing the parent's
/// keeps the tables linear.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Join {
    pub(crate) before: Emit,
    pub(crate) from: u32,
    pub(crate) stop: u32,
    /// The depth at which the texts of `from` and its successors end.
    pub(crate) end: u32,
}

/// The root's edges: most characters of most texts are looked up here, and the root may have thousands.
#[derive(Clone)]
pub(crate) struct RootEdges {
    /// By byte, upper case too where case is folded; `ROOT` where there is no edge.
    ascii: [u32; 128],
    /// Open addressing, at most half full; `ROOT` marks a free place.
    wide: Vec<(Symbol, u32)>,
    shift: u32,
}

impl RootEdges {
    pub(crate) fn new(edges: &[(Symbol, u32)], case_sensitive: bool) -> Self {
        let mut ascii = [ROOT; 128];
        let size = (edges.len() * 2).next_power_of_two().max(2);
        let mut root = Self { ascii, wide: vec![(0, ROOT); size], shift: 32 - size.trailing_zeros() };
        for &(c, node) in edges {
            match u8::try_from(c) {
                Ok(byte) if byte.is_ascii() => {
                    ascii[usize::from(byte)] = node;
                    if !case_sensitive {
                        ascii[usize::from(byte.to_ascii_uppercase())] = node;
                    }
                }
                _ => {
                    let place = root.place(c);
                    root.wide[place] = (c, node);
                }
            }
        }
        root.ascii = ascii;
        root
    }

    /// Where `c` is, or the free place where it would be.
    fn place(&self, c: Symbol) -> usize {
        // Fibonacci hashing: the upper bits of the product are the well mixed ones.
        let mut place = (c.wrapping_mul(0x9e37_79b9) >> self.shift) as usize;
        while self.wide[place].1 != ROOT && self.wide[place].0 != c {
            place = (place + 1) & (self.wide.len() - 1);
        }
        place
    }

    fn child(&self, c: Symbol) -> u32 {
        match self.ascii.get(c as usize) {
            Some(node) => *node,
            None => self.wide[self.place(c)].1,
        }
    }
}

impl Matcher {
    /// Finds all matches of a text that is complete, in order.
    ///
    /// # Examples
    ///
    /// ```
    /// use rust_proxy_mask::{Matcher, Options};
    ///
    /// let matcher = Matcher::new(&["ab", "abc", "cd"], Options::default())?;
    /// let mut words = Vec::new();
    /// matcher.find("abcd ab", |found| words.push(found.word));
    /// assert_eq!(words, [1, 0]);
    /// # Ok::<(), rust_proxy_mask::BuildError>(())
    /// ```
    pub fn find(&self, text: &str, found: impl FnMut(crate::Match)) {
        crate::Scanner::new().push(self, text, true, found);
    }

    #[inline]
    pub(crate) fn settled(&self, node: u32) -> Settled {
        self.settled.get(node)
    }

    /// Symbols from the root.
    #[inline]
    pub(crate) fn depth(&self, node: u32) -> u32 {
        // Most searches go on from the root.
        if node == ROOT { 0 } else { self.levels.partition_point(|first| *first <= node) as u32 }
    }

    pub(crate) fn word(&self, word: u32) -> Word {
        self.words[word as usize]
    }

    pub(crate) fn join(&self, join: u32) -> Join {
        self.joins[join as usize]
    }

    #[inline]
    pub(crate) fn is_leaf(&self, node: u32) -> bool {
        self.children[node as usize] == self.children[node as usize + 1]
    }

    /// The list and the place in it of a word by its place among those of all lists.
    pub(crate) fn place(&self, index: u32) -> (u32, u32) {
        let list = self.lists.partition_point(|end| *end <= index);
        let before = list.checked_sub(1).map_or(0, |before| self.lists[before]);
        (list as u32, index - before)
    }

    /// The child of `node` by a symbol; `inside` if that is a letter between two word characters.
    #[inline]
    pub(crate) fn child(&self, node: u32, c: Symbol, inside: bool) -> Option<u32> {
        if node == ROOT {
            let child = if inside { &self.inside } else { &self.root }.child(c);
            return (child != ROOT).then_some(child);
        }
        let first = self.children[node as usize];
        let labels = &self.labels[first as usize..self.children[node as usize + 1] as usize];
        let place = if labels.len() <= 8 {
            labels.iter().position(|label| *label == c)
        } else {
            labels.binary_search(&c).ok()
        };
        place.map(|place| first + place as u32)
    }

    /// The number of bytes at the beginning of `text` that are ASCII and begin no word.
    #[inline]
    pub(crate) fn plain(&self, text: &str) -> usize {
        let plain = |byte: &&u8| self.root.ascii.get(usize::from(**byte)) == Some(&ROOT);
        text.as_bytes().iter().take_while(plain).count()
    }

    /// `node`, or the next one on its way to the root that has matches to report.
    pub(crate) fn emitting(&self, node: u32) -> u32 {
        match self.settled(node).emit.matches() {
            Matches::None(then) => then,
            Matches::Word(_) | Matches::Join(_) => node,
        }
    }
}

impl std::fmt::Debug for Matcher {
    /// Sizes only: the words themselves do not belong into a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Matcher")
            .field("options", &self.reading.options)
            .field("words", &self.words.len())
            .field("nodes", &self.labels.len())
            .finish_non_exhaustive()
    }
}
