//! A plugin that tells what an instance remembers: of its configuration, and of other exchanges.
//!
//! `{"do": DEED, "fill": N, "gaps": true}`: what `configure` does besides taking N bytes of memory, which is `nothing`, `random`
//! (draws a random number), `time` (asks for it), `print` (a line), `hash` (fills a hash table, which has a seed). The last text becomes
//! `CONFIGURED PROCESSED NUMBER SUM`: how often `configure` and `process` were called in this instance, what was drawn,
//! and the sum of the bytes.

#![expect(clippy::print_stdout, reason = "printing takes a handle")]

use std::cell::Cell;
use std::collections::HashSet;

use rust_proxy_sdk::{Context, Decision, Description, Item, Plugin, Processor, parse_config};

thread_local! {
    static CONFIGURED: Cell<u32> = const { Cell::new(0) };
    static PROCESSED: Cell<u32> = const { Cell::new(0) };
}

/// The plugin.
#[derive(Debug)]
pub struct Once {
    number: u64,
    bytes: Vec<u8>,
    table: HashSet<u64>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Deed {
    Nothing,
    Random,
    Time,
    Print,
    Hash,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    r#do: Deed,
    #[serde(default)]
    fill: usize,
    /// Every second byte is zero.
    #[serde(default)]
    gaps: bool,
}

impl Plugin for Once {
    fn describe() -> Description {
        Description::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), "Tells what it remembers.")
    }

    fn configure(config_json: &str) -> Result<Self, String> {
        let Config { r#do, fill, gaps } = parse_config(config_json)?;
        CONFIGURED.set(CONFIGURED.get() + 1);
        let (mut number, mut table) = (0, HashSet::new());
        match r#do {
            Deed::Nothing => {}
            Deed::Random => number = random(),
            Deed::Time => number = u64::from(std::time::SystemTime::now() > std::time::UNIX_EPOCH),
            Deed::Print => println!("configured"),
            Deed::Hash => table.extend(0..1000),
        }
        Ok(Self {
            number,
            bytes: (0..fill).map(|at| if gaps { (at % 2) as u8 } else { at as u8 }).collect(),
            table,
        })
    }
}

impl Processor for Once {
    fn process(&mut self, _: &Context, items: &[Item]) -> Result<Decision, String> {
        PROCESSED.set(PROCESSED.get() + 1);
        let sum: u64 = self.bytes.iter().map(|byte| u64::from(*byte)).sum();
        if !self.table.is_empty() && !(0..1000).all(|number| self.table.contains(&number)) {
            return Err("a hash table lost what it had".to_owned());
        }
        println!("processed");
        let mut decision = Decision::unchanged();
        if let Some(item) = items.last() {
            decision
                .set_text(item.id, format!("{} {} {} {sum}", CONFIGURED.get(), PROCESSED.get(), self.number));
        }
        Ok(decision)
    }
}

#[cfg(target_arch = "wasm32")]
fn random() -> u64 {
    wasip2::random::random::get_random_u64()
}

#[cfg(not(target_arch = "wasm32"))]
fn random() -> u64 {
    0
}

rust_proxy_sdk::processor_plugin!(Once);
