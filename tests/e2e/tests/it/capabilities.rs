//! Keys and values in memory, and directories, from the configuration to what the model is asked.

use rust_proxy_testkit::{Script, ScriptedUpstream, Seen, Setup, TestGateway};

/// A gateway with a test guest before the model. What the guest makes of a text is what the model is asked.
async fn gateway(model: &ScriptedUpstream, plugin: &str, grant: &str) -> TestGateway {
    let toml = format!(
        "[pipelines.f]\nprocess = ['{plugin}']\n[plugins.{plugin}]\ngrant = {grant}\n\
         limits = {{ cpu = '5s', wall = '20s' }}\n[models.f]\npipeline = 'f'\nrouting = ['main']\n\
         [models.f.providers.main]\ntype = 'openai'\napi_base = 'env::UPSTREAM'\napi_key_location = 'none'"
    );
    Setup::new().upstream(model).file("data/a.txt", "hello").toml(&toml).start().await
}

async fn model() -> ScriptedUpstream {
    ScriptedUpstream::start([Script::says(["fine"])]).await
}

async fn told(gateway: &TestGateway, model: &ScriptedUpstream, text: &str) -> String {
    let response = gateway.ask_model("f", text).await;
    assert_eq!(response.status(), 200);
    response.body().await;
    model.seen().last().map(Seen::last_text).unwrap_or_default()
}

#[tokio::test]
async fn what_a_plugin_keeps_is_there_in_the_next_exchange() {
    let model = model().await;
    let gateway = gateway(&model, "kv", "{ kv = true }").await;
    assert_eq!(told(&gateway, &model, "increment n 2 60\nset k v\nget gone").await, "2\nok\n-");
    assert_eq!(told(&gateway, &model, "increment n 1\nget k\ndelete k\nget k").await, "3\nv\ntrue\n-");
    // Another gateway shares nothing of it.
    let other = self::gateway(&model, "kv", "{ kv = true }").await;
    assert_eq!(told(&other, &model, "increment n 1").await, "1");
}

#[tokio::test]
async fn a_quota_is_held_over_exchanges() {
    let model = model().await;
    let gateway = gateway(&model, "kv", "{ kv = { quota = '100KiB', keys = 3 } }").await;
    assert_eq!(told(&gateway, &model, "set a *60000\nset b *60000\nincrement b 1").await, "ok\nquota\n1");
    assert_eq!(told(&gateway, &model, "increment c 1\nincrement d 1\ndelete a").await, "1\nquota\ntrue");
    assert_eq!(told(&gateway, &model, "set d *60000").await, "ok");
}

#[tokio::test]
async fn a_directory_starts_at_the_configurations_folder() {
    let model = model().await;
    let read_only = gateway(&model, "files", "{ directories = [{ host = 'data', guest = '/data' }] }").await;
    let deeds = "read /data/a.txt\nread /data/../gateway.toml\nwrite /data/b x";
    assert_eq!(told(&read_only, &model, deeds).await.lines().next(), Some("hello"));
    let told_of_it = told(&read_only, &model, deeds).await;
    assert!(!told_of_it.contains("[server]") && !told_of_it.contains("ok"), "{told_of_it}");
    let writing =
        gateway(&model, "files", "{ directories = [{ host = 'data', guest = '/', write = true }] }").await;
    assert_eq!(told(&writing, &model, "write /b x").await, "ok");
    assert_eq!(told(&writing, &model, "read /b").await, "x");
}

#[tokio::test]
async fn the_gateways_own_folders_cannot_be_granted() {
    for host in ["plugins", ".", "..", "/"] {
        let toml =
            format!("[plugins.files]\ngrant = {{ directories = [{{ host = '{host}', guest = '/d' }}] }}");
        let refusal = Setup::new().plugins(&["files"]).toml(&toml).refusal().await;
        assert!(
            refusal.contains("overlaps the plugin folder; grant a folder of its own"),
            "{host}: {refusal}"
        );
    }
}

#[tokio::test]
async fn without_the_grant_kv_is_refused_at_start() {
    let refusal = Setup::new().plugins(&["kv"]).refusal().await;
    assert!(refusal.contains("[plugins.kv] grant = { kv = true }"), "{refusal}");
}
