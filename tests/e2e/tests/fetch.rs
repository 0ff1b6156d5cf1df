//! A plugin that fetches, from the configuration to the socket.

use rust_proxy_testkit::{Gate, Script, ScriptedUpstream, Setup, TestGateway};

/// A gateway with the guest `fetch` before the model. The guest's answer is what the model is asked.
async fn gateway(model: &ScriptedUpstream, grant: &str, more: &str) -> TestGateway {
    let toml = format!("[pipelines.f]\nprocess = ['fetch']\n[plugins.fetch]\ngrant = {grant}\n{more}");
    Setup::new().upstream(model).toml(&toml).toml(&model_f()).start().await
}

fn model_f() -> String {
    "[models.f]\npipeline = 'f'\nrouting = ['main']\n[models.f.providers.main]\ntype = 'openai'\n\
     api_base = 'env::UPSTREAM'\napi_key_location = 'env::UPSTREAM_KEY'\n"
        .to_owned()
}

async fn model() -> ScriptedUpstream {
    ScriptedUpstream::start([Script::says(["fine"])]).await
}

/// The origin of a scripted server, and its address.
fn origin(server: &ScriptedUpstream) -> (String, String) {
    let origin = server.url().trim_end_matches("/v1/").to_owned();
    let address = origin.trim_start_matches("http://").to_owned();
    (origin, address)
}

/// What the model was asked, once the answer is whole.
async fn told(gateway: &TestGateway, model: &ScriptedUpstream, text: &str) -> String {
    let response = gateway.ask_model("f", text).await;
    assert_eq!(response.status(), 200);
    response.body().await;
    model.seen().last().map(rust_proxy_testkit::Seen::last_text).unwrap_or_default()
}

#[tokio::test]
async fn what_is_granted_is_fetched_without_our_credentials() {
    let (model, pages) = (model().await, ScriptedUpstream::start([page()]).await);
    let (origin, address) = origin(&pages);
    let grant = format!("{{ http = ['{origin}'], private = ['{address}'] }}");
    let gateway = gateway(&model, &grant, "").await;
    assert_eq!(told(&gateway, &model, &format!("{origin}/a?b")).await, "200 5 hello");
    let seen = pages.only_request();
    assert_eq!(seen.head.start, "GET /a?b HTTP/1.1");
    assert_eq!(seen.head.header("host"), Some(address.as_str()));
    for name in ["authorization", "cookie", "transfer-encoding", "accept-encoding", "referer"] {
        assert_eq!(seen.head.header(name), None, "{name}");
    }
}

#[tokio::test]
async fn what_is_not_granted_never_leaves() {
    let (model, secret) = (model().await, ScriptedUpstream::start([page()]).await);
    let (origin, address) = origin(&secret);
    let port = address.rsplit(':').next().unwrap();
    // A name that leads to this machine, granted as a name.
    let gateway = gateway(&model, &format!("{{ http = ['http://localhost:{port}'] }}"), "").await;
    let text = format!(
        "{origin}/\nhttp://localhost:{port}/\nhttp://2130706433:{port}/\nhttp://[::ffff:127.0.0.1]:{port}/"
    );
    assert_eq!(told(&gateway, &model, &text).await, ["HttpRequestDenied"; 4].join("\n"));
    assert!(secret.seen().is_empty(), "{:?}", secret.seen());
}

#[tokio::test]
async fn a_redirect_is_vetted_like_any_request() {
    let secret = ScriptedUpstream::start([page()]).await;
    let (elsewhere, _) = origin(&secret);
    let redirect = Script::new(302, "text/plain").header("location", &elsewhere);
    let (model, pages) = (model().await, ScriptedUpstream::start([redirect]).await);
    let (origin, address) = origin(&pages);
    let gateway = gateway(&model, &format!("{{ http = ['{origin}'], private = ['{address}'] }}"), "").await;
    // The guest sees it, and may not follow it.
    let told = told(&gateway, &model, &format!("{origin}/\n{elsewhere}")).await;
    assert_eq!(told, format!("302 0  > {elsewhere}\nHttpRequestDenied"));
    assert!(secret.seen().is_empty(), "{:?}", secret.seen());
}

#[tokio::test]
async fn a_client_that_leaves_closes_the_connection() {
    let (model, pages) = (model().await, ScriptedUpstream::start([Script::silent()]).await);
    let (origin, address) = origin(&pages);
    let gateway = gateway(&model, &format!("{{ http = ['{origin}'], private = ['{address}'] }}"), "").await;
    let text = format!("{origin}/");
    tokio::select! {
        _ = gateway.ask_model("f", &text) => panic!("nothing was answered"),
        () = pages.asked() => {}
    }
    pages.abandoned().await;
    assert!(model.seen().is_empty());
}

#[tokio::test]
async fn a_slow_page_is_waited_for() {
    let gate = Gate::new();
    let (model, pages) = (model().await, ScriptedUpstream::start([page_after(&gate)]).await);
    let (origin, address) = origin(&pages);
    let more = "limits = { cpu = '20ms' }";
    let gateway = gateway(&model, &format!("{{ http = ['{origin}'], private = ['{address}'] }}"), more).await;
    let text = format!("{origin}/");
    let opening = async {
        pages.asked().await;
        gate.open();
    };
    assert_eq!(tokio::join!(told(&gateway, &model, &text), opening).0, "200 5 hello");
}

#[tokio::test]
async fn limits_of_the_configuration_count() {
    let (model, pages) = (model().await, ScriptedUpstream::start([page()]).await);
    let (origin, address) = origin(&pages);
    let more = "limits = { requests = 3, fetch = '12B' }";
    let gateway = gateway(&model, &format!("{{ http = ['{origin}'], private = ['{address}'] }}"), more).await;
    let told = told(&gateway, &model, &[format!("{origin}/").as_str(); 4].join("\n")).await;
    assert_eq!(
        told,
        "200 5 hello\n200 5 hello\n200 0  HTTP response body size exceeds limit: 12 bytes\nHttpRequestDenied"
    );
}

#[tokio::test]
async fn without_the_grant_the_plugin_is_refused_at_start() {
    let toml = format!("[pipelines.f]\nprocess = ['fetch']\n{}", model_f());
    let refusal = Setup::new().toml(&toml).refusal().await;
    assert!(refusal.contains("[plugins.fetch] grant = { http = [\"https://HOST\"] }"), "{refusal}");
}

fn page() -> Script {
    Script::new(200, "text/plain").bytes("hello")
}

fn page_after(gate: &Gate) -> Script {
    Script::new(200, "text/plain").wait_for(gate).bytes("hello")
}
