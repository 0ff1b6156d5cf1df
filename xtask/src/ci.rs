//! `cargo xtask ci`: all that a change must pass; the quick checks first, the tests last.

use anyhow::Result;

use crate::command::{self, cargo};
use crate::steps::Steps;
use crate::{boundaries, fuzz, plugins, signer, test};

pub(crate) fn run() -> Result<()> {
    let mut steps = Steps::default();
    steps.run("format", format)?;
    steps.run("boundaries", boundaries::check)?;
    steps.run("clippy", clippy)?;
    steps.run("clippy of the plugins", || clippy_of(plugins::MANIFEST, plugins::TARGET_DIR))?;
    steps.run("clippy of the signer", || clippy_of(signer::MANIFEST, signer::TARGET_DIR))?;
    steps.run("docs", docs)?;
    steps.run("fuzz", || fuzz::run(&fuzz::Plan::smoke()))?;
    test::run(&mut steps)
}

fn format() -> Result<()> {
    command::run(&mut cargo(&["fmt", "--all", "--check"]))?;
    command::run(&mut cargo(&["fmt", "--all", "--check", "--manifest-path", plugins::MANIFEST]))?;
    command::run(&mut cargo(&["fmt", "--all", "--check", "--manifest-path", signer::MANIFEST]))?;
    command::run(&mut cargo(&["fmt", "--check", "--manifest-path", fuzz::MANIFEST]))
}

fn clippy() -> Result<()> {
    let all = ["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"];
    command::run(&mut cargo(&all))
}

fn clippy_of(manifest: &str, target_dir: &str) -> Result<()> {
    let arguments = ["clippy", "--workspace", "--all-targets", "--manifest-path", manifest];
    let rest = ["--target-dir", target_dir, "--", "-D", "warnings"];
    command::run(cargo(&arguments).args(rest))
}

fn docs() -> Result<()> {
    let arguments = ["doc", "--workspace", "--no-deps"];
    command::run(cargo(&arguments).env("RUSTDOCFLAGS", "-D warnings"))
}
