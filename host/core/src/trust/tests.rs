use crate::config::{Config, Folder};

use super::*;

#[path = "../../../../tests/testkit/src/minisign.rs"]
#[expect(unreachable_pub, reason = "the testkit's, which needs more of it")]
mod minisign;

use minisign::Minisign;

const OLD: &[u8] = b"\0asm old";
const NEW: &[u8] = b"\0asm new";

fn hash(bytes: &[u8]) -> FileHash {
    FileHash::new(config::digest(bytes))
}

fn key(number: u8) -> String {
    Minisign::new(number).public()
}

/// The first letters of a key, as messages show it.
fn name(number: u8) -> String {
    key(number)[..KEY_NAME].to_owned()
}

fn file(bytes: &[u8], signature: Option<String>) -> File {
    File {
        path: "plugins/mask.wasm".into(),
        bytes: bytes.to_vec(),
        signature: signature.map(String::into_bytes),
    }
}

/// Judges `file` by the lines of `[plugins]` and of `[plugins.mask]`, in whose place `before` was loaded.
fn judge(plugins: &str, mask: &str, before: Option<&[u8]>, file: &File) -> Result<Standing, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let plugin = folder.path().join("mask.wasm");
    #[expect(clippy::disallowed_methods, reason = "a file that the configuration names")]
    std::fs::write(plugin, "").expect("a writable folder");
    let text = format!(
        "[plugins]\nfolder = '{}'\n{plugins}\n[plugins.mask]\n{mask}\n[pipelines.a]\nprocess = ['mask']\n\
         [models.m]\nrouting = ['p']\npipeline = 'a'\n[models.m.providers.p]\ntype = 'openai'\n\
         api_base = 'http://127.0.0.1/v1'\napi_key_location = 'none'\n",
        folder.path().display()
    );
    let variables = BTreeMap::from([("KEY".to_owned(), "secret".to_owned())]);
    let config = Config::parse(&text, "c.toml", &Folder::new(""), &variables);
    let config = config.unwrap_or_else(|problems| panic!("{problems}"));
    let rules = Rules::of_plugin(&config.plugins["mask"], &config.signatures);
    admit(before.map(hash), file, rules).map_err(|refusal| refusal.to_string())
}

#[track_caller]
fn accepted(plugins: &str, mask: &str, before: Option<&[u8]>, file: &File) -> Standing {
    judge(plugins, mask, before, file).unwrap_or_else(|refusal| panic!("{refusal}"))
}

#[track_caller]
fn refused(plugins: &str, mask: &str, before: Option<&[u8]>, file: &File, expect: &str) {
    let refusal = judge(plugins, mask, before, file).expect_err("it is refused");
    assert_eq!(refusal, expect);
}

fn pin(bytes: &[u8]) -> String {
    format!("sha256 = '{}'", hash(bytes))
}

/// A plugin that has something to misuse.
const POWERS: [(&str, &str); 3] = [
    ("grant = { http = ['https://example.org'] }", "has a grant"),
    ("config = { nested = [{ key = { secret = 'env::KEY' } }] }", "has secrets in its config"),
    (
        "grant = { http = ['https://example.org'] }\nconfig = { key = { secret = 'env::KEY' } }",
        "has a grant and has secrets in its config",
    ),
];

#[test]
fn without_settings_any_file_runs() {
    let standing = accepted("", "", None, &file(NEW, None));
    assert_eq!(standing, Standing { sha256: hash(NEW), pinned: false, signed_by: None });
    assert_eq!(standing.to_string(), format!("{}, not pinned, not signed", hash(NEW)));
}

#[test]
fn a_pin_lets_its_file_run_and_no_other() {
    let standing = accepted("", &pin(NEW), None, &file(NEW, None));
    assert_eq!(standing.to_string(), format!("{}, pinned, not signed", hash(NEW)));
    accepted("", &pin(NEW).to_uppercase().replace("SHA256", "sha256"), None, &file(NEW, None));
    let (old, new) = (hash(OLD), hash(NEW));
    let expect = format!(
        "c.toml:5:10: plugins.mask.sha256: plugins/mask.wasm: expected the sha256 {old}, found {new}; \
         if this is the file that you mean, write sha256 = \"{new}\""
    );
    refused("", &pin(OLD), None, &file(NEW, None), &expect);
    refused("", &format!("{}\nallow_changes = true", pin(OLD)), Some(OLD), &file(NEW, None), &expect);
}

#[test]
fn a_signature_by_any_listed_key_counts() {
    let keys = format!("keys = ['{}', '{}']", key(1), key(2));
    for number in [1, 2] {
        let signed = file(NEW, Some(Minisign::new(number).sign(NEW)));
        let standing = accepted(&keys, "", None, &signed);
        assert_eq!(standing.to_string(), format!("{}, not pinned, signed by {}…", hash(NEW), name(number)));
    }
    assert_eq!(accepted(&keys, "", None, &file(NEW, None)).signed_by, None, "none is required");
}

#[test]
fn a_signature_that_is_not_of_these_bytes_is_refused_though_none_is_required() {
    let keys = format!("keys = ['{}']", key(1));
    let (name, found) = (name(1), hash(NEW));
    let expect = format!(
        "c.toml:4:1: plugins.mask: plugins/mask.wasm: expected a signature by {name}… of these bytes (sha256 {found}), \
         found one of others: the file or its signature was changed; sign it again with `minisign -Sm plugins/mask.wasm`"
    );
    refused(&keys, "", None, &file(NEW, Some(Minisign::new(1).sign(OLD))), &expect);
    // What is signed besides the file is the trusted comment.
    let renamed = Minisign::new(1).sign_file("other.wasm", NEW).replace("file:other.wasm", "file:mask.wasm");
    refused(&keys, "", None, &file(NEW, Some(renamed)), &expect);
    // Another key's, under the id of a listed one; the rest of the letter behind is the same.
    let head = |signature: &str| signature.lines().nth(1).expect("a line")[..KEY_NAME].to_owned();
    let (mine, others) = (Minisign::new(1).sign(NEW), Minisign::new(5).sign(NEW));
    let forged = others.replace(&head(&others), &head(&mine));
    refused(&keys, "", None, &file(NEW, Some(forged)), &expect);
    // A pin does not make up for it.
    refused(&keys, &pin(NEW), None, &file(NEW, Some(Minisign::new(1).sign(OLD))), &expect);
}

#[test]
fn a_signature_for_a_file_of_another_name_is_refused_unless_the_file_is_pinned() {
    let keys = format!("keys = ['{}']\nrequire_signature = true", key(1));
    let signed_as = |name: &str| file(NEW, Some(Minisign::new(1).sign_file(name, NEW)));
    for right in ["mask.wasm", "out/mask.wasm", "/home/me/mask.wasm"] {
        accepted(&keys, "", None, &signed_as(right));
    }
    for wrong in
        ["other.wasm", "mask.wasm/other.wasm", "mask.wasm.old", "Mask.wasm", "", "other.wasm\tfile:mask.wasm"]
    {
        let named = wrong.split('\t').next().and_then(|path| path.split('/').next_back()).expect("a name");
        let expect = format!(
            "c.toml:5:1: plugins.mask: plugins/mask.wasm: its signature is for a file named {named:?}, found \
             \"mask.wasm\": one plugin's file could stand in another's place; sign it under this name with \
             `minisign -Sm plugins/mask.wasm`, or write sha256 = \"{}\"",
            hash(NEW)
        );
        refused(&keys, "", None, &signed_as(wrong), &expect);
        // The changes that are allowed are of this plugin's own file.
        refused(&keys, "allow_changes = true", Some(OLD), &signed_as(wrong), &expect);
        assert_eq!(accepted(&keys, &pin(NEW), None, &signed_as(wrong)).signed_by, Some(name(1)));
    }
    // A comment of one's own need not name a file.
    for comment in ["", "release 7", "timestamp:0\thashed", "not a field: file:other.wasm"] {
        accepted(&keys, "", None, &file(NEW, Some(Minisign::new(1).sign_with(NEW, comment))));
    }
}

#[test]
fn a_signature_by_somebody_else_is_refused_with_his_key() {
    let keys = format!("keys = ['{}', '{}']", key(1), key(2));
    let expect = format!(
        "c.toml:4:1: plugins.mask: plugins/mask.wasm: expected a signature by {}… or {}…, found one by {}…; \
         if you trust that key, add it to `keys` of [plugins]",
        name(1),
        name(2),
        name(3)
    );
    refused(&keys, "", None, &file(NEW, Some(Minisign::new(3).sign(NEW))), &expect);
    assert!(key(3).starts_with(&name(3)));
}

#[test]
fn what_is_no_signature_is_refused() {
    let keys = format!("keys = ['{}']", key(1));
    let expect = "c.toml:4:1: plugins.mask: plugins/mask.wasm: its signature, plugins/mask.wasm.minisig, is none of \
                  minisign; make it with `minisign -Sm plugins/mask.wasm`, or remove it";
    let whole = Minisign::new(1).sign(NEW);
    let last = whole.trim_end().rfind('\n').expect("four lines");
    for wrong in ["", "hello", &whole[..last], &whole.replace("trusted comment: t", "comment: t")] {
        refused(&keys, "", None, &file(NEW, Some(wrong.to_owned())), expect);
    }
    let binary = File { signature: Some(vec![0xff; 300]), ..file(NEW, None) };
    refused(&keys, "", None, &binary, expect);
    let before = file(NEW, Some(Minisign::new(1).sign_as_before(NEW)));
    let expect = "c.toml:4:1: plugins.mask: plugins/mask.wasm: its signature, plugins/mask.wasm.minisig, has a form of \
                  before minisign 0.11; make it again with `minisign -SHm plugins/mask.wasm`";
    refused(&keys, "", None, &before, expect);
}

#[test]
fn every_broken_signature_is_refused() {
    let keys = format!("keys = ['{}']", key(1));
    let whole = Minisign::new(1).sign(NEW);
    let signed = whole.find('\n').expect("lines") + 1;
    for index in signed..whole.trim_end().len() {
        let mut bytes = whole.clone().into_bytes();
        // Another letter of the alphabet of both lines.
        bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
        let broken = File { signature: Some(bytes), ..file(NEW, None) };
        assert!(judge(&keys, "", None, &broken).is_err(), "byte {index}");
    }
    // The first line is nobody's word.
    let comment = whole.replacen("a test", "A TEST", 1);
    accepted(&keys, "", None, &file(NEW, Some(comment)));
}

#[test]
fn where_signatures_are_required_there_is_one() {
    let required = format!("keys = ['{}']\nrequire_signature = true", key(1));
    accepted(&required, "", None, &file(NEW, Some(Minisign::new(1).sign(NEW))));
    let expect = "c.toml:4:21: plugins.require_signature: plugins/mask.wasm: expected a signature, \
                  plugins/mask.wasm.minisig, which is not there; make it with `minisign -Sm plugins/mask.wasm`, \
                  or write require_signature = false";
    refused(&required, "", None, &file(NEW, None), expect);
    refused(&required, &pin(NEW), None, &file(NEW, None), expect);
    refused(&required, "allow_changes = true", Some(OLD), &file(NEW, None), expect);
}

#[test]
fn without_keys_signatures_are_not_looked_at() {
    let standing = accepted("", "", None, &file(NEW, Some("hello".to_owned())));
    assert_eq!(standing.signed_by, None);
}

#[test]
fn a_changed_file_with_something_to_misuse_is_refused() {
    let (old, new) = (hash(OLD), hash(NEW));
    for (powers, text) in POWERS {
        let expect = format!(
            "c.toml:4:1: plugins.mask: plugins/mask.wasm: it changed under the running gateway and {text}: expected the \
             sha256 {old}, found {new}; if that is meant, write sha256 = \"{new}\", or sign it with one of `keys`, or \
             write allow_changes = true"
        );
        refused("", powers, Some(OLD), &file(NEW, None), &expect);
        let keys = format!("keys = ['{}']", key(1));
        refused(&keys, powers, Some(OLD), &file(NEW, None), &expect);
        refused("", &format!("{powers}\nallow_changes = false"), Some(OLD), &file(NEW, None), &expect);
    }
}

#[test]
fn a_changed_file_runs_where_somebody_vouches_for_it() {
    let keys = format!("keys = ['{}']", key(1));
    for (powers, _) in POWERS {
        // The first time, and unchanged.
        accepted("", powers, None, &file(NEW, None));
        accepted("", powers, Some(NEW), &file(NEW, None));
        accepted("", &format!("{powers}\n{}", pin(NEW)), Some(OLD), &file(NEW, None));
        accepted(&keys, powers, Some(OLD), &file(NEW, Some(Minisign::new(1).sign(NEW))));
        accepted("", &format!("{powers}\nallow_changes = true"), Some(OLD), &file(NEW, None));
    }
    // Nothing to misuse.
    accepted("", "config = { key = 'no secret' }", Some(OLD), &file(NEW, None));
}

#[test]
fn a_signer_is_something_to_misuse() {
    let place = Place { file: "c.toml".to_owned(), position: None, key: "signers.dev".to_owned() };
    let trust = |allow_changes| FileTrust { pin: None, allow_changes, place: place.clone() };
    let powers = Powers { signs: true, ..Powers::default() };
    let judge = |trust: &FileTrust| {
        admit(
            Some(hash(OLD)),
            &file(NEW, None),
            Rules { file: trust, signatures: &Signatures::default(), powers },
        )
    };
    let refusal = judge(&trust(false)).expect_err("it is refused");
    assert_eq!(refusal.reason, Reason::Changed { before: hash(OLD), now: hash(NEW), powers });
    assert!(
        refusal.to_string().contains("changed under the running gateway and signs requests:"),
        "{refusal}"
    );
    judge(&trust(true)).expect("it is allowed");
}

#[test]
fn what_was_loaded_is_known_by_its_file() {
    let mut loaded = History::default();
    let (mask, emoji) = (Path::new("mask.wasm"), Path::new("emoji.wasm"));
    let standing = |bytes| Standing { sha256: hash(bytes), pinned: false, signed_by: None };
    assert_eq!(loaded.of(mask), None);
    loaded.take_in([(mask, &standing(OLD)), (emoji, &standing(OLD))]);
    // A reload without emoji does not make it forgotten.
    loaded.take_in([(mask, &standing(NEW))]);
    assert_eq!((loaded.of(mask), loaded.of(emoji)), (Some(hash(NEW)), Some(hash(OLD))));
}

#[test]
fn a_signature_is_read_where_keys_are_listed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("mask.wasm");
    let keys = Signatures {
        keys: vec![SigningKey {
            key: minisign_verify::PublicKey::from_base64(&key(1)).expect("a key"),
            name: name(1),
        }],
        required: None,
    };
    #[expect(clippy::disallowed_methods, reason = "files to be read")]
    let put = |name: &str, bytes: &[u8]| {
        std::fs::write(folder.path().join(name), bytes).expect("a writable folder")
    };
    put("mask.wasm", NEW);
    assert_eq!(File::read(&path, &keys).expect("it is there").signature, None);
    put("mask.wasm.minisig", b"text");
    assert_eq!(File::read(&path, &keys).expect("both are there").signature.as_deref(), Some(&b"text"[..]));
    assert_eq!(File::read(&path, &Signatures::default()).expect("it is there").signature, None);
    put("mask.wasm.minisig", &[b' '; SIGNATURE_MAX as usize + 1]);
    let Err(error) = File::read(&path, &keys) else { panic!("it is too long") };
    assert!(error.to_string().ends_with("mask.wasm.minisig: longer than 16 KiB"), "{error}");
}
