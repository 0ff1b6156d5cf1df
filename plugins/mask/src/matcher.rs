//! The automaton. Node numbers come from the builder and stay within `nodes`.
#![expect(
    clippy::indexing_slicing,
    reason = "node, word and join numbers are the builder's and lie within their tables"
)]

use crate::fold::simple_fold;

pub(crate) const ROOT: u32 = 0;

/// How words are compared with text.
///
/// # Examples
///
/// ```
/// use rust_proxy_mask::{Matcher, Options};
///
/// let exact = Matcher::new(&["Word"], Options { case_sensitive: true })?;
/// let mut count = 0;
/// exact.find("word Word", |_| count += 1);
/// assert_eq!(count, 1);
/// # Ok::<(), rust_proxy_mask::BuildError>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Compare characters as they are, instead of folding their case first. Off by default.
    pub case_sensitive: bool,
}

/// A word list, ready for searching. Shared by any number of [`Scanner`](crate::Scanner)s.
///
/// Built by [`Matcher::new`]; the module documentation has the algorithm.
pub struct Matcher {
    pub(crate) case_sensitive: bool,
    /// Breadth-first, so that the children of a node are neighbours; one more than there are nodes, so that
    /// the children of each end where those of the one after it begin.
    pub(crate) nodes: Vec<Node>,
    /// The character that leads to each node; sorted among siblings.
    pub(crate) labels: Vec<char>,
    pub(crate) words: Vec<Word>,
    pub(crate) joins: Vec<Join>,
    pub(crate) root: RootEdges,
}

/// One distinct beginning of a word.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Node {
    /// The first child.
    pub(crate) first: u32,
    /// Where the search goes on once this node's text is settled; always nearer to the root.
    pub(crate) next: u32,
    /// The matches that are certain by then.
    pub(crate) emit: Emit,
    /// Characters from the root.
    pub(crate) depth: u32,
}

/// A word: its place in the caller's list, and its length in characters.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Word {
    pub(crate) index: u32,
    pub(crate) chars: u32,
}

/// A list of matches in four bytes: the kind in the upper two bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
pub(crate) struct RootEdges {
    /// By byte, upper case too where case is folded; `ROOT` where there is no edge.
    ascii: [u32; 128],
    /// Open addressing, at most half full; `ROOT` marks a free place.
    wide: Vec<(char, u32)>,
    shift: u32,
}

impl RootEdges {
    pub(crate) fn new(edges: &[(char, u32)], case_sensitive: bool) -> Self {
        let mut ascii = [ROOT; 128];
        let size = (edges.len() * 2).next_power_of_two().max(2);
        let mut root = Self { ascii, wide: vec![('\0', ROOT); size], shift: 32 - size.trailing_zeros() };
        for &(c, node) in edges {
            if c.is_ascii() {
                ascii[c as usize] = node;
                if !case_sensitive {
                    ascii[c.to_ascii_uppercase() as usize] = node;
                }
            } else {
                let place = root.place(c);
                root.wide[place] = (c, node);
            }
        }
        root.ascii = ascii;
        root
    }

    /// Where `c` is, or the free place where it would be.
    fn place(&self, c: char) -> usize {
        // Fibonacci hashing: the upper bits of the product are the well mixed ones.
        let mut place = ((c as u32).wrapping_mul(0x9e37_79b9) >> self.shift) as usize;
        while self.wide[place].1 != ROOT && self.wide[place].0 != c {
            place = (place + 1) & (self.wide.len() - 1);
        }
        place
    }

    fn child(&self, c: char) -> u32 {
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
    pub(crate) fn fold(&self, c: char) -> char {
        if self.case_sensitive { c } else { simple_fold(c) }
    }

    #[inline]
    pub(crate) fn node(&self, node: u32) -> Node {
        self.nodes[node as usize]
    }

    pub(crate) fn word(&self, word: u32) -> Word {
        self.words[word as usize]
    }

    pub(crate) fn join(&self, join: u32) -> Join {
        self.joins[join as usize]
    }

    #[inline]
    pub(crate) fn is_leaf(&self, node: u32) -> bool {
        self.nodes[node as usize].first == self.nodes[node as usize + 1].first
    }

    /// The child of `node` by a folded character.
    #[inline]
    pub(crate) fn child(&self, node: u32, c: char) -> Option<u32> {
        if node == ROOT {
            let child = self.root.child(c);
            return (child != ROOT).then_some(child);
        }
        let first = self.nodes[node as usize].first;
        let labels = &self.labels[first as usize..self.nodes[node as usize + 1].first as usize];
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
        match self.node(node).emit.matches() {
            Matches::None(then) => then,
            Matches::Word(_) | Matches::Join(_) => node,
        }
    }
}

impl std::fmt::Debug for Matcher {
    /// Sizes only: the words themselves do not belong into a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Matcher")
            .field("case_sensitive", &self.case_sensitive)
            .field("words", &self.words.len())
            .field("nodes", &self.labels.len())
            .finish_non_exhaustive()
    }
}
