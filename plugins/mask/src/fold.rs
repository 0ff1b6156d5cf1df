//! Case and width folding, one character to one.

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

/// Folds the width of one character: full-width and half-width forms to the ordinary ones.
///
/// These are the `<wide>` and `<narrow>` decompositions of `UnicodeData.txt`: the block U+FF00 to U+FFEF, and
/// the ideographic space. Idempotent.
///
/// # Examples
///
/// ```
/// use rust_proxy_mask::width_fold;
///
/// assert_eq!(width_fold('Ａ'), 'A');
/// assert_eq!(width_fold('ｱ'), 'ア');
/// assert_eq!(width_fold('\u{3000}'), ' ');
/// assert_eq!(width_fold('密'), '密');
/// ```
#[inline]
pub fn width_fold(c: char) -> char {
    match c {
        '\u{3000}' => ' ',
        '\u{ff01}'..='\u{ffee}' => from_forms_block(c),
        _ => c,
    }
}

fn from_forms_block(c: char) -> char {
    /// U+FF61 to U+FF9F.
    const KANA: &str = "。「」、・ヲァィゥェォャュョッーアイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホマミムメモ\
                        ヤユヨラリルレロワン\u{3099}\u{309a}";
    let n = c as u32;
    let listed = |list: &str, first: u32| list.chars().nth((n - first) as usize);
    match n {
        0xff01..=0xff5e => char::from_u32(n - 0xff01 + 0x21),
        0xff5f..=0xff60 => listed("⦅⦆", 0xff5f),
        0xff61..=0xff9f => listed(KANA, 0xff61),
        0xffa0 => Some('\u{3164}'),
        0xffa1..=0xffbe => char::from_u32(n - 0xffa1 + 0x3131),
        0xffc2..=0xffc7 => char::from_u32(n - 0xffc2 + 0x314f),
        0xffca..=0xffcf => char::from_u32(n - 0xffca + 0x3155),
        0xffd2..=0xffd7 => char::from_u32(n - 0xffd2 + 0x315b),
        0xffda..=0xffdc => char::from_u32(n - 0xffda + 0x3161),
        0xffe0..=0xffe6 => listed("¢£¬¯¦¥₩", 0xffe0),
        0xffe8..=0xffee => listed("│←↑→↓■○", 0xffe8),
        _ => None,
    }
    .unwrap_or(c)
}

#[cfg(test)]
mod tests {
    use unicode_normalization::UnicodeNormalization;

    use super::{simple_fold, width_fold};

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

    #[test]
    fn every_width_folds_as_unicode_says_and_nothing_else_does() {
        for c in '\0'..='\u{1ffff}' {
            let form = matches!(c, '\u{3000}' | '\u{ff00}'..='\u{ffef}');
            // Full compatibility decomposition goes on where the width's ends: `￣` is `¯`, which is ` ̄`.
            let ours = width_fold(c);
            assert_eq!(ours.nfkd().to_string(), c.nfkd().to_string(), "{c:?}");
            assert_eq!(ours != c, form && c.nfkd().to_string() != c.to_string(), "{c:?}");
            assert_eq!(width_fold(ours), ours, "{c:?}");
        }
    }
}
