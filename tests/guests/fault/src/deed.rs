//! What can be ordered, and how it is done.

use std::hint::black_box;

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Place {
    Configure,
    Process,
    Open,
    #[default]
    Push,
    Finish,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Deed {
    Trap,
    Spin,
    Error,
    Recurse,
    Memory,
    EditOutOfRange,
    EditOffBoundary,
    EditUnsorted,
    HoldClosed,
    UnknownLane,
    Output,
    Findings,
    Print,
    Block,
    Respond,
    Reject,
    Hold,
    #[default]
    None,
}

impl Deed {
    /// Does what needs nothing of the place.
    pub(crate) fn anywhere(self) -> Result<(), String> {
        match self {
            Self::Trap => trap(),
            Self::Spin => loop {
                black_box(());
            },
            Self::Recurse => {
                black_box(recurse(black_box(1)));
            }
            Self::Memory => loop {
                black_box(vec![0x55_u8; 1 << 20].leak());
            },
            Self::Print => print(),
            Self::Error => return Err("failed on order".to_owned()),
            _ => {}
        }
        Ok(())
    }
}

/// 64 MiB of text.
pub(crate) fn big() -> String {
    "x".repeat(64 << 20)
}

fn trap() -> ! {
    #[cfg(target_arch = "wasm32")]
    core::arch::wasm32::unreachable();
    #[cfg(not(target_arch = "wasm32"))]
    std::process::abort();
}

#[expect(unconditional_recursion, reason = "the order was to recurse")]
fn recurse(depth: u64) -> u64 {
    // Neither a tail call nor a loop: each call keeps a frame.
    let frame = black_box([depth; 16]);
    recurse(depth + 1) + frame.iter().sum::<u64>()
}

#[expect(clippy::print_stderr, reason = "the order was to print")]
fn print() {
    for line in 0..10_000 {
        eprintln!("\x1b[31mline {line}\x1b[0m\r\x07\u{202e}\u{85}");
    }
}
