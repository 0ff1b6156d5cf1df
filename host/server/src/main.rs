//! The `rust-proxy` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    rust_proxy::cli::run(std::env::args_os())
}
