//! What a search must find, by definition: looks at the whole text, and tries every word at every place.

use std::cmp::Reverse;

use unicode_normalization::UnicodeNormalization;

use crate::{List, Match, Matcher, Options, class::is_word, class::is_zero_width, simple_fold, width_fold};

/// Word lists, and how they are searched for.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) lists: Vec<(Vec<String>, bool)>,
    pub(crate) options: Options,
}

/// A character of a text with all that belongs to it.
#[derive(Debug, Clone)]
struct Letter {
    folded: char,
    start: u32,
    end: u32,
    /// Too many characters that are looked through stand before it.
    cut: bool,
    /// A half-width kana without a mark.
    half: Option<char>,
}

impl Rules {
    pub(crate) fn new(words: &[&str]) -> Self {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        Self { lists: vec![(words, false)], options: Options::default() }
    }

    pub(crate) fn matcher(&self) -> Matcher {
        let lists: Vec<_> =
            self.lists.iter().map(|(words, whole)| List { words, whole_words: *whole }).collect();
        Matcher::of_lists(&lists, self.options).unwrap()
    }

    /// Without the words that are refused.
    pub(crate) fn accepted(mut self) -> Self {
        let options = self.options;
        let accepted = |word: &String| {
            let letters = letters(word, options);
            !letters.is_empty() && !letters.iter().skip(1).any(|letter| letter.cut)
        };
        for (words, _) in &mut self.lists {
            words.retain(accepted);
        }
        if self.lists.iter().all(|(words, _)| words.is_empty()) {
            self.lists.push((vec!["a".to_owned()], false));
        }
        self
    }

    /// Leftmost, then longest, then first: all matches of a text that is complete.
    pub(crate) fn find(&self, text: &str) -> Vec<Match> {
        let words = self.words();
        let letters = letters(text, self.options);
        let mut found = Vec::new();
        let mut at = 0;
        while at < letters.len() {
            let here = words.iter().filter(|(word, whole, ..)| occurs(word, *whole, &letters, at));
            let Some((word, _, list, place)) =
                here.max_by_key(|(word, _, list, place)| (word.len(), Reverse((*list, *place))))
            else {
                at += 1;
                continue;
            };
            found.push(Match {
                start: letters[at].start,
                end: letters[at + word.len() - 1].end,
                list: *list,
                word: *place,
                chars: word.len() as u32,
            });
            at += word.len();
        }
        found
    }

    fn words(&self) -> Vec<(Vec<char>, bool, u32, u32)> {
        let folded = |word: &str| letters(word, self.options).iter().map(|letter| letter.folded).collect();
        let lists = self.lists.iter().zip(0..);
        lists
            .flat_map(|((words, whole), list)| {
                words.iter().zip(0..).map(move |(word, place)| (folded(word), *whole, list, place))
            })
            .collect()
    }

    /// What must be certain after `text`, and from where on text must be kept: tries every continuation that
    /// could finish a word or spoil one, and the end of the text.
    pub(crate) fn certain(&self, text: &str) -> (Vec<Match>, Option<u32>) {
        let all = || self.lists.iter().flat_map(|(words, _)| words);
        let kana = text.contains(|c| ('ｦ'..='ﾟ').contains(&c));
        let ends = all().flat_map(|word| word.char_indices().map(|(at, _)| &word[at..])).chain([""]);
        let mut futures = Vec::new();
        for end in ends {
            for mark in if kana { &["", "ﾞ", "ﾟ", "\u{3099}", "\u{309a}"][..] } else { &[""] } {
                for letter in ["", "x"] {
                    futures.push(self.find(&format!("{text}{mark}{end}{letter}")));
                }
            }
        }
        let len = text.len() as u32;
        let in_all = |span: &Match| span.end <= len && futures.iter().all(|future| future.contains(span));
        let certain = futures[0].iter().copied().filter(in_all).collect();
        let open = futures.iter().flatten().filter(|span| span.start < len && !in_all(span));
        (certain, open.map(|span| span.start).min())
    }
}

fn letters(text: &str, options: Options) -> Vec<Letter> {
    let mut letters: Vec<Letter> = Vec::new();
    let mut skipped = 0;
    let max = usize::from(options.zero_width_max);
    for (at, c) in text.char_indices() {
        if max > 0 && is_zero_width(c) {
            skipped += 1;
            continue;
        }
        let cut = skipped > max;
        skipped = 0;
        let end = (at + c.len_utf8()) as u32;
        if let Some(letter) = letters.last_mut()
            && let Some(half) = letter.half.take()
            && let 'ﾞ' | 'ﾟ' = c
            && let composed = [half, c].into_iter().nfkc().collect::<Vec<char>>()
            && let [composed] = composed[..]
            && !cut
        {
            letter.folded = composed;
            letter.end = end;
            continue;
        }
        let wide = if options.width_sensitive { c } else { width_fold(c) };
        let folded = if options.case_sensitive { wide } else { simple_fold(wide) };
        let half = Some(c).filter(|c| !options.width_sensitive && ('ｦ'..='ﾝ').contains(c));
        letters.push(Letter { folded, start: at as u32, end, cut, half });
    }
    letters
}

fn occurs(word: &[char], whole: bool, letters: &[Letter], at: usize) -> bool {
    let Some(here) = letters.get(at..at + word.len()) else { return false };
    let joined = |right: usize| {
        let (Some(left), Some(right)) = (right.checked_sub(1).map(|left| &letters[left]), letters.get(right))
        else {
            return false;
        };
        !right.cut && is_word(left.folded) && is_word(right.folded)
    };
    here.iter().map(|letter| letter.folded).eq(word.iter().copied())
        && !here.iter().skip(1).any(|letter| letter.cut)
        && !(whole && (joined(at) || joined(at + word.len())))
}
