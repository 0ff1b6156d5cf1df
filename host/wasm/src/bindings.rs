//! The contract's Rust bindings, made from `wit/`. Nothing is written by hand here.
//!
//! `filter-plugin` has all interfaces of the stream; which of them a component exports is found per component.

#[allow(
    clippy::all,
    clippy::restriction,
    unreachable_pub,
    missing_debug_implementations,
    reason = "bindgen-generated code"
)]
mod generated {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "filter-plugin",
        ownership: Borrowing { duplicate_if_necessary: true },
        exports: { default: async },
    });
}

pub(crate) use generated::exports::rust_proxy::plugin::{lifecycle, processor, response_modifier};
pub(crate) use generated::rust_proxy::plugin::types;
