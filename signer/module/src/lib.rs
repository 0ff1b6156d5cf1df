//! The signer as a wasm-bindgen module, which `cargo xtask build-signer` makes into `sign_bg.wasm`.

use rust_proxy_sign::{Signed, built_in_key};
use wasm_bindgen::prelude::wasm_bindgen;

/// Signs with the key that was built in.
#[wasm_bindgen]
pub fn sign(nonce: &str, timestamp: &str, device_id: &str, content: &str) -> String {
    rust_proxy_sign::sign(built_in_key(), &Signed { nonce, timestamp, device_id, content })
}
