//! A plugin that misbehaves: what its step's `on_error` says is what the client sees, and nobody else notices.

use rust_proxy_testkit::{Gate, Script, ScriptedUpstream, Setup, TestGateway, deltas};
use serde_json::{Value, json};

use crate::{last_error, message};

const PLACES: [&str; 4] = ["process", "open", "push", "finish"];
const POLICIES: [&str; 3] = ["fail_closed", "fail_open", "skip"];
/// One character of several bytes, for edits within one.
const TEXT: [&str; 3] = ["Hé", "llo", " there"];

/// Room for whatever is not the fault that is meant.
const ROOMY: &str = "memory = '256MiB', cpu = '5s', wall = '20s', output = '1MiB'";

fn limits(deed: &str) -> &'static str {
    match deed {
        "spin" => "memory = '16MiB', cpu = '10ms', wall = '20s'",
        "memory" => "memory = '2MiB', cpu = '5s', wall = '20s'",
        _ => ROOMY,
    }
}

/// A model `PLACE-POLICY` for each, whose one plugin does `deed` there, and `m` with a plugin that does nothing.
fn faulty(upstream: &ScriptedUpstream, deed: &str, at: &str, places: &[&str]) -> Setup {
    let mut setup = Setup::new()
        .upstream(upstream)
        // A slot that a fault kept would be missed.
        .server("streams_max = 2\nqueue_max = 0")
        .plugins(&["healthy"])
        .toml(&format!("[plugins.healthy]\nfile = 'fault.wasm'\nlimits = {{ {ROOMY} }}"));
    for (place, policy) in places.iter().flat_map(|place| POLICIES.map(|policy| (place, policy))) {
        let (name, limits) = (format!("{place}-{policy}"), limits(deed));
        setup = setup.toml(&format!(
            "[plugins.{name}]\nfile = 'fault.wasm'\nconfig = {{ in = '{place}', do = '{deed}'{at} }}\n\
             on_error = '{policy}'\nready = 1\nlimits = {{ {limits} }}\n\
             [pipelines.{name}]\nprocess = ['{name}']\nmodify = ['{name}']\n\
             [models.{name}]\npipeline = '{name}'\nrouting = ['p']\n\
             [models.{name}.providers.p]\ntype = 'openai'\napi_base = 'env::UPSTREAM'\napi_key_location = 'none'"
        ));
    }
    setup
}

/// Does `deed` in each place under each policy, twice, beside a healthy stream.
async fn check(deed: &str, places: &[&str]) {
    let gate = Gate::new();
    let healthy = Script::stream().delta("one").wait_for(&gate).delta(" two").finish("stop").done();
    let upstream = ScriptedUpstream::start([healthy, Script::says(TEXT)]).await;
    let gateway = faulty(&upstream, deed, "", places).start().await;
    let mut beside = gateway.ask("hello").await;
    assert_eq!(beside.delta().await, "one");

    for (place, policy) in places.iter().flat_map(|place| POLICIES.map(|policy| (*place, policy))) {
        for _ in 0..2 {
            check_answer(&gateway, deed, place, policy).await;
        }
    }

    gate.open();
    let rest = beside.body().await;
    assert_eq!(deltas(&rest), " two");
    assert!(rest.ends_with("data: [DONE]\n\n"), "{rest}");
    assert_eq!(deltas(&gateway.ask("hello").await.body().await), TEXT.concat());
}

async fn check_answer(gateway: &TestGateway, deed: &str, place: &str, policy: &str) {
    let response = gateway.ask_model(&format!("{place}-{policy}"), "hello").await;
    let what = format!("{deed} in {place}, {policy}");
    let failed = format!("plugin `{place}-{policy}` failed, and its step is fail_closed");
    match (policy, place) {
        // All text has passed the plugin by then.
        ("fail_closed", "finish") => {
            let body = response.body().await;
            assert_eq!(deltas(&body), TEXT.concat(), "{what}");
            assert!(message(&last_error(&body)).starts_with(&failed), "{what}: {body}");
            assert!(!body.contains(r#""finish_reason":""#), "{what} looks whole: {body}");
        }
        ("fail_closed", _) => {
            assert_eq!(response.status(), 500, "{what}");
            let error = response.json().await;
            assert!(message(&error).starts_with(&failed), "{what}: {error}");
        }
        _ => {
            let body = response.body().await;
            assert_eq!(deltas(&body), TEXT.concat(), "{what}");
            assert!(body.ends_with("data: [DONE]\n\n"), "{what}: {body}");
        }
    }
}

#[tokio::test]
async fn a_trap_is_its_own_exchanges_only() {
    check("trap", &PLACES).await;
}

#[tokio::test]
async fn an_endless_recursion_is_its_own_exchanges_only() {
    check("recurse", &["push"]).await;
}

#[tokio::test]
async fn a_spinning_guest_is_ended() {
    check("spin", &PLACES).await;
}

#[tokio::test]
async fn an_error_follows_the_steps_policy() {
    check("error", &PLACES).await;
}

#[tokio::test]
async fn a_guest_gets_no_more_memory_than_its_limit() {
    check("memory", &PLACES).await;
}

#[tokio::test]
async fn a_guest_gives_no_more_output_than_its_limit() {
    check("output", &PLACES).await;
}

#[tokio::test]
async fn an_edit_that_breaks_the_contract_is_a_fault() {
    for deed in ["edit-off-boundary", "edit-out-of-range", "edit-unsorted", "unknown-lane"] {
        check(deed, &["push"]).await;
    }
}

#[tokio::test]
async fn a_fault_within_a_stream_is_one_error_event_or_the_text_as_it_came() {
    for deed in ["trap", "spin", "error", "memory", "output"] {
        let gate = Gate::new();
        let script = Script::stream().delta("sent").wait_for(&gate).delta(" later").finish("stop").done();
        let upstream = ScriptedUpstream::start([script]).await;
        let gateway = faulty(&upstream, deed, ", at = 1", &["push"]).start().await;
        for policy in POLICIES {
            let mut response = gateway.ask_model(&format!("push-{policy}"), "hello").await;
            assert_eq!(response.delta().await, "sent");
            gate.open();
            let rest = response.body().await;
            if policy == "fail_closed" {
                assert!(
                    message(&last_error(&rest)).starts_with("plugin `push-fail_closed` failed"),
                    "{deed}: {rest}"
                );
                assert_eq!(deltas(&rest), "", "{deed}");
            } else {
                assert_eq!(deltas(&rest), " later", "{deed}, {policy}");
                assert!(rest.ends_with("data: [DONE]\n\n"), "{deed}, {policy}: {rest}");
            }
        }
    }
}

#[tokio::test]
async fn a_whole_answer_follows_the_steps_policy() {
    let upstream = ScriptedUpstream::start([Script::whole("Hello")]).await;
    let gateway = faulty(&upstream, "trap", "", &["push"]).start().await;
    for policy in POLICIES {
        let request = json!({ "model": format!("push-{policy}"), "messages": [{ "role": "user", "content": "hello" }] });
        let response = gateway.chat(&request).await;
        let expected = if policy == "fail_closed" { 500 } else { 200 };
        assert_eq!(response.status(), expected, "{policy}");
        let answer = response.json().await;
        let content = answer.pointer("/choices/0/message/content").and_then(Value::as_str);
        assert_eq!(content, (expected == 200).then_some("Hello"), "{policy}: {answer}");
    }
}

#[tokio::test]
async fn a_request_that_a_closed_step_failed_on_is_not_sent() {
    let upstream = ScriptedUpstream::start([Script::says(TEXT)]).await;
    let gateway = faulty(&upstream, "trap", "", &["process"]).start().await;
    assert_eq!(gateway.ask_model("process-fail_closed", "hello").await.status(), 500);
    assert_eq!(upstream.seen().len(), 0);
    assert_eq!(gateway.ask_model("process-fail_open", "hello").await.status(), 200);
    assert_eq!(upstream.only_request().last_text(), "hello");
}

#[tokio::test]
async fn a_plugin_that_cannot_be_configured_is_refused_at_start() {
    for (deed, says) in [
        ("trap", "trap"),
        ("spin", "cpu limit: more than 10ms"),
        ("error", "refuses its `config`: failed on order"),
        ("memory", "memory limit: more than 2097152 bytes"),
        ("output", "output limit: more than 1048576 bytes"),
    ] {
        let setup = Setup::new().plugins(&["fault"]).toml(&format!(
            "[plugins.fault]\nconfig = {{ in = 'configure', do = '{deed}' }}\nlimits = {{ {} }}",
            limits(deed)
        ));
        let refusal = setup.refusal().await;
        assert!(refusal.contains("plugins.fault: ") && refusal.contains("fault.wasm: "), "{refusal}");
        assert!(refusal.contains(says), "{deed}: {refusal}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_spinning_guests_do_not_freeze_a_healthy_stream() {
    let gate = Gate::new();
    let pieces = ["one", " two", " three", " four"];
    let healthy = pieces.iter().fold(Script::stream(), |script, piece| script.delta(piece).wait_for(&gate));
    let upstream = ScriptedUpstream::start([healthy.finish("stop").done(), Script::says(TEXT)]).await;
    // They would spin for as long as the test can last.
    let limits = "memory = '16MiB', cpu = '60s', wall = '60s'";
    let spin =
        format!("[plugins.spin]\nfile = 'fault.wasm'\nconfig = {{ do = 'spin' }}\nlimits = {{ {limits} }}");
    let model = "[pipelines.spin]\nmodify = ['spin']\n[models.spin]\npipeline = 'spin'\nrouting = ['p']\n\
                 [models.spin.providers.p]\ntype = 'openai'\napi_base = 'env::UPSTREAM'\napi_key_location = 'none'";
    let gateway = Setup::new().upstream(&upstream).plugins(&["fault"]).toml(&spin).toml(model).start().await;
    let gateway = std::sync::Arc::new(gateway);
    let mut response = gateway.ask("hello").await;
    upstream.asked().await;
    let spinning = [(); 2].map(|()| {
        let gateway = std::sync::Arc::clone(&gateway);
        tokio::spawn(async move { gateway.ask_model("spin", "hello").await.status() })
    });
    upstream.asked().await;
    upstream.asked().await;
    for piece in pieces {
        assert_eq!(response.delta().await, piece);
        gate.open();
    }
    assert!(response.body().await.ends_with("data: [DONE]\n\n"));
    assert!(spinning.iter().all(|spinning| !spinning.is_finished()), "it came after the guests were ended");
    // Their clients leave, and with them the guests.
    spinning.iter().for_each(tokio::task::JoinHandle::abort);
}
