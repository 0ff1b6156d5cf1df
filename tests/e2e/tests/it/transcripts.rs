//! Streams in the shapes of real servers, over sockets. The stream crate's tests have every split of them.
#![expect(clippy::disallowed_methods, reason = "reads transcripts")]

use std::collections::BTreeMap;
use std::path::Path;

use rust_proxy_testkit::{Place, Script, ScriptedUpstream, Setup, lanes};
use serde_json::Value;

use crate::masked;

const WORDS: [&str; 2] = ["banana", "密码"];
const PLUGIN: &str = "[plugins.sensitive-word]\nlimits = { cpu = '5s', wall = '20s' }\n";

fn transcripts() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/transcripts");
    let files = std::fs::read_dir(folder).expect("transcripts").map(|entry| entry.expect("a file").path());
    let streams = files.filter(|file| file.extension().is_some_and(|extension| extension == "sse"));
    let read = |file: std::path::PathBuf| {
        let name = file.file_stem().expect("a name").to_string_lossy().into_owned();
        (name, std::fs::read_to_string(file).expect("a transcript"))
    };
    let transcripts: Vec<_> = streams.map(read).collect();
    assert!(transcripts.len() >= 12, "{transcripts:?}");
    transcripts
}

/// The body in one write, in small ones, and byte by byte.
fn scripts(body: &str) -> [Script; 3] {
    let pieces = body.as_bytes().chunks(61).fold(Script::stream(), Script::bytes);
    [Script::stream().bytes(body), pieces, Script::stream().drip(body)]
}

#[tokio::test]
async fn what_no_plugin_edits_leaves_byte_for_byte() {
    let upstream = ScriptedUpstream::start([]).await;
    let looking = Setup::new().plugins(&["sensitive-word"]).toml(PLUGIN).toml("config = { words = ['zzz'] }");
    for (setup, looks) in [(Setup::new(), false), (looking, true)] {
        let gateway = setup.upstream(&upstream).start().await;
        for (name, transcript) in transcripts() {
            // Tokens that the model did not take do not pass a plugin.
            if looks && name == "openai-logprobs" {
                continue;
            }
            for script in scripts(&transcript) {
                upstream.play(script);
                let body = gateway.ask("hello").await.body().await;
                assert_eq!(body, transcript, "{name}");
            }
        }
    }
}

/// The texts of a stream; arguments as the JSON that they are, whatever its spelling.
fn texts(stream: &str) -> BTreeMap<Place, Value> {
    let value = |(place, text): (Place, String)| {
        let is_json = place.1.starts_with("arguments/");
        let value = if is_json { serde_json::from_str(&text).expect("JSON") } else { text.into() };
        (place, value)
    };
    lanes(stream).into_iter().map(value).collect()
}

fn masked_values(value: Value) -> Value {
    match value {
        Value::String(text) => masked(&text, &WORDS).into(),
        Value::Array(values) => values.into_iter().map(masked_values).collect(),
        Value::Object(values) => values.into_iter().map(|(key, value)| (key, masked_values(value))).collect(),
        other => other,
    }
}

#[tokio::test]
async fn every_text_is_masked() {
    let upstream = ScriptedUpstream::start([]).await;
    let config = format!("config = {{ words = {WORDS:?}, case_sensitive = true }}");
    let setup = Setup::new().upstream(&upstream).plugins(&["sensitive-word"]).toml(PLUGIN).toml(&config);
    let gateway = setup.start().await;
    for (name, transcript) in transcripts() {
        let mask = |(place, text)| (place, masked_values(text));
        let expected: BTreeMap<_, _> = texts(&transcript).into_iter().map(mask).collect();
        for script in scripts(&transcript) {
            upstream.play(script);
            let body = gateway.ask("hello").await.body().await;
            assert_eq!(texts(&body), expected, "{name}");
            assert!(body.ends_with("data: [DONE]\n\n"), "{name}: {body}");
        }
    }
}
