//! `cargo xtask test`: set-up, builds and every test, on a machine that has rustup and Python only.

use std::path::Path;

use anyhow::{Result, bail};

use crate::command::{cargo, command, root, run as run_command, succeeds};
use crate::plugins::{self, MANIFEST, TARGET_DIR};
use crate::steps::Steps;

const CLIENTS: &str = "tests/clients";
const VENV: &str = "target/venv";
const ADVICE: &str = "install python3 with its venv module (Debian: `apt-get install python3-venv`)";
/// The tests that need a `redis-server`, by the feature that builds them.
const REDIS: &str = "rust-proxy-e2e/redis-server";
const REDIS_ADVICE: &str = "install redis-server (Debian: `apt-get install redis-server`)";

/// Runs all tests after the steps that were taken before; building is timed apart from testing.
pub(crate) fn run(steps: &mut Steps) -> Result<()> {
    let clients = Clients::find()?;
    let features: &[&str] = if has_redis()? { &["--features", REDIS] } else { &[] };
    steps.run("build the plugins", plugins::build)?;
    steps.run("build the plugins' tests", || test_plugins(&["--no-run"]))?;
    steps.run("test the plugins", || test_plugins(&[]))?;
    // Builds the gateway too, with the very features that the tests are built with.
    steps.run("build the tests", || {
        run_command(cargo(&["build", "--workspace", "--all-targets"]).args(features))
    })?;
    steps.run("doc tests", || run_command(&mut cargo(&["test", "--workspace", "--doc"])))?;
    if features.is_empty() {
        eprintln!("xtask: SKIPPED tests/e2e/tests/redis.rs, keys and values in Redis: {REDIS_ADVICE}");
    }
    match clients {
        Clients::Ready => {
            steps.run("tests", || test(features))?;
            steps.run("set up the client suite", set_up_clients)?;
            return steps.last("client suite", test_clients);
        }
        Clients::NoPython => eprintln!("xtask: SKIPPED {CLIENTS}, the suite of real clients: {ADVICE}"),
        Clients::Absent => {}
    }
    steps.last("tests", || test(features))
}

fn test_plugins(more: &[&str]) -> Result<()> {
    let arguments = ["test", "--workspace", "--manifest-path", MANIFEST, "--target-dir", TARGET_DIR];
    run_command(cargo(&arguments).args(more))
}

fn test(features: &[&str]) -> Result<()> {
    run_command(cargo(&["test", "--workspace", "--all-targets"]).args(features))
}

/// Whether there is a `redis-server`. Only outside of CI its tests may be left out.
fn has_redis() -> Result<bool> {
    let found = succeeds(&mut command("redis-server", &["--version"]));
    if !found && in_ci() {
        bail!("the tests with Redis cannot be run: {REDIS_ADVICE}");
    }
    Ok(found)
}

fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|ci| ci == "true")
}

/// Whether the suite of real clients can be run.
enum Clients {
    Ready,
    /// It needs Python. Only outside of CI it may be left out.
    NoPython,
    Absent,
}

impl Clients {
    fn find() -> Result<Self> {
        if !root().join(CLIENTS).join("requirements.txt").is_file() {
            return Ok(Self::Absent);
        }
        if succeeds(&mut command("python3", &["-c", "import ensurepip, venv"])) {
            return Ok(Self::Ready);
        }
        if in_ci() {
            bail!("{CLIENTS} cannot be run: {ADVICE}");
        }
        Ok(Self::NoPython)
    }
}

fn set_up_clients() -> Result<()> {
    if !Path::new(&python()).is_file() {
        run_command(&mut command("python3", &["-m", "venv", VENV]))?;
    }
    let requirements = format!("{CLIENTS}/requirements.txt");
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", &requirements];
    run_command(&mut command(&python(), &pip))
}

fn test_clients() -> Result<()> {
    run_command(&mut command(&python(), &["-m", "pytest", CLIENTS]))
}

fn python() -> String {
    root().join(VENV).join("bin/python").to_string_lossy().into_owned()
}
