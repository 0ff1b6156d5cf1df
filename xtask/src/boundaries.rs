//! `cargo xtask boundaries`: which crate may depend on what, as ARCHITECTURE.md states it.
//!
//! Normal dependencies only: a test may use whatever it needs.

use anyhow::{Result, bail};

use crate::command::{cargo, output};

/// What must not be anywhere below `rust-proxy-stream`.
const NO_IO: [&str; 5] = ["tokio", "wasmtime", "axum", "reqwest", "hyper"];

/// A crate, and the only one under `host/` that may name it in its `Cargo.toml`.
const NAMED_ONLY_BY: [(&str, &str); 8] = [
    ("wasmtime", "rust-proxy-wasm"),
    ("wasmtime-wasi", "rust-proxy-wasm"),
    ("wasmtime-wasi-http", "rust-proxy-wasm"),
    ("reqwest", "rust-proxy-upstream"),
    ("redis", "rust-proxy-upstream"),
    ("axum", "rust-proxy"),
    ("rust-proxy-wasm", "rust-proxy-core"),
    ("rust-proxy-upstream", "rust-proxy-core"),
];

pub(crate) fn check() -> Result<()> {
    let tree = ["tree", "-e", "normal", "--target", "all"];
    let below = output(cargo(&tree).args(["-p", "rust-proxy-stream", "--prefix", "none"]))?;
    // Without `--no-dedupe` a member that another one names is printed without its own dependencies.
    let all = ["--workspace", "--no-dedupe", "--depth", "1", "--prefix", "depth"];
    let direct = output(cargo(&tree).args(all))?;
    let mut broken = io_in_stream(&below);
    broken.extend(named_elsewhere(&direct));
    if !broken.is_empty() {
        bail!("an invariant of ARCHITECTURE.md is broken:\n  {}", broken.join("\n  "));
    }
    println!("xtask: the boundaries between the crates hold");
    Ok(())
}

/// Reads a tree of lines `NAME vVERSION …`.
fn io_in_stream(tree: &str) -> Vec<String> {
    NO_IO
        .into_iter()
        .filter(|name| tree.lines().any(|line| line.split(' ').next() == Some(name)))
        .map(|name| {
            format!(
                "\"rust-proxy-stream performs no I/O\": {name} is among its dependencies \
                 (`cargo tree -p rust-proxy-stream -i {name} -e normal` shows by which way)"
            )
        })
        .collect()
}

/// Reads trees of depth 1: lines `0NAME vVERSION (PATH)` for a member, `1NAME …` for what it names.
fn named_elsewhere(trees: &str) -> Vec<String> {
    let mut broken = Vec::new();
    let mut member = "";
    for line in trees.lines() {
        let name = line.get(1..).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
        if line.starts_with('0') {
            member = if line.contains("/host/") { name } else { "" };
        } else if let Some((_, owner)) = NAMED_ONLY_BY.iter().find(|(named, _)| *named == name)
            && !member.is_empty()
            && member != *owner
        {
            broken.push(format!("\"Only {owner} names {name}\": {member} names it too, in its Cargo.toml"));
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_below_the_stream_crate_is_found() {
        assert_eq!(io_in_stream("rust-proxy-stream v0.1.0 (/p)\ntokio-util v0.7.1\nbytes v1.0.0"), [""; 0]);
        assert_eq!(io_in_stream("rust-proxy-stream v0.1.0 (/p)\ntokio v1.0.0 (*)").len(), 1);
    }

    #[test]
    fn a_crate_that_names_what_another_owns_is_found() {
        let trees = "0rust-proxy-wasm v0.1.0 (/p/host/wasm)\n1wasmtime v48.0.8\n\n\
                     0rust-proxy v0.1.0 (/p/host/server)\n1axum v0.8.9\n1reqwest v0.13.5 (*)";
        let broken = named_elsewhere(trees);
        assert_eq!(broken.len(), 1);
        assert!(broken[0].starts_with("\"Only rust-proxy-upstream names reqwest\": rust-proxy names it"));
    }

    #[test]
    fn packages_for_tests_may_name_what_they_need() {
        assert_eq!(
            named_elsewhere("0rust-proxy-testkit v0.1.0 (/p/tests/testkit)\n1reqwest v0.13.5"),
            [""; 0]
        );
    }
}
