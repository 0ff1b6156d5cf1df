//! `cargo xtask ci`: all that a change must pass; the quick checks first, the tests last.

use anyhow::Result;

use crate::command::{self, cargo};
use crate::plugins::{MANIFEST, TARGET_DIR};
use crate::steps::Steps;
use crate::{boundaries, test};

pub(crate) fn run() -> Result<()> {
    let mut steps = Steps::default();
    steps.run("format", format)?;
    steps.run("boundaries", boundaries::check)?;
    steps.run("clippy", clippy)?;
    steps.run("clippy of the plugins", clippy_plugins)?;
    steps.run("docs", docs)?;
    test::run(&mut steps)
}

fn format() -> Result<()> {
    command::run(&mut cargo(&["fmt", "--all", "--check"]))?;
    command::run(&mut cargo(&["fmt", "--all", "--check", "--manifest-path", MANIFEST]))
}

fn clippy() -> Result<()> {
    command::run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

fn clippy_plugins() -> Result<()> {
    let arguments = ["clippy", "--workspace", "--all-targets", "--manifest-path", MANIFEST];
    let rest = ["--target-dir", TARGET_DIR, "--", "-D", "warnings"];
    command::run(cargo(&arguments).args(rest))
}

fn docs() -> Result<()> {
    let arguments = ["doc", "--workspace", "--no-deps"];
    command::run(cargo(&arguments).env("RUSTDOCFLAGS", "-D warnings"))
}
