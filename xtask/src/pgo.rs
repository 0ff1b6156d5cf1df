//! `cargo xtask build-pgo`: the gateway, compiled by what a short run of its benchmark shows of its use.
//!
//! Profile-guided optimization as the rustc book has it: a build that counts, a run, and a build that reads the counts.
//! Flags that a cargo configuration sets (`build.rustflags`) do not hold in them; those of the environment do.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result};

use crate::bench;
use crate::command::{cargo, command, output, root, run, succeeds};
use crate::plugins::{self, replace};

/// Both builds: the flags are part of what artifacts are called, and build scripts serve both.
const TARGET_DIR: &str = "target/pgo/build";
const COUNTS: &str = "target/pgo/counts";
const PROFILE: &str = "target/pgo/gateway.profdata";
const GATEWAY: &str = "target/pgo/rust-proxy";
/// Stands between the flags that cargo takes.
const BETWEEN: &str = "\x1f";

pub(crate) fn build() -> Result<()> {
    let host = host()?;
    let profdata = profdata()?;
    plugins::build()?;
    // Who asks.
    run(&mut cargo(&["build", "--release", "--workspace", "--bin", "rust-proxy-bench"]))?;

    let counts = root().join(COUNTS);
    // Counts of another program do not fit.
    if counts.exists() {
        fs::remove_dir_all(&counts)?;
    }
    let counting = build_with(&format!("-Cprofile-generate={}", counts.display()), &host)?;
    let load = ["run", &counting, "--quick", "--only", "system"];
    run(command(bench::PROGRAM, &load).env_remove("LLVM_PROFILE_FILE").stdout(Stdio::null()))?;
    run(&mut command(&profdata, &["merge", "--output", PROFILE, COUNTS]))?;

    let built = build_with(&format!("-Cprofile-use={}", root().join(PROFILE).display()), &host)?;
    replace(&root().join(built), &root().join(GATEWAY))?;
    println!("xtask: {GATEWAY}");
    Ok(())
}

/// Builds the gateway with a flag; gives the program.
///
/// For a named target: otherwise the flag would hold for build scripts too.
fn build_with(flag: &str, host: &str) -> Result<String> {
    let var = |name| std::env::var(name).ok();
    let outside = var("CARGO_ENCODED_RUSTFLAGS")
        .or_else(|| var("RUSTFLAGS").map(|flags| flags.split_whitespace().collect::<Vec<_>>().join(BETWEEN)));
    let flags = outside.map_or_else(|| flag.to_owned(), |flags| flags + BETWEEN + flag);
    let target = ["--target", host, "--target-dir", TARGET_DIR];
    // For the whole workspace, so that the features are those of the other builds.
    let program = ["build", "--release", "--workspace", "--bin", "rust-proxy"];
    run(cargo(&program).args(target).env("CARGO_ENCODED_RUSTFLAGS", flags))?;
    Ok(format!("{TARGET_DIR}/{host}/release/rust-proxy"))
}

/// The machine's target.
fn host() -> Result<String> {
    let version = output(&mut command("rustc", &["-vV"]))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("`rustc -vV` names no host")?.to_owned())
}

/// The tool that merges counts, of the compiler's own version.
fn profdata() -> Result<String> {
    let libraries = output(&mut command("rustc", &["--print", "target-libdir"]))?;
    let tool = Path::new(libraries.trim()).with_file_name("bin").join("llvm-profdata").display().to_string();
    if !succeeds(&mut command(&tool, &["--version"])) {
        let add = ["component", "add", "llvm-tools"];
        run(&mut command("rustup", &add)).context("llvm-profdata of this Rust toolchain is needed")?;
        output(&mut command(&tool, &["--version"]))?;
    }
    Ok(tool)
}
