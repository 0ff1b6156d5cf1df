//! What an instance has of its own. In a program of its own, since it looks at all of the process's memory.
#![cfg(target_os = "linux")]
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test; reads the plugin that `cargo xtask build-plugins` made"
)]

mod common;

use std::time::Duration;

use rust_proxy_stream::lane::{Batch, Channel, Lane, Piece};
use rust_proxy_stream::stage::Plugin;
use rust_proxy_wasm::{Limits, Runtime, RuntimeOptions, Settings};

const LIMITS: Limits = Limits {
    memory: 16 << 20,
    cpu: Duration::from_millis(500),
    wall: Duration::from_secs(20),
    output: 1 << 20,
    requests: 0,
    fetch: 0,
    log: 10,
};

/// Pages of the instances' memories that are not shared with the copy that they were made of.
fn own() -> u64 {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let (mut of_memory, mut page, mut pages) = (false, 0, 0);
    for line in maps.lines() {
        let size = |name| {
            let size: u64 = line.strip_prefix(name)?.trim().trim_end_matches(" kB").parse().ok()?;
            Some(size)
        };
        // A mapping begins with its addresses, its properties with their names.
        if line.split(' ').next().is_some_and(|first| first.contains('-')) {
            of_memory = line.contains("memfd:wasm-memory-image");
        }
        page = size("KernelPageSize:").unwrap_or(page);
        pages += size("Anonymous:").filter(|_| of_memory).map_or(0, |size| size / page);
    }
    pages
}

/// Pages that an instance has of its own once it has seen a delta.
async fn instance(runtime: &Runtime, plugin: &str, config_json: &str, edits: usize) -> u64 {
    let settings = Settings { once: true, ..Settings::new(plugin, config_json, LIMITS) };
    let path = format!("{}/../../config/plugins/{plugin}.wasm", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{path}: {error}; run `cargo xtask build-plugins`"));
    let component = runtime.load(&bytes, settings).await.unwrap();
    assert!(component.is_copied());
    let mut link = component.start().await.unwrap();
    let modifier = link.modifier().unwrap();
    modifier.open(&common::context()).await.unwrap();
    let lane = Lane { id: 0, choice: 0, part: 0, channel: Channel::Text, name: None, pointer: None };
    let pieces = vec![Piece { lane: 0, offset: 0, text: "a word5x and more \n" }];
    let outcome = modifier.push(&Batch { opened: &[lane], pieces, closed: &[] }).await.unwrap();
    assert_eq!(outcome.edits.len(), edits);
    own()
}

#[tokio::test]
async fn an_instance_has_a_few_pages_of_its_own_and_none_once_it_is_gone() {
    let runtime = Runtime::new(RuntimeOptions { slots: 4, cache: None }).unwrap();
    let words = |count| {
        let words: Vec<String> = (0..count).map(|number| format!("word{number}x")).collect();
        format!(r#"{{"words": {words:?}}}"#)
    };
    // As measured. Two: of its stack, and of its statics with the beginning of its heap. One more where a plugin has
    // statics of its own or needs more than a page, and some for what a large list leaves in too many gaps.
    for (plugin, config_json, edits, pages) in [
        ("sensitive-word", words(10), 1, 2),
        ("sensitive-word", words(100), 1, 2),
        ("sensitive-word", words(1000), 1, 2),
        ("sensitive-word", words(10_000), 1, 5),
        ("emoji", "{}".to_owned(), 0, 3),
        ("formatter", "{}".to_owned(), 0, 3),
    ] {
        let own = instance(&runtime, plugin, &config_json, edits).await;
        assert!((1..=pages).contains(&own), "{plugin}: {own} pages");
    }
    assert_eq!(own(), 0, "the pages of instances that are gone");
}
