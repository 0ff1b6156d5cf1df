//! ③ What users write, tidied.

use std::borrow::Cow;

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// Longest run of blank lines that is kept.
const BLANK_LINES: usize = 2;

/// The text in Unicode's form NFC, with `\n` line ends, no white space at the ends of lines and around the whole,
/// and at most two blank lines in a row.
pub(crate) fn normalize(text: &str) -> Cow<'_, str> {
    let composed = match is_nfc_quick(text.chars()) {
        IsNormalized::Yes => Cow::Borrowed(text),
        _ => Cow::Owned(text.nfc().collect()),
    };
    let mut tidy = String::with_capacity(composed.len());
    let mut blank = 0;
    for line in composed.lines().map(str::trim_end) {
        if line.is_empty() {
            blank += 1;
            continue;
        }
        if tidy.is_empty() {
            tidy.push_str(line.trim_start());
        } else {
            tidy.extend(std::iter::repeat_n('\n', blank.min(BLANK_LINES) + 1));
            tidy.push_str(line);
        }
        blank = 0;
    }
    if tidy == text { Cow::Borrowed(text) } else { Cow::Owned(tidy) }
}
