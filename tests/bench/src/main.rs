//! `rust-proxy-bench`: the gateway under load, beside its baselines. `cargo xtask bench` builds and runs it.

mod calls;
mod load;
mod process;
mod relay;
mod report;
mod system;
mod upstream;

use std::os::unix::process::parent_id;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use rust_proxy::Gateway;
use rust_proxy_bench::{native::NativeMask, sample};
use rust_proxy_core::Engine;
use rust_proxy_core::config::{Config, ProcessEnvironment};
use rust_proxy_stream::stage::Plugin;

/// The gateway's, for what is measured beside it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const USAGE: &str = "\
usage: rust-proxy-bench COMMAND

  run GATEWAY [--quick] [--only calls|system|SCENARIO]
                       measure with this program as the gateway; JSON to standard output
  report FILE FOLDER   write the page of such a measurement, and its plots, into a folder
  upstream             a model that has its answer ready (a process of `run`, as are those below)
  relay ADDRESS        hands every byte on, and looks at none
  native CONFIG        the gateway with native links in the place of those in the sandbox
  load PLAN            asks, and measures";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["run", gateway, rest @ ..] => system::run(gateway.as_ref(), rest),
        ["report", file, folder] => report::write(file.as_ref(), folder.as_ref()),
        ["upstream"] => awake(upstream::serve()),
        ["relay", target] => many()?.block_on(relay::serve(target.parse()?)),
        ["native", config] => many()?.block_on(native(config)),
        ["load", plan] => awake(load::run(serde_json::from_str(plan).context("the plan")?)),
        _ => bail!("{USAGE}"),
    }
}

/// Runs what stands beside the gateway, on a thread that never sleeps. Who writes to one that sleeps has to wake its core:
/// that takes an interrupt, on a virtual machine longer than the request itself, and a slow gateway would pay it more
/// often than a fast one.
fn awake(work: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let parent = parent_id();
    runtime.spawn(async move {
        // Nobody ends it if the measurement itself was killed.
        while parent_id() == parent {
            // The model and whoever asks share a core.
            std::thread::yield_now();
            tokio::task::yield_now().await;
        }
        std::process::exit(1);
    });
    runtime.block_on(work)
}

/// The runtime of the gateway.
fn many() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

/// Serves a configuration with native masks in the place of its plugins.
async fn native(config: &str) -> Result<()> {
    let config =
        Config::load(config.as_ref(), &ProcessEnvironment).map_err(|error| anyhow::anyhow!("{error}"))?;
    let words = sample::words(1000);
    let masks = config.plugins.keys().map(|name| Arc::new(NativeMask::new(name, &words)) as Arc<dyn Plugin>);
    let engine = Engine::start_with(&config, masks).await?;
    let gateway = Gateway::bind_engine(&config, engine).await?;
    println!("listening on http://{}", gateway.address());
    gateway.serve(std::future::pending()).await;
    Ok(())
}
