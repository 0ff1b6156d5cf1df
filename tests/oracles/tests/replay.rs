//! Every seed, every input that once broke something, and inputs by chance, on a stable toolchain.
//!
//! `cargo xtask fuzz` searches for more; what it finds goes to `tests/fixtures/hostile/<target>/`.

use std::path::Path;

use proptest::prelude::*;
use rust_proxy_oracles::TARGETS;

/// Runs a target on all files of a folder; answers how many there are.
#[expect(clippy::disallowed_methods, reason = "a test reads its fixtures")]
fn replay(folder: &str, target: &str, check: fn(&[u8])) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder).join(target);
    let Ok(files) = std::fs::read_dir(&folder) else { return 0 };
    let files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    for file in &files {
        let input = std::fs::read(file).unwrap();
        let held = std::panic::catch_unwind(|| check(&input));
        assert!(held.is_ok(), "{} does not hold: what it panics with stands above", file.display());
    }
    files.len()
}

#[test]
fn seeds_hold() {
    for (target, check) in TARGETS {
        assert!(replay("fuzz/seeds", target, check) > 0, "fuzz/seeds/{target} has seeds");
    }
}

#[test]
fn what_once_broke_holds() {
    let files: usize =
        TARGETS.iter().map(|(target, check)| replay("tests/fixtures/hostile", target, *check)).sum();
    assert!(files > 0, "tests/fixtures/hostile has inputs");
}

#[test]
fn what_is_built_from_choices_holds() {
    let built = |name: &str| TARGETS.iter().find(|(target, _)| *target == name).unwrap().1;
    let (answer, conversation) = (built("answer"), built("conversation"));
    let config = ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(input in prop::collection::vec(any::<u8>(), 0..400))| {
        answer(&input);
        conversation(&input);
    });
}
