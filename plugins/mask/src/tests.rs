//! The scanner against definitions that look at the whole text.

mod naive;

use std::collections::HashMap;

use aho_corasick::{AhoCorasick, MatchKind};
use proptest::prelude::*;

use self::naive::Rules;
use crate::{BuildError, Match, Matcher, Options, Scanner};

/// How many random cases each property that tries every split gets.
const CASES: u32 = 1_000;

/// After the pieces before a character: how many matches are certain, and from where on text is kept.
type Kept = (usize, usize, Option<u32>);

/// The matches of a text in pieces that end before the characters in `cuts`, and after each what is kept.
fn scan(matcher: &Matcher, text: &str, cuts: impl Fn(usize) -> bool) -> (Vec<Match>, Vec<Kept>) {
    let mut scanner = Scanner::new();
    let mut found = Vec::new();
    let mut kept = Vec::new();
    let mut from = 0;
    for (place, (at, _)) in text.char_indices().enumerate() {
        if cuts(place) {
            let keep = scanner.push(matcher, &text[from..at], false, |m| found.push(m));
            kept.push((place, found.len(), keep));
            from = at;
        }
    }
    assert_eq!(scanner.push(matcher, &text[from..], true, |m| found.push(m)), None);
    (found, kept)
}

/// At every split: what is found is what is there, when it is certain; what is kept is the least that is right.
fn check(rules: &Rules, text: &str, cuts: &[bool]) {
    let matcher = rules.matcher();
    let whole = rules.find(text);
    let certain: Vec<_> = text.char_indices().map(|(at, _)| rules.certain(&text[..at])).collect();
    let run = |cuts: &dyn Fn(usize) -> bool| {
        let (found, kept) = scan(&matcher, text, cuts);
        assert_eq!(found, whole, "{rules:?} in {text:?}");
        for (place, count, keep) in kept {
            let expected = &certain[place];
            assert_eq!(
                (&found[..count], keep),
                (&expected.0[..], expected.1),
                "{rules:?} in {text:?}, at {place}"
            );
        }
    };
    run(&|_| true);
    run(&|place| cuts[place % cuts.len()]);
    for cut in 0..=certain.len() {
        run(&|place| place == cut);
    }
}

fn check_all(words: &[&str], text: &str) {
    let mut rules = Rules::new(words);
    check(&rules, text, &[false]);
    rules.options.case_sensitive = true;
    check(&rules, text, &[false]);
}

fn found(rules: &Rules, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    rules.matcher().find(text, |m| found.push(text[m.start as usize..m.end as usize].to_owned()));
    check(rules, text, &[false, true, true]);
    found
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
fn other_scripts_are_found_by_character() {
    check_all(&["敏感词", "感词汇", "词"], "这是敏感词汇，敏感、词汇");
    check_all(&["👍🏽", "👍", "👨‍👩‍👧"], "ok👍🏽👍 👨‍👩‍👧👨‍👩");
}

#[test]
fn cases_of_different_length_are_equal_and_keep_their_offsets() {
    // Kelvin sign (3 bytes) and k, long s (2) and s, sharp S (3) and ß (2), Ⱥ (2) and ⱥ (3).
    check_all(&["\u{212a}iß", "ⱥs"], "kIẞ \u{212a}iß KİSS Ⱥſ");
    assert_eq!(found(&Rules::new(&["k"]), "x\u{212a}k"), ["\u{212a}", "k"]);
}

#[test]
fn full_and_half_width_are_equal_and_keep_their_offsets() {
    let mut rules = Rules::new(&["ＡＢＣ", "ab", "ｂｃ", "a　b", "￥9", "ﾃｽﾄ", "ㅎ"]);
    assert_eq!(found(&rules, "ａＢｃABａb a ｂ ¥９テスﾄￎ"), ["ａＢｃ", "AB", "ａb", "a ｂ", "¥９", "テスﾄ"]);
    rules.options.width_sensitive = true;
    assert_eq!(found(&rules, "ａＢｃABａbＡＢＣ￥9テストﾃｽﾄ"), ["ａＢｃ", "AB", "ＡＢＣ", "￥9", "ﾃｽﾄ"]);
}

#[test]
fn a_half_width_kana_and_its_mark_are_one_letter() {
    assert_eq!(found(&Rules::new(&["ガス", "ﾊﾟ"]), "ガス ｶﾞス ｶ\u{200b}ﾞｽ カス ｶス パﾊﾊﾞﾊﾟ").len(), 5);
    assert_eq!(found(&Rules::new(&["カ", "ハ"]), "カガｶｶﾞハパバﾊﾟﾊ"), ["カ", "ｶ", "ハ", "ﾊ"]);
    // A mark that belongs to no letter is a character.
    assert_eq!(found(&Rules::new(&["ﾞ"]), "ｶﾞｱﾞ\u{3099}aﾞ"), ["ﾞ", "\u{3099}", "ﾞ"]);
    assert_eq!(found(&Rules::new(&["ｶﾞ"]), "ガｶﾞカ\u{3099}ｶ"), ["ガ", "ｶﾞ"]);
}

#[test]
fn characters_without_a_width_are_looked_through() {
    let mut rules = Rules::new(&["abc", "x\u{ad}y\u{200d}"]);
    rules.options.zero_width_max = 2;
    // Those before and behind a word stay.
    let text = "\u{200b}a\u{200b}b\u{feff}\u{fe0f}c\u{200b} a\u{200b}\u{200b}\u{200b}bc \u{ad}xy\u{ad}";
    assert_eq!(found(&rules, text), ["a\u{200b}b\u{feff}\u{fe0f}c", "xy"]);
    let mut chars = Vec::new();
    rules.matcher().find(text, |m| chars.push(m.chars));
    assert_eq!(chars, [3, 2]);
    rules.options.zero_width_max = 0;
    assert_eq!(found(&rules, "a\u{200b}bc xy x\u{ad}y\u{200d}"), ["x\u{ad}y\u{200d}"]);
}

#[test]
fn whole_words_are_not_found_within_words() {
    let whole = |words: &[&str]| {
        let mut rules = Rules::new(words);
        rules.lists[0].1 = true;
        rules
    };
    let rules = whole(&["art", "art of", "密码", "c++", "ñ"]);
    assert_eq!(
        found(&rules, "party art, Art_ ART\u{301} 1art art\u{200b}s art\u{200b} Art of often a art"),
        ["art", "art\u{200b}".trim_end_matches('\u{200b}'), "Art of", "art"]
    );
    assert_eq!(found(&rules, "改密码的a密码b c++11 C++ n\u{303}ñ ñ"), ["密码", "密码", "c++", "C++", "ñ"]);
    // Scripts with spaces only: Hangul and Cyrillic have them, Thai does not.
    assert_eq!(found(&whole(&["비밀", "ся", "ลับ"]), "비밀은 비밀 боюся ся ความลับ").len(), 3);
    // The longest word that is whole counts, and a shorter one comes back where it is not.
    let rules = whole(&["a", "a b", "b c d", "d"]);
    assert_eq!(found(&rules, "a bb c d, a b c d"), ["a", "d", "a b", "d"]);
    // What stands behind a match sees the match.
    assert_eq!(found(&whole(&["密a", "a"]), "密a a密aa"), ["密a", "a"]);
}

#[test]
fn lists_are_searched_as_one() {
    let word = |word: &str| vec![word.to_owned()];
    let mut rules = Rules::new(&[]);
    for (first, second, place) in [(true, false, [0, 1]), (false, true, [0, 0])] {
        rules.lists = vec![(word("foo"), first), (word("foo"), second)];
        let mut lists = Vec::new();
        rules.matcher().find("foo foox", |m| lists.push(m.list));
        assert_eq!(lists, place);
        check(&rules, "foo foox xfoo", &[true, false]);
    }
    // What is certain waits for nothing: the word's second place is never the one that counts.
    assert_eq!(Scanner::new().push(&rules.matcher(), "foo", false, |_| ()), None);
}

#[test]
fn a_list_with_nothing_to_find_is_refused() {
    let refused = |words: &[&str], options| Matcher::new(words, options).unwrap_err();
    assert_eq!(refused(&[], Options::default()), BuildError::NoWords);
    assert_eq!(refused(&["a", "", "b"], Options::default()), BuildError::EmptyWord { list: 0, word: 1 });
    let narrow = Options { zero_width_max: 1, ..Options::default() };
    assert_eq!(refused(&["\u{200b}"], narrow), BuildError::EmptyWord { list: 0, word: 0 });
    let run = BuildError::ZeroWidth { list: 0, word: 1, max: 1 };
    assert_eq!(refused(&["\u{ad}\u{ad}a\u{ad}\u{ad}", "a\u{ad}\u{ad}b"], narrow), run);
}

/// The longest word of a set at each place, by looking up everything that is as long as a word.
fn look_up(words: &[String], text: &str) -> Vec<(u32, u32)> {
    let mut places = HashMap::new();
    for word in words {
        places.entry(word.as_str()).or_insert(());
    }
    let longest = words.iter().map(|word| word.chars().count()).max().unwrap();
    let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at + 1 < ends.len() {
        let reach = (at + longest).min(ends.len() - 1);
        let word = (at + 1..=reach).rev().find(|end| places.contains_key(&text[ends[at]..ends[*end]]));
        found.extend(word.map(|end| (ends[at] as u32, ends[end] as u32)));
        at = word.unwrap_or(at + 1);
    }
    found
}

#[test]
fn lists_of_one_to_a_hundred_thousand_words_stay_small_and_are_all_found() {
    for count in [1, 1_000, 100_000] {
        // Words of 2 to 4 characters, as a list of Chinese words would be.
        let letter = |n: u32| char::from_u32(0x4e00 + n % 5_000).unwrap();
        let words: Vec<String> = (0..count)
            .map(|n: u32| n.wrapping_mul(2_654_435_761))
            .map(|n| [n, n / 5_000, n / 7, n / 31].map(letter)[..2 + n as usize % 3].iter().collect())
            .collect();
        let matcher = Matcher::new(&words, Options::default()).unwrap();
        assert!(matcher.labels.len() < 3 * words.len() + 10, "{} nodes", matcher.labels.len());
        // Words, words that lack an end, and words that lack a beginning.
        let parts = words.iter().step_by(1 + words.len() / 1_000).enumerate();
        let text: String = parts
            .flat_map(|(n, word)| {
                let first = word.chars().next().map_or(0, char::len_utf8);
                [word, &word[..first * (n % 2)], &word[first * (n % 3 % 2)..]]
            })
            .collect();
        let expected = look_up(&words, &text);
        assert!(expected.len() >= words.len().min(1_000) / 2);
        for cuts in [1, 2, 7] {
            let found = scan(&matcher, &text, |place| place % cuts == 0).0;
            let found: Vec<_> = found.iter().map(|m| (m.start, m.end)).collect();
            assert_eq!(found, expected);
        }
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

/// Letters that collide in one way or another.
const ALPHABETS: [&str; 5] = [
    "ab",
    "aAＡａbßẞk\u{212a}密👍",
    "ab\u{200b}\u{ad}\u{200d}\u{fe0f}",
    "ab _\u{301}密-\u{200b}",
    "カガｶﾞﾟハパﾊa\u{200b}",
];

fn alphabet() -> impl Strategy<Value = Vec<char>> {
    prop::sample::select(&ALPHABETS[..]).prop_map(|letters| letters.chars().collect())
}

fn string(letters: &[char], len: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = String> + use<> {
    prop::collection::vec(prop::sample::select(letters.to_vec()), len).prop_map(String::from_iter)
}

fn options() -> impl Strategy<Value = Options> {
    (any::<bool>(), any::<bool>(), 0..=2_u8).prop_map(|(case_sensitive, width_sensitive, zero_width_max)| {
        Options { case_sensitive, width_sensitive, zero_width_max }
    })
}

/// Up to `lists` lists of up to `words` words, and a text.
fn case(lists: usize, words: usize, text: usize) -> impl Strategy<Value = (Rules, String, Vec<bool>)> {
    alphabet().prop_flat_map(move |letters| {
        let list = (prop::collection::vec(string(&letters, 1..=5), 1..=words), any::<bool>());
        let lists = prop::collection::vec(list, 1..=lists);
        let rules = (lists, options()).prop_map(|(lists, options)| Rules { lists, options }.accepted());
        let cuts = prop::collection::vec(any::<bool>(), 1..=9);
        (rules, string(&letters, 0..=text), cuts)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..Default::default() })]

    #[test]
    fn every_chunking_equals_the_whole((rules, text, cuts) in case(3, 3, 12)) {
        check(&rules, &text, &cuts);
    }

    #[test]
    fn every_chunking_of_many_words_equals_the_whole((rules, text, cuts) in case(2, 50, 60)) {
        let (found, kept) = scan(&rules.matcher(), &text, |place| cuts[place % cuts.len()]);
        prop_assert_eq!(&found, &rules.find(&text));
        // No byte of a match left before the match was known.
        let left = |(place, count, keep): &Kept| {
            let end = text.char_indices().nth(*place).map_or(0, |(at, _)| at as u32);
            found.get(*count).is_none_or(|next| keep.unwrap_or(end) <= next.start)
        };
        prop_assert!(kept.iter().all(left));
        // What is kept is a word at most, with what is looked through and, in half-width text, the marks of kana.
        let longest = rules.lists.iter().flat_map(|(words, _)| words).map(|word| word.chars().count()).max();
        let behind = usize::from(rules.options.zero_width_max) + usize::from(text.contains(['ﾞ', 'ﾟ']));
        for (place, _, keep) in kept {
            let held = keep.map_or(0, |keep| place - text[..keep as usize].chars().count());
            prop_assert!(held <= longest.unwrap_or(0) * (1 + behind));
        }
    }

    #[test]
    fn ascii_equals_aho_corasick(
        words in prop::collection::vec(string(&['a', 'A', 'b', 'c'], 1..=6), 1..=6),
        text in string(&['a', 'A', 'b', 'c'], 0..=24),
        cuts in prop::collection::vec(any::<bool>(), 1..=9),
    ) {
        let other = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .ascii_case_insensitive(true)
            .build(&words)
            .unwrap();
        let expected: Vec<_> = other.find_iter(&text).map(|m| (m.start() as u32, m.end() as u32)).collect();
        let matcher = Matcher::new(&words, Options::default()).unwrap();
        let found = scan(&matcher, &text, |place| cuts[place % cuts.len()]).0;
        prop_assert_eq!(found.iter().map(|m| (m.start, m.end)).collect::<Vec<_>>(), expected);
    }
}
