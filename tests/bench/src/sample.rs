//! The answer that every benchmark has: how it is cut into deltas, what it looks like on the wire, and the words that
//! links look for in it.

use std::fmt::Write as _;

/// Words of the answer; none is part of a listed one.
const WORDS: [&str; 16] = [
    "the", "gateway", "reads", "each", "event", "of", "a", "stream", "and", "passes", "text", "on", "with",
    "nothing", "held", "back,",
];

/// The syllables of listed words.
const SYLLABLES: [[&str; 10]; 3] = [
    ["ba", "co", "di", "fe", "gu", "ha", "jo", "ki", "lu", "me"],
    ["nar", "pol", "quin", "res", "sut", "tav", "vor", "wex", "yad", "zim"],
    ["ibus", "ocon", "umar", "enta", "ario", "ulis", "eska", "odon", "ipha", "azur"],
];

/// Every so many deltas a listed word comes, cut in two.
const LISTED_EVERY: usize = 50;

/// Where a delta's space stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Space {
    /// Behind the word: nothing of such a delta can become a listed word.
    #[default]
    Behind,
    /// Before the word: its last letters may become a listed word, and wait for the next delta.
    Before,
}

/// `count` words to look for, different from each other.
pub fn words(count: usize) -> Vec<String> {
    (0..count).map(word).collect()
}

fn word(number: usize) -> String {
    let mut word = String::new();
    for (place, syllables) in SYLLABLES.iter().enumerate() {
        word.push_str(syllables[number / 10_usize.pow(2 - place as u32) % 10]);
    }
    if number >= 1000 {
        // Writing to a String cannot fail.
        let _ = write!(word, "{}", number / 1000);
    }
    word
}

/// The text of a delta.
pub fn delta(number: usize, space: Space) -> String {
    let listed = word(number / LISTED_EVERY % 1000);
    let text = match number % LISTED_EVERY {
        24 => return listed[..3].to_owned(),
        25 => listed[3..].to_owned(),
        _ => WORDS[number % WORDS.len()].to_owned(),
    };
    match (space, number % LISTED_EVERY) {
        (Space::Behind, _) => text + " ",
        (Space::Before, 25) => text,
        (Space::Before, _) => format!(" {text}"),
    }
}

/// The answer with the first `listed` words masked.
pub fn masked(deltas: usize, space: Space, listed: usize) -> String {
    let mut text: String = (0..deltas).map(|number| delta(number, space)).collect();
    for word in words(listed.min(1000)) {
        text = text.replace(&word, &"*".repeat(word.len()));
    }
    text
}

/// The answer as server-sent events: a role, the deltas, a finish reason, the terminal marker.
pub fn events(deltas: usize, space: Space) -> Vec<String> {
    let role = r#"{"role":"assistant","content":"","refusal":null}"#.to_owned();
    let deltas = (0..deltas).map(|number| format!(r#"{{"content":"{}"}}"#, delta(number, space)));
    let chunk = |delta: String| event(&delta, "null");
    let last = [event("{}", r#""stop""#), "data: [DONE]\n\n".to_owned()];
    std::iter::once(role).chain(deltas).map(chunk).chain(last).collect()
}

fn event(delta: &str, finish: &str) -> String {
    format!(
        "data: {{\"id\":\"chatcmpl-C1cFJ0mGd4bDgYp3o5xkzY0TqWnUe\",\"object\":\"chat.completion.chunk\",\
         \"created\":1764201600,\"model\":\"gpt-4o-2024-08-06\",\"service_tier\":\"default\",\
         \"system_fingerprint\":\"fp_07871e2ad8\",\"choices\":[{{\"index\":0,\"delta\":{delta},\
         \"logprobs\":null,\"finish_reason\":{finish}}}]}}\n\n"
    )
}

/// The answer in one piece.
pub fn whole(deltas: usize, space: Space) -> String {
    let text: String = (0..deltas).map(|number| delta(number, space)).collect();
    format!(
        "{{\"id\":\"chatcmpl-C1cFJ0mGd4bDgYp3o5xkzY0TqWnUe\",\"object\":\"chat.completion\",\
         \"created\":1764201600,\"model\":\"gpt-4o-2024-08-06\",\"choices\":[{{\"index\":0,\"message\":\
         {{\"role\":\"assistant\",\"content\":\"{text}\",\"refusal\":null}},\"logprobs\":null,\
         \"finish_reason\":\"stop\"}}],\"usage\":{{\"prompt_tokens\":40,\"completion_tokens\":{deltas},\
         \"total_tokens\":{}}}}}",
        deltas + 40
    )
}

/// The settings of a sensitive-word plugin with `count` words.
pub fn settings(count: usize) -> String {
    serde_json::json!({ "words": words(count) }).to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn listed_words_differ_and_come_only_where_they_are_put() {
        assert_eq!(words(3000).into_iter().collect::<BTreeSet<_>>().len(), 3000);
        for space in [Space::Behind, Space::Before] {
            let stars = |text: String| text.matches('*').count();
            let plain: String = (0..200).map(|number| delta(number, space)).collect();
            let listed: usize = (0..4).map(|number| word(number).len()).sum();
            assert_eq!((stars(plain), stars(masked(200, space, 1000))), (0, listed));
        }
    }

    #[test]
    fn no_delta_with_its_space_behind_waits() {
        let matcher = rust_proxy_mask::Matcher::new(&words(1000), Default::default()).unwrap();
        let mut scanner = rust_proxy_mask::Scanner::new();
        for number in 0..500 {
            let kept = scanner.push(&matcher, &delta(number, Space::Behind), false, |_| {});
            assert_eq!(kept.is_some(), number % LISTED_EVERY == 24, "{number}");
        }
    }
}
