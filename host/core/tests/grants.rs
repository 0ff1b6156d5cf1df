//! Grants, from the configuration to the plugins.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has to fail")]
#![expect(clippy::disallowed_methods, reason = "writes a configuration")]

use std::collections::BTreeMap;

use rust_proxy_core::Engine;
use rust_proxy_core::config::Config;

/// A configuration with the test guest `plugin` in its pipeline.
fn config(plugin: &str, tables: &str) -> Config {
    let guests = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/guests");
    let text = format!(
        "{tables}\n[plugins]\nfolder = '{guests}'\n[pipelines.a]\nprocess = ['{plugin}']\n\
         [models.m]\nrouting = ['p']\npipeline = 'a'\n[models.m.providers.p]\ntype = 'openai'\n\
         api_base = 'http://127.0.0.1/v1'\napi_key_location = 'none'\n"
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let variables = BTreeMap::<String, String>::new();
    Config::load(file.path(), &variables).unwrap_or_else(|problems| panic!("{problems}"))
}

#[tokio::test]
async fn a_grant_that_the_plugin_does_not_use_is_noticed() {
    for (plugin, noticed) in [("fault", true), ("fetch", false)] {
        let config =
            config(plugin, &format!("[plugins.{plugin}]\ngrant = {{ http = ['https://example.org'] }}"));
        let engine = Engine::start(&config).await.unwrap();
        let notices: Vec<String> = engine.notices().iter().map(ToString::to_string).collect();
        assert_eq!(notices.len(), usize::from(noticed), "{notices:?}");
        if let [notice] = notices.as_slice() {
            let end = ":2:9: plugins.fault.grant: the plugin does not import wasi:http, so this does nothing";
            assert!(notice.ends_with(end), "{notice}");
        }
    }
}
