//! What stands in a text, by definition: letters as they are compared, and each word tried at each of them.

use std::ops::RangeInclusive;

use rust_proxy_mask::{Match, Options, ZERO_WIDTH, simple_fold, width_fold};

/// A word of a list.
#[derive(Debug)]
pub(super) struct Word {
    pub(super) letters: Vec<char>,
    pub(super) whole: bool,
    pub(super) list: u32,
    pub(super) word: u32,
}

/// Whether a word stands at a place of a text that may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stands {
    /// However the text goes on, it does not.
    Never,
    /// That is up to what follows.
    Maybe,
    /// However the text goes on, it does.
    Surely,
}

/// A text as it is compared with words.
#[derive(Debug)]
pub(super) struct Letters {
    options: Options,
    letters: Vec<Letter>,
    /// Zero-width characters behind the last letter.
    unseen: usize,
    /// The text's length.
    end: u32,
}

#[derive(Debug)]
struct Letter {
    folded: char,
    start: u32,
    end: u32,
    /// A half-width kana that the next character, a sound mark, would make another letter of.
    half: Option<char>,
    /// More zero-width characters than are looked through stand before it.
    apart: bool,
}

impl Letters {
    pub(super) fn of(text: &str, options: Options) -> Self {
        let mut letters = Self { options, letters: Vec::new(), unseen: 0, end: 0 };
        letters.read(text);
        letters
    }

    /// Adds text.
    pub(super) fn read(&mut self, text: &str) {
        for c in text.chars() {
            let start = self.end;
            self.end += c.len_utf8() as u32;
            if self.options.zero_width_max > 0 && within(c, ZERO_WIDTH) {
                self.unseen += 1;
                continue;
            }
            let apart = self.apart();
            self.unseen = 0;
            if let Some(letter) = self.letters.last_mut()
                && let Some(half) = letter.half.take()
                && let Some(composed) = composed(half, c).filter(|_| !apart)
            {
                letter.folded = composed;
                letter.end = self.end;
                continue;
            }
            let Options { case_sensitive, width_sensitive, .. } = self.options;
            let wide = if width_sensitive { c } else { width_fold(c) };
            let folded = if case_sensitive { wide } else { simple_fold(wide) };
            let half = Some(c).filter(|c| !width_sensitive && composed(*c, 'ﾞ').is_some());
            self.letters.push(Letter { folded, start, end: self.end, half, apart });
        }
    }

    /// Whether nothing that follows has to do with the last letter.
    fn apart(&self) -> bool {
        self.unseen > usize::from(self.options.zero_width_max)
    }

    pub(super) fn len(&self) -> usize {
        self.letters.len()
    }

    /// The length of the text in bytes.
    pub(super) fn end(&self) -> u32 {
        self.end
    }

    /// Where a letter begins; none for that behind the last one.
    pub(super) fn start(&self, at: usize) -> Option<u32> {
        self.letters.get(at).map(|letter| letter.start)
    }

    pub(super) fn folded(&self) -> Vec<char> {
        self.letters.iter().map(|letter| letter.folded).collect()
    }

    /// Whether this can be found as a word: it can be seen, and is looked through as a text would be.
    pub(super) fn can_be_found(&self) -> bool {
        !self.letters.is_empty() && !self.letters[1..].iter().any(|letter| letter.apart)
    }

    /// A word that stands here, as a match.
    pub(super) fn matched(&self, word: &Word, at: usize) -> Match {
        let chars = word.letters.len();
        Match {
            start: self.letters[at].start,
            end: self.letters[at + chars - 1].end,
            list: word.list,
            word: word.word,
            chars: chars as u32,
        }
    }

    /// Whether a word stands at a letter; `last` says that the text does not go on.
    pub(super) fn stands(&self, word: &Word, at: usize, last: bool) -> Stands {
        let open = !last && !self.apart();
        if word.whole && self.joined(at) {
            return Stands::Never;
        }
        let mut stands = Stands::Surely;
        for (place, c) in (at..).zip(&word.letters) {
            let Some(letter) = self.letters.get(place) else {
                return if open { Stands::Maybe } else { Stands::Never };
            };
            if place > at && letter.apart {
                return Stands::Never;
            }
            match letter.half.filter(|_| open && place + 1 == self.len()) {
                Some(half)
                    if letter.folded == *c || "ﾞﾟ".chars().any(|mark| composed(half, mark) == Some(*c)) =>
                {
                    stands = Stands::Maybe;
                }
                None if letter.folded == *c => {}
                _ => return Stands::Never,
            }
        }
        let end = at + word.letters.len();
        if word.whole && self.joined(end) {
            return Stands::Never;
        }
        if word.whole && open && end == self.len() && is_word(self.letters[end - 1].folded) {
            return Stands::Maybe;
        }
        stands
    }

    /// Whether a letter and the one before it are word characters side by side.
    fn joined(&self, at: usize) -> bool {
        let (Some(left), Some(right)) = (at.checked_sub(1), self.letters.get(at)) else { return false };
        !right.apart && is_word(right.folded) && is_word(self.letters[left].folded)
    }
}

/// The letter that a half-width kana and a sound mark are.
fn composed(half: char, mark: char) -> Option<char> {
    const KANA: &str = "ﾊﾋﾌﾍﾎｳｶｷｸｹｺｻｼｽｾｿﾀﾁﾂﾃﾄﾜｦ";
    const VOICED: &str = "バビブベボヴガギグゲゴザジズゼゾダヂヅデドヷヺ";
    const HALF_VOICED: &str = "パピプペポ";
    let place = KANA.chars().position(|kana| kana == half)?;
    match mark {
        'ﾞ' => VOICED.chars().nth(place),
        'ﾟ' => HALF_VOICED.chars().nth(place),
        _ => None,
    }
}

/// Scripts that write words side by side: Thai, Lao, Myanmar, Khmer, Tai, Balinese, Han, kana, Bopomofo, Yi,
/// Javanese, Ahom, Tangut, Khitan, Nushu.
const UNSPACED: &[RangeInclusive<char>] = &[
    '\u{e00}'..='\u{eff}',
    '\u{1000}'..='\u{109f}',
    '\u{1780}'..='\u{17ff}',
    '\u{1950}'..='\u{19ff}',
    '\u{1a20}'..='\u{1aad}',
    '\u{1b00}'..='\u{1b7f}',
    '\u{2e80}'..='\u{3130}',
    '\u{31a0}'..='\u{31ff}',
    '\u{3400}'..='\u{a4cf}',
    '\u{a980}'..='\u{a9ff}',
    '\u{aa60}'..='\u{aadf}',
    '\u{f900}'..='\u{faff}',
    'ｦ'..='ﾟ',
    '\u{11700}'..='\u{1174f}',
    '\u{16fe0}'..='\u{18d8f}',
    '\u{1aff0}'..='\u{1b2ff}',
    '\u{20000}'..='\u{3ffff}',
];

/// Combining marks that belong to no script.
const MARKS: &[RangeInclusive<char>] = &[
    '\u{300}'..='\u{34e}',
    '\u{350}'..='\u{36f}',
    '\u{1ab0}'..='\u{1ac0}',
    '\u{1dc0}'..='\u{1df9}',
    '\u{20d0}'..='\u{20f0}',
    '\u{fe20}'..='\u{fe2f}',
];

/// Where nothing is a combining mark.
const UNMARKED: &[RangeInclusive<char>] = &[
    '\0'..='\u{2ff}',
    '\u{2000}'..='\u{20cf}',
    '\u{2100}'..='\u{2bff}',
    '\u{3200}'..='\u{33ff}',
    '\u{fe30}'..='\u{feff}',
    '\u{ff00}'..='\u{ffff}',
    '\u{1f000}'..='\u{1faff}',
];

/// Whether a letter beside another such one is part of the same word.
fn is_word(c: char) -> bool {
    c == '_' || within(c, MARKS) || (c.is_alphanumeric() && !within(c, UNSPACED) && !within(c, ZERO_WIDTH))
}

/// Whether it is known of a character if it is a word character. Most scripts have marks of their own.
pub(super) fn is_known(c: char) -> bool {
    c.is_alphanumeric() || [MARKS, UNMARKED, UNSPACED, ZERO_WIDTH].iter().any(|ranges| within(c, ranges))
}

fn within(c: char, ranges: &[RangeInclusive<char>]) -> bool {
    ranges.iter().any(|range| range.contains(&c))
}
