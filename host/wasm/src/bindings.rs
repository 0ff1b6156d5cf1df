//! The contract's Rust bindings, made from `wit/`. Nothing is written by hand here.
//!
//! One world has all interfaces that a component may export or import; which of them it does is found per
//! component.

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
        inline: "package rust-proxy:host;
            world all {
                include rust-proxy:plugin/filter-plugin@0.1.0;
                include rust-proxy:plugin/signer-plugin@0.1.0;
                import rust-proxy:plugin/kv@0.1.0;
            }",
        world: "rust-proxy:host/all",
        ownership: Borrowing { duplicate_if_necessary: true },
        imports: { default: async },
        exports: { default: async },
    });
}

pub(crate) use generated::exports::rust_proxy::plugin::{lifecycle, processor, response_modifier, signer};
pub(crate) use generated::rust_proxy::plugin::{kv, types};
