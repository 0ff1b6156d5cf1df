//! One gateway: healthy streams, the models of the misbehaving plugins, and all that can be seen of both.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use rust_proxy_testkit::{Response, Script, ScriptedUpstream, Setup, TestGateway, deltas};
use serde_json::Value;
use tokio::runtime::Handle;

use crate::healthy::{self, STREAMS, Streams};
use crate::heart::Heart;
use crate::log::{Line, Log};
use crate::table::{Row, Table};

/// What the models of misbehaving plugins say: a character of several bytes, and a piece that some hold.
pub(crate) const TEXT: [&str; 3] = ["Hé", " held", " more"];
/// A request in which no guest finds an order.
pub(crate) const HARMLESS: &str = "hello";
/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a client saw of a stream that it asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Saw {
    /// A status and the error's code.
    Status(u16, String),
    /// Some text, and then an event with the error's code.
    Cut(String, String),
    /// All of the text, and the end marker.
    Whole,
}

/// What is to be seen of a deed that fails.
pub(crate) struct Expected {
    pub(crate) client: Saw,
    /// The stage and the beginning of the error, as in `push: cpu limit: more than 20ms`.
    pub(crate) log: &'static str,
    /// The kind of the failure.
    pub(crate) failure: &'static str,
}

/// The gateway, and what it does.
pub(crate) struct Bench {
    pub(crate) gateway: Arc<TestGateway>,
    /// What the misbehaving plugins' models ask.
    pub(crate) model: ScriptedUpstream,
    pub(crate) log: Log,
    streams: Streams,
    table: Table,
    tasks: usize,
    _healthy: healthy::Model,
}

/// The configuration of a [`Bench`].
pub(crate) struct Plugins(Setup);

impl Plugins {
    pub(crate) fn new() -> Self {
        Self(Setup::new())
    }

    /// A plugin in a pipeline of its own, and the model of its name.
    pub(crate) fn plugin(self, name: &str, stages: &[&str], table: &str) -> Self {
        let stages: Vec<String> = stages.iter().map(|stage| format!("{stage} = ['{name}']")).collect();
        Self(self.0.toml(&format!(
            "[plugins.{name}]\nready = 1\n{table}\n[pipelines.{name}]\n{}\n\
             [models.{name}]\npipeline = '{name}'\nrouting = ['p']\n[models.{name}.providers.p]\n\
             type = 'openai'\napi_base = 'env::BAD'\napi_key_location = 'none'",
            stages.join("\n")
        )))
    }

    /// A file in the folder of the configuration.
    pub(crate) fn file(self, path: &str, text: &str) -> Self {
        Self(self.0.file(path, text))
    }

    /// A plugin that no toolchain emits.
    pub(crate) fn heart(self, name: &str, limits: &str, heart: &Heart) -> Self {
        self.component(name, limits, heart.plugin())
    }

    /// A plugin with these bytes.
    pub(crate) fn component(self, name: &str, limits: &str, bytes: Vec<u8>) -> Self {
        let setup = Self(self.0.file(&format!("plugins/{name}.wasm"), bytes));
        setup.plugin(name, &["process", "modify"], &format!("limits = {{ {limits} }}"))
    }
}

/// More bytes than the gateway passes on as one part.
const APART: usize = 20 << 10;

impl Bench {
    /// Starts the gateway with these plugins and opens the healthy streams.
    pub(crate) async fn start(log: Log, plugins: Plugins) -> Self {
        let healthy = healthy::Model::start().await;
        // What comes in one read is one text: more than that stands between two, as a comment.
        let apart = format!(": {}\n\n", "-".repeat(APART));
        let says = |script: Script, text: &&str| script.delta(text).bytes(&apart);
        let says = TEXT.iter().fold(Script::stream().header("connection", "close"), says);
        let model = ScriptedUpstream::start([says.finish("stop").done()]).await;
        let setup = plugins.0.upstream(&healthy.upstream).variable("BAD", &model.url());
        let gateway = setup
            .server("streams_max = 16\nqueue_max = 0\nheartbeat = '10m'")
            .admin()
            .plugins(&["sensitive-word"])
            .toml("[plugins.sensitive-word]\nready = 1\nconfig = { words = ['secret'] }\nlimits = { cpu = '5s', wall = '20s' }")
            .start()
            .await;
        let streams = Streams::open(&gateway, &healthy).await;
        let tasks = tasks();
        let gateway = Arc::new(gateway);
        Self { gateway, model, log, streams, table: Table::default(), tasks, _healthy: healthy }
    }

    /// Lets the healthy streams go on.
    pub(crate) async fn step(&mut self) {
        self.streams.step().await;
    }

    /// Waits for something while the healthy streams go on, and lets them go on after it.
    pub(crate) async fn beside<T>(&mut self, deed: impl Future<Output = T>) -> T {
        let (done, ()) = tokio::join!(deed, self.streams.step());
        self.streams.step().await;
        done
    }

    /// A plugin does what the text orders and fails as expected; a fresh instance of it then does no harm.
    pub(crate) async fn fails(
        &mut self,
        promise: &'static str,
        plugin: &str,
        order: &str,
        expected: Expected,
    ) {
        self.fails_times(1, promise, plugin, order, &expected).await;
        self.is_harmless(plugin).await;
        self.row(promise, shown(&expected.client), told(expected.log), failures(1, expected.failure));
    }

    /// A plugin that can do nothing else fails as expected, each time in a fresh instance.
    pub(crate) async fn always_fails(&mut self, promise: &'static str, plugin: &str, expected: Expected) {
        for _ in 0..2 {
            self.fails_times(1, promise, plugin, HARMLESS, &expected).await;
        }
        self.row(promise, shown(&expected.client), told(expected.log), failures(2, expected.failure));
    }

    /// As many clients at once get a plugin to fail.
    pub(crate) async fn fails_times(
        &mut self,
        times: usize,
        promise: &str,
        plugin: &str,
        order: &str,
        expected: &Expected,
    ) {
        let (before, behind) = (self.gateway.account(plugin), self.log.length());
        let gateway = Arc::clone(&self.gateway);
        let asking = join_all((0..times).map(|_| ask(&gateway, plugin, order)));
        let seen = self.beside(asking).await;
        assert!(seen.iter().all(|saw| *saw == expected.client), "{promise}: {seen:?}");
        let lines = self.log.of(plugin, behind);
        let failed: Vec<String> = lines
            .iter()
            .filter(|line| line.message == "plugin failed")
            .map(|line| format!("{}: {}", line.field("stage"), line.field("error")))
            .collect();
        assert_eq!(failed.len(), times, "{promise}: {failed:?}");
        assert!(failed.iter().all(|told| told.starts_with(expected.log)), "{promise}: {failed:?}");
        let now = self.gateway.account(plugin);
        let times = times as u64;
        assert_eq!(now.exchanges, before.exchanges + times, "{promise}");
        assert_eq!(
            since(&before.failures, &now.failures),
            BTreeMap::from([(expected.failure, times)]),
            "{promise}"
        );
        self.check_metrics(plugin).await;
    }

    /// An exchange with a plugin that does nothing is whole, and served by an instance that does not fail.
    pub(crate) async fn is_harmless(&mut self, plugin: &str) {
        let before = self.gateway.account(plugin);
        assert_eq!(ask(&self.gateway, plugin, HARMLESS).await, Saw::Whole, "{plugin}");
        let now = self.gateway.account(plugin);
        assert_eq!((now.exchanges, now.failures), (before.exchanges + 1, before.failures), "{plugin}");
        self.check_metrics(plugin).await;
    }

    /// A gateway with such a plugin is refused at start, in these words.
    pub(crate) async fn refused(&mut self, promise: &'static str, says: &str, setup: Setup) {
        let refusal = self.beside(setup.refusal()).await;
        assert!(refusal.contains(says), "{promise}: `{says}` is not in: {refusal}");
        self.row(promise, "refused at start", told(says), "none");
    }

    /// What a plugin's account and the metrics say is one thing.
    async fn check_metrics(&self, plugin: &str) {
        let request = "GET /metrics HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer ADMIN_TOKEN-0123456789\r\n\r\n";
        let metrics = self.gateway.operate(request).await.body().await;
        let account = self.gateway.account(plugin);
        let labels = format!("plugin=\"{plugin}\",generation=\"1\"");
        let exchanges = format!("rust_proxy_plugin_exchanges_total{{{labels}}} {}", account.exchanges);
        assert!(metrics.lines().any(|line| line == exchanges), "{exchanges} is not in: {metrics}");
        let failed = format!("rust_proxy_plugin_failures_total{{{labels},");
        let told: Vec<&str> = metrics.lines().filter_map(|line| line.strip_prefix(&failed)).collect();
        let kinds = account.failures.iter();
        let kinds: Vec<String> =
            kinds.map(|(kind, count)| format!("kind=\"{}\"}} {count}", kind.replace(' ', "_"))).collect();
        assert_eq!(told, kinds, "{plugin}");
    }

    /// Notes what was seen; that the healthy streams went on was checked at each of their steps.
    pub(crate) fn row(
        &mut self,
        promise: &'static str,
        client: impl Into<String>,
        log: impl Into<String>,
        account: impl Into<String>,
    ) {
        let (client, log, account) = (client.into(), log.into(), account.into());
        let streams = format!("{STREAMS} of {STREAMS} whole");
        self.table.push(Row { promise, client, log, account, streams });
    }

    /// Lets the healthy streams come to their end and looks what is left.
    pub(crate) async fn end(self) {
        assert!(!self.log.says(TEXT[1]), "text of an answer is in the log");
        let again = until(|| tasks() == self.tasks).await;
        assert!(again, "{} tasks, {} before", tasks(), self.tasks);
        self.streams.end().await;
        // One that is ready.
        let plugins = || self.gateway.reloader.engine().plugin_generations();
        let again = until(|| plugins().iter().all(|plugin| plugin.instances.live == 1)).await;
        assert!(again, "instances are left: {:?}", plugins());
        let account = self.gateway.account("sensitive-word");
        assert_eq!((account.exchanges, account.failures.len()), (STREAMS as u64, 0));
        self.table.check_document();
    }
}

/// Asks a model and reads all of its answer.
pub(crate) async fn ask(gateway: &TestGateway, model: &str, text: &str) -> Saw {
    saw(gateway.ask_model(model, text).await).await
}

async fn saw(response: Response) -> Saw {
    let code =
        |error: &Value| error.pointer("/error/code").and_then(Value::as_str).unwrap_or("none").to_owned();
    let status = response.status();
    if status != 200 {
        return Saw::Status(status, code(&response.json().await));
    }
    let body = response.body().await;
    let said = deltas(&body);
    let last = body.trim_end().rsplit("\n\n").next().and_then(|event| event.strip_prefix("data: "));
    match last {
        Some("[DONE]") => {
            assert_eq!(said, TEXT.concat(), "an answer that is not whole looks complete");
            Saw::Whole
        }
        last => {
            assert!(!body.contains("[DONE]"), "looks complete: {body}");
            Saw::Cut(said, code(&serde_json::from_str(last.unwrap_or_default()).unwrap_or_default()))
        }
    }
}

fn shown(saw: &Saw) -> String {
    match saw {
        Saw::Status(status, code) => format!("{status} `{code}`"),
        Saw::Cut(text, code) => format!("`{text}`, then an event `{code}`"),
        Saw::Whole => "all of the answer".to_owned(),
    }
}

fn told(text: &str) -> String {
    format!("`{}`", text.replace('`', "'").replace('|', "\\|"))
}

fn failures(times: u64, kind: &str) -> String {
    format!("{times} × {kind}")
}

fn since<'a>(before: &BTreeMap<&'a str, u64>, now: &BTreeMap<&'a str, u64>) -> BTreeMap<&'a str, u64> {
    let more = now.iter().map(|(kind, count)| (*kind, count - before.get(kind).copied().unwrap_or(0)));
    more.filter(|(_, count)| *count > 0).collect()
}

/// The lines that a plugin printed.
pub(crate) fn printed(lines: &[Line]) -> Vec<&str> {
    lines.iter().filter(|line| line.message == "printed").map(|line| line.field("line")).collect()
}

/// Waits for something that nobody tells.
async fn until(is_so: impl Fn() -> bool) -> bool {
    let waiting = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.is_ok()
}

fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}
