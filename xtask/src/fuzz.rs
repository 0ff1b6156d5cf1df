//! `cargo xtask fuzz`: every fuzz target for a while, after all inputs that are known.

use std::fs;
use std::process::{Command, Output};

use anyhow::{Context, Result, bail};

use crate::command::{command, nightly_cargo, root, run as run_command, succeeds};

pub(crate) const MANIFEST: &str = "fuzz/Cargo.toml";
const TARGETS: &str = "fuzz/fuzz_targets";
const SEEDS: &str = "fuzz/seeds";
const HOSTILE: &str = "tests/fixtures/hostile";
const CORPUS: &str = "fuzz/corpus";
const TOOLS: &str = "target/tools";
const TOOL: (&str, &str) = ("cargo-fuzz", "0.13.2");

/// A smoke run: long enough for what breaks at once.
const SECONDS: u32 = 10;
/// Longer inputs make a run slower and find no more.
const INPUT_MAX: u32 = 2048;
/// Seconds after which an input counts as one that never ends.
const HANGS_AFTER: u32 = 10;
/// Lines of a failed run that are shown: the panic, its place, and the input.
const SHOWN: usize = 60;

/// What is to be run, and for how long.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    seconds: u32,
    /// All of them, if none is named.
    targets: Vec<String>,
}

impl Plan {
    /// A smoke run of all targets.
    pub(crate) fn smoke() -> Self {
        Self { seconds: SECONDS, targets: Vec::new() }
    }

    /// Reads `[--seconds N] [TARGET…]`.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self> {
        let mut plan = Self::smoke();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            if argument == "--seconds" {
                let seconds = arguments.next().and_then(|seconds| seconds.parse().ok());
                plan.seconds =
                    seconds.filter(|seconds| *seconds > 0).context("`--seconds` needs a number")?;
            } else if argument.starts_with('-') {
                bail!("there is no option `{argument}`: write `[--seconds N] [TARGET…]`");
            } else {
                plan.targets.push(argument.clone());
            }
        }
        Ok(plan)
    }
}

/// Builds the targets, and runs each: first what is known, then what it comes up with.
///
/// # Errors
/// If an input breaks a target, after all targets were run; or if one cannot be built.
pub(crate) fn run(plan: &Plan) -> Result<()> {
    let all = targets()?;
    if let Some(unknown) = plan.targets.iter().find(|target| !all.contains(target)) {
        bail!("there is no fuzz target `{unknown}`; there are {}", all.join(", "));
    }
    let chosen = if plan.targets.is_empty() { &all } else { &plan.targets };
    set_up()?;
    run_command(cargo_fuzz("build").args(BUILD))?;
    let mut broken = Vec::new();
    for target in chosen {
        match replay(target).and_then(|known| Ok((known, search(target, plan.seconds)?))) {
            Ok((known, executions)) => {
                println!("xtask: fuzz {target}: {known} known inputs, {executions} executions, 0 crashes");
            }
            Err(error) => {
                println!("xtask: fuzz {target}: a crash\n{error:#}");
                broken.push(target.as_str());
            }
        }
    }
    if !broken.is_empty() {
        bail!(
            "fuzzing broke {}: the input that does is named above. Make it small with `cargo +nightly fuzz tmin {} \
             TARGET INPUT`, keep it as {HOSTILE}/TARGET/NAME, mend what it shows",
            broken.join(", "),
            BUILD.join(" ")
        );
    }
    Ok(())
}

/// Our code has no unsafe blocks for a sanitizer to watch, and traced comparisons cost more than the dictionary.
const BUILD: [&str; 3] = ["--sanitizer", "none", "--no-trace-compares"];

fn targets() -> Result<Vec<String>> {
    let mut targets = Vec::new();
    for file in fs::read_dir(root().join(TARGETS)).with_context(|| format!("cannot read {TARGETS}"))? {
        targets.extend(file?.path().file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    targets.sort();
    Ok(targets)
}

/// Makes sure of what the targets are built with.
fn set_up() -> Result<()> {
    if !succeeds(&mut nightly_cargo(&["--version"])) {
        bail!(
            "the fuzz targets need a nightly toolchain: `rustup toolchain install nightly --profile minimal`"
        );
    }
    if !succeeds(&mut command("c++", &["--version"])) {
        bail!("the fuzz targets need a C++ compiler (Debian: `apt-get install g++`)");
    }
    if !succeeds(&mut cargo_fuzz("--version")) {
        let (name, version) = TOOL;
        let install = ["install", "--locked", name, "--version", version, "--root", TOOLS];
        run_command(&mut nightly_cargo(&install))?;
    }
    Ok(())
}

fn cargo_fuzz(task: &str) -> Command {
    let mut paths = vec![root().join(TOOLS).join("bin")];
    paths.extend(std::env::var_os("PATH").iter().flat_map(std::env::split_paths));
    let mut command = nightly_cargo(&["fuzz", task]);
    command.env("PATH", std::env::join_paths(paths).unwrap_or_default());
    command
}

/// Runs a target on every seed and on every input that once broke it; answers how many there are.
fn replay(target: &str) -> Result<usize> {
    let mut files = Vec::new();
    for folder in [SEEDS, HOSTILE].map(|folder| format!("{folder}/{target}")) {
        if root().join(&folder).is_dir() {
            for file in fs::read_dir(root().join(&folder))? {
                files.push(format!("{folder}/{}", file?.file_name().to_string_lossy()));
            }
        }
    }
    files.sort();
    fuzz(target, &files, &[])?;
    Ok(files.len())
}

/// Runs a target on inputs of its own; answers on how many.
fn search(target: &str, seconds: u32) -> Result<u64> {
    let folders = [CORPUS, SEEDS, HOSTILE].map(|folder| format!("{folder}/{target}"));
    fs::create_dir_all(root().join(format!("{CORPUS}/{target}")))?;
    let folders: Vec<String> = folders.into_iter().filter(|folder| root().join(folder).is_dir()).collect();
    let told = fuzz(
        target,
        &folders,
        &[
            format!("-max_total_time={seconds}"),
            format!("-max_len={INPUT_MAX}"),
            "-dict=fuzz/dictionary".to_owned(),
            "-print_final_stats=1".to_owned(),
        ],
    )?;
    executions(&told).context("the fuzzer did not tell how much it did")
}

fn executions(told: &str) -> Option<u64> {
    told.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))?.trim().parse().ok()
}

/// Runs a target; answers with what libFuzzer told.
fn fuzz(target: &str, inputs: &[String], options: &[String]) -> Result<String> {
    let mut command = cargo_fuzz("run");
    command.args(BUILD).arg(target).args(inputs);
    command.args(["--", &format!("-timeout={HANGS_AFTER}")]).args(options);
    // A panic says where it is; the fuzzer's frames above it would hide that.
    command.env("RUST_BACKTRACE", "0");
    let Output { status, stderr, .. } = command.output().context("cannot start rustup")?;
    let told = String::from_utf8_lossy(&stderr);
    if !status.success() {
        let lines: Vec<&str> = told.lines().collect();
        bail!("{}", lines.get(lines.len().saturating_sub(SHOWN)..).unwrap_or_default().join("\n"));
    }
    Ok(told.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Plan> {
        Plan::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn a_plan_has_a_time_and_targets() {
        assert_eq!(parse("").unwrap(), Plan::smoke());
        let plan = parse("mask --seconds 300 sse").unwrap();
        assert_eq!(plan, Plan { seconds: 300, targets: vec!["mask".to_owned(), "sse".to_owned()] });
        for mistake in ["--seconds", "--seconds x", "--seconds 0", "--second 3"] {
            assert!(parse(mistake).is_err(), "{mistake}");
        }
    }

    #[test]
    fn an_unknown_target_is_named_before_anything_is_built() {
        let error = run(&parse("sse mark").unwrap()).unwrap_err().to_string();
        assert!(error.starts_with("there is no fuzz target `mark`; there are answer, "), "{error}");
    }

    #[test]
    fn executions_are_read_from_what_libfuzzer_tells() {
        let told = "#7 DONE cov: 1\nstat::number_of_executed_units: 109\nstat::average_exec_per_sec:     0\n";
        assert_eq!(executions(told), Some(109));
        assert_eq!(executions("#7 DONE"), None);
    }
}
