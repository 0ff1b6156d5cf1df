//! What changes while a gateway serves, and what does not.

use rust_proxy::ReloadError;
use rust_proxy_core::Reload;
use rust_proxy_testkit::{Gate, Script, ScriptedUpstream, Setup, TestGateway, deltas};
use serde_json::Value;

fn words(words: &str) -> String {
    format!(
        "[plugins.sensitive-word]\nlimits = {{ cpu = '5s', wall = '20s' }}\nconfig = {{ words = {{ file = '{words}' }} }}"
    )
}

/// A gateway that masks the words of `words.txt`, which are `secret`.
fn masking(upstream: &ScriptedUpstream) -> Setup {
    Setup::new()
        .upstream(upstream)
        .plugins(&["sensitive-word"])
        .toml(&words("words.txt"))
        .file("words.txt", "secret\n")
}

async fn reload(gateway: &TestGateway) -> (u64, Vec<String>) {
    match gateway.reloader.reload("a test").await.expect("a reload") {
        Reload::Changed { generation, changes } => {
            (generation, changes.iter().map(ToString::to_string).collect())
        }
        other => panic!("{other:?}"),
    }
}

async fn refusal(gateway: &TestGateway) -> String {
    gateway.reloader.reload("a test").await.expect_err("a refusal").to_string()
}

/// What the gateway makes of "a secret apple".
async fn answer(gateway: &TestGateway) -> String {
    deltas(&gateway.ask("hello").await.body().await)
}

#[tokio::test]
async fn a_stream_ends_with_what_it_began_with_and_the_next_begins_with_what_is_new() {
    let gate = Gate::new();
    let open =
        Script::stream().delta("a secret apple, ").wait_for(&gate).delta("a secret apple").finish("stop");
    let upstream = ScriptedUpstream::start([open.done(), Script::says(["a secret apple"])]).await;
    let gateway = masking(&upstream).start().await;
    let mut old = gateway.ask("hello").await;
    assert_eq!(old.delta().await, "a ****** apple, ");

    gateway.put("words.txt", b"apple\n");
    assert_eq!(
        reload(&gateway).await,
        (2, vec!["the file words.txt".to_owned(), "the plugin sensitive-word".to_owned()])
    );
    assert_eq!(answer(&gateway).await, "a secret *****");
    gate.open();
    assert_eq!(deltas(&old.body().await), "a ****** apple");
}

#[tokio::test]
async fn what_did_not_change_is_not_loaded_anew() {
    let upstream = ScriptedUpstream::start([Script::says(["a secret apple"])]).await;
    let setup = masking(&upstream);
    let gateway = setup.clone().start().await;
    assert!(matches!(gateway.reloader.reload("a test").await, Ok(Reload::Unchanged)));
    // Nor is it by a comment.
    gateway.rewrite(&setup.clone().toml("# nothing"));
    assert!(matches!(gateway.reloader.reload("a test").await, Ok(Reload::Unchanged)));
    gateway.rewrite(&setup.server("heartbeat = '7s'"));
    assert_eq!(reload(&gateway).await, (2, vec!["server.heartbeat".to_owned()]));
    assert_eq!(answer(&gateway).await, "a ****** apple");
    let record = gateway.reloader.record().borrow().clone();
    assert_eq!((record.changed, record.unchanged, record.refused), (1, 2, 0));
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "reads a plugin that was built")]
async fn a_bad_file_leaves_the_last_good_one_and_says_why() {
    let upstream = ScriptedUpstream::start([Script::says(["a secret apple"])]).await;
    let setup = masking(&upstream).toml("[plugins.emoji]\nfile = 'mine.wasm'");
    let setup = setup.toml("[pipelines.q]\nmodify = ['emoji']");
    let emoji =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/plugins/emoji.wasm")).unwrap();
    let gateway = setup.clone().file("plugins/mine.wasm", emoji.clone()).start().await;
    let bad: [(&str, &[u8], &str); 5] = [
        ("plugins/mine.wasm", &emoji[..emoji.len() / 2], "mine.wasm: not a WebAssembly component"),
        ("plugins/mine.wasm", b"", "mine.wasm: not a WebAssembly component"),
        ("plugins/mine.wasm", b"\0asm\x01\0\0\0", "it is a core module"),
        ("gateway.toml", b"[server", "this is not TOML"),
        ("words.txt", b"", "\"words.txt\" is empty"),
    ];
    for (path, bytes, says) in bad {
        gateway.rewrite(&setup.clone().file("plugins/mine.wasm", emoji.clone()));
        gateway.put(path, bytes);
        let refusal = refusal(&gateway).await;
        assert!(refusal.contains(says), "{path}: {refusal}");
        assert_eq!(answer(&gateway).await, "a ****** apple");
    }
    let record = gateway.reloader.record().borrow().clone();
    assert_eq!((record.changed, record.refused), (0, 5));
    assert!(record.refusal.expect("the last one").contains("words.txt"));
}

#[tokio::test]
async fn what_outlives_a_reload_is_refused_by_name() {
    let setup = Setup::new().plugins(&["fault"]).admin();
    let gateway = setup.clone().start().await;
    for (lines, key) in [
        ("streams_max = 5", "server.streams_max"),
        ("links_max = 5", "server.links_max"),
        ("body_max = '1MiB'", "server.body_max"),
    ] {
        gateway.rewrite(&setup.clone().server(lines));
        let refusal = refusal(&gateway).await;
        assert_eq!(refusal, format!("{key}: changes with a restart only; restart, or set it back"));
    }
    let many: Vec<String> = (0..3).map(|n| format!("emoji{n}")).collect();
    let tables = many.iter().map(|name| format!("[plugins.{name}]\nfile = 'emoji.wasm'\n"));
    let longer = format!("{}[pipelines.long]\nmodify = {many:?}", tables.collect::<String>());
    gateway.rewrite(&setup.clone().toml(&longer));
    assert!(refusal(&gateway).await.ends_with("restart with server.links_max = 3"));
    gateway.rewrite(&setup.toml("[plugins.fault]\nready = 64"));
    assert!(refusal(&gateway).await.ends_with("restart with server.ready_max = 65"));
    let error = gateway.reloader.reload("a test").await.expect_err("a refusal");
    assert!(matches!(error, ReloadError::Start(_)));
}

#[tokio::test]
async fn what_is_fixed_is_so_wherever_its_value_comes_from() {
    let admin = "[admin]\nlisten = '127.0.0.1:0'\ntoken = 'path::token.txt'";
    let gateway = Setup::new().toml(admin).file("token.txt", "a-token-0123456789").start().await;
    gateway.put("token.txt", b"another-token-0123456789");
    assert_eq!(refusal(&gateway).await, "admin.token: changes with a restart only; restart, or set it back");
}

#[tokio::test]
async fn a_request_that_has_begun_ends_by_the_rules_that_it_began_with() {
    let gate = Gate::new();
    let upstream = ScriptedUpstream::start([
        Script::stream().delta("a secret apple").wait_for(&gate).finish("stop").done(),
        Script::says(["a secret apple"]),
    ])
    .await;
    // One exchange at a time: the second one waits for its slot over the reload.
    let setup = masking(&upstream).server("streams_max = 1");
    let gateway = std::sync::Arc::new(setup.start().await);
    let first = gateway.ask("hello").await;
    let waiting = std::sync::Arc::clone(&gateway);
    let waiting = tokio::spawn(async move { answer(&waiting).await });
    while gateway.reloader.engine().slots().waiting == 0 {
        tokio::task::yield_now().await;
    }
    gateway.put("words.txt", b"apple\n");
    reload(&gateway).await;
    gate.open();
    first.body().await;
    assert_eq!(waiting.await.expect("an answer"), "a ****** apple");
    assert_eq!(answer(&gateway).await, "a secret *****");
}

#[tokio::test]
async fn a_key_that_is_gone_opens_nothing_on_an_open_connection_either() {
    let key = |name: &str| format!("[[server.keys]]\nname = '{name}'\nkey = 'env::{name}'");
    let base = |key: &str| {
        let setup = Setup::new().variable("OLD", "old-key-0123456789").variable("NEW", "new-key-0123456789");
        setup.toml(key)
    };
    let gateway = base(&key("OLD")).start().await;
    let ask = |key: &str| {
        format!("GET /v1/models HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n\r\n")
    };
    let mut kept = gateway.connect().await;
    assert_eq!(kept.ask(&ask("old-key-0123456789")).await, 200);
    gateway.rewrite(&base(&key("NEW")));
    reload(&gateway).await;
    assert_eq!(kept.ask(&ask("old-key-0123456789")).await, 401);
    assert_eq!(kept.ask(&ask("new-key-0123456789")).await, 200);
}

#[tokio::test]
async fn a_change_of_a_file_is_seen() {
    let upstream = ScriptedUpstream::start([Script::says(["a secret apple"])]).await;
    let setup = masking(&upstream).watch();
    let gateway = setup.clone().start().await;
    let mut record = gateway.reloader.record();
    // The first look, once the folders are watched.
    record.wait_for(|record| record.unchanged > 0).await.unwrap();
    gateway.put("words.txt", b"apple\n");
    record.wait_for(|record| record.changed == 1).await.unwrap();
    assert_eq!(answer(&gateway).await, "a secret *****");
    gateway.put("gateway.toml", b"[server");
    record.wait_for(|record| record.refused > 0).await.unwrap();
    assert_eq!(answer(&gateway).await, "a secret *****");
    gateway.rewrite(&setup);
    record.wait_for(|record| record.changed == 2).await.unwrap();
    assert_eq!(answer(&gateway).await, "a ****** apple");
}

#[tokio::test]
async fn a_folder_in_the_place_of_a_watched_one_is_watched() {
    let upstream = ScriptedUpstream::start([Script::says(["a secret apple"])]).await;
    let lists = Setup::new().upstream(&upstream).plugins(&["sensitive-word"]).toml(&words("lists/words.txt"));
    let gateway = lists.file("lists/words.txt", "secret\n").watch().start().await;
    let mut record = gateway.reloader.record();
    record.wait_for(|record| record.unchanged > 0).await.unwrap();
    gateway.put("lists.new/words.txt", b"apple\n");
    gateway.rename("lists", "lists.old");
    gateway.rename("lists.new", "lists");
    record.wait_for(|record| record.changed == 1).await.unwrap();
    assert_eq!(answer(&gateway).await, "a secret *****");
    gateway.put("lists/words.txt", b"secret\n");
    record.wait_for(|record| record.changed == 2).await.unwrap();
    assert_eq!(answer(&gateway).await, "a ****** apple");
}

#[tokio::test]
async fn a_file_that_was_missing_is_seen_when_it_comes() {
    let upstream = ScriptedUpstream::start([Script::says(["a secret apple"])]).await;
    let plugins = Setup::new().upstream(&upstream).plugins(&["sensitive-word"]).watch();
    let setup = plugins.clone().toml(&words("words.txt")).file("words.txt", "secret\n");
    let gateway = setup.start().await;
    let mut record = gateway.reloader.record();
    record.wait_for(|record| record.unchanged > 0).await.unwrap();
    gateway.rewrite(&plugins.toml(&words("others.txt")));
    record.wait_for(|record| record.refused > 0).await.unwrap();
    gateway.put("others.txt", b"apple\n");
    record.wait_for(|record| record.changed == 1).await.unwrap();
    assert_eq!(answer(&gateway).await, "a secret *****");
}

#[tokio::test]
async fn a_reload_that_nobody_waits_for_ends_and_is_recorded() {
    let gateway = masking(&ScriptedUpstream::start([]).await).start().await;
    gateway.put("words.txt", b"apple\n");
    let mut dropped = Box::pin(gateway.reloader.reload("a test"));
    tokio::select! {
        biased;
        _ = &mut dropped => panic!("it reads files first"),
        () = std::future::ready(()) => drop(dropped),
    }
    // Reloads go one after the other.
    assert!(matches!(gateway.reloader.reload("a test").await, Ok(Reload::Unchanged)));
    assert_eq!(gateway.reloader.record().borrow().changed, 1);
}

#[tokio::test]
async fn bodies_have_the_time_of_the_present_configuration() {
    let setup = masking(&ScriptedUpstream::start([]).await);
    let gateway = setup.clone().start().await;
    gateway.rewrite(&setup.server("exchange_max = '1ms'"));
    reload(&gateway).await;
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n\
                content-type: application/json\r\ncontent-length: 2\r\n\r\n";
    assert_eq!(gateway.request(head).await.status(), 408);
}

const TOKEN: &str = "authorization: Bearer ADMIN_TOKEN-0123456789\r\n";

fn operation(method: &str, path: &str, headers: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n{headers}\r\n")
}

#[tokio::test]
async fn the_operator_needs_his_token_and_no_page_is_one() {
    let gateway = masking(&ScriptedUpstream::start([]).await).admin().start().await;
    for (method, path, headers, status) in [
        ("GET", "/admin/state", String::new(), 401),
        ("POST", "/admin/reload", "authorization: Bearer CLIENT_KEY-0123456789\r\n".to_owned(), 401),
        ("POST", "/admin/reload", format!("{TOKEN}origin: http://localhost\r\n"), 403),
        ("GET", "/admin/reload", TOKEN.to_owned(), 405),
        ("GET", "/nothing", TOKEN.to_owned(), 404),
        ("GET", "/admin/state", TOKEN.to_owned(), 200),
    ] {
        let response = gateway.operate(&operation(method, path, &headers)).await;
        assert_eq!(response.status(), status, "{method} {path} {headers}");
    }
    // And his routes are not those of the clients.
    assert_eq!(gateway.request(&operation("POST", "/admin/reload", TOKEN)).await.status(), 404);
}

#[tokio::test]
async fn the_operator_reloads_and_sees_the_state() {
    let upstream = ScriptedUpstream::start([Script::says(["a secret apple"])]).await;
    let gateway = masking(&upstream).admin().start().await;
    let reload = async || gateway.operate(&operation("POST", "/admin/reload", TOKEN)).await;
    assert_eq!(reload().await.json().await["result"], "unchanged");
    gateway.put("words.txt", b"apple\n");
    let changed: Value = reload().await.json().await;
    assert_eq!((&changed["result"], &changed["generation"]), (&"changed".into(), &2.into()));
    assert_eq!(changed["changes"][0], "the file words.txt");
    gateway.put("words.txt", b"");
    let refused = reload().await;
    assert_eq!(refused.status(), 422);
    let refused = refused.json().await;
    assert!(crate::message(&refused).contains("\"words.txt\" is empty"), "{refused}");

    let state = gateway.operate(&operation("GET", "/admin/state", TOKEN)).await.json().await;
    assert_eq!(state["generation"], 2);
    assert_eq!(state["plugins"][0]["name"], "sensitive-word");
    assert_eq!(state["plugins"][0]["generation"], 2);
    assert_eq!(state["reloads"]["refused"], 1);
    assert!(
        state["sources"].as_object().is_some_and(|sources| sources.contains_key("the variable UPSTREAM_KEY"))
    );
    assert!(!state.to_string().contains("UPSTREAM_KEY-0123456789"));
}
