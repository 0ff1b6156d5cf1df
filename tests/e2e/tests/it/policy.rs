//! Rules that choose a pipeline by key, header and route.

use rust_proxy_testkit::{Script, ScriptedUpstream, Setup, TestGateway, deltas};

use crate::masking;

const ANSWER: &str = "a secret tulip";

/// The pipeline `p` masks `secret`; `tulips` masks `tulip`, and is for `/chat` and, behind its own, for `x-strict`.
const RULES: &str = "
[[server.keys]]
name = 'ann'
key = 'env::CLIENT_KEY'
[[server.keys]]
name = 'bob'
key = 'env::BOBS_KEY'

[[pipelines.p.when]]
key = 'bob'
use = 'none'
[[pipelines.p.when]]
header = { X-Strict = 'yes' }
process_also = ['tulips']
modify_also = ['tulips']
[[pipelines.p.when]]
route = '/chat'
use = 'tulips'

[pipelines.tulips]
modify = ['tulips']
[plugins.tulips]
file = 'sensitive-word.wasm'
limits = { cpu = '5s', wall = '20s' }
config = { words = ['tulip'], mask = '#' }";

fn setup(upstream: &ScriptedUpstream) -> Setup {
    masking(upstream).variable("BOBS_KEY", "BOBS_KEY-0123456789").toml(RULES)
}

/// What a client with this key and these header lines is answered on a route.
async fn ask(gateway: &TestGateway, route: &str, key: &str, headers: &str) -> String {
    let body = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"my tulip"}]}"#;
    let request = format!(
        "POST {route} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}-0123456789\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n{headers}\r\n{body}",
        body.len()
    );
    deltas(&gateway.request(&request).await.body().await)
}

#[tokio::test]
async fn rules_choose_and_extend_the_pipeline_of_an_exchange() {
    const CHAT: &str = "/v1/chat/completions";
    let upstream = ScriptedUpstream::start([Script::says([ANSWER])]).await;
    let gateway = setup(&upstream).start().await;
    for (route, key, headers, expect, asked) in [
        (CHAT, "CLIENT_KEY", "", "a ****** tulip", "my tulip"),
        (CHAT, "BOBS_KEY", "", ANSWER, "my tulip"),
        (CHAT, "CLIENT_KEY", "x-strict: yes\r\n", "a ****** #####", "my #####"),
        (CHAT, "CLIENT_KEY", "x-strict: no\r\n", "a ****** tulip", "my tulip"),
        ("/chat", "CLIENT_KEY", "", "a secret #####", "my tulip"),
        // What was added stays, and runs once.
        ("/chat", "CLIENT_KEY", "X-STRICT: yes\r\n", "a secret #####", "my #####"),
        // The first rule that chooses ends the search.
        ("/chat", "BOBS_KEY", "x-strict: yes\r\n", ANSWER, "my tulip"),
    ] {
        assert_eq!(ask(&gateway, route, key, headers).await, expect, "{route} {key} {headers}");
        let seen = upstream.seen();
        let seen = seen.last().expect("a request");
        assert_eq!(seen.last_text(), asked, "{route} {key} {headers}");
        assert_eq!(seen.head.header("x-strict"), None, "what rules ask for is not handed on");
    }
}

#[tokio::test]
async fn a_plugin_that_cannot_stand_where_a_rule_adds_it_is_refused() {
    let upstream = ScriptedUpstream::start([]).await;
    let rule = "[[pipelines.p.when]]\nroute = '/chat'\nprocess_also = ['emoji']";
    let refusal = masking(&upstream).toml(rule).refusal().await;
    let expect = "pipelines.p.when[0].process_also: the plugin `emoji` does not export `processor`";
    assert!(refusal.contains(expect), "{refusal}");
}
