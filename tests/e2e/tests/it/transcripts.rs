//! Streams in the shapes of real servers, over sockets. The stream crate's tests have every split of them.
#![expect(clippy::disallowed_methods, reason = "reads transcripts")]

use std::path::Path;

use rust_proxy_testkit::{Script, ScriptedUpstream, Setup, lanes};

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
    for setup in [Setup::new(), looking] {
        let gateway = setup.upstream(&upstream).start().await;
        for (name, transcript) in transcripts() {
            for script in scripts(&transcript) {
                upstream.play(script);
                let body = gateway.ask("hello").await.body().await;
                // Where half a surrogate pair is in a frame, it waits for the other.
                let (body, transcript) = (whole_pairs(&name, &body), whole_pairs(&name, &transcript));
                assert_eq!(body, transcript, "{name}");
            }
        }
    }
}

/// The texts alone, for the one transcript in which a pair is cut in two.
fn whole_pairs(name: &str, body: &str) -> String {
    if name == "deepseek-reasoning" { format!("{:?}", lanes(body)) } else { body.to_owned() }
}

#[tokio::test]
async fn every_text_is_masked() {
    let upstream = ScriptedUpstream::start([]).await;
    let config = format!("config = {{ words = {WORDS:?}, case_sensitive = true }}");
    let setup = Setup::new().upstream(&upstream).plugins(&["sensitive-word"]).toml(PLUGIN).toml(&config);
    let gateway = setup.start().await;
    for (name, transcript) in transcripts() {
        let mut expected = lanes(&transcript);
        expected.retain(|(_, field), _| !field.starts_with("arguments/"));
        expected.values_mut().for_each(|text| *text = masked(text, &WORDS));
        for script in scripts(&transcript) {
            upstream.play(script);
            let body = gateway.ask("hello").await.body().await;
            let mut texts = lanes(&body);
            texts.retain(|(_, field), _| !field.starts_with("arguments/"));
            assert_eq!(texts, expected, "{name}");
            assert!(body.ends_with("data: [DONE]\n\n"), "{name}: {body}");
        }
    }
}
