//! The search for words in text that comes in pieces, against a search by definition.

mod definition;

use rust_proxy_mask::{Match, Matcher, Options, Scanner};

use self::definition::{Letters, Stands, Word, is_known};
use crate::source::{Source, split};

/// The most words of all lists.
const WORDS_MAX: usize = 16;
const LISTS_MAX: usize = 3;
/// What stands in the place of `A` to `Z` where that is chosen: a change of one byte makes each of them.
const LETTERS: &str = "Ａａｂßẞ\u{212a}ſｶカガｽﾊハパﾞﾟ\u{3099}密\u{301}\u{200b}\u{ad}\u{fe0f}\u{3000}Éé👍";

/// A word per line, a blank line, and a text. Choices: the options, the lists that the words are dealt out to,
/// and where the text is cut; without them one list and the plugin's defaults.
///
/// # Panics
/// If pieces find other words than the definition finds in the whole text, or if more or less text is kept back
/// than continuations can change.
pub fn check(input: &[u8]) {
    let (text, mut choices) = split(input);
    let rules = Rules::choose(&mut choices);
    let text = spell(&String::from_utf8_lossy(text), choices.below(2) == 1);
    let (words, text) = text.split_once("\n\n").unwrap_or((&text, ""));
    let words: Vec<&str> = words.lines().filter(|word| rules.accepts(word)).take(WORDS_MAX).collect();
    let mut lists = vec![(Vec::new(), false); choices.below(LISTS_MAX) + 1];
    for (_, whole) in &mut lists {
        *whole = choices.below(2) == 1;
    }
    let count = lists.len();
    for (place, word) in words.iter().enumerate() {
        lists[place % count].0.push(*word);
    }
    let Some(list) = List::of(&lists, rules) else {
        assert!(words.is_empty(), "lists of words are taken");
        return;
    };
    let expected = list.find(text);
    let mut found = Vec::new();
    list.matcher.find(text, |word| found.push(word));
    assert_eq!(found, expected, "{lists:?} {rules:?} in {text:?}");
    for pieces in [pieces(&choices, text), pieces(&Source::new(&[]), text)] {
        let found = list.find_in(&pieces);
        assert_eq!(found, expected, "{lists:?} {rules:?} in {pieces:?}");
    }
}

/// The text without characters that the definition does not know.
fn spell(text: &str, letters: bool) -> String {
    let letter = |c: char| match c {
        'A'..='Z' if letters => LETTERS.chars().nth(c as usize - 'A' as usize).unwrap_or(c),
        _ if is_known(c) => c,
        _ => char::REPLACEMENT_CHARACTER,
    };
    text.chars().map(letter).collect()
}

/// How words are compared. By default exactly, but for case.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    options: Options,
}

impl Default for Rules {
    fn default() -> Self {
        Self { options: Options { case_sensitive: false, width_sensitive: true, zero_width_max: 0 } }
    }
}

impl Rules {
    fn choose(choices: &mut Source<'_>) -> Self {
        let options = Options {
            case_sensitive: choices.below(2) == 1,
            width_sensitive: choices.below(2) == 1,
            zero_width_max: choices.pick(&[4, 1, 0]),
        };
        Self { options }
    }

    /// Whether a word can be found at all; the matcher must say the same.
    fn accepts(self, word: &str) -> bool {
        let accepted = Letters::of(word, self.options).can_be_found();
        let built = Matcher::new(&[word], self.options);
        assert_eq!(built.is_ok(), accepted, "{word:?}: {built:?}");
        accepted
    }
}

/// Word lists that are searched as one.
#[derive(Debug)]
pub(crate) struct List {
    pub(crate) matcher: Matcher,
    rules: Rules,
    /// The one that counts before the others: the longest, then the first.
    words: Vec<Word>,
}

impl List {
    /// One list; `None` if it is refused.
    pub(crate) fn new(words: &[&str], rules: Rules) -> Option<Self> {
        Self::of(&[(words.to_vec(), false)], rules)
    }

    /// Lists, and whether the words of each are to be found whole.
    fn of(lists: &[(Vec<&str>, bool)], rules: Rules) -> Option<Self> {
        let given: Vec<_> = lists
            .iter()
            .map(|(words, whole_words)| rust_proxy_mask::List { words, whole_words: *whole_words })
            .collect();
        let matcher = Matcher::of_lists(&given, rules.options).ok()?;
        let mut words = Vec::new();
        for (list, (of_list, whole)) in (0..).zip(lists) {
            for (word, text) in (0..).zip(of_list) {
                let letters = Letters::of(text, rules.options).folded();
                words.push(Word { letters, whole: *whole, list, word });
            }
        }
        // A stable sort: of equal ones, the first stays before the others.
        words.sort_by_key(|word| std::cmp::Reverse(word.letters.len()));
        Some(Self { matcher, rules, words })
    }

    /// The words in a whole text, leftmost-longest by definition: at each place in turn, the longest word that
    /// stands there; of equal ones, the first.
    pub(crate) fn find(&self, text: &str) -> Vec<Match> {
        let mut found = Vec::new();
        self.settle(&Letters::of(text, self.rules.options), 0, true, &mut found);
        found
    }

    /// Goes through a text from a letter on while every continuation agrees on the word there; answers with the
    /// letter at which two differ.
    fn settle(&self, text: &Letters, mut at: usize, last: bool, found: &mut Vec<Match>) -> usize {
        while at < text.len() {
            let here = self.words.iter().map(|word| (word, text.stands(word, at, last)));
            match here.into_iter().find(|(_, stands)| *stands != Stands::Never) {
                None => at += 1,
                Some((_, Stands::Maybe)) => break,
                Some((word, _)) => {
                    found.push(text.matched(word, at));
                    at += word.letters.len();
                }
            }
        }
        at
    }

    /// What the matcher finds in a text that comes in these pieces.
    ///
    /// # Panics
    /// If it does not say after each what is certain by then, and no more, or keeps other text than that which
    /// continuations can change.
    fn find_in(&self, pieces: &[&str]) -> Vec<Match> {
        let (mut scanner, mut found) = (Scanner::new(), Vec::new());
        let (mut text, mut at, mut certain) = (Letters::of("", self.rules.options), 0, Vec::new());
        let mut free = 0;
        for piece in pieces {
            let before = found.len();
            let kept = scanner.push(&self.matcher, piece, false, |word| found.push(word));
            text.read(piece);
            at = self.settle(&text, at, false, &mut certain);
            assert_eq!(found, certain, "certain in {pieces:?} up to {}", text.end());
            assert_eq!(kept, text.start(at), "kept in {pieces:?} up to {}", text.end());
            let kept = kept.unwrap_or(text.end());
            assert!(kept >= free && kept <= text.end(), "{kept} lies within {free}..={}", text.end());
            assert!(
                found[before..].iter().all(|word| word.start >= free),
                "no match begins in what was free"
            );
            assert!(found.iter().all(|word| word.end <= kept), "no match ends in what is kept");
            free = kept;
        }
        assert_eq!(scanner.push(&self.matcher, "", true, |word| found.push(word)), None, "the end frees all");
        found
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
