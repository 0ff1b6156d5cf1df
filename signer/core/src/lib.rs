//! The signature of the reference Dev API.
//!
//! Lower-case hexadecimal HMAC-SHA256 of a canonical string: [`PREFIX`], then for each of nonce, timestamp,
//! device id and content, in this order, its length in bytes in decimal, `:`, its bytes and a line feed. The
//! lengths make it unambiguous: no two different requests have the same canonical string, whatever bytes they
//! hold.
//!
//! One crate for all who sign or verify: the wasm-bindgen module, the component, and the reference server.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// How every canonical string begins. Another rule will have another version.
pub const PREFIX: &str = "rust-proxy-sign-v1\n";

/// The key of signers that were built without `SIGNER_KEY`. Public, so it protects nothing: for
/// demonstrations and tests.
pub const DEMONSTRATION_KEY: &str = "demonstration-key-not-a-secret";

/// What a signature covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signed<'a> {
    /// Used once.
    pub nonce: &'a str,
    /// As it is sent.
    pub timestamp: &'a str,
    /// Who sends.
    pub device_id: &'a str,
    /// The text that is protected.
    pub content: &'a str,
}

/// The key that this crate was built with: the environment's `SIGNER_KEY` of that time, or
/// [`DEMONSTRATION_KEY`].
pub const fn built_in_key() -> &'static str {
    const KEY: &str = match option_env!("SIGNER_KEY") {
        Some(key) => key,
        None => DEMONSTRATION_KEY,
    };
    const { assert!(!KEY.is_empty(), "SIGNER_KEY is set but empty") };
    KEY
}

/// Signs.
pub fn sign(key: &str, signed: &Signed<'_>) -> String {
    mac(key, signed).iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Whether a signature is that of [`sign`]. Takes as long for a wrong one as for the right one.
pub fn verify(key: &str, signed: &Signed<'_>, signature: &str) -> bool {
    let mut bytes = [0; 32];
    unhex(signature, &mut bytes).is_some() && bool::from(mac(key, signed).ct_eq(&bytes))
}

fn mac(key: &str, signed: &Signed<'_>) -> [u8; 32] {
    hmac(key.as_bytes(), |hash| {
        hash.update(PREFIX.as_bytes());
        for field in [signed.nonce, signed.timestamp, signed.device_id, signed.content] {
            hash.update(field.len().to_string().as_bytes());
            hash.update(b":");
            hash.update(field.as_bytes());
            hash.update(b"\n");
        }
    })
}

/// HMAC-SHA256 (RFC 2104) of what `text` hashes.
///
/// The crate `hmac` would do the same; it switches features on in crates below wasmtime, which the host would
/// then build twice.
fn hmac(key: &[u8], text: impl FnOnce(&mut Sha256)) -> [u8; 32] {
    const BLOCK: usize = 64;
    let hashed = Sha256::digest(key);
    let key = if key.len() > BLOCK { hashed.as_slice() } else { key };
    let padded = |pad: u8| {
        let mut block = [pad; BLOCK];
        for (byte, key) in block.iter_mut().zip(key) {
            *byte ^= key;
        }
        Sha256::new_with_prefix(block)
    };
    let mut inner = padded(0x36);
    text(&mut inner);
    padded(0x5c).chain_update(inner.finalize()).finalize().into()
}

fn unhex(hex: &str, bytes: &mut [u8; 32]) -> Option<()> {
    let (pairs, []) = hex.as_bytes().as_chunks::<2>() else { return None };
    if pairs.len() != bytes.len() {
        return None;
    }
    for ([high, low], byte) in pairs.iter().zip(bytes) {
        *byte = nibble(*high)? << 4 | nibble(*low)?;
    }
    Some(())
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
