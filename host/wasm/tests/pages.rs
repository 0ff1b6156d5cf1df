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

/// Pages of the instances' memories: those that are not shared with the copy that they were made of, and those that are
/// and were read, which Linux maps with up to fifteen beside them (`fault_around_bytes`, unless it was changed).
#[derive(Debug, PartialEq, Eq)]
struct Pages {
    own: u64,
    shared: u64,
}

fn pages() -> Pages {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let (mut of_memory, mut page) = (false, 0);
    let mut pages = Pages { own: 0, shared: 0 };
    for line in maps.lines() {
        let size = |name| {
            let size: u64 = line.strip_prefix(name)?.trim().trim_end_matches(" kB").parse().ok()?;
            Some(size)
        };
        // A mapping begins with its addresses, its properties with their names.
        if line.split(' ').next().is_some_and(|first| first.contains('-')) {
            of_memory = line.contains("memfd:wasm-memory-image");
        }
        if !of_memory {
            continue;
        }
        page = size("KernelPageSize:").unwrap_or(page);
        pages.shared += size("Rss:").map_or(0, |size| size / page);
        let own = size("Anonymous:").map_or(0, |size| size / page);
        pages.own += own;
        pages.shared -= own;
    }
    pages
}

/// Pages of an instance that has seen a delta.
async fn instance(runtime: &Runtime, plugin: &str, config_json: &str, edits: usize) -> Pages {
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
    pages()
}

#[tokio::test]
async fn an_instance_has_a_few_pages_of_its_own_and_none_once_it_is_gone() {
    let runtime = Runtime::new(RuntimeOptions { slots: 4, cache: None }).unwrap();
    let words = |count| {
        let words: Vec<String> = (0..count).map(|number| format!("word{number}x")).collect();
        format!(r#"{{"words": {words:?}}}"#)
    };
    // As measured. Two of its own: of its stack, and of its statics with the beginning of its heap. One more where a
    // plugin has statics of its own or needs more than a page, and some for what a large list leaves in too many gaps.
    // Shared, in windows of 16: its constants, and its tables.
    for (plugin, config_json, edits, own, windows) in [
        ("sensitive-word", words(10), 1, 2, 1),
        ("sensitive-word", words(100), 1, 2, 1),
        ("sensitive-word", words(1000), 1, 2, 2),
        ("sensitive-word", words(3000), 1, 3, 3),
        ("sensitive-word", words(10_000), 1, 3, 6),
        ("emoji", "{}".to_owned(), 0, 3, 1),
        ("formatter", "{}".to_owned(), 0, 3, 2),
    ] {
        let pages = instance(&runtime, plugin, &config_json, edits).await;
        assert!((1..=own).contains(&pages.own), "{plugin}, {} bytes: {pages:?}", config_json.len());
        assert!(pages.shared <= 16 * windows, "{plugin}, {} bytes: {pages:?}", config_json.len());
    }
    assert_eq!(pages(), Pages { own: 0, shared: 0 }, "the pages of instances that are gone");
}
