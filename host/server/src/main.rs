//! The `rust-proxy` command.

use std::process::ExitCode;

/// An exchange makes some hundred small allocations, which take a fifth of its time with glibc's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    rust_proxy::cli::run(std::env::args_os())
}
