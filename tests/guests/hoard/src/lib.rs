//! A plugin that takes as much of the host as the user's last text says, and puts how far it got in its place.
//!
//! The text is `pollables N` (has so many of the host's resources open at once), `random N` (asks for so many random
//! bytes) or `print N` (prints so many lines).
#![expect(clippy::print_stdout, reason = "the order was to print")]

use rust_proxy_sdk::{Context, Decision, Description, Item, Plugin, Processor};

/// The plugin.
#[derive(Debug)]
pub struct Hoard;

impl Plugin for Hoard {
    fn describe() -> Description {
        Description::new(
            env!("CARGO_PKG_NAME"),
            env!("CARGO_PKG_VERSION"),
            "Hoards what the host keeps for it.",
        )
    }

    fn configure(_: &str) -> Result<Self, String> {
        Ok(Self)
    }
}

impl Processor for Hoard {
    fn process(&mut self, _: &Context, items: &[Item]) -> Result<Decision, String> {
        let mut decision = Decision::unchanged();
        if let Some((item, text)) = items.iter().rev().find_map(|item| Some((item.id, item.text()?))) {
            let (what, count) = text.split_once(' ').ok_or("no order")?;
            let count = count.parse().map_err(|_| "no count")?;
            decision.set_text(item, format!("{} {what}", hoard(what, count)?));
        }
        Ok(decision)
    }
}

fn hoard(what: &str, count: u32) -> Result<usize, String> {
    match what {
        #[cfg(target_arch = "wasm32")]
        "pollables" => {
            let wait = |_| wasip2::clocks::monotonic_clock::subscribe_duration(1);
            Ok((0..count).map(wait).collect::<Vec<_>>().len())
        }
        #[cfg(target_arch = "wasm32")]
        "random" => Ok(wasip2::random::random::get_random_bytes(count.into()).len()),
        "print" => {
            (0..count).for_each(|line| println!("line {line}"));
            Ok(count as usize)
        }
        _ => Err(format!("no order {what:?}")),
    }
}

rust_proxy_sdk::processor_plugin!(Hoard);
