//! Which components a gateway takes, and what it says to others.
#![expect(clippy::disallowed_methods, reason = "reads built components")]

use rust_proxy_testkit::{Script, ScriptedUpstream, Setup, deltas};

use crate::{WORDS, masking};

fn sensitive_word() -> Vec<u8> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/plugins/sensitive-word.wasm");
    std::fs::read(file).expect("run `cargo xtask build-plugins`")
}

#[tokio::test]
async fn a_component_under_a_new_name_works_once_it_is_named() {
    let upstream = ScriptedUpstream::start([Script::says(["a secret tulip"])]).await;
    let setup = masking(&upstream).file("plugins/word-mask.wasm", sensitive_word());
    let gateway = setup
        .toml("[plugins.word-mask]\nconfig = { words = ['tulip'], mask = '#' }\nlimits = { wall = '20s' }")
        .toml("[pipelines.two]\nmodify = ['sensitive-word', 'word-mask']")
        .toml("[models.two]\nrouting = ['p']\npipeline = 'two'")
        .toml("[models.two.providers.p]\ntype = 'openai'\napi_base = 'env::UPSTREAM'\napi_key_location = 'none'")
        .start()
        .await;
    assert_eq!(deltas(&gateway.ask_model("two", "hello").await.body().await), "a ****** #####");
    assert_eq!(deltas(&gateway.ask("hello").await.body().await), "a ****** tulip");
}

/// A file that is refused at start as the plugin `other`, with these words.
async fn check_refused(bytes: impl Into<Vec<u8>>, says: &[&str]) {
    let refusal = Setup::new().plugins(&["other"]).file("plugins/other.wasm", bytes).refusal().await;
    for words in [&["plugins.other: ", "plugins/other.wasm"], says].concat() {
        assert!(refusal.contains(words), "`{words}` is not in: {refusal}");
    }
}

fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("a valid module")
}

#[tokio::test]
async fn a_component_that_is_cut_short_is_refused() {
    let whole = sensitive_word();
    for length in [0, 3, 100, whole.len() / 2, whole.len() - 1] {
        check_refused(&whole[..length], &["not a WebAssembly component"]).await;
    }
}

#[tokio::test]
async fn a_core_module_is_refused() {
    check_refused(wat("(module)"), &["it is a core module", "--target wasm32-wasip2"]).await;
}

#[tokio::test]
async fn an_import_that_is_not_granted_is_refused_by_name() {
    let http = wat(r#"(component (import "wasi:http/outgoing-handler@0.2.3" (instance)))"#);
    check_refused(http, &["imports `wasi:http/outgoing-handler@0.2.3`", "not granted"]).await;
}

#[tokio::test]
async fn a_component_that_is_no_plugin_is_refused() {
    check_refused(wat("(component)"), &["not a plugin", "build it against `wit/`"]).await;
}

#[tokio::test]
async fn a_plugin_without_a_file_is_refused_with_its_place() {
    let refusal = Setup::new().plugins(&["other"]).refusal().await;
    for words in
        ["pipelines.p.process", "plugins/other.wasm is not there", "put it there, or write [plugins.other]"]
    {
        assert!(refusal.contains(words), "`{words}` is not in: {refusal}");
    }
}

#[tokio::test]
async fn a_configuration_that_the_plugin_refuses_is_told_in_its_words() {
    let setup = Setup::new().plugins(&["sensitive-word"]);
    let refusal = setup.toml(&WORDS.replace("['secret', '密码']", "[]")).refusal().await;
    for words in ["plugins.sensitive-word: ", "refuses its `config`: `words` has no word: write at least one"]
    {
        assert!(refusal.contains(words), "`{words}` is not in: {refusal}");
    }
}
