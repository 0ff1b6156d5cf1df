//! Files that were pinned, signed, or neither, and the code that is kept of them.
#![expect(clippy::disallowed_methods, reason = "reads built components, and plays with a cache")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use rust_proxy_testkit::{Minisign, Script, ScriptedUpstream, Setup, TestGateway, deltas};
use tokio::process::Command;

use crate::masking;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn built(path: &str) -> Vec<u8> {
    fs::read(Path::new(ROOT).join(path)).expect("run `cargo xtask build-plugins`")
}

/// As `sha256sum` prints it.
fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A gateway whose plugin `mask` masks `secret`.
fn mask(upstream: &ScriptedUpstream, bytes: &[u8], plugins: &str, plugin: &str) -> Setup {
    Setup::new().upstream(upstream).plugins(&["mask"]).file("plugins/mask.wasm", bytes).toml(&format!(
        "[plugins]\n{plugins}\n[plugins.mask]\nconfig = {{ words = ['secret'] }}\nlimits = {{ cpu = '5s', wall = '20s' }}\n{plugin}"
    ))
}

async fn masks(setup: Setup) {
    let gateway = setup.start().await;
    assert_eq!(deltas(&gateway.ask("hello").await.body().await), "a ******");
}

async fn upstream() -> ScriptedUpstream {
    ScriptedUpstream::start([Script::says(["a secret"])]).await
}

#[tokio::test]
async fn a_pinned_file_runs_and_another_is_refused_before_it_is_parsed() {
    let (upstream, bytes) = (upstream().await, built("config/plugins/sensitive-word.wasm"));
    let pin = format!("sha256 = '{}'", sha256(&bytes));
    masks(mask(&upstream, &bytes, "", &pin)).await;
    // What is no WebAssembly is not even told so.
    for wrong in [&b"hello"[..], &bytes[..bytes.len() - 1]] {
        let refusal = mask(&upstream, wrong, "", &pin).refusal().await;
        let found = sha256(wrong);
        for words in [
            "plugins.mask.sha256: ",
            "plugins/mask.wasm: expected the sha256 ",
            &format!("write sha256 = \"{found}\""),
        ] {
            assert!(refusal.contains(words), "`{words}` is not in: {refusal}");
        }
        assert!(!refusal.contains("WebAssembly"), "{refusal}");
    }
}

#[tokio::test]
async fn a_signed_file_runs_and_a_wrong_signature_is_refused() {
    let (upstream, bytes) = (upstream().await, built("config/plugins/sensitive-word.wasm"));
    let (ours, theirs) = (Minisign::new(1), Minisign::new(2));
    let required = "keys = ['path::minisign.pub']\nrequire_signature = true";
    let setup = |signature: Option<String>| {
        let public = format!("untrusted comment: minisign public key\n{}\n", ours.public());
        let setup = mask(&upstream, &bytes, required, "").file("minisign.pub", public);
        match signature {
            Some(signature) => setup.file("plugins/mask.wasm.minisig", signature),
            None => setup,
        }
    };
    masks(setup(Some(ours.sign_file("mask.wasm", &bytes)))).await;
    for (signature, says) in [
        (None, "plugins.require_signature: "),
        (Some(ours.sign(b"another file")), "found one of others: the file or its signature was changed"),
        (Some(theirs.sign(&bytes)), "add it to `keys` of [plugins]"),
        (Some("hello".to_owned()), "is none of minisign"),
        (
            Some(ours.sign_file("emoji.wasm", &bytes)),
            "is for a file named \"emoji.wasm\", found \"mask.wasm\"",
        ),
    ] {
        let refusal = setup(signature).refusal().await;
        assert!(
            refusal.contains(says) && refusal.contains("plugins/mask.wasm"),
            "`{says}` is not in: {refusal}"
        );
    }
}

#[tokio::test]
async fn signers_need_what_plugins_need() {
    let bytes = built("config/signer/sign_bg.wasm");
    let key = Minisign::new(1);
    let setup = |signer: &str, plugins: &str| {
        Setup::new().file("sign_bg.wasm", &*bytes).toml(&format!(
            "[plugins]\n{plugins}\n[signers.dev]\nfile = 'sign_bg.wasm'\nresult = {{ header = 'sign' }}\n{signer}\n\
             [models.signed]\nrouting = ['p']\n[models.signed.providers.p]\ntype = 'dev-api'\n\
             endpoint = 'http://127.0.0.1:1'\ndevice_id = ['env::NONE', 'd']\nos_type = ['env::NONE', '3']\n\
             sid = ['env::NONE', 's']\nsigner = 'dev'"
        ))
    };
    let required = format!("keys = ['{}']\nrequire_signature = true", key.public());
    drop(setup(&format!("sha256 = '{}'", sha256(&bytes)), "").start().await);
    drop(setup("", &required).file("sign_bg.wasm.minisig", key.sign(&bytes)).start().await);
    let refusal = setup("", &required).refusal().await;
    assert!(refusal.contains("sign_bg.wasm: expected a signature, "), "{refusal}");
    let refusal = setup(&format!("sha256 = '{}'", sha256(b"another")), "").refusal().await;
    assert!(refusal.contains("signers.dev.sha256: "), "{refusal}");
    let gateway = setup("", "").start().await;
    gateway.put("sign_bg.wasm", &changed(&bytes));
    let refusal = gateway.reloader.reload("a test").await.expect_err("a refusal").to_string();
    assert!(refusal.contains("changed under the running gateway and signs requests"), "{refusal}");
}

/// The same component with a section that nobody reads.
fn changed(bytes: &[u8]) -> Vec<u8> {
    [bytes, &[0, 5, 4], b"note"].concat()
}

/// A gateway that masks a word which is a secret.
fn secret_word(upstream: &ScriptedUpstream, plugins: &str, plugin: &str) -> Setup {
    Setup::new().upstream(upstream).variable("WORD", "secret").toml(&format!(
        "[plugins]\n{plugins}\n[plugins.mask]\nconfig = {{ words = [{{ secret = 'env::WORD' }}] }}\n\
         limits = {{ cpu = '5s', wall = '20s' }}\n{plugin}"
    ))
}

async fn refused(gateway: &TestGateway) -> String {
    let refusal = gateway.reloader.reload("a test").await.expect_err("a refusal").to_string();
    assert_eq!(deltas(&gateway.ask("hello").await.body().await), "a ******", "the last good one is there");
    refusal
}

async fn accepted(gateway: &TestGateway) {
    gateway.reloader.reload("a test").await.expect("a reload");
    assert_eq!(deltas(&gateway.ask("hello").await.body().await), "a ******");
}

#[tokio::test]
async fn a_file_that_is_replaced_while_its_plugin_holds_secrets_needs_somebody_to_vouch_for_it() {
    let (upstream, bytes) = (upstream().await, built("config/plugins/sensitive-word.wasm"));
    let setup = |plugins: &str, plugin: &str| secret_word(&upstream, plugins, plugin).plugins(&["mask"]);
    let gateway = setup("", "").file("plugins/mask.wasm", &*bytes).start().await;
    let new = changed(&bytes);
    let (old_hash, new_hash) = (sha256(&bytes), sha256(&new));
    gateway.put("plugins/mask.wasm", &new);
    let refusal = refused(&gateway).await;
    let says = format!(
        "plugins/mask.wasm: it changed under the running gateway and has secrets in its config: expected the sha256 \
         {old_hash}, found {new_hash}; if that is meant, write sha256 = \"{new_hash}\", or sign it"
    );
    assert!(refusal.contains(&says), "{refusal}");
    // The line that it asks for, and the same for another file.
    gateway.rewrite(&setup("", &format!("sha256 = '{new_hash}'")));
    accepted(&gateway).await;
    gateway.put("plugins/mask.wasm", &changed(&new));
    assert!(refused(&gateway).await.contains("plugins.mask.sha256: "));
    // A signature, which comes after its file.
    let key = Minisign::new(1);
    gateway.rewrite(&setup(&format!("keys = ['{}']", key.public()), ""));
    assert!(refused(&gateway).await.contains("changed under the running gateway"));
    gateway.put("plugins/mask.wasm.minisig", key.sign(&changed(&new)).as_bytes());
    accepted(&gateway).await;
    let [plugin] = gateway.reloader.engine().plugins().try_into().expect("one plugin");
    assert_eq!(
        plugin.standing.to_string(),
        format!("{}, not pinned, signed by {}…", sha256(&changed(&new)), &key.public()[..13])
    );
    gateway.put("plugins/mask.wasm", &bytes);
    assert!(refused(&gateway).await.contains("found one of others"));
    // The operator's word.
    gateway.rewrite(&setup("", "allow_changes = true"));
    accepted(&gateway).await;
}

#[tokio::test]
async fn a_plugin_that_was_away_comes_back_with_the_file_it_had() {
    let (upstream, bytes) = (upstream().await, built("config/plugins/sensitive-word.wasm"));
    let with = secret_word(&upstream, "", "").plugins(&["mask"]);
    let without = secret_word(&upstream, "", "");
    let gateway = with.clone().file("plugins/mask.wasm", &*bytes).start().await;
    gateway.rewrite(&without);
    gateway.reloader.reload("a test").await.expect("a reload");
    gateway.put("plugins/mask.wasm", &changed(&bytes));
    gateway.rewrite(&with);
    let refusal = gateway.reloader.reload("a test").await.expect_err("a refusal").to_string();
    assert!(refusal.contains("changed under the running gateway"), "{refusal}");
    gateway.put("plugins/mask.wasm", &bytes);
    accepted(&gateway).await;
}

#[tokio::test]
async fn a_file_that_was_moved_is_known_where_it_is_now() {
    let (upstream, bytes) = (upstream().await, built("config/plugins/sensitive-word.wasm"));
    let at = |file: &str| secret_word(&upstream, "", &format!("file = '{file}'")).plugins(&["mask"]);
    let gateway = at("a.wasm").file("plugins/a.wasm", &*bytes).start().await;
    gateway.rewrite(&at("b.wasm").file("plugins/b.wasm", &*bytes));
    accepted(&gateway).await;
    gateway.put("plugins/b.wasm", &changed(&bytes));
    assert!(refused(&gateway).await.contains("b.wasm: it changed under the running gateway"));
}

/// A plugin and a signer for the program, with a cache of their own.
struct Checked {
    folder: tempfile::TempDir,
}

impl Checked {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let text = format!(
            "[plugins]\nfolder = '{ROOT}/config/plugins'\n[pipelines.p]\nmodify = ['emoji']\n\
             [signers.dev]\nfile = '{ROOT}/config/signer/sign_bg.wasm'\nresult = {{ header = 'sign' }}\n\
             [models.m]\npipeline = 'p'\nrouting = ['p']\n[models.m.providers.p]\ntype = 'dev-api'\n\
             endpoint = 'http://127.0.0.1:1'\ndevice_id = ['env::NONE', 'd']\nos_type = ['env::NONE', '3']\n\
             sid = ['env::NONE', 's']\nsigner = 'dev'"
        );
        fs::write(folder.path().join("c.toml"), text).expect("a writable folder");
        Self { folder }
    }

    fn cache(&self) -> PathBuf {
        self.folder.path().join("caches/rust-proxy")
    }

    fn check(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rust-proxy-e2e"));
        command.args(["check", "--config", "c.toml"]).current_dir(self.folder.path()).kill_on_drop(true);
        command.env("XDG_CACHE_HOME", self.folder.path().join("caches"));
        command
    }

    async fn checked(&self) -> (Option<i32>, String, String) {
        texts(self.check().output().await.expect("a program that can be started"))
    }

    fn entries(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.cache()).expect("a cache");
        entries.map(|entry| entry.expect("an entry").path()).collect()
    }
}

fn texts(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn check_shows_who_vouches_for_a_file_and_whether_it_was_compiled() {
    let program = Checked::new();
    let hash = sha256(&built("config/plugins/emoji.wasm"));
    for cache in ["cache: 0 entries were there, 3 are new", "cache: 3 entries were there, 0 are new"] {
        let (code, stdout, stderr) = program.checked().await;
        assert_eq!((code, &*stderr), (Some(0), ""));
        for words in [cache, &format!("sha256    {hash}, not pinned, not signed"), "signer dev"] {
            assert!(stdout.contains(words), "`{words}` is not in: {stdout}");
        }
    }
}

#[tokio::test]
async fn processes_share_a_cache() {
    let program = Checked::new();
    let mut both: Vec<_> = (0..2).map(|_| program.check()).collect();
    let [first, second] = both.as_mut_slice() else { unreachable!() };
    let (first, second) = tokio::join!(first.output(), second.output());
    for output in [first, second] {
        let (code, stdout, stderr) = texts(output.expect("a program that can be started"));
        assert_eq!((code, &*stderr), (Some(0), ""), "{stdout}");
    }
    // The plugin, what it is like once it is configured, and the signer.
    assert_eq!(program.entries().len(), 3, "nothing half written stays");
    assert!(program.checked().await.1.contains("cache: 3 entries were there, 0 are new"));
}

#[tokio::test]
async fn damaged_entries_are_logged_and_made_anew() {
    let program = Checked::new();
    program.checked().await;
    for entry in program.entries() {
        let bytes = fs::read(&entry).expect("an entry");
        fs::remove_file(&entry).expect("ours");
        fs::write(&entry, &bytes[..bytes.len() / 2]).expect("ours");
    }
    let (code, stdout, stderr) = program.checked().await;
    assert!(code == Some(0) && stdout.contains("cache: 0 entries were there, 3 are new"), "{stdout}");
    assert_eq!(stderr.matches("an entry of the cache is damaged; it is made anew").count(), 3, "{stderr}");
    assert!(program.checked().await.1.contains("cache: 3 entries were there, 0 are new"));
}

#[tokio::test]
async fn a_cache_that_others_can_enter_is_refused_with_the_cure() {
    let program = Checked::new();
    fs::create_dir_all(program.cache()).expect("a new folder");
    fs::set_permissions(program.cache(), fs::Permissions::from_mode(0o755)).expect("ours");
    let (code, _, stderr) = program.checked().await;
    assert_eq!(code, Some(78));
    let cure = format!("close it with `chmod 700 {}`, or write cache = \"none\"", program.cache().display());
    assert!(stderr.starts_with("plugins.cache: ") && stderr.contains(&cure), "{stderr}");
}

#[tokio::test]
async fn a_cache_that_cannot_be_there_is_only_logged() {
    let program = Checked::new();
    fs::write(program.folder.path().join("caches"), "a file").expect("a writable folder");
    let (code, stdout, stderr) = program.checked().await;
    assert!(code == Some(0) && !stdout.contains("cache:"), "{stdout}");
    assert!(stderr.contains("there is no cache, so each start compiles"), "{stderr}");
}

#[tokio::test]
async fn a_gateway_without_a_cache_works() {
    let upstream = upstream().await;
    let gateway = masking(&upstream).variable("XDG_CACHE_HOME", "").start().await;
    assert_eq!(deltas(&gateway.ask("hello").await.body().await), "a ******");
}
