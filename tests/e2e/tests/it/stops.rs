//! A plugin that ends an exchange on purpose.

use rust_proxy_testkit::{Gate, Script, ScriptedUpstream, Setup, deltas};

use crate::{last_error, message};

/// A gateway whose plugin does `deed` in that place, at its call number `at`.
fn stopping(upstream: &ScriptedUpstream, place: &str, deed: &str, at: u32) -> Setup {
    let config = format!(
        "[plugins.fault]\nconfig = {{ in = '{place}', do = '{deed}', at = {at} }}\nlimits = {{ cpu = '5s', wall = '20s' }}"
    );
    Setup::new().upstream(upstream).plugins(&["fault"]).toml(&config)
}

#[tokio::test]
async fn a_processor_answers_in_the_models_place() {
    let upstream = ScriptedUpstream::start([]).await;
    for (deed, text, reason) in [("respond", "answered on order", "stop"), ("block", "", "content_filter")] {
        let gateway = stopping(&upstream, "process", deed, 0).start().await;
        let body = gateway.ask("hello").await.body().await;
        assert_eq!(deltas(&body), text);
        assert!(body.contains(&format!(r#""finish_reason":"{reason}""#)), "{body}");
        assert!(body.ends_with("data: [DONE]\n\n"), "{body}");
        let answer = gateway.ask_whole("hello").await.json().await;
        assert_eq!(answer["choices"][0]["message"]["content"], text);
        assert_eq!(answer["choices"][0]["finish_reason"], reason);
    }
    assert_eq!(upstream.seen().len(), 0);
}

#[tokio::test]
async fn a_rejection_before_the_head_is_the_plugins_status() {
    let upstream = ScriptedUpstream::start([Script::says(["hi"])]).await;
    for place in ["process", "push"] {
        let response = stopping(&upstream, place, "reject", 0).start().await.ask("hello").await;
        assert_eq!(response.status(), 418);
        assert!(message(&response.json().await).starts_with("rejected on order"));
    }
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test]
async fn a_stop_within_a_stream_ends_it_and_closes_the_upstream() {
    for (deed, text, reason) in [
        ("block", " later", Some("content_filter")),
        ("respond", " lateranswered on order", Some("stop")),
        ("reject", "", None),
    ] {
        let gate = Gate::new();
        let script = Script::stream().delta("sent").wait_for(&gate).delta(" later").stall();
        let upstream = ScriptedUpstream::start([script]).await;
        let gateway = stopping(&upstream, "push", deed, 1).start().await;
        let mut response = gateway.ask("hello").await;
        assert_eq!(response.delta().await, "sent");
        gate.open();
        let rest = response.body().await;
        assert_eq!(deltas(&rest), text, "{rest}");
        match reason {
            Some(reason) => {
                assert!(rest.contains(&format!(r#""finish_reason":"{reason}""#)), "{rest}");
                assert!(rest.ends_with("data: [DONE]\n\n"), "{rest}");
            }
            None => assert!(message(&last_error(&rest)).starts_with("rejected on order"), "{rest}"),
        }
        upstream.abandoned().await;
    }
}
