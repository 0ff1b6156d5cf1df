//! Case folding, one character to one.

/// Folds the case of one character: Unicode 16's simple case folding (statuses C and S of `CaseFolding.txt`).
///
/// Idempotent. The folded character may take another number of UTF-8 bytes: the Kelvin sign (three bytes)
/// folds to `k`. Characters whose only folding is longer (`İ`) or language-dependent stay as they are.
///
/// # Examples
///
/// ```
/// use rust_proxy_mask::simple_fold;
///
/// assert_eq!(simple_fold('Ä'), 'ä');
/// assert_eq!(simple_fold('\u{212a}'), 'k');
/// assert_eq!(simple_fold('Ａ'), 'ａ');
/// assert_eq!(simple_fold('密'), '密');
/// ```
#[inline]
pub fn simple_fold(c: char) -> char {
    match c {
        '\0'..='\x7f' => c.to_ascii_lowercase(),
        // Most text that is not ASCII is here (CJK, kana): no case, so no search. A test holds the bounds.
        '\u{2d2e}'..='\u{a63f}' => c,
        _ => {
            unicode_case_mapping::case_folded(c).and_then(|folded| char::from_u32(folded.get())).unwrap_or(c)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::simple_fold;

    #[test]
    fn every_character_folds_as_unicode_says_and_only_once() {
        for c in '\0'..=char::MAX {
            let table = unicode_case_mapping::case_folded(c)
                .and_then(|folded| char::from_u32(folded.get()))
                .unwrap_or(c);
            assert_eq!(simple_fold(c), table, "{c:?}");
            assert_eq!(simple_fold(table), table, "{c:?}");
        }
    }
}
