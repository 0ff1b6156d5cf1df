//! Guests that abuse what is always there.

use std::sync::Arc;

use super::{HANDLES, broken, early};
use crate::bench::{Bench, Plugins, Saw, ask, printed};

pub(super) fn plugins(plugins: Plugins) -> Plugins {
    let wasi = |limits: &str| format!("file = 'wasi.wasm'\nlimits = {{ memory = '16MiB', {limits} }}");
    plugins
        .plugin("wasi", &["process"], &wasi("cpu = '20ms', wall = '20s'"))
        .plugin("wasi-roomy", &["process"], &wasi("cpu = '5s', wall = '20s'"))
        .plugin("wasi-wall", &["process"], &wasi("cpu = '5s', wall = '200ms'"))
}

pub(crate) async fn run(bench: &mut Bench) {
    for (promise, order) in [
        ("an endless loop of calls to the clock", "spin-clock"),
        ("an endless loop of calls for random bytes", "spin-random"),
        ("an endless loop of waits that are over", "spin-ready"),
    ] {
        bench.fails(promise, "wasi", order, early("process: cpu limit: more than 20ms", "cpu limit")).await;
    }
    for (promise, order) in [
        ("a wait for ever", "sleep"),
        ("400 waits for ever at once", "poll-many"),
        ("waits that are over, for as long as its CPU time allows", "spin-ready"),
    ] {
        bench
            .fails(promise, "wasi-wall", order, early("process: wall limit: more than 200ms", "wall limit"))
            .await;
    }
    for (promise, order, says) in [
        ("clocks without end", "pollables", HANDLES),
        ("streams without end", "streams", HANDLES),
        ("a wait for nothing", "poll-nothing", "empty poll list"),
        ("a GiB of random bytes", "random", "requested len 1073741824 exceeds limit 65536"),
        ("a TiB of zeroes to stdout", "zeroes", "cannot write more zeroes than `check_write` allows"),
        ("an exit of its own", "exit", "Exited with i32 exit status 0"),
    ] {
        bench.fails(promise, "wasi-roomy", order, broken("process", says)).await;
    }
    let promise = "a wait for a million times the same";
    let output = early("process: output limit: more than 1048576 bytes", "output limit");
    bench.fails(promise, "wasi-roomy", "poll-repeated", output).await;
    let behind = bench.log.length();
    let cpu = early("process: cpu limit: more than 20ms", "cpu limit");
    bench.fails("a line without end", "wasi", "print", cpu).await;
    assert!(printed(&bench.log.of("wasi", behind)).len() <= 1);
    look(bench).await;
}

/// A plugin without a grant sees nothing of the host.
async fn look(bench: &mut Bench) {
    let promise = "a look for variables, arguments, directories and sockets";
    let gateway = Arc::clone(&bench.gateway);
    assert_eq!(bench.beside(ask(&gateway, "wasi", "look")).await, Saw::Whole);
    let told = bench.model.seen().last().unwrap().last_text();
    let nothing = "0 variables, 0 arguments, 0 directories; TCP access-denied, UDP access-denied, \
                   DNS permanent-resolver-failure";
    assert_eq!(told, nothing);
    bench.row(promise, "all of the answer", "nothing", "none failed");
}
