//! The search for words in text that comes in pieces, against a search by definition.

use rust_proxy_mask::{Match, Matcher, Options, Scanner, simple_fold};

use crate::source::{Source, split};

/// The most words of a list.
const WORDS_MAX: usize = 16;

/// A word per line, a blank line, and a text.
///
/// # Panics
/// If pieces find other words than the definition finds in the whole text, or if more or less text is kept back
/// than what can still be part of one.
pub fn check(input: &[u8]) {
    let (text, mut choices) = split(input);
    let text = String::from_utf8_lossy(text);
    let (words, text) = text.split_once("\n\n").unwrap_or((&text, ""));
    let words: Vec<&str> = words.lines().filter(|word| !word.is_empty()).take(WORDS_MAX).collect();
    let rules = Rules::choose(&mut choices);
    let Some(list) = List::new(&words, rules) else {
        assert!(words.is_empty(), "a list of words is taken");
        return;
    };
    let expected = list.find(text);
    let mut found = Vec::new();
    list.matcher.find(text, |word| found.push(word));
    assert_eq!(found, expected, "{words:?} in {text:?}");
    found.clear();

    let mut scanner = Scanner::new();
    let (mut from, mut free) = (0, 0);
    for piece in pieces(&choices, text) {
        let before = found.len();
        let kept = scanner.push(&list.matcher, piece, false, |word| found.push(word));
        from += piece.len();
        let kept = kept.map_or(from, |kept| kept as usize);
        assert!(kept >= free && kept <= from, "{kept} lies within {free}..={from}");
        assert!(
            found[before..].iter().all(|word| word.start as usize >= free),
            "no match begins in what was free"
        );
        assert!(found.iter().all(|word| word.end as usize <= kept), "no match ends in what is kept");
        assert!(list.may_grow(&text[kept..from]), "{:?} is kept of {words:?}", &text[kept..from]);
        free = kept;
    }
    assert_eq!(scanner.push(&list.matcher, "", true, |word| found.push(word)), None, "the end frees all");
    assert_eq!(found, expected, "{words:?} in {text:?}");
}

/// How words are compared; all that knows the matcher's options is here.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rules {
    case_sensitive: bool,
}

impl Rules {
    fn choose(choices: &mut Source<'_>) -> Self {
        Self { case_sensitive: choices.below(2) == 1 }
    }

    fn options(self) -> Options {
        Options { case_sensitive: self.case_sensitive, width_sensitive: true, zero_width_max: 0 }
    }

    fn fold(self, text: &str) -> Vec<char> {
        text.chars().map(|c| if self.case_sensitive { c } else { simple_fold(c) }).collect()
    }
}

/// A word list.
#[derive(Debug)]
pub(crate) struct List {
    pub(crate) matcher: Matcher,
    rules: Rules,
    /// As they are compared.
    words: Vec<Vec<char>>,
}

impl List {
    /// `None` for a list that is refused.
    pub(crate) fn new(words: &[&str], rules: Rules) -> Option<Self> {
        let matcher = Matcher::new(words, rules.options()).ok()?;
        Some(Self { matcher, rules, words: words.iter().map(|word| rules.fold(word)).collect() })
    }

    /// The words in a whole text, leftmost-longest by definition: at each place in turn, the longest word that
    /// stands there; of equal ones, the first.
    pub(crate) fn find(&self, text: &str) -> Vec<Match> {
        let chars = self.rules.fold(text);
        let mut places: Vec<u32> = text.char_indices().map(|(at, _)| at as u32).collect();
        places.push(text.len() as u32);
        let (mut found, mut at) = (Vec::new(), 0);
        while at < chars.len() {
            let here = self.words.iter().enumerate().filter(|(_, word)| chars[at..].starts_with(word));
            let longest = here.reduce(|best, other| if other.1.len() > best.1.len() { other } else { best });
            let Some((word, length)) = longest.map(|(word, chars)| (word as u32, chars.len())) else {
                at += 1;
                continue;
            };
            let (start, end) = (places[at], places[at + length]);
            found.push(Match { start, end, list: 0, word, chars: length as u32 });
            at += length;
        }
        found
    }

    /// Whether a text that is kept back may become (more of) a word.
    fn may_grow(&self, kept: &str) -> bool {
        let kept = self.rules.fold(kept);
        kept.is_empty() || self.words.iter().any(|word| word.len() > kept.len() && word.starts_with(&kept))
    }
}

/// Cuts a text as [`Source::cut`] would, between characters.
fn pieces<'a>(choices: &Source<'_>, text: &'a str) -> Vec<&'a str> {
    let mut pieces = Vec::new();
    let (mut from, mut to) = (0, 0);
    for piece in choices.cut(text.as_bytes()) {
        to += piece.len();
        if text.is_char_boundary(to) {
            pieces.push(&text[from..to]);
            from = to;
        }
    }
    pieces
}
