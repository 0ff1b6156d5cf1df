//! The scanner against definitions that look at the whole text.

use aho_corasick::{AhoCorasick, MatchKind};
use proptest::prelude::*;

use crate::{BuildError, Match, Matcher, Options, Scanner, simple_fold};

type Span = (u32, u32, u32, u32);

fn span(found: Match) -> Span {
    (found.start, found.end, found.word, found.chars)
}

/// Leftmost-longest by definition: at each place in turn, the longest word that stands there.
fn oracle(words: &[String], case_sensitive: bool, text: &str) -> Vec<Span> {
    let fold = |c: char| if case_sensitive { c } else { simple_fold(c) };
    let words: Vec<Vec<char>> = words.iter().map(|word| word.chars().map(fold).collect()).collect();
    let chars: Vec<char> = text.chars().map(fold).collect();
    let mut bytes: Vec<u32> = text.char_indices().map(|(at, _)| at as u32).collect();
    bytes.push(text.len() as u32);
    let mut spans = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let longest = (0..words.len())
            .filter(|index| chars[at..].starts_with(&words[*index]))
            .max_by_key(|index| (words[*index].len(), std::cmp::Reverse(*index)));
        if let Some(index) = longest {
            let len = words[index].len();
            spans.push((bytes[at], bytes[at + len], index as u32, len as u32));
            at += len;
        } else {
            at += 1;
        }
    }
    spans
}

/// What must be certain after `text`, and from where on text must be kept: tries every continuation that
/// could finish a word, and one that finishes none.
fn certain(words: &[String], case_sensitive: bool, text: &str) -> (Vec<Span>, Option<u32>) {
    let ends = words.iter().flat_map(|word| word.char_indices().map(|(at, _)| &word[at..]));
    let futures: Vec<_> =
        ends.chain(["\0"]).map(|end| oracle(words, case_sensitive, &format!("{text}{end}"))).collect();
    let len = text.len() as u32;
    let in_all = |span: &Span| span.1 <= len && futures.iter().all(|future| future.contains(span));
    let certain = futures[0].iter().copied().filter(in_all).collect();
    let open = futures.iter().flatten().filter(|span| span.0 < len && !in_all(span)).map(|span| span.0);
    (certain, open.min())
}

fn matcher(words: &[String], case_sensitive: bool) -> Matcher {
    Matcher::new(words, Options { case_sensitive }).unwrap()
}

/// Feeds the text in pieces that end before the characters in `cuts`, checking after each what is certain.
fn check(words: &[String], case_sensitive: bool, text: &str, cuts: &[bool]) {
    let matcher = matcher(words, case_sensitive);
    let mut scanner = Scanner::new();
    let mut spans = Vec::new();
    let mut from = 0;
    for (place, (at, _)) in text.char_indices().enumerate() {
        if cuts[place % cuts.len()] {
            let kept = scanner.push(&matcher, &text[from..at], false, |found| spans.push(span(found)));
            let expected = certain(words, case_sensitive, &text[..at]);
            assert_eq!((spans.clone(), kept), expected, "{words:?} in {:?}", &text[..at]);
            from = at;
        }
    }
    let kept = scanner.push(&matcher, &text[from..], true, |found| spans.push(span(found)));
    assert_eq!(kept, None);
    assert_eq!(spans, oracle(words, case_sensitive, text), "{words:?} in {text:?}");
}

/// Splits everywhere.
fn check_all(words: &[&str], text: &str) {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    check(&words, false, text, &[true]);
    check(&words, false, text, &[false]);
    check(&words, true, text, &[true]);
    for cut in 0..text.chars().count() {
        let cuts: Vec<bool> = (0..text.chars().count()).map(|place| place == cut).collect();
        check(&words, false, text, &cuts);
    }
}

#[test]
fn words_within_words_give_the_leftmost_and_then_the_longest() {
    check_all(&["a", "aaaab"], "aaaaaaaabaaaaa");
    check_all(&["ab", "bc", "abcde"], "abcdabcdeabc");
    check_all(&["bcd", "abcx", "cdef"], "abcdef abcdbcdefx");
    check_all(&["ab", "ababababx", "ba"], "abababababababxbab");
    check_all(&["abcabcabd", "bc", "cab", "ca"], "abcabcabcabdabcabcab");
}

#[test]
fn other_scripts_and_widths_are_found_by_character() {
    check_all(&["敏感词", "感词汇", "词"], "这是敏感词汇，敏感、词汇");
    check_all(&["👍🏽", "👍", "👨‍👩‍👧"], "ok👍🏽👍 👨‍👩‍👧👨‍👩");
    check_all(&["ＡＢＣ", "ab", "ｂｃ"], "ａＢｃABａb");
}

#[test]
fn cases_of_different_length_are_equal_and_keep_their_offsets() {
    // Kelvin sign (3 bytes) and k, long s (2) and s, sharp S (3) and ß (2), Ⱥ (2) and ⱥ (3).
    check_all(&["\u{212a}iß", "ⱥs"], "kIẞ \u{212a}iß KİSS Ⱥſ");
    let matcher = Matcher::new(&["k"], Options::default()).unwrap();
    let mut spans = Vec::new();
    matcher.find("x\u{212a}k", |found| spans.push(span(found)));
    assert_eq!(spans, [(1, 4, 0, 1), (4, 5, 0, 1)]);
}

#[test]
fn a_list_with_nothing_to_find_is_refused() {
    assert_eq!(Matcher::new::<&str>(&[], Options::default()).unwrap_err(), BuildError::NoWords);
    let refused = Matcher::new(&["a", "", "b"], Options::default());
    assert_eq!(refused.unwrap_err(), BuildError::EmptyWord { index: 1 });
}

#[test]
fn a_hundred_thousand_words_stay_small_and_are_all_found() {
    // 100,000 words of 2 to 4 characters, as a list of Chinese words would be.
    let letter = |n: u32| char::from_u32(0x4e00 + n % 5_000).unwrap();
    let words: Vec<String> = (0..100_000_u32)
        .map(|n| n.wrapping_mul(2_654_435_761))
        .map(|n| [n, n / 5_000, n / 7, n / 31].map(letter)[..2 + n as usize % 3].iter().collect())
        .collect();
    let matcher = matcher(&words, false);
    assert!(matcher.nodes.len() < 300_000, "{} nodes", matcher.nodes.len());
    for word in words.iter().step_by(97) {
        let mut found = 0;
        matcher.find(word, |m| found += m.end - m.start);
        assert_eq!(found as usize, word.len());
    }
}

#[test]
fn a_text_made_to_be_slow_takes_linear_work() {
    // Each `a` is a match whose longer rival dies only 2,000 characters later: a search that goes back to
    // the end of each match would look at 400 million characters here.
    let long = format!("{}b", "a".repeat(2_000));
    let matcher = Matcher::new(&["a", &long], Options::default()).unwrap();
    let mut found = 0;
    matcher.find(&"a".repeat(200_000), |_| found += 1);
    assert_eq!(found, 200_000);
}

fn alphabet(letters: &'static str) -> impl Strategy<Value = char> {
    prop::sample::select(letters.chars().collect::<Vec<_>>())
}

fn string(letters: &'static str, len: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = String> {
    prop::collection::vec(alphabet(letters), len).prop_map(String::from_iter)
}

fn case(letters: &'static str) -> impl Strategy<Value = (Vec<String>, String, Vec<bool>, bool)> {
    let words = prop::collection::vec(string(letters, 1..=6), 1..=6);
    let cuts = prop::collection::vec(any::<bool>(), 1..=9);
    (words, string(letters, 0..=24), cuts, any::<bool>())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn every_chunking_equals_the_whole((words, text, cuts, sensitive) in case("ab")) {
        check(&words, sensitive, &text, &cuts);
    }

    #[test]
    fn every_chunking_equals_the_whole_in_any_script(
        (words, text, cuts, sensitive) in case("aK\u{212a}k密码👍Ａａ"),
    ) {
        check(&words, sensitive, &text, &cuts);
    }

    #[test]
    fn ascii_equals_aho_corasick((words, text, cuts, _) in case("aAbc")) {
        let other = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .ascii_case_insensitive(true)
            .build(&words)
            .unwrap();
        let expected: Vec<_> = other.find_iter(&text).map(|m| (m.start() as u32, m.end() as u32)).collect();
        let matcher = matcher(&words, false);
        let mut scanner = Scanner::new();
        let mut spans = Vec::new();
        let mut from = 0;
        for at in (0..text.len()).filter(|at| cuts[at % cuts.len()]) {
            scanner.push(&matcher, &text[from..at], false, |m| spans.push((m.start, m.end)));
            from = at;
        }
        scanner.push(&matcher, &text[from..], true, |m| spans.push((m.start, m.end)));
        prop_assert_eq!(spans, expected);
    }
}
