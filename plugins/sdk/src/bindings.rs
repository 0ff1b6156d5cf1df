//! What wit-bindgen makes of `wit/`: the types, then each interface as a world of one export.
//!
//! An export macro of wit-bindgen carries the description of its world, and the linker merges those that a
//! plugin uses. So a plugin exports exactly the interfaces that its macro names, and each exists once here.
#![allow(
    unsafe_code,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    clippy::all,
    clippy::restriction,
    reason = "bindgen-generated code"
)]

mod import {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "package rust-proxy:sdk; world types { import rust-proxy:plugin/types@0.1.0; }",
        generate_all,
        generate_unused_types: true,
        additional_derives: [PartialEq, Eq],
    });
}

pub use import::rust_proxy::plugin::types;

/// A plugin that calls none of it does not import it: the linker drops what is not used, and the import with it.
mod store {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "package rust-proxy:sdk; world store { import rust-proxy:plugin/kv@0.1.0; }",
        generate_all,
        additional_derives: [PartialEq, Eq],
    });
}

pub use store::rust_proxy::plugin::kv;

pub mod lifecycle {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "package rust-proxy:sdk; world lifecycle { export rust-proxy:plugin/lifecycle@0.1.0; }",
        generate_all,
        pub_export_macro: true,
    });
    pub use exports::rust_proxy::plugin::lifecycle::*;
}

pub mod processor {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "package rust-proxy:sdk; world processor { export rust-proxy:plugin/processor@0.1.0; }",
        with: {
            "rust-proxy:plugin/types@0.1.0": crate::bindings::types,
            "rust-proxy:plugin/processor@0.1.0": generate,
        },
        pub_export_macro: true,
    });
    pub use exports::rust_proxy::plugin::processor::*;
}

pub mod response_modifier {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "package rust-proxy:sdk;
            world response-modifier { export rust-proxy:plugin/response-modifier@0.1.0; }",
        with: {
            "rust-proxy:plugin/types@0.1.0": crate::bindings::types,
            "rust-proxy:plugin/response-modifier@0.1.0": generate,
        },
        pub_export_macro: true,
    });
    pub use exports::rust_proxy::plugin::response_modifier::*;
}

pub mod signer {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "package rust-proxy:sdk; world signer { export rust-proxy:plugin/signer@0.1.0; }",
        generate_all,
        pub_export_macro: true,
        additional_derives: [PartialEq, Eq],
    });
    pub use exports::rust_proxy::plugin::signer::*;
}
