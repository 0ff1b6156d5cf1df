//! The `rust-proxy` command, for the tests of this package.

use std::process::ExitCode;

fn main() -> ExitCode {
    rust_proxy::cli::run(std::env::args_os())
}
