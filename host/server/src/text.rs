//! Text that others wrote, made fit for a log line or an error message.

/// At most `max` bytes of a text, cut at a character; a cut shows as `…`.
pub(crate) fn cut(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(max);
    let mut short = text.get(..end).unwrap_or_default().to_owned();
    short.push('…');
    short
}

/// A text on one line: control characters, with which a log line could be forged, become spaces.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_at_a_character() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "abc…");
        assert_eq!(cut("a\u{e9}b", 2), "a…");
    }

    #[test]
    fn control_characters_become_spaces() {
        assert_eq!(one_line("a\r\nb\u{1b}[31m"), "a  b [31m");
    }
}
