//! Grants, from the configuration to the plugins.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has to fail")]
#![expect(clippy::disallowed_methods, reason = "writes a configuration")]

use std::collections::BTreeMap;

use rust_proxy_core::Engine;
use rust_proxy_core::config::{Config, Notice};

/// A configuration with the test guest `plugin` in its pipeline.
fn config(plugin: &str, tables: &str) -> Config {
    let guests = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/guests");
    // Few streams: several engines with room for the default thousand do not fit into one address space.
    let text = format!(
        "[server]\nstreams_max = 4\n{tables}\n[plugins]\nfolder = '{guests}'\n[pipelines.a]\nprocess = ['{plugin}']\n\
         [models.m]\nrouting = ['p']\npipeline = 'a'\n[models.m.providers.p]\ntype = 'openai'\n\
         api_base = 'http://127.0.0.1/v1'\napi_key_location = 'none'\n"
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let variables = BTreeMap::<String, String>::new();
    Config::load(file.path(), &variables).unwrap_or_else(|problems| panic!("{problems}"))
}

/// What is noticed of a plugin with a grant, each without its place in the file.
async fn notices(plugin: &str, grant: &str, tables: &str) -> Vec<String> {
    let config = config(plugin, &format!("{tables}\n[plugins.{plugin}]\ngrant = {{ {grant} }}"));
    let engine = Engine::start(&config).await.unwrap();
    let text = |notice: &Notice| format!("{}: {}", notice.place.key, notice.message);
    engine.notices().iter().map(text).collect()
}

#[tokio::test]
async fn a_grant_that_the_plugin_does_not_use_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let directories = format!("directories = [{{ host = '{}', guest = '/data' }}]", folder.path().display());
    for (grant, key, import, user) in [
        ("http = ['https://example.org']", "http", "wasi:http", "fetch"),
        ("kv = true", "kv", "rust-proxy:plugin/kv", "kv"),
    ] {
        let expect =
            format!("plugins.fault.grant.{key}: the plugin does not import {import}, so this does nothing");
        assert_eq!(notices("fault", grant, "").await, [expect]);
        assert_eq!(notices(user, grant, "").await, [""; 0]);
    }
    assert_eq!(notices("files", &directories, "").await, [""; 0]);
    let expect =
        "plugins.kv.grant.directories: the plugin does not import wasi:filesystem, so this does nothing";
    assert_eq!(notices("kv", &format!("kv = true, {directories}"), "").await, [expect]);
}

#[tokio::test]
async fn a_redis_that_is_not_there_is_noticed_and_does_not_keep_from_starting() {
    let away = "[kv]\nredis = 'redis+unix:///nowhere/redis.sock'";
    let noticed = notices("kv", "kv = true", away).await;
    assert_eq!(noticed.len(), 1, "{noticed:?}");
    assert!(noticed[0].starts_with("kv.redis: Redis at /nowhere/redis.sock: "), "{noticed:?}");
    assert!(noticed[0].ends_with("; plugins are told `unavailable` until it is there"), "{noticed:?}");
    // Nobody asks for it.
    assert_eq!(notices("fetch", "http = ['https://example.org']", away).await, [""; 0]);
    let slow = notices("kv", "kv = true", &format!("{away}\ntimeout = '1s'")).await;
    assert_eq!(slow.len(), 2, "{slow:?}");
    assert!(slow[0].contains("plugins.kv.grant.kv: ") && slow[0].contains("kv.timeout"), "{slow:?}");
}
