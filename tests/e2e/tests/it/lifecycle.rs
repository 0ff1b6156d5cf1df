//! How many exchanges there are at once, and how a gateway ends.

use rust_proxy_testkit::{Gate, Script, ScriptedUpstream, Setup, deltas};
use tokio::net::TcpStream;

use crate::{last_error, masking, message};

#[tokio::test]
async fn past_streams_max_a_request_is_503_until_a_stream_ends() {
    let gate = Gate::new();
    let first = Script::stream().delta("hi").wait_for(&gate).finish("stop").done();
    let upstream = ScriptedUpstream::start([first, Script::says(["again"])]).await;
    let gateway = masking(&upstream).server("streams_max = 1\nqueue_max = 0").start().await;
    let mut open = gateway.ask("hello").await;
    assert_eq!(open.delta().await, "hi");
    for refused in [gateway.ask("hello").await, gateway.ask_whole("hello").await] {
        assert_eq!(refused.status(), 503);
        assert_eq!(refused.head.header("retry-after"), Some("1"));
        assert!(message(&refused.json().await).contains("too many"));
    }
    gate.open();
    assert!(open.body().await.ends_with("data: [DONE]\n\n"));
    assert_eq!(deltas(&gateway.ask("hello").await.body().await), "again");
    assert_eq!(upstream.seen().len(), 2);
}

#[tokio::test]
async fn a_client_that_leaves_makes_room() {
    let upstream =
        ScriptedUpstream::start([Script::stream().delta("hi").stall(), Script::says(["again"])]).await;
    let gateway = masking(&upstream).server("streams_max = 1\nqueue_max = 1").start().await;
    let mut open = gateway.ask("hello").await;
    assert_eq!(open.delta().await, "hi");
    drop(open);
    // Waits in the queue until the gateway has seen that the first is gone.
    assert_eq!(deltas(&gateway.ask("hello").await.body().await), "again");
}

#[tokio::test]
async fn a_shutdown_lets_a_stream_finish() {
    let gate = Gate::new();
    let script = Script::stream().delta("hi").wait_for(&gate).delta(" there").finish("stop").done();
    let upstream = ScriptedUpstream::start([script]).await;
    let mut gateway = masking(&upstream).start().await;
    let mut response = gateway.ask("hello").await;
    assert_eq!(response.delta().await, "hi");
    let idle = gateway.request("GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    gateway.stop();
    // A connection without a request is closed at once; so this has begun.
    idle.closed().await;
    gate.open();
    let rest = response.body().await;
    assert_eq!(deltas(&rest), " there");
    assert!(rest.ends_with("data: [DONE]\n\n"), "{rest}");
    let address = gateway.address;
    gateway.stopped().await;
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_shutdown_closes_the_upstreams_of_streams_that_do_not_finish() {
    let upstream = ScriptedUpstream::start([Script::stream().delta("hi").stall()]).await;
    let mut gateway = masking(&upstream).server("shutdown = '1ms'").start().await;
    let mut response = gateway.ask("hello").await;
    assert_eq!(response.delta().await, "hi");
    gateway.stop();
    upstream.abandoned().await;
    gateway.stopped().await;
}

#[tokio::test]
async fn an_exchange_has_a_deadline_of_its_own() {
    let upstream = ScriptedUpstream::start([Script::stream().delta("hi").stall(), Script::silent()]).await;
    let gateway = Setup::new().upstream(&upstream).server("exchange_max = '1s'").start().await;
    let body = gateway.ask("hello").await.body().await;
    assert_eq!(deltas(&body), "hi");
    assert_eq!(last_error(&body)["error"]["code"], "deadline_exceeded");
    upstream.abandoned().await;
    assert_eq!(gateway.ask("hello").await.status(), 504);
    upstream.abandoned().await;
}
