//! The tries: one of all words, and one of those that may begin between two word characters.
#![expect(clippy::indexing_slicing, reason = "spans lie within the arena, ranges within `spans`")]

use std::ops::Range;

use super::{Arena, Span};
use crate::{
    class::is_word,
    letters::{END, Symbol},
    matcher::{Emit, Join, Matcher, ROOT, RootEdges, Settled},
};

/// The words, sorted, and what is known of the nodes beyond the automaton.
struct Layout<'a> {
    arena: &'a Arena,
    spans: &'a [Span],
    /// The words below each node: neighbours, because they are sorted; the node's own word comes first.
    below: Vec<Range<u32>>,
}

impl Matcher {
    /// Lays out the tries, breadth first, and settles each node as it is made: all that `settle` looks at is
    /// nearer to the root, so it is complete. The words from `outside` on are those of the root `inside`.
    pub(super) fn grow(&mut self, arena: &Arena, spans: &[Span], outside: usize) {
        let (first, second) = spans.split_at(outside);
        // The root, and the end behind the last node. Growing step by step would touch twice the memory, and
        // in a plugin a first touch costs more than a node.
        let size = nodes(arena, first) + nodes(arena, second) + 2;
        self.children.reserve_exact(size);
        self.labels.reserve_exact(size);
        self.settled.reserve(size);
        let mut layout = Layout { arena, spans, below: Vec::with_capacity(size) };
        layout.below.push(0..0);
        self.children.push(1);
        self.labels.push(0);
        self.settled.push(Settled::default());
        let (outside, all) = (first.len() as u32, spans.len() as u32);
        self.root = self.begin(0..outside, &mut layout);
        self.inside = self.begin(outside..all, &mut layout);
        let mut parent = 1;
        self.levels.push(1);
        let mut level_end = self.children.len();
        while parent < self.children.len() {
            if parent == level_end {
                self.levels.push(parent as u32);
                level_end = self.children.len();
            }
            self.children[parent] = self.children.len() as u32;
            let words = layout.below[parent].clone();
            self.branch(parent as u32, words, &mut layout);
            parent += 1;
        }
        self.children.push(self.children.len() as u32);
    }

    /// The edges of a root.
    fn begin(&mut self, words: Range<u32>, layout: &mut Layout<'_>) -> RootEdges {
        let first = self.children.len();
        self.branch(ROOT, words, layout);
        let edges: Vec<_> = self.labels.iter().copied().zip(0..).skip(first).collect();
        RootEdges::new(&edges, self.reading.options.case_sensitive)
    }

    /// The children of `parent`.
    fn branch(&mut self, parent: u32, words: Range<u32>, layout: &mut Layout<'_>) {
        let Layout { arena, spans, below } = layout;
        let (mut low, high) = (words.start as usize, words.end as usize);
        let depth = self.levels.len() as u32;
        let own = spans[low..high].first().filter(|span| span.symbols == depth).map(|span| span.index);
        low += usize::from(own.is_some());
        while low < high {
            let label = arena[(spans[low].start + depth) as usize];
            let same = |span: &Span| arena[(span.start + depth) as usize] == label;
            let end = low + spans[low..high].iter().take_while(|span| same(span)).count();
            let mut word = (spans[low].symbols == depth + 1).then_some(low as u32);
            // The same text, whole: if that is the later word, it is never the one that counts.
            if label == END && word.is_some() && own.is_some_and(|own| own < spans[low].index) {
                word = None;
                low += 1;
            }
            if low < end {
                let settled = self.settle(parent, label, word);
                self.settled.push(settled);
                self.children.push(0);
                self.labels.push(label);
                below.push(low as u32..end as u32);
            }
            low = end;
        }
    }

    /// The new child of `parent`: what becomes certain when its text is settled, and where to go on.
    fn settle(&mut self, parent: u32, label: Symbol, word: Option<u32>) -> Settled {
        if let Some(word) = word {
            // The longest match at this place: it covers the text, nothing remains behind it.
            return Settled { next: ROOT, emit: Emit::word(word) };
        }
        if parent == ROOT {
            return Settled::default();
        }
        let Settled { next: from, emit: before } = self.settled(parent);
        // What the parent would go on from reads the label, as the scanner would.
        let word = |symbol| self.reading.ends && char::from_u32(symbol).is_some_and(is_word);
        let inside = word(label) && word(self.labels[parent as usize]);
        let mut stop = from;
        let next = loop {
            if let Some(child) = self.child(stop, label, inside) {
                break child;
            }
            if stop == ROOT {
                break ROOT;
            }
            stop = self.settled(stop).next;
        };
        let stop = self.depth(stop);
        let first = self.emitting(from);
        let emit = if self.depth(first) > stop {
            self.joins.push(Join { before, from: first, stop, end: self.levels.len() as u32 });
            Emit::join(self.joins.len() as u32 - 1)
        } else if before.is_none() {
            Emit::none(self.emitting(next))
        } else {
            before
        };
        Settled { next, emit }
    }
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
