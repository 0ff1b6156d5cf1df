//! From a word list to the automaton.
#![expect(clippy::indexing_slicing, reason = "spans lie within `chars`, ranges within `spans`")]

use crate::matcher::{Emit, Join, Matcher, Node, Options, ROOT, RootEdges, Word};

/// Why a word list was refused. The author of the list can fix each of these.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The list has no word: a search that can never find anything.
    #[error("the word list is empty")]
    NoWords,
    /// A word has no characters, so it would match everywhere.
    #[error("word {index} of the list is empty")]
    EmptyWord {
        /// Its place in the list, from 0.
        index: usize,
    },
    /// The words have more than 2³⁰ characters together.
    #[error("the word list is too large")]
    TooLarge,
}

/// A folded word: its characters in the arena, and its place in the caller's list.
#[derive(Clone, Copy)]
struct Span {
    /// The first three characters, so that most comparisons need no look into the arena.
    key: u64,
    start: u32,
    chars: u32,
    index: u32,
}

impl Matcher {
    /// Builds the automaton: once per word list, in time linear in its size (and a sort).
    ///
    /// A word that is there twice (after folding) is reported under its first place.
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
    /// assert_eq!(refused.unwrap_err(), BuildError::EmptyWord { index: 1 });
    /// ```
    pub fn new<W: AsRef<str>>(words: &[W], options: Options) -> Result<Self, BuildError> {
        let mut matcher = Self {
            case_sensitive: options.case_sensitive,
            nodes: Vec::new(),
            labels: Vec::new(),
            words: Vec::new(),
            joins: Vec::new(),
            root: RootEdges::new(&[], true),
        };
        let (chars, spans) = matcher.sorted(words)?;
        matcher.words = spans.iter().map(|span| Word { index: span.index, chars: span.chars }).collect();
        matcher.grow(&chars, &spans);
        matcher.joins.shrink_to_fit();
        Ok(matcher)
    }

    /// The folded words in one arena, and their spans, sorted and each once.
    fn sorted<W: AsRef<str>>(&self, words: &[W]) -> Result<(Vec<char>, Vec<Span>), BuildError> {
        let mut chars = Vec::new();
        let mut spans = Vec::with_capacity(words.len());
        for (index, word) in words.iter().enumerate() {
            let start = chars.len();
            chars.extend(word.as_ref().chars().map(|c| self.fold(c)));
            if chars.len() == start {
                return Err(BuildError::EmptyWord { index });
            }
            // Every table is at most as long as the arena, so this one check covers all casts.
            if chars.len() >= Emit::MAX as usize {
                return Err(BuildError::TooLarge);
            }
            let (start, end) = (start as u32, chars.len() as u32);
            let key = |place| chars.get(start as usize + place).map_or(0, |c| u64::from(*c as u32));
            let key = key(0) << 42 | key(1) << 21 | key(2);
            spans.push(Span { key, start, chars: end - start, index: index as u32 });
        }
        if spans.is_empty() {
            return Err(BuildError::NoWords);
        }
        let text = |span: &Span| &chars[span.start as usize..][..span.chars as usize];
        spans.sort_unstable_by(|a, b| {
            a.key.cmp(&b.key).then_with(|| text(a).cmp(text(b))).then(a.index.cmp(&b.index))
        });
        spans.dedup_by(|later, first| text(later) == text(first));
        Ok((chars, spans))
    }

    /// Lays out the trie, breadth first, and settles each node as it is made: all that `settle` looks at is
    /// nearer to the root, so it is complete.
    fn grow(&mut self, chars: &[char], spans: &[Span]) {
        // Each word has a node for each character that it does not share with the word before it.
        let text = |span: &Span| &chars[span.start as usize..][..span.chars as usize];
        let shared =
            |pair: &[Span]| text(&pair[0]).iter().zip(text(&pair[1])).take_while(|(a, b)| a == b).count();
        let all: usize = spans.iter().map(|span| span.chars as usize).sum();
        // The root, and the end behind the last node. Growing step by step would touch twice the memory, and
        // in a plugin a first touch costs more than a node.
        let size = all - spans.windows(2).map(shared).sum::<usize>() + 2;
        self.nodes.reserve_exact(size);
        self.labels.reserve_exact(size);
        // The words below each node: neighbours, because they are sorted; the node's own word comes first.
        let mut below = Vec::with_capacity(size);
        below.push((0, spans.len() as u32));
        self.nodes.push(Node { first: 0, next: ROOT, emit: Emit::none(ROOT), depth: 0 });
        self.labels.push('\0');
        let mut parent = 0;
        while parent < self.nodes.len() {
            let (low, high) = below[parent];
            let (mut low, high) = (low as usize, high as usize);
            let depth = self.nodes[parent].depth;
            self.nodes[parent].first = self.nodes.len() as u32;
            if spans[low].chars == depth {
                low += 1;
            }
            while low < high {
                let label = chars[(spans[low].start + depth) as usize];
                let same = |span: &Span| chars[(span.start + depth) as usize] == label;
                let end = low + spans[low..high].iter().take_while(|span| same(span)).count();
                let word = (spans[low].chars == depth + 1).then_some(low as u32);
                let node = self.settle(parent as u32, label, word);
                self.nodes.push(node);
                self.labels.push(label);
                below.push((low as u32, end as u32));
                low = end;
            }
            if parent == 0 {
                let edges: Vec<_> = self.labels.iter().copied().zip(0..).skip(1).collect();
                self.root = RootEdges::new(&edges, self.case_sensitive);
            }
            parent += 1;
        }
        let first = self.nodes.len() as u32;
        self.nodes.push(Node { first, next: ROOT, emit: Emit::none(ROOT), depth: 0 });
    }

    /// The new child of `parent`: what becomes certain when its text is settled, and where to go on.
    fn settle(&mut self, parent: u32, label: char, word: Option<u32>) -> Node {
        let Node { next: from, emit: before, depth: end, .. } = self.node(parent);
        let mut node = Node { first: 0, next: ROOT, emit: Emit::none(ROOT), depth: end + 1 };
        if let Some(word) = word {
            // The longest match at this place: it covers the text, nothing remains behind it.
            node.emit = Emit::word(word);
            return node;
        }
        if parent == ROOT {
            return node;
        }
        // What the parent would go on from reads the label, as the scanner would.
        let mut stop = from;
        node.next = loop {
            if let Some(child) = self.child(stop, label) {
                break child;
            }
            if stop == ROOT {
                break ROOT;
            }
            stop = self.node(stop).next;
        };
        let stop = self.node(stop).depth;
        let first = self.emitting(from);
        node.emit = if self.node(first).depth > stop {
            self.joins.push(Join { before, from: first, stop, end });
            Emit::join(self.joins.len() as u32 - 1)
        } else if before.is_none() {
            Emit::none(self.emitting(node.next))
        } else {
            before
        };
        node
    }
}
