//! ③ Which pages a text names.
//!
//! In bare text a URL ends where ASCII ends: Chinese and Japanese write on without a space, and browsers copy URLs
//! in their ASCII form. Between `<>` and in a Markdown link the end is marked, so other characters may be in it.

use std::ops::Range;

use linkify::{LinkFinder, LinkKind};
use url::Url;

/// A URL in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) url: Url,
    pub(crate) span: Range<usize>,
}

/// The `http` and `https` URLs of a text, in order, fragments left out. URLs with a user or password are not found:
/// what they are for is not ours to send.
pub(crate) fn urls(text: &str) -> impl Iterator<Item = Found> {
    let mut searched = 0;
    text.match_indices("://").filter_map(move |(at, _)| {
        let start = at - scheme(text.get(searched..at)?)?;
        let span = start..marked_end(text, start).or_else(|| bare_end(text, start))?;
        let url = fetchable(Url::parse(text.get(span.clone())?).ok()?)?;
        searched = span.end;
        Some(Found { url, span })
    })
}

/// The length of the scheme that a text ends with.
fn scheme(before: &str) -> Option<usize> {
    let word = before.len() - before.bytes().rev().take_while(u8::is_ascii_alphanumeric).count();
    let word = before.get(word..)?;
    ["http", "https"].iter().any(|scheme| word.eq_ignore_ascii_case(scheme)).then_some(word.len())
}

/// Where a URL in prose ends.
fn bare_end(text: &str, start: usize) -> Option<usize> {
    let rest = text.get(start..)?;
    let ascii = rest.get(..rest.find(|c: char| !c.is_ascii()).unwrap_or(rest.len()))?;
    let mut finder = LinkFinder::new();
    let link = finder.kinds(&[LinkKind::Url]).links(ascii).next()?;
    (link.start() == 0).then_some(start + link.end())
}

/// The URL without its fragment, if it is one of the web and has no credentials.
pub(crate) fn fetchable(mut url: Url) -> Option<Url> {
    url.set_fragment(None);
    let plain = url.username().is_empty() && url.password().is_none() && url.has_host();
    (plain && matches!(url.scheme(), "http" | "https")).then_some(url)
}

/// Where a URL ends that begins behind `<` or `](`.
fn marked_end(text: &str, start: usize) -> Option<usize> {
    let (before, after) = text.split_at_checked(start)?;
    let mut depth = 0_u32;
    let end = |c: char| match c {
        '(' => {
            depth += 1;
            false
        }
        ')' if depth > 0 => {
            depth -= 1;
            false
        }
        _ => c == ')',
    };
    let length = if before.ends_with('<') {
        after.find('>')
    } else if before.ends_with("](") {
        // A title may follow: `[text](url "title")`.
        after
            .find(end)
            .map(|length| after.find(char::is_whitespace).map_or(length, |space| space.min(length)))
    } else {
        None
    }?;
    let url = after.get(..length)?;
    (!url.contains(|c: char| c.is_whitespace() || c == '<')).then_some(start + length)
}

#[cfg(test)]
mod tests {
    use super::urls;

    fn check(text: &str, expected: &[&str]) {
        let found: Vec<_> = urls(text).map(|found| found.url.to_string()).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn urls_end_where_a_reader_ends_them() {
        check("see https://a.example/x.", &["https://a.example/x"]);
        check("(https://a.example/x), \"http://b.example\"!", &["https://a.example/x", "http://b.example/"]);
        check("https://a.example/Rust_(language)?q=1,2;", &["https://a.example/Rust_(language)?q=1,2"]);
        check(
            "**https://a.example/x** `https://b.example/y`",
            &["https://a.example/x", "https://b.example/y"],
        );
        check("https://a.example/x#part", &["https://a.example/x"]);
        check("HTTPS://A.Example/X", &["https://a.example/X"]);
        check(
            "| https://a.example |\n- http://127.0.0.1:8787/p\n",
            &["https://a.example/", "http://127.0.0.1:8787/p"],
        );
        check("https://a.example/x...", &["https://a.example/x"]);
        check("no.example, ftp://a.example, mailto:a@b.example, https://", &[]);
        check("https://user:secret@a.example/ https://user@a.example/", &[]);
    }

    #[test]
    fn chinese_text_may_follow_at_once() {
        check("请看https://a.example/x这篇文章", &["https://a.example/x"]);
        check(
            "《https://a.example/x》，还有https://b.example/?q=1。谢谢",
            &["https://a.example/x", "https://b.example/?q=1"],
        );
        check("（https://a.example/x）", &["https://a.example/x"]);
    }

    #[test]
    fn marked_ends_allow_other_characters() {
        check("<https://zh.example/茶>好", &["https://zh.example/%E8%8C%B6"]);
        check("[茶](https://zh.example/茶_(饮料))好", &["https://zh.example/%E8%8C%B6_(%E9%A5%AE%E6%96%99)"]);
        check("[a](https://a.example/x \"title\") b", &["https://a.example/x"]);
        check("[https://a.example/x](https://a.example/x)", &["https://a.example/x"; 2]);
        check("[a](https://a.example/x without an end", &["https://a.example/x"]);
        check("<https://a.example/x y>", &["https://a.example/x"]);
        check("<https://例子.example/>", &["https://xn--fsqu00a.example/"]);
    }
}
