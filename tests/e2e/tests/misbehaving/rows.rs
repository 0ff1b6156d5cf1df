//! The promises, by what is broken.

use crate::bench::{Expected, Plugins, Saw};
use crate::heart::Heart;

pub(crate) mod answers;
pub(crate) mod files;
pub(crate) mod http;
pub(crate) mod memory;
pub(crate) mod refused;
pub(crate) mod time;
pub(crate) mod wasi;

const BOTH: [&str; 2] = ["process", "modify"];
/// Room for whatever is not meant.
const ROOMY: &str = "memory = '256MiB', cpu = '5s', wall = '20s', output = '1MiB'";
/// Ends what spins before it has to be waited for.
const TIGHT: &str = "memory = '16MiB', cpu = '20ms', wall = '20s', output = '64KiB'";

/// What is said to handles without end.
const HANDLES: &str =
    "more than 1000 (with a grant of directories 64) of the host's resources open (streams, clocks, headers)";

/// All plugins of the gateway.
pub(crate) fn plugins(web: &http::Web) -> Plugins {
    let fault =
        |limits| format!("file = 'fault.wasm'\nconfig = {{ from_text = true }}\nlimits = {{ {limits} }}");
    let plugins = Plugins::new()
        .plugin("fault", &BOTH, &fault(ROOMY))
        .plugin("fault-tight", &BOTH, &fault(TIGHT))
        .plugin("fault-small", &BOTH, &fault("memory = '4MiB', cpu = '5s', wall = '20s'"))
        .plugin("fault-long", &BOTH, &fault("cpu = '20s', wall = '20s'"))
        .plugin("fault-wall", &BOTH, &fault("cpu = '60s', wall = '200ms'"));
    let plugins = memory::plugins(answers::plugins(time::plugins(plugins)));
    http::plugins(files::plugins(wasi::plugins(plugins)), web)
}

/// A failure before anything has left: a status.
fn early(log: &'static str, failure: &'static str) -> Expected {
    Expected { client: Saw::Status(500, "plugin_failed".to_owned()), log, failure }
}

/// A failure after this text has left: an event.
fn late(text: &str, log: &'static str, failure: &'static str) -> Expected {
    Expected { client: Saw::Cut(text.to_owned(), "plugin_failed".to_owned()), log, failure }
}

/// A broken contract, before anything has left.
fn broken(stage: &str, detail: &str) -> Expected {
    early(format!("{stage}: broken contract: {detail}").leak(), "broken contract")
}

/// A trap, before anything has left or after this text has.
fn trap(stage: &str, detail: &str, left: Option<&str>) -> Expected {
    let log = format!("{stage}: trap: wasm trap: {detail}").leak();
    left.map_or(early(log, "trap"), |text| late(text, log, "trap"))
}

/// A plugin that does this in `process`.
fn processes(process: &str) -> Heart {
    Heart { process: process.to_owned(), ..Heart::default() }
}
