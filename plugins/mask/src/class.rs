//! Which characters make words, and which are not seen.

use std::ops::RangeInclusive;

use unicode_normalization::char::is_combining_mark;

/// Characters without a width, which may hide between the letters of a word.
///
/// Unicode's `Default_Ignorable_Code_Point` (`DerivedCoreProperties.txt`), without the Hangul fillers (they
/// have a width), the tags U+E0000 to U+E007F (flags are spelled with them) and what is not assigned.
///
/// # Examples
///
/// ```
/// assert!(rust_proxy_mask::ZERO_WIDTH.iter().any(|range| range.contains(&'\u{200b}')));
/// ```
pub const ZERO_WIDTH: &[RangeInclusive<char>] = &[
    '\u{ad}'..='\u{ad}',       // soft hyphen
    '\u{34f}'..='\u{34f}',     // combining grapheme joiner
    '\u{61c}'..='\u{61c}',     // Arabic letter mark
    '\u{17b4}'..='\u{17b5}',   // Khmer inherent vowels
    '\u{180b}'..='\u{180f}',   // Mongolian variation selectors and vowel separator
    '\u{200b}'..='\u{200f}',   // zero-width space, non-joiner, joiner, direction marks
    '\u{202a}'..='\u{202e}',   // embedded directions
    '\u{2060}'..='\u{2064}',   // word joiner, invisible operators
    '\u{2066}'..='\u{206f}',   // isolated directions, deprecated format characters
    '\u{fe00}'..='\u{fe0f}',   // variation selectors
    '\u{feff}'..='\u{feff}',   // zero-width no-break space, the byte order mark
    '\u{1bca0}'..='\u{1bca3}', // shorthand format controls
    '\u{1d173}'..='\u{1d17a}', // musical format controls
    '\u{e0100}'..='\u{e01ef}', // more variation selectors
];

/// Scripts that write on without a space between words, by block: there a neighbour says nothing about where a
/// word ends. Unicode's line breaking (UAX #14) has them as the classes ID, CJ and SA; Hangul has spaces.
const UNSPACED: &[RangeInclusive<char>] = &[
    '\u{e00}'..='\u{eff}',     // Thai, Lao
    '\u{1000}'..='\u{109f}',   // Myanmar
    '\u{1780}'..='\u{17ff}',   // Khmer
    '\u{1950}'..='\u{19ff}',   // Tai Le, New Tai Lue, Khmer symbols
    '\u{1a20}'..='\u{1aaf}',   // Tai Tham
    '\u{1b00}'..='\u{1b7f}',   // Balinese
    '\u{2e80}'..='\u{2fff}',   // CJK radicals
    '\u{3000}'..='\u{312f}',   // CJK marks, kana, Bopomofo
    '\u{31a0}'..='\u{31ff}',   // more Bopomofo, strokes, kana
    '\u{3400}'..='\u{4dbf}',   // Han
    '\u{4e00}'..='\u{a4cf}',   // Han, Yi
    '\u{a980}'..='\u{a9ff}',   // Javanese, more Myanmar
    '\u{aa60}'..='\u{aadf}',   // more Myanmar, Tai Viet
    '\u{f900}'..='\u{faff}',   // Han
    '\u{ff66}'..='\u{ff9f}',   // half-width kana
    '\u{11700}'..='\u{1174f}', // Ahom
    '\u{16fe0}'..='\u{18d8f}', // Tangut, Khitan
    '\u{1aff0}'..='\u{1b2ff}', // more kana, Nushu
    '\u{20000}'..='\u{3ffff}', // Han
];

/// Whether `c` is one of [`ZERO_WIDTH`].
pub(crate) fn is_zero_width(c: char) -> bool {
    ZERO_WIDTH.iter().any(|range| range.contains(&c))
}

/// Whether `c` is a word character: a letter, a number, a combining mark or `_`, of a script with spaces.
pub(crate) fn is_word(c: char) -> bool {
    if c.is_ascii() {
        return c == '_' || c.is_ascii_alphanumeric();
    }
    (c.is_alphanumeric() || is_combining_mark(c))
        && !UNSPACED.iter().any(|range| range.contains(&c))
        && !is_zero_width(c)
}

#[cfg(test)]
mod tests {
    use super::is_word;

    #[test]
    fn letters_numbers_and_marks_of_scripts_with_spaces_make_words() {
        for c in "aZ09_éßяשعक가ㅏＡ０ªⅷ\u{301}\u{1ab0}\u{20dd}𝒜".chars() {
            assert!(is_word(c), "{c:?}");
        }
        for c in
            " -.'$\0密々〇あアｱーｰ\u{3099}ﾞกກကក\u{1b05}\u{11700}\u{200b}\u{fe0f}\u{34f}👍🏽，。\u{20000}".chars()
        {
            assert!(!is_word(c), "{c:?}");
        }
    }
}
