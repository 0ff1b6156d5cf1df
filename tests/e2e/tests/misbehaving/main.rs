//! One guest per promise of the sandbox, in a running gateway beside healthy streams.
//!
//! One gateway has a model for each misbehaving plugin. During every deed, and after it, streams through another
//! pipeline go on, with a word that is held over it. After the deed are looked at: what its client saw, what the
//! log said, what the plugin's account says, and what a fresh instance of the plugin does. The table of it is
//! `docs/sandbox.md`; to see it come about: `cargo test --workspace --test misbehaving -- --nocapture`.
//!
//! In a process of its own, since it reads the process's log and counts its tasks.

// Lets lints know that all of it is tests, helpers too.
#![cfg(test)]
#![expect(clippy::print_stdout, reason = "shows the table")]

mod bench;
mod healthy;
mod heart;
mod log;
mod rows;
mod table;

use bench::Bench;
use log::Log;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_promise_is_kept_beside_healthy_streams() {
    let log = Log::begin();
    let web = rows::http::Web::start().await;
    let mut bench = Bench::start(log, rows::plugins(&web)).await;
    rows::time::run(&mut bench).await;
    rows::memory::run(&mut bench).await;
    rows::answers::run(&mut bench).await;
    let slow = rows::http::begin_slowly(&bench, &web).await;
    rows::wasi::run(&mut bench).await;
    rows::http::run(&mut bench, &web).await;
    rows::http::end_slowly(&mut bench, &web, slow).await;
    rows::files::run(&mut bench).await;
    rows::refused::run(&mut bench).await;
    bench.end().await;
}
