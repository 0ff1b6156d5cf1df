//! The stream engine of rust-proxy: what flows, and how plugins change it. Performs no I/O.
//!
//! A request is a list of [items](item), a response a set of [lanes](lane). Plugins are [links](stage) of two
//! [chains](chain), one for requests, one for responses; they answer with edits and never own the text. A
//! [dialect] maps a wire format onto items and lanes and back, byte for byte where nothing was changed.
//! [`exchange::run`] composes all of it.
//!
//! Everything in this crate can be tested with values alone: it knows no runtime, no sandbox, no socket.

pub mod account;
pub mod chain;
pub mod dialect;
pub mod error;
pub mod exchange;
pub mod fetch;
pub mod item;
pub mod json;
pub mod kv;
pub mod lane;
pub mod sse;
pub mod stage;
pub mod upstream;

pub use error::{ExchangeError, UpstreamError};
