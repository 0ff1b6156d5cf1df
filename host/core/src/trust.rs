//! Whether a plugin's or signer's file may run.
//!
//! Everything is decided on bytes in memory, before anything parses them, and by one pure function, [`admit`]:
//!
//! 1. A file with a pin (`sha256`) has that hash.
//! 2. Where `keys` are listed, a signature beside the file (`NAME.wasm.minisig`) is of these bytes and by one of
//!    them; with `require_signature` there is one. It vouches for bytes, which could stand under any plugin's name
//!    and grant: where its trusted comment has the name of a file, as minisign writes it, this is the file's, or the
//!    file is pinned.
//! 3. A file that changed under the running gateway is pinned or signed, or it has nothing to misuse, or its changes
//!    are allowed.
//!
//! The rule on changes is for whom may write to the folder of plugins but not to the configuration: it keeps them
//! from taking over what the operator granted to another file.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use minisign_verify::{Error as MinisignError, Signature};

use crate::config::{
    self, Digest, FileHash, FileTrust, KEY_NAME, Place, Plugin, Signatures, Signer, SigningKey,
};

#[cfg(test)]
mod tests;

/// Far above any signature: its comments have at most 8 KiB.
const SIGNATURE_MAX: u64 = 16 << 10;

/// A file that was read, with its signature where those count.
pub(crate) struct File {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
    pub(crate) signature: Option<Vec<u8>>,
}

/// The settings by which a file is judged.
#[derive(Clone, Copy)]
pub(crate) struct Rules<'a> {
    pub(crate) file: &'a FileTrust,
    pub(crate) signatures: &'a Signatures,
    pub(crate) powers: Powers,
}

/// What a file could misuse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Powers {
    /// It reaches what others do not: HTTP, directories, a store.
    pub(crate) grant: bool,
    /// Its configuration has secrets.
    pub(crate) secrets: bool,
    /// It signs requests in the gateway's name.
    pub(crate) signs: bool,
}

/// What a file that may run is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Standing {
    /// Its SHA-256.
    pub sha256: FileHash,
    /// Whether the configuration names that.
    pub pinned: bool,
    /// The beginning of the key by which it is signed, as it stands in `keys`.
    pub signed_by: Option<String>,
}

impl Standing {
    /// What a file is loaded from, and who vouches for it: another signature is a change too.
    pub(crate) fn with(&self, fingerprint: Digest) -> Digest {
        config::digest(format!("{fingerprint:?}{self}").as_bytes())
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pinned = if self.pinned { "pinned" } else { "not pinned" };
        write!(f, "{}, {pinned}, ", self.sha256)?;
        match &self.signed_by {
            Some(key) => write!(f, "signed by {key}…"),
            None => f.write_str("not signed"),
        }
    }
}

/// Why a file may not run, and what would let it.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {}: {reason}", path.display())]
pub(crate) struct Refusal {
    /// The setting that decided.
    pub(crate) place: Box<Place>,
    pub(crate) path: PathBuf,
    pub(crate) reason: Reason,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Reason {
    /// It is another file than the configuration says.
    #[error(
        "expected the sha256 {expected}, found {found}; if this is the file that you mean, write sha256 = \"{found}\""
    )]
    Pin { expected: FileHash, found: FileHash },
    /// Files must be signed, and this one is not.
    #[error("expected a signature, {}, which is not there; make it with `minisign -Sm {}`, or write require_signature = false", signature.display(), path.display())]
    Unsigned { signature: PathBuf, path: PathBuf },
    /// The signature cannot be read as one.
    #[error("its signature, {}, is none of minisign; make it with `minisign -Sm {}`, or remove it", signature.display(), path.display())]
    Malformed { signature: PathBuf, path: PathBuf },
    /// Of an old form, which signs the file and not its hash.
    #[error("its signature, {}, has a form of before minisign 0.11; make it again with `minisign -SHm {}`", signature.display(), path.display())]
    Legacy { signature: PathBuf, path: PathBuf },
    /// The signer is nobody who counts.
    #[error(
        "expected a signature by {}, found one by {found}…; if you trust that key, add it to `keys` of [plugins]",
        listed(expected)
    )]
    Unlisted { expected: Vec<String>, found: String },
    /// The signer counts, but signed something else.
    #[error("expected a signature by {key}… of these bytes (sha256 {found}), found one of others: the file or its signature was changed; sign it again with `minisign -Sm {}`", path.display())]
    Mismatch { key: String, found: FileHash, path: PathBuf },
    /// The signature is right, but for a file of another name.
    #[error("its signature is for a file named {signed:?}, found {:?}: one plugin's file could stand in another's place; sign it under this name with `minisign -Sm {}`, or write sha256 = \"{found}\"", path.file_name().unwrap_or_default(), path.display())]
    Renamed { signed: String, found: FileHash, path: PathBuf },
    /// It was swapped under the running gateway.
    #[error(
        "it changed under the running gateway and {powers}: expected the sha256 {before}, found {now}; if that is meant, write sha256 = \"{now}\", or sign it with one of `keys`, or write allow_changes = true"
    )]
    Changed { before: FileHash, now: FileHash, powers: Powers },
}

fn listed(keys: &[String]) -> String {
    keys.iter().map(|key| format!("{key}…")).collect::<Vec<_>>().join(" or ")
}

impl fmt::Display for Powers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [
            (self.grant, "has a grant"),
            (self.secrets, "has secrets in its config"),
            (self.signs, "signs requests"),
        ];
        let all: Vec<&str> = all.into_iter().filter_map(|(has, text)| has.then_some(text)).collect();
        f.write_str(&all.join(" and "))
    }
}

impl Powers {
    fn any(self) -> bool {
        self != Self::default()
    }
}

impl<'a> Rules<'a> {
    pub(crate) fn of_plugin(plugin: &'a Plugin, signatures: &'a Signatures) -> Self {
        let powers = Powers { grant: plugin.grant.is_some(), secrets: plugin.secrets, signs: false };
        Self { file: &plugin.trust, signatures, powers }
    }

    pub(crate) fn of_signer(signer: &'a Signer, signatures: &'a Signatures) -> Self {
        let powers = Powers { grant: false, secrets: signer.secrets, signs: true };
        Self { file: &signer.trust, signatures, powers }
    }
}

impl File {
    /// Reads a file, and its signature where `keys` are listed.
    ///
    /// # Errors
    /// The system's, for either; that there is no signature is none.
    pub(crate) fn read(path: &Path, signatures: &Signatures) -> io::Result<Self> {
        let bytes = config::read_file(path)?;
        let signature = if signatures.keys.is_empty() {
            None
        } else {
            let beside = signature_path(path);
            match config::read_file_up_to(&beside, SIGNATURE_MAX) {
                Ok(signature) => Some(signature),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => {
                    return Err(io::Error::new(error.kind(), format!("{}: {error}", beside.display())));
                }
            }
        };
        Ok(Self { path: path.to_owned(), bytes, signature })
    }
}

/// Whether `file` may run, where `before` is what the running gateway loaded last of the same path, if anything.
///
/// Pure: the same answer to the same arguments.
///
/// # Errors
/// [`Refusal`], which names what was expected, what was found, and the settings that would let it run.
pub(crate) fn admit(before: Option<FileHash>, file: &File, rules: Rules<'_>) -> Result<Standing, Refusal> {
    let refuse =
        |place: &Place, reason| Refusal { place: Box::new(place.clone()), path: file.path.clone(), reason };
    let sha256 = FileHash::new(config::digest(&file.bytes));
    let pin = rules.file.pin.as_ref();
    if let Some(pin) = pin.filter(|pin| pin.hash != sha256) {
        return Err(refuse(&pin.place, Reason::Pin { expected: pin.hash, found: sha256 }));
    }
    let signed_by = signed_by(file, rules.signatures, sha256, pin.is_some())
        .map_err(|reason| refuse(&rules.file.place, reason))?;
    if let (None, Some(place)) = (&signed_by, &rules.signatures.required) {
        let (signature, path) = (signature_path(&file.path), file.path.clone());
        return Err(refuse(place, Reason::Unsigned { signature, path }));
    }
    let standing = Standing { sha256, pinned: pin.is_some(), signed_by };
    let vouched = standing.pinned || standing.signed_by.is_some() || rules.file.allow_changes;
    match before {
        Some(before) if before != sha256 && rules.powers.any() && !vouched => {
            Err(refuse(&rules.file.place, Reason::Changed { before, now: sha256, powers: rules.powers }))
        }
        _ => Ok(standing),
    }
}

/// The beginning of the key by which a file is signed; `None` where it has no signature that counts.
///
/// Whose file is `pinned` may have signed it under another name: the configuration says which plugin it is.
fn signed_by(
    file: &File,
    signatures: &Signatures,
    found: FileHash,
    pinned: bool,
) -> Result<Option<String>, Reason> {
    let Some(text) = file.signature.as_ref().filter(|_| !signatures.keys.is_empty()) else { return Ok(None) };
    let (path, signature) = (file.path.clone(), signature_path(&file.path));
    let text = std::str::from_utf8(text).ok();
    let Some((text, parsed)) = text.and_then(|text| Some((text, Signature::decode(text).ok()?))) else {
        return Err(Reason::Malformed { signature, path });
    };
    for SigningKey { key, name, .. } in &signatures.keys {
        match key.verify(&file.bytes, &parsed, false) {
            Ok(()) => {
                return match other_name(parsed.trusted_comment(), &path).filter(|_| !pinned) {
                    Some(signed) => Err(Reason::Renamed { signed, found, path }),
                    None => Ok(Some(name.clone())),
                };
            }
            Err(MinisignError::UnexpectedKeyId) => {}
            Err(MinisignError::UnexpectedAlgorithm) => return Err(Reason::Legacy { signature, path }),
            Err(_) => return Err(Reason::Mismatch { key: name.clone(), found, path }),
        }
    }
    let expected = signatures.keys.iter().map(|key| key.name.clone()).collect();
    Err(Reason::Unlisted { expected, found: key_of(text) })
}

/// The name of the file that was signed, where it is not this file's. Tools write it into the trusted comment between
/// tabs; some write a path.
fn other_name(trusted_comment: &str, path: &Path) -> Option<String> {
    let signed = trusted_comment.split('\t').find_map(|field| field.strip_prefix("file:"))?;
    let signed = signed.rsplit('/').next().unwrap_or(signed);
    let found = path.file_name().unwrap_or_default();
    (found != signed).then(|| signed.to_owned())
}

/// The beginning of the public key by whose secret twin a signature was made: after two letters both have the id.
fn key_of(signature: &str) -> String {
    let id = signature.lines().nth(1).and_then(|line| line.get(2..KEY_NAME));
    format!("RW{}", id.unwrap_or_default())
}

fn signature_path(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".minisig");
    name.into()
}

/// What the running gateway loaded last, by file. Outlives reloads, and takes a reload's files in when it is done.
#[derive(Clone, Debug, Default)]
pub(crate) struct History(BTreeMap<PathBuf, FileHash>);

impl History {
    pub(crate) fn of(&self, path: &Path) -> Option<FileHash> {
        self.0.get(path).copied()
    }

    pub(crate) fn take_in<'a>(&mut self, files: impl IntoIterator<Item = (&'a Path, &'a Standing)>) {
        self.0.extend(files.into_iter().map(|(path, standing)| (path.to_owned(), standing.sha256)));
    }
}
