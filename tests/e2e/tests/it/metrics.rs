//! What an operator's scraper reads after known traffic.

use rust_proxy_testkit::{Gate, Script, ScriptedUpstream, Setup, TestGateway};
use serde_json::json;

use crate::masking;

const GET: &str = "GET /metrics HTTP/1.1\r\nhost: localhost\r\n";

async fn scrape(gateway: &TestGateway) -> String {
    let request = format!("{GET}authorization: Bearer ADMIN_TOKEN-0123456789\r\n\r\n");
    let response = gateway.operate(&request).await;
    assert_eq!((response.status(), response.head.header("content-type")), (200, Some(TEXT)));
    response.body().await
}

const USAGE: &str = r#"{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":9,"total_tokens":16}}"#;
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Each of `expect`, whose names are given without `rust_proxy_`, is a sample of `text`.
#[track_caller]
fn check(text: &str, expect: &[&str]) {
    for sample in expect {
        assert!(
            text.lines().any(|line| line.strip_prefix("rust_proxy_") == Some(sample)),
            "{sample} is not in:\n{text}"
        );
    }
}

#[tokio::test]
async fn known_traffic_gives_known_numbers() {
    // In two reads: what comes in one is one text.
    let rest = Gate::new();
    let answer =
        Script::stream().delta("a sec").wait_for(&rest).delta("ret").finish("stop").event(USAGE).done();
    let busy = Script::json(429, &json!({ "error": { "message": "slow down" } }));
    let upstream = ScriptedUpstream::start([answer.clone(), busy, Script::hang_up(), answer]).await;
    let setup = masking(&upstream).toml(
        "[plugins.fault]\non_error = 'fail_open'\nconfig = { in = 'process', do = 'trap' }\n\
         [[pipelines.p.when]]\nheader = { x-fault = true }\nprocess_also = ['fault']\nmodify_also = ['fault']",
    );
    let gateway = setup.clone().admin().start().await;
    let body = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"my secret"}]}"#;
    for (headers, status) in [("", 200), ("", 429), ("", 502), ("x-fault: 1\r\n", 200)] {
        let response = gateway.post(headers, body).await;
        assert_eq!(response.status(), status);
        if status == 200 {
            rest.open();
        }
        response.body().await;
    }
    assert_eq!(gateway.ask_model("a-name-of-a-client", "hi").await.status(), 404);
    let text = scrape(&gateway).await;
    let mask = |name: &str, more: &str, value: u64| {
        format!("plugin_{name}{{plugin=\"sensitive-word\",generation=\"1\"{more}}} {value}")
    };
    let (request, answer) = (",direction=\"request\"", ",direction=\"answer\"");
    for sample in [
        mask("exchanges_total", "", 4),
        mask("in_bytes_total", request, 36),
        mask("out_bytes_total", request, 36),
        mask("edits_total", request, 4),
        mask("in_bytes_total", answer, 16),
        mask("edits_total", answer, 2),
        mask("unscanned_bytes_total", answer, 0),
        mask("held_max_bytes", "", 3),
        mask("cpu_seconds_count", "", 4),
        mask("wall_seconds_bucket", ",le=\"+Inf\"", 4),
        mask("egress_denied_total", "", 0),
    ] {
        check(&text, &[&sample]);
    }
    check(
        &text,
        &[
            r#"plugin_failures_total{plugin="fault",generation="1",kind="trap"} 1"#,
            r#"plugin_unscanned_bytes_total{plugin="fault",generation="1",direction="request"} 9"#,
            r#"upstream_attempts_total{model="m",provider="main"} 4"#,
            r#"upstream_errors_total{model="m",provider="main",kind="rate_limited"} 1"#,
            r#"upstream_errors_total{model="m",provider="main",kind="unreachable"} 1"#,
            r#"upstream_tokens_total{model="m",provider="main",kind="prompt"} 14"#,
            r#"upstream_tokens_total{model="m",provider="main",kind="completion"} 18"#,
            r#"requests_total{route="/v1/chat/completions",status="2xx",end="complete"} 2"#,
            r#"requests_total{route="/v1/chat/completions",status="4xx",end="error"} 2"#,
            r#"requests_total{route="/v1/chat/completions",status="5xx",end="error"} 1"#,
            r#"first_byte_seconds_count{route="/v1/chat/completions"} 2"#,
            "streams_open 0",
            "exchanges 0",
            "generation 1",
            r#"reloads_total{result="changed"} 0"#,
        ],
    );
    assert!(!text.contains("a-name-of-a-client"), "{text}");

    // What was counted outlives a reload; a plugin that did not change keeps its generation.
    gateway.rewrite(&setup.admin().toml("[plugins.emoji]\n[pipelines.q]\nmodify = ['emoji']"));
    gateway.reloader.reload("a test").await.expect("a reload");
    let text = scrape(&gateway).await;
    check(
        &text,
        &[
            "generation 2",
            r#"reloads_total{result="changed"} 1"#,
            r#"upstream_attempts_total{model="m",provider="main"} 4"#,
            &mask("exchanges_total", "", 4),
            r#"plugin_exchanges_total{plugin="emoji",generation="2"} 0"#,
        ],
    );
}

#[tokio::test]
async fn metrics_are_for_the_operator() {
    let gateway = Setup::new().admin().start().await;
    assert_eq!(gateway.operate(&format!("{GET}\r\n")).await.status(), 401);
    let client = format!("{GET}authorization: Bearer ADMIN_TOKEN-0123456789\r\n\r\n");
    assert_eq!(gateway.request(&client).await.status(), 404);
}
