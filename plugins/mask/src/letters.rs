//! From characters to the symbols that the automaton reads.
//!
//! A letter is a symbol, folded. Three things that are not characters are symbols too, so that the automaton
//! needs to know nothing of them, and words and texts are read by the same code:
//!
//! - [`END`] stands behind a word character that no word character follows. A word that is to be found whole
//!   ends with it. (That it begins well is known when it begins: the automaton has two roots.)
//! - [`PLAIN`], [`VOICED`] or [`HALF_VOICED`] stands behind each katakana that has a voiced form, because
//!   half-width text writes one letter as two characters: `ガ` and `ｶﾞ` are both カ and [`VOICED`], `カ` is カ
//!   and [`PLAIN`].
//!
//! Characters without a width are not read at all where they are looked through.

use crate::{
    class::{is_word, is_zero_width},
    fold::{simple_fold, width_fold},
    matcher::Options,
};

/// A folded character, or one of the marks.
pub(crate) type Symbol = u32;

/// A run of word characters ends.
pub(crate) const END: Symbol = char::MAX as u32 + 1;
/// The katakana before it is not voiced.
pub(crate) const PLAIN: Symbol = END + 1;
/// The katakana before it is voiced.
pub(crate) const VOICED: Symbol = END + 2;
/// The katakana before it is half-voiced.
pub(crate) const HALF_VOICED: Symbol = END + 3;

/// How text is read for a set of word lists.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    pub(crate) options: Options,
    /// Some word is to be found whole, so [`END`] is read.
    pub(crate) ends: bool,
    /// Some word has a katakana with a voiced form, so the marks of kana are read.
    pub(crate) kana: bool,
}

impl Reading {
    /// `c`, folded; none if it is looked through.
    #[inline]
    pub(crate) fn letter(&self, c: char) -> Option<char> {
        let Options { case_sensitive, width_sensitive, zero_width_max } = self.options;
        match c {
            // Most text is in these two. A test holds the bounds.
            '\0'..='\x7f' if case_sensitive => Some(c),
            '\0'..='\x7f' => Some(c.to_ascii_lowercase()),
            '\u{3001}'..='\u{a63f}' => Some(c),
            _ if zero_width_max > 0 && is_zero_width(c) => None,
            _ => {
                let c = if width_sensitive { c } else { width_fold(c) };
                Some(if case_sensitive { c } else { simple_fold(c) })
            }
        }
    }

    /// Whether marks are read at all; without them a letter says nothing about the next one.
    pub(crate) const fn has_marks(&self) -> bool {
        self.ends || self.kana
    }
}

/// What a letter says about the next one.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Before {
    /// Nothing.
    #[default]
    Nothing,
    /// It is a word character: if the next one is not, a run of them ends here.
    Word,
    /// It is a half-width katakana: the next character may be its sound mark.
    Kana(char),
}

/// The symbols of one character.
#[derive(Debug)]
pub(crate) struct Read {
    /// The mark of the letter before, decided by this character.
    pub(crate) before: Option<Symbol>,
    pub(crate) letter: Symbol,
    /// The mark of the letter itself.
    pub(crate) behind: Option<Symbol>,
    /// It stands between word characters: a word that is to be found whole does not begin here.
    pub(crate) inside: bool,
}

impl Before {
    /// Reads the next character; `letter` is what it folds to.
    pub(crate) fn read(&mut self, reading: &Reading, c: char, letter: char) -> Read {
        let before = std::mem::take(self);
        if let Self::Kana(base) = before
            && let Some(mark) = sound_mark(base, c)
        {
            return Read { before: None, letter: mark, behind: None, inside: false };
        }
        let word = reading.ends && is_word(letter);
        let closing = if word && before == Self::Word { None } else { before.end() };
        let mut read = Read {
            before: closing,
            letter: letter as Symbol,
            behind: None,
            inside: word && before == Self::Word,
        };
        if word {
            *self = Self::Word;
        } else if reading.kana
            && let Some((base, mark)) = parts(letter)
        {
            read.letter = base as Symbol;
            if matches!(c, '\u{ff66}'..='\u{ff9d}') {
                *self = Self::Kana(base);
            } else {
                read.behind = Some(mark);
            }
        }
        read
    }

    /// The mark of the letter before, if nothing follows it.
    pub(crate) const fn end(self) -> Option<Symbol> {
        match self {
            Self::Nothing => None,
            Self::Word => Some(END),
            Self::Kana(_) => Some(PLAIN),
        }
    }
}

/// The mark that the half-width character `c` puts behind the katakana `base`.
const fn sound_mark(base: char, c: char) -> Option<Symbol> {
    match (c, base) {
        ('ﾞ', _) => Some(VOICED),
        ('ﾟ', 'ハ' | 'ヒ' | 'フ' | 'ヘ' | 'ホ') => Some(HALF_VOICED),
        _ => None,
    }
}

/// A katakana that has a half-width form and a voiced one, or is the voiced one: the letter and its mark.
pub(crate) fn parts(c: char) -> Option<(char, Symbol)> {
    // Unicode has the voiced letters right behind the plain ones.
    let behind = |n| (n, [PLAIN, VOICED].get(n as usize).copied().unwrap_or(HALF_VOICED));
    let n = c as u32;
    let (back, mark) = match c {
        'ウ' | 'ワ' | 'ヲ' => (0, PLAIN),
        // Except for these.
        'ヴ' => ('ヴ' as u32 - 'ウ' as u32, VOICED),
        'ヷ' | 'ヺ' => ('ヷ' as u32 - 'ワ' as u32, VOICED),
        'カ'..='ヂ' => behind((n - 'カ' as u32) % 2),
        'ツ'..='ド' => behind((n - 'ツ' as u32) % 2),
        'ハ'..='ポ' => behind((n - 'ハ' as u32) % 3),
        _ => return None,
    };
    char::from_u32(n - back).map(|base| (base, mark))
}

#[cfg(test)]
mod tests {
    use unicode_normalization::UnicodeNormalization;

    use super::{HALF_VOICED, PLAIN, Reading, VOICED, parts, sound_mark};
    use crate::{Options, class::is_zero_width, simple_fold, width_fold};

    #[test]
    fn every_character_is_folded_in_width_and_then_in_case() {
        let reading = Reading { options: Options::default(), ends: false, kana: false };
        // No character of the planes between is folded or left out.
        for c in ('\0'..='\u{1ffff}').chain('\u{e0000}'..='\u{e0fff}') {
            let folded = simple_fold(width_fold(c));
            assert_eq!(reading.letter(c), (!is_zero_width(c)).then_some(folded), "{c:?}");
        }
    }

    #[test]
    fn each_half_width_pair_is_the_letter_that_unicode_composes() {
        let mut pairs = 0;
        for half in 'ｦ'..='ﾝ' {
            let base = width_fold(half);
            for (half_mark, mark) in [('ﾞ', VOICED), ('ﾟ', HALF_VOICED)] {
                let composed: Vec<char> = [half, half_mark].into_iter().nfkc().collect();
                let voiced = composed.len() == 1;
                pairs += usize::from(voiced);
                let ours = parts(base).and_then(|_| sound_mark(base, half_mark));
                assert_eq!(ours, voiced.then_some(mark), "{half}{half_mark}");
                if voiced {
                    assert_eq!(parts(base), Some((base, PLAIN)));
                    assert_eq!(parts(composed[0]), Some((base, mark)));
                }
            }
        }
        assert_eq!(pairs, 28);
        // No letter but these has parts.
        assert_eq!(('\0'..='\u{ffff}').filter(|c| parts(*c).is_some()).count(), 28 + 23);
    }
}
