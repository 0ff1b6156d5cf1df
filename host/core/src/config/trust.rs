//! Which files may run: `sha256` pins, keys of signatures, and whether a file may change under the gateway.

use std::fmt;

use minisign_verify::PublicKey;

use super::problems::Place;
use super::reader::{Node, Table};
use super::sources::{Digest, hex};

/// The SHA-256 of a file. Prints as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FileHash(Digest);

impl FileHash {
    /// Takes the hash itself.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub(crate) fn bytes(&self) -> &Digest {
        &self.0
    }

    fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for FileHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for FileHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What the configuration says of the file of a plugin or signer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileTrust {
    /// The only file that may be loaded.
    pub pin: Option<Pin>,
    /// Whether the file may change under a running gateway, whatever it may do.
    pub allow_changes: bool,
    /// The plugin's or signer's table, or where its name is used.
    pub place: Place,
}

/// `sha256 = "…"`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pin {
    /// What the file must have.
    pub hash: FileHash,
    /// Where it is written.
    pub place: Place,
}

/// Whose signatures count, and whether there must be one.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Signatures {
    /// Where one is present it must be by one of these; where there are none, signatures are not looked at.
    pub keys: Vec<SigningKey>,
    /// Where it is written that each file must have one.
    pub required: Option<Place>,
}

/// A public key of minisign.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SigningKey {
    /// The key.
    pub key: PublicKey,
    /// Its beginning, as it stands in `minisign.pub`, which is different for each key.
    pub name: String,
}

/// How much of a key's text is its name: two letters that all have, and its id.
pub(crate) const KEY_NAME: usize = 13;

/// Reads the settings of one file from its table.
pub(super) fn read(t: &mut Table<'_>) -> FileTrust {
    let pin = t.get("sha256").and_then(|node| {
        let fix = "write the 64 digits that `sha256sum FILE` prints";
        let hash = node.parse("a SHA-256", fix, FileHash::parse)?;
        Some(Pin { hash, place: node.place() })
    });
    FileTrust { pin, allow_changes: t.flag("allow_changes", false), place: t.node.place() }
}

/// Reads what `[plugins]` says of signatures.
pub(super) fn signatures(t: &mut Table<'_>) -> Signatures {
    let keys = t.get("keys").map(|node| node.items()).unwrap_or_default();
    let required = t.get("require_signature");
    let is_required = t.flag("require_signature", false);
    if let (true, Some(node), []) = (is_required, &required, keys.as_slice()) {
        node.conflict::<()>(
            "no signature could be valid, because there are no `keys`",
            "add keys = [\"path::minisign.pub\"]",
        );
    }
    Signatures {
        keys: keys.iter().filter_map(signing_key).collect(),
        required: required.filter(|_| is_required).map(|node| node.place()),
    }
}

fn signing_key(node: &Node<'_>) -> Option<SigningKey> {
    let text = node.text()?.value;
    // In a file a comment goes before it.
    let line = text.trim_end().lines().next_back().unwrap_or_default().trim();
    match PublicKey::from_base64(line) {
        Ok(key) => Some(SigningKey { key, name: line.chars().take(KEY_NAME).collect() }),
        // Not repeated: it may be the secret key.
        Err(_) => node.problem(
            "this is not a public key of minisign",
            "write the line of minisign.pub that begins with RW, or \"path::minisign.pub\"",
        ),
    }
}
