//! For every text, every split of it into deltas and every split of those into reads, the client sees
//! `mask(whole text)`.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;

use super::links::{Fake, appending, holding, masked, masking};
use super::support::*;
use super::*;

/// Every place of two choices that is a text as it stands. Those of a message are the first four.
const LANES: [(u64, &str); 8] = [
    (0, "content"),
    (0, "reasoning_content"),
    (1, "content"),
    (1, "refusal"),
    (1, "reasoning"),
    (0, "details"),
    (1, "transcript"),
    (0, "input"),
];

/// Texts that repeat themselves, with all that is escaped.
const TEXT: &str = "[abé😀\"\\\\\n/]{0,5}";
const WORD: &str = "[abé😀\"\n/]{1,4}";

#[derive(Debug, Clone)]
struct Answer {
    texts: Vec<Text>,
    /// Whether the last frame with text is a finish frame too.
    finish_with_text: bool,
    cuts: Vec<Index>,
}

#[derive(Debug, Clone)]
struct Text {
    lane: usize,
    text: String,
    /// Whether all of it is escaped.
    escaped: bool,
    /// Whether a surrogate pair at its end is cut.
    cut: bool,
    /// Whether it shares a frame with the text before it.
    joined: bool,
}

fn answers() -> impl Strategy<Value = Answer> {
    let text = (0..LANES.len(), TEXT, any::<bool>(), any::<bool>(), any::<bool>())
        .prop_map(|(lane, text, escaped, cut, joined)| Text { lane, text, escaped, cut, joined });
    let cuts = prop::collection::vec(any::<Index>(), 0..12);
    (prop::collection::vec(text, 1..14), any::<bool>(), cuts)
        .prop_map(|(texts, finish_with_text, cuts)| Answer { texts, finish_with_text, cuts })
}

fn escape(text: &str) -> String {
    text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect()
}

fn literal(text: &str, escaped: bool) -> String {
    let quoted = crate::json::quote(text);
    if escaped { escape(text) } else { quoted[1..quoted.len() - 1].to_owned() }
}

/// The member of a delta that adds to a field what is written in a literal.
fn member(field: &str, value: &str) -> String {
    match field {
        "details" => {
            format!(r#""reasoning_details":[{{"type":"reasoning.text","index":0,"text":"{value}"}}]"#)
        }
        "transcript" => format!(r#""audio":{{"transcript":"{value}"}}"#),
        "input" => format!(r#""tool_calls":[{{"index":0,"type":"custom","custom":{{"input":"{value}"}}}}]"#),
        field => format!(r#""{field}":"{value}""#),
    }
}

impl Answer {
    /// What each lane has to say.
    fn whole(&self) -> BTreeMap<(u64, String), String> {
        let mut whole: BTreeMap<(u64, String), String> = BTreeMap::new();
        for text in self.texts.iter().filter(|text| !text.text.is_empty()) {
            let (choice, field) = LANES[text.lane];
            *whole.entry((choice, field.to_owned())).or_default() += &text.text;
        }
        whole
    }

    /// Frames of lanes and what stands between their quotes.
    fn frames(&self) -> Vec<BTreeMap<usize, String>> {
        let mut frames: Vec<BTreeMap<usize, String>> = Vec::new();
        let mut halves: BTreeMap<usize, String> = BTreeMap::new();
        for text in &self.texts {
            let mut value = halves.remove(&text.lane).unwrap_or_default();
            match text.text.strip_suffix('😀').filter(|_| text.cut) {
                Some(rest) => {
                    value = value + &literal(rest, text.escaped) + "\\ud83d";
                    halves.insert(text.lane, "\\ude00".to_owned());
                }
                None => value += &literal(&text.text, text.escaped),
            }
            match frames.last_mut().filter(|last| text.joined && !last.contains_key(&text.lane)) {
                Some(last) => {
                    last.insert(text.lane, value);
                }
                None => frames.push(BTreeMap::from([(text.lane, value)])),
            }
        }
        frames.extend(halves.into_iter().map(|half| BTreeMap::from([half])));
        frames
    }

    fn body(&self) -> String {
        let chunk = |choices: &[String]| format!("data: {{\"choices\":[{}]}}\n\n", choices.join(","));
        let choice = |index: u64, delta: &str, finish: bool| {
            let finish = if finish { "\"stop\"" } else { "null" };
            format!("{{\"index\":{index},\"delta\":{{{delta}}},\"finish_reason\":{finish}}}")
        };
        let mut body = chunk(&[0, 1].map(|index| choice(index, "\"role\":\"assistant\"", false)));
        let mut open = vec![1, 0];
        let frames = self.frames();
        for (place, frame) in frames.iter().enumerate() {
            let finish = self.finish_with_text && place + 1 == frames.len();
            let mut choices = Vec::new();
            for index in [0, 1] {
                let mine = frame.iter().filter(|(lane, _)| LANES[**lane].0 == index);
                let fields: Vec<String> = mine.map(|(lane, value)| member(LANES[*lane].1, value)).collect();
                if !fields.is_empty() {
                    choices.push(choice(index, &fields.join(","), finish));
                    open.retain(|open| !finish || *open != index);
                }
            }
            body += &chunk(&choices);
        }
        body.extend(open.into_iter().map(|index| chunk(&[choice(index, "", true)])));
        body + &usage() + DONE
    }

    fn reads(&self) -> Vec<Vec<u8>> {
        let body = self.body().into_bytes();
        let mut cuts: Vec<usize> = self.cuts.iter().map(|cut| cut.index(body.len())).collect();
        cuts.extend([0, body.len()]);
        cuts.sort_unstable();
        cuts.windows(2).map(|pair| body[pair[0]..pair[1]].to_vec()).collect()
    }

    /// Checks that `plugins` make of each lane what `expect` makes of its whole text.
    fn check(&self, plugins: &[Fake], expect: impl Fn(&str, &str) -> String) -> Result<(), TestCaseError> {
        let client = read(plugins, Script::parts(self.reads()));
        prop_assert_eq!(&client.end, &Some(End::Complete));
        let lanes = self.whole().into_iter().map(|(lane, text)| {
            let expected = expect(&lane.1, &text);
            (lane, expected)
        });
        let expected: BTreeMap<_, _> = lanes.filter(|(_, text)| !text.is_empty()).collect();
        prop_assert_eq!(client.texts(), expected, "{:#?}", &client.frames);
        let mut finishes = client.finishes();
        finishes.sort();
        prop_assert_eq!(finishes, [(0, "stop".to_owned()), (1, "stop".to_owned())]);
        prop_assert_eq!(client.frames.last(), Some(&usage()));
        Ok(())
    }
}

fn words() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(WORD, 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn one_mask_is_exact(answer in answers(), words in words(), mask in prop::sample::select(vec!["*", "", "aé***"])) {
        answer.check(&[masking(&words, mask)], |_, text| masked(text, &words, mask, true))?;
    }

    #[test]
    fn each_link_sees_the_text_as_the_one_before_left_it(
        answer in answers(),
        first in words(),
        second in words(),
        held_by in 0..10usize,
    ) {
        let mut plugins = vec![masking(&first, "ab"), masking(&second, ""), appending("é"), masking(&first, "/")];
        // Where everything arrives at once, pieces are few; so mostly not.
        if held_by <= plugins.len() {
            plugins.insert(held_by, holding());
        }
        answer.check(&plugins, |field, text| {
            let text = masked(&masked(text, &first, "ab", true), &second, "", true);
            masked(&(text + if field == "content" { "é" } else { "" }), &first, "/", true)
        })?;
    }

    #[test]
    fn a_whole_answer_is_masked_alike(texts in prop::array::uniform4("[abé😀\"]{0,12}"), words in words()) {
        let message = |at: usize| {
            let field = |(_, name): (u64, &'static str), text: &String| (name.to_owned(), text.clone().into());
            serde_json::Map::from_iter([field(LANES[at], &texts[at]), field(LANES[at + 1], &texts[at + 1])])
        };
        let choice = |index, at| serde_json::json!({"index": index, "message": message(at), "finish_reason": "stop"});
        let body = serde_json::json!({ "choices": [choice(0, 0), choice(1, 2)] }).to_string();
        let plugins = [masking(&words, "*"), masking(&["*a", "b*"], ""), appending("!")];
        let answer: serde_json::Value = serde_json::from_str(&whole(&plugins, &body).unwrap()).unwrap();
        for (at, (choice, field)) in LANES.into_iter().take(texts.len()).enumerate() {
            let end = if field == "content" && !texts[at].is_empty() { "!" } else { "" };
            let expected = masked(&masked(&texts[at], &words, "*", true), &["*a", "b*"], "", true) + end;
            prop_assert_eq!(&answer["choices"][choice as usize]["message"][field], &serde_json::Value::from(expected));
        }
    }
}
