use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use super::*;

mod capabilities;
mod dev_api;
mod refused;
mod trust;

/// The smallest file that is right; checks add to it.
const BASE: &str = "[models.m]
routing = ['p']
[models.m.providers.p]
type = 'openai'
api_base = 'http://127.0.0.1/v1'
api_key_location = 'none'
";

/// Files by path; every `.wasm` named here exists.
struct Files(&'static [(&'static str, &'static str)]);

const FILES: Files = Files(&[
    ("plugins/mask.wasm", ""),
    ("plugins/emoji.wasm", ""),
    ("elsewhere/other.wasm", ""),
    ("sign.wasm", ""),
    ("data/inner/answers.txt", "one"),
    (
        "data/minisign.pub",
        "untrusted comment: a key\nRWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3\n",
    ),
    ("pages/a.txt", ""),
    ("words.txt", "one\ntwo\n"),
    ("empty.txt", " \n"),
    ("key.txt", "file-secret-0123456789\r\n"),
]);

impl FileSource for Files {
    fn read(&self, path: &Path) -> io::Result<String> {
        let file = self.0.iter().find(|(name, _)| Path::new(name) == path);
        file.map(|(_, text)| (*text).to_owned()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn is_file(&self, path: &Path) -> bool {
        self.read(path).is_ok()
    }

    fn is_directory(&self, path: &Path) -> bool {
        let holds = |name: &str| Path::new(name).ancestors().skip(1).any(|folder| folder == path);
        path == Path::new("..") || self.0.iter().any(|(name, _)| holds(name))
    }

    fn resolve(&self, path: &Path) -> PathBuf {
        Path::new("folder").join(path)
    }
}

fn environment() -> BTreeMap<String, String> {
    let variables = [
        ("OPENAI_API_KEY", "sk-openai-0123456789"),
        ("CLIENT_KEY", "client-secret-0123456789"),
        ("TWIN_KEY", "client-secret-0123456789"),
        ("SHORT_KEY", "short-secret"),
        ("SPACED_KEY", "spaced secret 0123456789"),
        ("EMPTY", ""),
        (
            "MINISIGN_KEY",
            "untrusted comment: a file\nRWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3\n",
        ),
        ("REDIS_URL", "redis://user:redis-secret@redis.example:6380/1"),
        ("URL", "https://user:url-secret@example.com/"),
    ];
    variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

pub(super) fn parse(text: &str) -> Result<Config, Problems> {
    Config::parse(text, "c.toml", &FILES, &environment())
}

pub(super) fn accept(text: &str) -> Config {
    parse(text).unwrap_or_else(|problems| panic!("{problems}"))
}

/// `text` is refused with exactly the problem `expect`, given without the file's name.
#[track_caller]
pub(super) fn check(text: &str, expect: &str) {
    let problems = parse(text).expect_err("is refused").to_string();
    let expect = format!("c.toml:{expect}\n1 problem; nothing was started");
    assert_eq!(problems, expect);
}

/// As [`check`], for lines before the smallest file that is right.
#[track_caller]
fn check_with_models(text: &str, expect: &str) {
    check(&format!("{text}\n{BASE}"), expect);
}

fn openai(config: &Config) -> &OpenAi {
    match &config.models["m"].providers["p"] {
        Provider::OpenAi(provider) => provider,
        other => panic!("{other:?}"),
    }
}

#[test]
fn defaults_are_those_of_the_documentation() {
    let config = accept(BASE);
    let server = &config.server;
    assert_eq!(server.listen.to_string(), "127.0.0.1:3000");
    assert_eq!(server.heartbeat, Duration::from_secs(15));
    assert_eq!((server.streams_max, server.queue_max), (1000, 100));
    assert_eq!((server.body_max, server.bodies_max), (100 << 20, 512 << 20));
    assert_eq!(server.connections_max, 4000);
    assert_eq!(server.exchange_max, Duration::from_secs(900));
    assert_eq!(server.shutdown, Duration::from_secs(30));
    let model = &config.models["m"];
    let provider = openai(&config);
    assert_eq!(model.pipeline, None);
    assert_eq!(provider.api_base, "http://127.0.0.1/v1/");
    assert_eq!(provider.model_name, "m");
    assert!(provider.api_key.is_none());
    assert_eq!(
        provider.timeouts,
        Timeouts {
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(60),
            idle: Duration::from_secs(60),
            total: Duration::from_secs(900),
        }
    );
    assert!(config.notices.is_empty());
    assert!(config.kv.redis.is_none());
    assert_eq!((config.kv.prefix.as_str(), config.kv.timeout), ("rust-proxy:", Duration::from_millis(100)));
}

#[test]
fn a_plugin_without_a_table_runs_with_the_defaults() {
    let config = accept(&format!(
        "[pipelines.a]\nmodify = ['mask']\n{}",
        BASE.replace("routing", "pipeline = 'a'\nrouting")
    ));
    let plugin = &config.plugins["mask"];
    assert_eq!(plugin.file, Path::new("folder/plugins/mask.wasm"));
    assert_eq!(plugin.config, json!({}));
    assert_eq!((plugin.limits.memory, plugin.limits.output), (16 << 20, 1 << 20));
    assert_eq!(plugin.limits.cpu, Duration::from_millis(20));
    assert_eq!(plugin.limits.wall, Duration::from_millis(200));
    assert_eq!((plugin.limits.requests, plugin.limits.fetch, plugin.limits.log), (20, 8 << 20, 100));
    assert_eq!((plugin.on_error, plugin.ready), (OnError::FailClosed, 4));
    assert_eq!(plugin.grant, None);
    assert_eq!(config.pipelines["a"].modify, ["mask"]);
    assert_eq!(config.models["m"].pipeline.as_deref(), Some("a"));
}

#[test]
fn plugin_settings_become_json_with_files_and_secrets_put_in() {
    let config = accept(&format!(
        "{BASE}
        [pipelines.a]
        process = ['mask']
        [plugins]
        folder = 'elsewhere'
        [plugins.mask]
        file = 'other.wasm'
        on_error = 'skip'
        ready = 0
        [plugins.mask.config]
        words = {{ file = 'words.txt' }}
        keys = [{{ secret = 'env::CLIENT_KEY' }}, 0x10, 1.5, true]
        nested = {{ file = 'name', other = 1979-05-27 }}"
    ));
    let plugin = &config.plugins["mask"];
    assert_eq!(plugin.file, Path::new("folder/elsewhere/other.wasm"));
    let nested = json!({ "file": "name", "other": "1979-05-27" });
    let keys = json!(["client-secret-0123456789", 16, 1.5, true]);
    assert_eq!(plugin.config, json!({ "words": "one\ntwo\n", "keys": keys, "nested": nested }));
    let words = "(file words.txt, 8 bytes)";
    let keys = json!(["(secret)", 16, 1.5, true]);
    assert_eq!(plugin.config_shown, json!({ "words": words, "keys": keys, "nested": nested }));
}

#[test]
fn references_are_resolved_and_the_last_of_a_list_is_the_default() {
    let config = accept(
        "[server]
        listen = ['env::UNSET', 'env::EMPTY', '[::1]:1']
        [[server.keys]]
        name = 'a'
        key = ['env::UNSET', 'path::key.txt']
        [models.m]
        routing = ['p']
        [models.m.providers.p]
        type = 'openai'
        api_base = 'https://example.com'",
    );
    assert_eq!(config.server.listen.to_string(), "[::1]:1");
    assert_eq!(config.server.keys[0].key.expose(), "file-secret-0123456789");
    let provider = openai(&config);
    assert_eq!(provider.api_base, "https://example.com/");
    assert_eq!(provider.api_key.as_ref().unwrap().expose(), "sk-openai-0123456789");
}

#[test]
fn other_machines_are_let_in_with_keys() {
    let server = accept(&format!(
        "[server]
        listen = '0.0.0.0:80'
        hosts = ['Gateway.local', '[::2]']
        origins = ['https://App.example.com:8443']
        [[server.keys]]
        name = 'a'
        key = 'env::CLIENT_KEY'
        {BASE}"
    ))
    .server;
    assert_eq!(server.hosts, ["gateway.local", "[::2]"]);
    assert_eq!(server.origins, ["https://app.example.com:8443"]);
}

#[test]
fn a_plugin_with_http_may_wait_longer() {
    let config = |limits: &str| {
        accept(&format!(
            "{BASE}
            [pipelines.a]
            process = ['mask']
            [plugins.mask]
            grant = {{ http = ['https://*.Wikipedia.org', 'http://127.0.0.1:8787'], private = ['127.0.0.1:8787'] }}
            {limits}"
        ))
    };
    let plugin = &config("").plugins["mask"];
    let granted = plugin.grant.as_ref().unwrap();
    let http = granted.http.as_ref().unwrap();
    let targets: Vec<String> = http.value.http.iter().map(ToString::to_string).collect();
    assert_eq!(targets, ["https://*.wikipedia.org", "http://127.0.0.1:8787"]);
    assert_eq!(http.value.private, ["127.0.0.1:8787".parse().unwrap()]);
    assert_eq!(http.place.to_string(), "c.toml:11:30: plugins.mask.grant.http");
    assert_eq!((&granted.directories, &granted.kv), (&None, &None));
    assert_eq!(plugin.limits.wall, Duration::from_secs(30));
    assert_eq!(plugin.limits.cpu, Duration::from_millis(20));
    let plugin = &config("limits = { wall = '5s', requests = 3, fetch = '1MiB' }").plugins["mask"];
    assert_eq!(plugin.limits.wall, Duration::from_secs(5));
    assert_eq!((plugin.limits.requests, plugin.limits.fetch), (3, 1 << 20));
}

#[test]
fn what_nothing_uses_is_noticed() {
    let config = accept(&format!("{BASE}[plugins.gone]\n[pipelines.a]\nmodify = ['mask']\n"));
    let notices: Vec<String> = config.notices.iter().map(ToString::to_string).collect();
    assert_eq!(
        notices,
        [
            "c.toml:7:1: plugins.gone: no pipeline uses this plugin",
            "c.toml:8:1: pipelines.a: no model uses this pipeline",
        ]
    );
    assert_eq!(config.plugins.keys().collect::<Vec<_>>(), ["mask"]);
}

#[test]
fn syntax_errors_are_reported_with_the_rest_of_the_file() {
    let problems = parse("[server]\nheartbeat =\nlisten = 'x'\nlisten = 'y'\nstreams = 1\nhosts = [a]\n");
    assert_eq!(
        problems.expect_err("is refused").to_string(),
        "c.toml:2:12: this is not TOML: string values must be quoted, expected literal string
c.toml:3:10: server.listen: \"x\" is not an address; write it like \"127.0.0.1:3000\"
c.toml:4:1: this is not TOML: duplicate key
c.toml:5:1: server.streams: unknown key; did you mean `streams_max`?
c.toml:6:10: this is not TOML: string values must be quoted, expected literal string
5 problems; nothing was started"
    );
}

#[test]
fn after_a_broken_header_only_syntax_is_reported() {
    check(
        "[server\nheartbeat = 1\n[[server.keys]]\nnme = 'a'",
        "1:8: this is not TOML: unclosed table, expected `]`",
    );
}

#[test]
fn what_must_not_be_smaller_grows_along() {
    let server = accept(&format!("server = {{ streams_max = 2000, body_max = '1GiB' }}\n{BASE}")).server;
    assert_eq!((server.connections_max, server.bodies_max), (8000, 1 << 30));
}

#[test]
fn five_mistakes_are_reported_at_once() {
    let text = include_str!("../../../../tests/fixtures/five-mistakes.toml");
    let problems = Config::parse(text, "five-mistakes.toml", &FILES, &BTreeMap::new());
    let problems = problems.expect_err("is refused");
    let places: Vec<String> = problems.iter().map(|problem| problem.place.to_string()).collect();
    assert_eq!(
        places,
        [
            "five-mistakes.toml:4:10: server.listen",
            "five-mistakes.toml:5:1: server.hearbeat",
            "five-mistakes.toml:8:21: plugins.sensitive-word.limits.memory",
            "five-mistakes.toml:11:11: pipelines.default.modify[0]",
            "five-mistakes.toml:19:12: models.demo.providers.main.api_base",
        ]
    );
    assert!(problems.to_string().ends_with("\n5 problems; nothing was started"));
}

#[test]
fn secrets_are_never_printed() {
    let config = accept(&format!(
        "[[server.keys]]
        name = 'a'
        key = 'env::CLIENT_KEY'
        [plugins.mask.config]
        a = [{{ secret = 'path::key.txt' }}]
        [pipelines.a]
        modify = ['mask']
        {}",
        BASE.replace("'none'", "'env::OPENAI_API_KEY'")
    ));
    let shown = format!("{config:?} {config:#?}");
    let problems = parse(
        "[server]
        listen = 'path::key.txt'
        heartbeat = 'env::CLIENT_KEY'
        body_max = 'env::CLIENT_KEY'
        hosts = ['env::SPACED_KEY']
        origins = ['env::CLIENT_KEY']
        [[server.keys]]
        name = 'a'
        key = 'literal-secret'
        [[server.keys]]
        name = 'b'
        key = 'env::SHORT_KEY'
        [plugins.mask]
        config = { a = { secret = 'literal-secret' } }
        [models.m]
        routing = ['p', 'q']
        [models.m.providers.p]
        type = 'openai'
        api_base = 'env::URL'
        api_key_location = 'env::literal-secret'
        [models.m.providers.q]
        type = 'openai'
        api_base = 'http://user:url-secret@a/'
        api_key_location = ['env::SPACED_KEY']",
    )
    .expect_err("is refused");
    assert_eq!(problems.iter().count(), 12);
    for text in [shown, format!("{problems}"), format!("{problems:?}")] {
        for secret in ["-secret", "literal", "secret-0", "sk-openai", "spaced secret"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
    assert!(format!("{config:?}").contains("Secret(..)"));
}

/// The real folder, in which every plugin and signer is there.
struct Shipped(Folder);

impl FileSource for Shipped {
    fn read(&self, path: &Path) -> io::Result<String> {
        self.0.read(path)
    }

    fn is_file(&self, path: &Path) -> bool {
        path.starts_with("plugins") || path.starts_with("signer")
    }

    fn is_directory(&self, path: &Path) -> bool {
        self.0.is_directory(path)
    }

    fn resolve(&self, path: &Path) -> PathBuf {
        self.0.resolve(path)
    }
}

#[test]
fn shipped_configurations_load_without_a_notice() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config");
    let folder = cap_std::fs::Dir::open_ambient_dir(&path, cap_std::ambient_authority()).unwrap();
    let files = Shipped(Folder::new(path));
    let mut loaded = Vec::new();
    for entry in folder.entries().unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".toml") && !name.starts_with("tensorzero-") {
            let text = folder.read_to_string(&name).unwrap();
            let config = Config::parse(&text, &name, &files, &environment());
            let config = config.unwrap_or_else(|problems| panic!("{problems}"));
            assert!(config.notices.is_empty(), "{:?}", config.notices);
            loaded.push(name);
        }
    }
    assert!(loaded.len() >= 2, "{loaded:?}");
}

#[test]
fn a_file_and_its_plugins_are_found_from_its_own_folder() {
    let folder = tempfile::tempdir().unwrap();
    let dir = cap_std::fs::Dir::open_ambient_dir(folder.path(), cap_std::ambient_authority()).unwrap();
    dir.create_dir_all("config/plugins").unwrap();
    dir.write("config/plugins/mask.wasm", "").unwrap();
    dir.write("words.txt", "one").unwrap();
    dir.write(
        "config/c.toml",
        format!("{BASE}[pipelines.a]\nmodify = ['mask']\n[plugins.mask]\nconfig = {{ w = {{ file = '../words.txt' }} }}"),
    )
    .unwrap();
    let path = folder.path().join("config/c.toml");
    let config = Config::load(&path, &BTreeMap::new()).unwrap_or_else(|problems| panic!("{problems}"));
    let plugin = &config.plugins["mask"];
    assert_eq!(plugin.file, folder.path().join("config/plugins/mask.wasm"));
    assert_eq!(plugin.config, json!({ "w": "one" }));
}

#[test]
fn a_file_that_cannot_be_read_is_one_problem() {
    let problems = Config::load(Path::new("gone/c.toml"), &ProcessEnvironment).expect_err("is refused");
    assert_eq!(
        problems.to_string(),
        "gone/c.toml: cannot be read: No such file or directory (os error 2)\n\
         1 problem; nothing was started"
    );
}

#[test]
fn any_beginning_of_a_file_is_answered() {
    let texts =
        [include_str!("../../../../config/demo.toml"), include_str!("../../../../config/dev-api.toml")];
    for (text, end) in texts.iter().flat_map(|text| text.char_indices().map(move |(end, _)| (text, end))) {
        let begun = &text[..end];
        match parse(begun) {
            Ok(config) => assert!(!config.models.is_empty()),
            Err(problems) => assert!(problems.iter().count() > 0, "{begun}"),
        }
    }
}
