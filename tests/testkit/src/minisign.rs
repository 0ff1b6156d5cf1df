//! Signs like minisign, so that no keys and signatures need to be kept as files.
//!
//! Not by the crate `minisign`, which is made for people with passwords: its scrypt turns on a feature of `digest`
//! with which Cranelift would be compiled once more. That real verifiers agree, each test shows that signs.

use ring::signature::{Ed25519KeyPair, KeyPair};

/// A pair of keys. The same number is the same pair.
#[derive(Debug)]
pub struct Minisign {
    id: [u8; 8],
    pair: Ed25519KeyPair,
}

impl Minisign {
    /// Makes a pair.
    ///
    /// # Panics
    /// Never: any 32 bytes are a secret key.
    pub fn new(number: u8) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[number; 32]).expect("32 bytes");
        Self { id: [number; 8], pair }
    }

    /// The public key, as the second line of `minisign.pub` has it.
    pub fn public(&self) -> String {
        base64(&[b"Ed", &self.id[..], self.pair.public_key().as_ref()].concat())
    }

    /// The text of a signature of `bytes`, whatever the name of their file.
    pub fn sign(&self, bytes: &[u8]) -> String {
        self.sign_with(bytes, "timestamp:0\thashed")
    }

    /// The text of a signature of `bytes` in a file `name`, as `minisign -S` makes it.
    pub fn sign_file(&self, name: &str, bytes: &[u8]) -> String {
        self.sign_with(bytes, &format!("timestamp:0\tfile:{name}\thashed"))
    }

    /// The same with a trusted comment of one's own, as `minisign -S -t` makes it.
    pub fn sign_with(&self, bytes: &[u8], comment: &str) -> String {
        self.signature(b"ED", blake2b_simd::blake2b(bytes).as_bytes(), comment)
    }

    /// The same as `minisign` made it before version 0.11.
    pub fn sign_as_before(&self, bytes: &[u8]) -> String {
        self.signature(b"Ed", bytes, "timestamp:0")
    }

    fn signature(&self, algorithm: &[u8; 2], signed: &[u8], comment: &str) -> String {
        let signature = self.pair.sign(signed);
        let all = self.pair.sign(&[signature.as_ref(), comment.as_bytes()].concat());
        let signature = [&algorithm[..], &self.id, signature.as_ref()].concat();
        format!(
            "untrusted comment: signature of a test\n{}\ntrusted comment: {comment}\n{}\n",
            base64(&signature),
            base64(all.as_ref())
        )
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit)) as usize & 63;
            let letter = DIGITS.get(value).filter(|_| digit <= three.len());
            text.push(letter.map_or('=', |letter| char::from(*letter)));
        }
    }
    text
}
