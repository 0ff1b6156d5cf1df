//! What must hold for any input: the bodies of the fuzz targets in `fuzz/`, each a function that panics where
//! it does not.
//!
//! Each compares the gateway's code with a plain second reading of the same bytes, which looks at all of them
//! at once. They are apart from the fuzzer, so that `cargo test` replays every seed and every input that once
//! broke something (`tests/replay.rs`).
//!
//! An input is a text, and behind its last byte 0xFF the *choices*: which plugins, which words, where to cut.
//! An input without that byte has no choices. So a seed can be written by hand, and the fuzzer's dictionary
//! works on the text alone.

mod answer;
mod arguments;
mod conversation;
mod delta;
mod exchange;
mod json;
mod links;
mod mask;
mod reading;
mod request;
mod response;
mod source;
mod sse;

/// A check of one input.
///
/// # Panics
/// Where what must hold does not.
pub type Check = fn(&[u8]);

/// The targets by their names, which are those of the files in `fuzz/fuzz_targets/`, of the folders in
/// `fuzz/seeds/` and of those in `tests/fixtures/hostile/`.
pub const TARGETS: [(&str, Check); 6] = [
    ("answer", answer::check),
    ("conversation", conversation::check),
    ("mask", mask::check),
    ("request", request::check),
    ("response", response::check),
    ("sse", sse::check),
];

pub use answer::check as answer;
pub use conversation::check as conversation;
pub use mask::check as mask;
pub use request::check as request;
pub use response::check as response;
pub use sse::check as sse;
