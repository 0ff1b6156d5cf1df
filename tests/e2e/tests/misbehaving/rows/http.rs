//! Guests that abuse `wasi:http`.

use std::sync::Arc;
use std::time::Duration;

use rust_proxy_testkit::{Gate, Script, ScriptedUpstream};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{HANDLES, broken, early};
use crate::bench::{Bench, Plugins, Saw, ask};

/// Servers on this machine.
pub(crate) struct Web {
    /// Granted, by its address.
    pages: ScriptedUpstream,
    /// Granted by a name that leads to this machine, which does not suffice.
    secret: ScriptedUpstream,
    /// Granted, and answers when its gate is open.
    slow: ScriptedUpstream,
    gate: Gate,
}

impl Web {
    pub(crate) async fn start() -> Self {
        let gate = Gate::new();
        let page = || Script::new(200, "text/plain").header("connection", "close");
        let pages = ScriptedUpstream::start([page().bytes("page")]).await;
        let secret = ScriptedUpstream::start([page().bytes("secret of this machine")]).await;
        let slow = ScriptedUpstream::start([page().wait_for(&gate).bytes("slow")]).await;
        Self { pages, secret, slow, gate }
    }

    fn grant(&self) -> String {
        let (pages, secret, slow) = (self.pages.address(), self.secret.address().port(), self.slow.address());
        format!(
            "grant = {{ http = ['http://{pages}', 'http://{slow}', 'http://localhost:{secret}'], private = ['{pages}', '{slow}'] }}"
        )
    }
}

pub(super) fn plugins(plugins: Plugins, web: &Web) -> Plugins {
    let fetch = |limits: &str| format!("file = 'fetch.wasm'\n{}\nlimits = {{ {limits} }}", web.grant());
    plugins
        .plugin("fetch", &["process"], &fetch("cpu = '5s', wall = '60s', fetch = '64KiB', requests = 20"))
        .plugin("fetch-cpu", &["process"], &fetch("cpu = '20ms', wall = '60s'"))
        .plugin("fetch-wall", &["process"], &fetch("cpu = '5s', wall = '300ms'"))
}

/// A fetch that is under way while much else happens.
pub(crate) struct Slow {
    began: Instant,
    asking: JoinHandle<Saw>,
}

/// How long it takes: a hundred times what the guest may compute.
const SLOW: Duration = Duration::from_secs(2);

pub(crate) async fn begin_slowly(bench: &Bench, web: &Web) -> Slow {
    let (gateway, url) = (Arc::clone(&bench.gateway), format!("http://{}/", web.slow.address()));
    let asking = tokio::spawn(async move { ask(&gateway, "fetch-cpu", &url).await });
    web.slow.asked().await;
    Slow { began: Instant::now(), asking }
}

pub(crate) async fn end_slowly(bench: &mut Bench, web: &Web, slow: Slow) {
    while slow.began.elapsed() < SLOW {
        tokio::task::yield_now().await;
    }
    web.gate.open();
    assert_eq!(bench.beside(slow.asking).await.unwrap(), Saw::Whole);
    assert_eq!(bench.model.seen().last().unwrap().last_text(), "200 4 slow");
    let account = bench.gateway.account("fetch-cpu");
    assert!(account.failures.is_empty() && account.usage.wall >= SLOW, "{account:?}");
    let promise = "a fetch of 2 s by a plugin with 20 ms of CPU time lives";
    bench.row(promise, "all of the answer", "`link done`", "1 fetch, none failed");
}

pub(crate) async fn run(bench: &mut Bench, web: &Web) {
    let page = format!("http://{}/", web.pages.address());
    drips(bench, web, &page).await;
    web.pages.play(Script::new(200, "text/plain").header("connection", "close").bytes(vec![b'x'; 80 << 10]));
    let limit = "more than 65536 bytes fetched";
    let told = "HTTP response body size exceeds limit: 65536 bytes";
    lives(bench, "a body that is too large", &page, told, limit).await;
    redirect(bench, web, &page).await;
    names(bench, web).await;
    bench.fails("header lists without end", "fetch", "leak-fields", broken("process", HANDLES)).await;
    let fields = broken("process", "total size of fields exceeds limit");
    bench.fails("a header list without end", "fetch", "fill-fields", fields).await;
}

/// A page that never ends, a byte now and then.
async fn drips(bench: &mut Bench, web: &Web, page: &str) {
    web.pages.play(Script::new(200, "text/plain").bytes("a").trickle());
    let promise = "a server that sends a byte now and then, past `wall`";
    // Twice: a fetch ends with `wall` too, and whether the guest is told before its call is over is chance.
    let page = &format!("{page}\n{page}");
    bench
        .fails(promise, "fetch-wall", page, early("process: wall limit: more than 300ms", "wall limit"))
        .await;
    web.pages.abandoned().await;
}

/// The plugin is told no, the exchange goes on.
async fn lives(bench: &mut Bench, promise: &'static str, order: &str, told: &str, says: &str) {
    let (before, behind) = (bench.gateway.account("fetch"), bench.log.length());
    let gateway = Arc::clone(&bench.gateway);
    assert_eq!(bench.beside(ask(&gateway, "fetch", order)).await, Saw::Whole, "{promise}");
    let text = bench.model.seen().last().unwrap().last_text();
    assert!(text.ends_with(told), "{promise}: {text}");
    let lines = bench.log.of("fetch", behind);
    assert!(lines.iter().any(|line| line.message.contains(says)), "{promise}: {lines:?}");
    let account = bench.gateway.account("fetch");
    assert_eq!(account.failures, before.failures, "{promise}");
    bench.row(promise, "all of the answer", format!("`{says}`"), "none failed");
}

async fn redirect(bench: &mut Bench, web: &Web, page: &str) {
    let elsewhere = format!("http://{}/", web.secret.address());
    web.pages
        .play(Script::new(302, "text/plain").header("connection", "close").header("location", &elsewhere));
    let told = format!("302 0  > {elsewhere}\nHttpRequestDenied");
    let promise = "a redirect to a private address";
    lives(bench, promise, &format!("{page}\n{elsewhere}"), &told, "is not granted").await;
    assert!(web.secret.seen().is_empty(), "{:?}", web.secret.seen());
}

/// This machine and its neighbours, by all their names.
async fn names(bench: &mut Bench, web: &Web) {
    let port = web.secret.address().port();
    for (promise, host, says) in [
        ("a fetch of `localhost`, granted by that name", "localhost", "(loopback), which is not granted"),
        ("a fetch of `127.0.0.1`", "127.0.0.1", "is not granted"),
        ("a fetch of `127.1`", "127.1", "is not granted"),
        ("a fetch of `2130706433`", "2130706433", "is not granted"),
        ("a fetch of `0x7f000001`", "0x7f000001", "is not granted"),
        ("a fetch of `0177.0.0.1`", "0177.0.0.1", "is not granted"),
        ("a fetch of `[::1]`", "[::1]", "is not granted"),
        ("a fetch of `[::ffff:127.0.0.1]`", "[::ffff:127.0.0.1]", "is not granted"),
        ("a fetch of `[::ffff:10.0.0.1]`", "[::ffff:10.0.0.1]", "is not granted"),
        ("a fetch of `169.254.169.254`", "169.254.169.254", "is not granted"),
        ("a fetch of `localhost.`, another spelling of a granted name", "localhost.", "is not granted"),
        (
            "a fetch of `LOCALHOST`, another spelling of a granted name",
            "LOCALHOST",
            "(loopback), which is not granted",
        ),
    ] {
        lives(bench, promise, &format!("http://{host}:{port}/"), "HttpRequestDenied", says).await;
    }
    assert!(web.secret.seen().is_empty(), "{:?}", web.secret.seen());
}
