//! ① and ⑦: HTTP in front of an [`Engine`](rust_proxy_core::Engine), and the command line.
//!
//! ```text
//! accept ──► observe ──► guard ──► app ──► engine        a request on its way in
//!            id, span    who may   routes    │
//! client ◄── bytes, line ◄──────── egress ◄──┘           its answer on the way out
//! ```
//! [`Gateway`] is all of it as a value: bound to an address, then served until told to stop. [`cli`] is the
//! program around it.
//!
//! Only `respond` and `egress` turn an error into bytes. The terminal marker of a stream is written in one
//! place, `egress`, on complete and stopped only.

mod admin;
mod app;
pub mod cli;
mod dev_api;
mod egress;
#[cfg(test)]
mod fake;
mod ingress;
mod logging;
mod metrics;
mod observe;
mod reload;
mod respond;
mod serve;
mod text;
mod watch;

pub use reload::{Record, ReloadError, Reloader};
pub use serve::{Gateway, GatewayError};
