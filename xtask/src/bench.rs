//! `cargo xtask bench`: measures the gateway beside its baselines, and writes `docs/benchmarks.md`.

use std::fs::{self, File};

use anyhow::{Context, Result};

use crate::command::{cargo, command, root, run};
use crate::plugins;

pub(crate) const PROGRAM: &str = "target/release/rust-proxy-bench";
const GATEWAY: &str = "target/release/rust-proxy";
/// What was measured, in numbers.
const MEASURED: &str = "target/benchmarks.json";

/// With `quick`, a short look at all of it, which is printed and written nowhere.
pub(crate) fn bench(quick: bool) -> Result<()> {
    plugins::build()?;
    // For the whole workspace, so that one set of features serves all builds.
    let programs = ["--workspace", "--bin", "rust-proxy", "--bin", "rust-proxy-bench"];
    run(cargo(&["build", "--release"]).args(programs))?;
    let flags: &[&str] = if quick { &["--quick"] } else { &[] };
    let out = root().join(MEASURED);
    let file = File::create(&out).with_context(|| format!("{}", out.display()))?;
    run(command(PROGRAM, &["run", GATEWAY]).args(flags).stdout(file))?;
    if !quick {
        return run(&mut command(PROGRAM, &["report", MEASURED, "docs"]));
    }
    let folder = root().join("target/benchmarks");
    fs::create_dir_all(&folder)?;
    run(&mut command(PROGRAM, &["report", MEASURED, "target/benchmarks"]))?;
    print!("{}", fs::read_to_string(folder.join("benchmarks.md"))?);
    Ok(())
}
