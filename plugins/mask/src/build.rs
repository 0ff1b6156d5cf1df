//! From word lists to the automaton.
#![expect(clippy::indexing_slicing, reason = "spans lie within `symbols`, ranges within `spans`")]

use std::ops::Range;

use crate::{
    class::is_word,
    fold::width_fold,
    letters::{Before, END, Reading, Symbol, parts},
    matcher::{Emit, Join, List, Matcher, Node, Options, ROOT, RootEdges, Word},
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

/// The symbols of all words.
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

    /// Builds the automaton of several lists, which are searched as one: leftmost, then longest, then first list.
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
            nodes: Vec::new(),
            labels: Vec::new(),
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

    /// Lays out the tries, breadth first, and settles each node as it is made: all that `settle` looks at is
    /// nearer to the root, so it is complete. The words from `outside` on are those of the root `inside`.
    fn grow(&mut self, arena: &Arena, spans: &[Span], outside: usize) {
        let (first, second) = spans.split_at(outside);
        // The root, and the end behind the last node. Growing step by step would touch twice the memory, and
        // in a plugin a first touch costs more than a node.
        let size = nodes(arena, first) + nodes(arena, second) + 2;
        self.nodes.reserve_exact(size);
        self.labels.reserve_exact(size);
        // The words below each node: neighbours, because they are sorted; the node's own word comes first.
        let mut below = Vec::with_capacity(size);
        below.push(0..0);
        self.nodes.push(Node { first: 1, next: ROOT, emit: Emit::none(ROOT), depth: 0 });
        self.labels.push(0);
        self.root = self.begin(arena, spans, 0..first.len() as u32, &mut below);
        self.inside = self.begin(arena, spans, first.len() as u32..spans.len() as u32, &mut below);
        let mut parent = 1;
        while parent < self.nodes.len() {
            self.nodes[parent].first = self.nodes.len() as u32;
            let range = below[parent].clone();
            self.branch(arena, spans, parent as u32, range, &mut below);
            parent += 1;
        }
        let first = self.nodes.len() as u32;
        self.nodes.push(Node { first, next: ROOT, emit: Emit::none(ROOT), depth: 0 });
    }

    /// The edges of a root.
    fn begin(
        &mut self,
        arena: &Arena,
        spans: &[Span],
        words: Range<u32>,
        below: &mut Vec<Range<u32>>,
    ) -> RootEdges {
        let first = self.nodes.len();
        self.branch(arena, spans, ROOT, words, below);
        let edges: Vec<_> = self.labels.iter().copied().zip(0..).skip(first).collect();
        RootEdges::new(&edges, self.reading.options.case_sensitive)
    }

    /// The children of `parent`.
    fn branch(
        &mut self,
        arena: &Arena,
        spans: &[Span],
        parent: u32,
        words: Range<u32>,
        below: &mut Vec<Range<u32>>,
    ) {
        let (mut low, high) = (words.start as usize, words.end as usize);
        let depth = self.node(parent).depth;
        let own = spans[low..high].first().filter(|span| span.symbols == depth).map(|span| span.index);
        low += usize::from(own.is_some());
        while low < high {
            let label = arena[(spans[low].start + depth) as usize];
            let same = |span: &Span| arena[(span.start + depth) as usize] == label;
            let end = low + spans[low..high].iter().take_while(|span| same(span)).count();
            let mut word = Some(spans[low]).filter(|span| span.symbols == depth + 1).map(|span| span.index);
            // The same text, whole: if that is the later word, it is never the one that counts.
            if label == END && own < word && own.is_some() {
                word = None;
                low += 1;
            }
            if low < end {
                let node = self.settle(parent, label, word.map(|_| low as u32));
                self.nodes.push(node);
                self.labels.push(label);
                below.push(low as u32..end as u32);
            }
            low = end;
        }
    }

    /// The new child of `parent`: what becomes certain when its text is settled, and where to go on.
    fn settle(&mut self, parent: u32, label: Symbol, word: Option<u32>) -> Node {
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
        let word = |symbol| self.reading.ends && char::from_u32(symbol).is_some_and(is_word);
        let inside = word(label) && word(self.labels[parent as usize]);
        let mut stop = from;
        node.next = loop {
            if let Some(child) = self.child(stop, label, inside) {
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

/// How many nodes sorted words take: one for each symbol that a word does not share with the one before it.
fn nodes(arena: &Arena, spans: &[Span]) -> usize {
    let shared = |pair: &[Span]| {
        let [a, b] = [pair[0].of(arena), pair[1].of(arena)];
        a.iter().zip(b).take_while(|(a, b)| a == b).count()
    };
    let all: usize = spans.iter().map(|span| span.symbols as usize).sum();
    all - spans.windows(2).map(shared).sum::<usize>()
}
