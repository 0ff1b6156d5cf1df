//! Components and modules whose code is kept.
#![expect(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test; reads the guests that `cargo xtask build-plugins` made"
)]

use std::path::Path;
use std::time::Duration;

use rust_proxy_stream::upstream::{SignRequest, Signer as _};
use rust_proxy_wasm::{
    Cache, CacheCounts, Limits, Runtime, RuntimeOptions, Settings, Signer, SignerSettings,
};

const LIMITS: Limits = Limits {
    memory: 16 << 20,
    cpu: Duration::from_millis(500),
    wall: Duration::from_secs(20),
    output: 1 << 20,
    requests: 20,
    fetch: 8 << 20,
    log: 100,
};

fn file(path: &str) -> Vec<u8> {
    let path = format!("{}/../../{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}; run `cargo xtask build-plugins`"))
}

/// A process that starts: what its cache did while it loaded a plugin, a signer that is a component and one that
/// is a module, all of which work.
async fn start(folder: &Path) -> CacheCounts {
    let cache = Cache::open(folder).unwrap();
    let options = RuntimeOptions { slots: 2 * Signer::SLOTS, cache: Some(cache.clone()) };
    let runtime = Runtime::new(options).unwrap();
    let settings = Settings::new("fault", "{}", LIMITS);
    let component = runtime.load(&file("target/guests/fault.wasm"), settings).await.unwrap();
    assert!(component.roles().processor);
    let arguments = ["nonce", "timestamp", "device_id", "content"].map(str::to_owned);
    let request = SignRequest {
        method: "POST".to_owned(),
        url: "http://127.0.0.1/chat".to_owned(),
        headers: Vec::new(),
        content: "{}".to_owned(),
        parameters: arguments[..3].iter().map(|name| (name.clone(), "1".to_owned())).collect(),
    };
    let mut signatures = Vec::new();
    for name in ["sign.wasm", "sign_bg.wasm"] {
        let settings = SignerSettings {
            name: name.to_owned(),
            limits: LIMITS,
            config_json: "{}".to_owned(),
            export: None,
            arguments: arguments.to_vec(),
        };
        let signer = runtime.load_signer(&file(&format!("config/signer/{name}")), settings).await.unwrap();
        signatures.push(signer.sign(&request).await.unwrap().remove(0).1);
    }
    assert_eq!(signatures[0], signatures[1]);
    cache.counts()
}

/// What is in the folder, in the order of names.
fn entries(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut entries: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries
}

fn put(entry: &Path, bytes: &[u8]) {
    std::fs::remove_file(entry).unwrap();
    std::fs::write(entry, bytes).unwrap();
}

#[tokio::test]
async fn the_second_start_compiles_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("cache");
    let cold = start(&folder).await;
    assert_eq!((cold.hits, cold.misses, cold.unwritten), (0, 3, 0));
    let warm = start(&folder).await;
    assert_eq!((warm.hits, warm.misses), (3, 0));
}

#[tokio::test]
async fn damaged_entries_are_compiled_anew_and_then_warm() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("cache");
    start(&folder).await;
    let files = entries(&folder);
    let whole: Vec<_> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
    let mut changed = whole[1].clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    // Cut, changed, and another file's.
    for (file, bytes) in files.iter().zip([&whole[0][..whole[0].len() / 2], &changed, &whole[0]]) {
        put(file, bytes);
    }
    let counts = start(&folder).await;
    assert_eq!((counts.hits, counts.misses, counts.broken), (0, 3, 3));
    let counts = start(&folder).await;
    assert_eq!((counts.hits, counts.broken), (3, 0));
}
