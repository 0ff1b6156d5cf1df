#![doc = include_str!("../../README.md")]
//!
//! # In this crate
//!
//! A plugin implements [`Plugin`] and one or both of [`Processor`] and [`ResponseModifier`] (or [`Signer`]),
//! and names its type in one macro: [`processor_plugin!`], [`response_modifier_plugin!`],
//! [`filter_plugin!`] (both directions) or [`signer_plugin!`]. The macro exports exactly that world of the
//! contract in `wit/`, for `wasm32` targets only: on others the crate is plain Rust, for unit tests.
//!
//! The types of [`types`] are the contract's own, without a layer in between: what the host sends is what
//! [`Processor::process`] and [`Session::push`] see. [`Outcome`] and [`Decision`] have methods that fill them.

mod answers;
#[doc(hidden)]
pub mod bindings;
mod config;
#[doc(hidden)]
pub mod glue;
mod heap;
pub mod kv;
mod lanes;
mod macros;
mod plugin;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use bindings::signer::SignRequest;
pub use bindings::types;
pub use config::parse_config;
pub use heap::compact;
pub use lanes::{Lanes, Update};
pub use plugin::{Description, Plugin, Processor, ResponseModifier, Session, Signer};
pub use types::{
    Batch, Body, Change, Channel, CloseReason, Context, Decision, Edit, Finding, Hold, Item, Lane, Outcome,
    Piece, Rejection, Stop,
};
