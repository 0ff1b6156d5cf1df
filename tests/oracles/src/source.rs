//! The fuzzer's bytes as choices.

/// The most places in which a text is cut: what a piece costs is most of what an input costs.
const PIECES_MAX: usize = 250;

/// Splits an input into its text and its choices.
pub(crate) fn split(input: &[u8]) -> (&[u8], Source<'_>) {
    match input.iter().rposition(|byte| *byte == 0xff) {
        Some(at) => (&input[..at], Source::new(&input[at + 1..])),
        None => (input, Source::new(&[])),
    }
}

/// Bytes that are read as choices, one byte a choice; each choice is the first one once they are used up.
#[derive(Debug, Clone)]
pub(crate) struct Source<'a> {
    rest: &'a [u8],
}

impl<'a> Source<'a> {
    pub(crate) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// A number below `bound`, which is at most 256.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let Some((first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        usize::from(*first) % bound
    }

    /// True once in `n` times.
    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    pub(crate) fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// Cuts `whole` into pieces of 1 to 64 bytes as the rest of the choices say, over and over; without choices
    /// into single bytes. After [`PIECES_MAX`] of them the rest is one piece.
    pub(crate) fn cut<'b>(&self, whole: &'b [u8]) -> Vec<&'b [u8]> {
        let lengths = if self.rest.is_empty() { &[0] } else { self.rest };
        let mut lengths = lengths.iter().cycle().map(|byte| usize::from(*byte) % 64 + 1);
        let mut pieces = Vec::new();
        let mut rest = whole;
        while !rest.is_empty() {
            let length = lengths.next().filter(|_| pieces.len() < PIECES_MAX).unwrap_or(rest.len());
            let (piece, behind) = rest.split_at(rest.len().min(length));
            pieces.push(piece);
            rest = behind;
        }
        pieces
    }
}
