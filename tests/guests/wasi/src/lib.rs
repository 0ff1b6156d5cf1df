//! A plugin that does with WASI what the user's last text orders, and lets everything else pass.
//!
//! What came of it takes the text's place, where it comes to an end: the deeds are in `deed.rs`.

#[cfg(target_arch = "wasm32")]
mod deed;

use rust_proxy_sdk::{Context, Decision, Description, Item, Plugin, Processor};

/// The plugin.
#[derive(Debug)]
pub struct Wasi;

impl Plugin for Wasi {
    fn describe() -> Description {
        Description::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), "Abuses WASI on order.")
    }

    fn configure(_: &str) -> Result<Self, String> {
        Ok(Self)
    }
}

impl Processor for Wasi {
    fn process(&mut self, _: &Context, items: &[Item]) -> Result<Decision, String> {
        let mut decision = Decision::unchanged();
        let last = items.iter().rev().find_map(|item| Some((item.id, item.text()?)));
        if let Some((item, answer)) = last.and_then(|(item, order)| Some((item, carry_out(order)?))) {
            decision.set_text(item, answer);
        }
        Ok(decision)
    }
}

#[cfg(target_arch = "wasm32")]
fn carry_out(order: &str) -> Option<String> {
    deed::carry_out(order)
}

#[cfg(not(target_arch = "wasm32"))]
fn carry_out(_: &str) -> Option<String> {
    None
}

rust_proxy_sdk::processor_plugin!(Wasi);
