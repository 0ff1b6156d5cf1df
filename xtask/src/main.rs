//! The project's tasks: `cargo xtask` alone lists them.

mod bench;
mod boundaries;
mod ci;
mod command;
mod fuzz;
mod pgo;
mod plugins;
mod run;
mod signer;
mod steps;
mod test;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::steps::Steps;

const USAGE: &str = "\
usage: cargo xtask TASK

  run            build everything, start the gateway and a local Dev API, print requests to try
  test           set up, build everything, run all tests
  ci             format, clippy, crate boundaries and docs, a short `fuzz`, then `test`
  fuzz [--seconds N] [TARGET...]
                 run the fuzz targets, each on what is known and then for 10 seconds (or N)
  bench [--quick]
                 measure the gateway beside its baselines, in release; write docs/benchmarks.md and its plots
                 (or take a short look, and print it)
  build-plugins  build the plugins into config/plugins/ and the test guests into target/guests/,
                 and the signer, as build-signer does
  build-signer   build sign_bg.wasm and sign.wasm into config/signer/, with the key in SIGNER_KEY
  build-pgo      build target/pgo/rust-proxy: the gateway in release, optimised for the benchmark's loads (PGO)
                 (half an hour)
  boundaries     check which crate may depend on what";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    if let Some(("fuzz", rest)) = arguments.split_first().map(|(task, rest)| (task.as_str(), rest)) {
        return fuzz::run(&fuzz::Plan::parse(rest)?);
    }
    match arguments.join(" ").as_str() {
        "run" => run::run(),
        "test" => test::run(&mut Steps::default()),
        "ci" => ci::run(),
        "bench" => bench::bench(false),
        "bench --quick" => bench::bench(true),
        "build-plugins" => plugins::build(),
        "build-pgo" => pgo::build(),
        "build-signer" => signer::build(),
        "boundaries" => boundaries::check(),
        "" | "help" | "--help" | "-h" => {
            println!("{USAGE}");
            Ok(())
        }
        other => bail!("there is no task `{other}`\n\n{USAGE}"),
    }
}
