//! Over sockets: for random word lists, texts and cuts the client sees `mask(whole text)`, streamed and whole.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestCaseResult, TestRunner};
use rust_proxy_testkit::{Place, Script, ScriptedUpstream, Setup, TestGateway, lanes};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::masked;

const CASES: u32 = 300;

/// Lists whose words overlap, begin and end one another, and have all that is escaped or cut in two.
const LISTS: [&[&str]; 6] = [
    &["a", "ab", "abb"],
    &["aba", "bab", "bb"],
    &["é😀", "😀", "a😀é"],
    &["\"", "b\n", "\\a"],
    &["密a", "a密", "密密密"],
    &["aabbaabbaabb😀", "aabb\"", "b密"],
];
const TEXT: &str = "[abé😀密\"\\\\\n]{0,6}";
/// The arguments are one JSON string, which stands in a string once more.
const ARGUMENTS: &str = "arguments/0";
const FIELDS: [&str; 5] = ["content", "reasoning_content", "reasoning", "refusal", ARGUMENTS];

#[derive(Debug, Clone)]
struct Piece {
    choice: u64,
    field: &'static str,
    text: String,
    /// Whether all of it is escaped.
    escaped: bool,
    /// Whether a surrogate pair at its end is cut.
    cut: bool,
}

#[derive(Debug, Clone)]
struct Case {
    list: usize,
    pieces: Vec<Piece>,
    cuts: Vec<Index>,
}

fn cases() -> impl Strategy<Value = Case> {
    let field = prop::sample::select(FIELDS.as_slice());
    let piece = (0..2u64, field, TEXT, any::<bool>(), any::<bool>())
        .prop_map(|(choice, field, text, escaped, cut)| Piece { choice, field, text, escaped, cut });
    let cuts = prop::collection::vec(any::<Index>(), 0..16);
    (0..LISTS.len(), prop::collection::vec(piece, 1..16), cuts).prop_map(|(list, pieces, cuts)| Case {
        list,
        pieces,
        cuts,
    })
}

/// The inside of a string literal.
fn literal(text: &str, escaped: bool) -> String {
    if escaped {
        return text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
    }
    let quoted = json!(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// The member of a delta that adds to a field what is written in a literal.
fn member(field: &str, written: &str) -> String {
    match field {
        ARGUMENTS => format!(r#""tool_calls":[{{"index":0,"function":{{"arguments":"{written}"}}}}]"#),
        _ => format!(r#""{field}":"{written}""#),
    }
}

fn chunk(choice: u64, delta: &str, finish: &str) -> String {
    format!(
        "data: {{\"choices\":[{{\"index\":{choice},\"delta\":{{{delta}}},\"finish_reason\":{finish}}}]}}\n\n"
    )
}

impl Case {
    /// What each place has to say.
    fn texts(&self) -> BTreeMap<Place, String> {
        let mut texts: BTreeMap<Place, String> = BTreeMap::new();
        for Piece { choice, field, text, .. } in self.pieces.iter().filter(|piece| !piece.text.is_empty()) {
            *texts.entry((*choice, (*field).to_owned())).or_default() += text;
        }
        texts
    }

    fn expected(&self) -> BTreeMap<Place, String> {
        let mask = |(place, text): (Place, String)| (place, masked(&text, LISTS[self.list]));
        self.texts().into_iter().map(mask).collect()
    }

    /// The choices that call a tool.
    fn calling(&self) -> BTreeSet<u64> {
        self.pieces.iter().filter(|piece| piece.field == ARGUMENTS).map(|piece| piece.choice).collect()
    }

    /// The stream: a frame for each piece, where a pair is cut the next of its place begins with the other half.
    fn body(&self) -> String {
        let mut body = [0, 1].map(|choice| chunk(choice, "\"role\":\"assistant\"", "null")).concat();
        let quotes =
            || self.calling().into_iter().map(|choice| chunk(choice, &member(ARGUMENTS, "\\\""), "null"));
        body.extend(quotes());
        let mut halves: BTreeMap<(u64, &str), &str> = BTreeMap::new();
        for Piece { choice, field, text, escaped, cut } in &self.pieces {
            let before = halves.remove(&(*choice, *field)).unwrap_or_default();
            let (text, half) = match text.strip_suffix('😀').filter(|_| *cut) {
                // Of arguments written with escapes, the pair is cut between two of those.
                Some(rest) if *field == ARGUMENTS && *escaped => (rest, ("\\\\ud83d", "\\\\ude00")),
                Some(rest) => (rest, ("\\ud83d", "\\ude00")),
                None => (text.as_str(), ("", "")),
            };
            halves.insert((*choice, field), half.1);
            let written = match *field {
                ARGUMENTS => literal(&literal(text, *escaped), false),
                _ => literal(text, *escaped),
            };
            body += &chunk(*choice, &member(field, &format!("{before}{written}{}", half.0)), "null");
        }
        for ((choice, field), half) in halves.into_iter().filter(|(_, half)| !half.is_empty()) {
            body += &chunk(choice, &member(field, half), "null");
        }
        body.extend(quotes());
        body + &[0, 1].map(|choice| chunk(choice, "", "\"stop\"")).concat() + "data: [DONE]\n\n"
    }

    fn stream(&self) -> Script {
        let body = self.body().into_bytes();
        let mut cuts: Vec<usize> = self.cuts.iter().map(|cut| cut.index(body.len())).collect();
        cuts.extend([0, body.len()]);
        cuts.sort_unstable();
        cuts.windows(2).fold(Script::stream(), |script, part| script.bytes(&body[part[0]..part[1]]))
    }

    fn whole(&self) -> Script {
        let texts = self.texts();
        let choice = |index: u64| {
            let mine = texts.iter().filter(|((choice, _), _)| *choice == index);
            let member = |((_, field), text): (&Place, &String)| match field.as_str() {
                ARGUMENTS => {
                    let call = json!({ "function": { "name": "f", "arguments": json!(text).to_string() } });
                    ("tool_calls".to_owned(), json!([call]))
                }
                _ => (field.clone(), json!(text)),
            };
            let message: Value = mine.map(member).collect();
            json!({ "index": index, "message": message, "finish_reason": "stop" })
        };
        Script::json(200, &json!({ "choices": [choice(0), choice(1)] }))
    }
}

/// A model for each list.
async fn gateway(upstream: &ScriptedUpstream) -> TestGateway {
    let add = |setup: Setup, (number, words): (usize, &&[&str])| {
        let words = json!(words);
        setup.toml(&format!(
            "[plugins.p{number}]\nfile = 'sensitive-word.wasm'\nlimits = {{ cpu = '5s', wall = '20s' }}\n\
             config = {{ words = {words}, case_sensitive = true }}\n\
             [pipelines.p{number}]\nmodify = ['p{number}']\n\
             [models.m{number}]\npipeline = 'p{number}'\nrouting = ['p']\n\
             [models.m{number}.providers.p]\ntype = 'openai'\napi_base = 'env::UPSTREAM'\napi_key_location = 'none'"
        ))
    };
    LISTS.iter().enumerate().fold(Setup::new().upstream(upstream), add).start().await
}

fn ask(case: &Case, stream: bool) -> Value {
    let messages = json!([{ "role": "user", "content": "hello" }]);
    json!({ "model": format!("m{}", case.list), "messages": messages, "stream": stream })
}

/// What arguments say, in the place of how they are written; nothing for those that say nothing.
fn said(mut texts: BTreeMap<Place, String>) -> BTreeMap<Place, String> {
    for (_, text) in texts.iter_mut().filter(|((_, field), _)| field == ARGUMENTS) {
        *text = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    }
    texts.retain(|_, text| !text.is_empty());
    texts
}

async fn check(case: &Case, gateway: &TestGateway, upstream: &ScriptedUpstream) -> TestCaseResult {
    upstream.play(case.stream());
    let body = gateway.chat(&ask(case, true)).await.body().await;
    prop_assert_eq!(said(lanes(&body)), case.expected(), "{}", &body);
    prop_assert!(body.ends_with("data: [DONE]\n\n"), "{}", &body);
    prop_assert_eq!(body.matches("\"finish_reason\":\"stop\"").count(), 2, "{}", &body);

    upstream.play(case.whole());
    let body = gateway.chat(&ask(case, false)).await.json().await;
    for ((choice, field), text) in case.expected() {
        let message = &body["choices"][usize::from(choice == 1)]["message"];
        let arguments = &message["tool_calls"][0]["function"]["arguments"];
        let seen = if field == ARGUMENTS { arguments } else { &message[&field] };
        let seen = BTreeMap::from([((choice, field.clone()), seen.as_str().unwrap_or_default().to_owned())]);
        prop_assert_eq!(said(seen), BTreeMap::from([((choice, field), text)]));
    }
    Ok(())
}

#[test]
fn every_cut_of_every_text_is_masked_alike() {
    let runtime = Runtime::new().expect("a runtime");
    let (upstream, gateway) = runtime.block_on(async {
        let upstream = ScriptedUpstream::start([]).await;
        let gateway = gateway(&upstream).await;
        (upstream, gateway)
    });
    let config = Config { failure_persistence: None, ..Config::with_cases(CASES) };
    let checked =
        TestRunner::new(config).run(&cases(), |case| runtime.block_on(check(&case, &gateway, &upstream)));
    if let Err(error) = checked {
        panic!("{error}");
    }
    // Each case is a stream and a whole answer.
    assert_eq!(upstream.seen().len(), 2 * CASES as usize);
}
