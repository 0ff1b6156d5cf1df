//! A thousand streams, half of which their clients leave midway: everything of them is given back.
//!
//! In a process of its own, since it counts the process's tasks and sockets. Timers are counted with the tasks that
//! own them; instances, slots and their pool by being taken, all of them, once more. The figures:
//! `cargo test --test abandoned -- --nocapture`.

// Lets lints know that all of it is tests, helpers too.
#![cfg(test)]
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "counts the process's own files, and shows it"
)]

use std::fmt;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use rust_proxy_testkit::{Gate, Script, ScriptedUpstream, Setup, TestGateway, deltas};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

/// Streams that are whole, and as many that are not.
const HALF: usize = 500;
/// Clients at once: fewer than the gateway takes, so that none is refused.
const CLIENTS: usize = 48;
/// What the gateway takes. Its pool has room for as many instances and a few that are ready, so that each instance
/// that an abandoned stream kept would be missed.
const STREAMS_MAX: usize = 64;
/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

const PLUGIN: &str = "[plugins.sensitive-word]\nlimits = { cpu = '5s', wall = '20s' }\nready = 2\n\
                      config = { words = ['secret'] }";

/// How a client leaves.
#[derive(Debug, Clone, Copy)]
enum Leaves {
    /// Before the upstream's head.
    BeforeHead,
    /// Before its first event.
    BeforeEvent,
    /// While text is held.
    Midway,
    /// While the upstream sends more than anybody takes.
    Flooded,
}

const WAYS: [Leaves; 4] = [Leaves::BeforeHead, Leaves::BeforeEvent, Leaves::Midway, Leaves::Flooded];

fn script(way: Leaves) -> Script {
    match way {
        Leaves::BeforeHead => Script::silent(),
        Leaves::BeforeEvent => Script::stream().stall(),
        Leaves::Midway => Script::stream().delta("One").delta(" sec").stall(),
        Leaves::Flooded => {
            let text = "word ".repeat(2000);
            (0..1000).fold(Script::stream().delta("One"), |script, _| script.delta(&text)).stall()
        }
    }
}

/// The process at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counts {
    tasks: usize,
    sockets: usize,
}

impl Counts {
    fn now() -> Self {
        let files = fs::read_dir("/proc/self/fd").expect("Linux").filter_map(Result::ok);
        let targets = files.filter_map(|file| fs::read_link(file.path()).ok());
        let sockets = targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count();
        Self { tasks: Handle::current().metrics().num_alive_tasks(), sockets }
    }

    /// Waits until the process is as it was.
    async fn again(self) -> Self {
        let again = async {
            while Self::now() != self {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, again)
            .await
            .unwrap_or_else(|_| panic!("there is more than before: {:?}, not {self:?}", Self::now()));
        self
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>4} tasks, {:>4} sockets", self.tasks, self.sockets)
    }
}

/// The model `whole` and one for each way to leave.
async fn gateway(whole: &ScriptedUpstream, left: &[ScriptedUpstream]) -> TestGateway {
    let setup = Setup::new()
        .server(&format!("streams_max = {STREAMS_MAX}\nqueue_max = 0\nheartbeat = '50ms'"))
        .toml(PLUGIN);
    let setup = setup.toml("[pipelines.mask]\nprocess = ['sensitive-word']\nmodify = ['sensitive-word']");
    let names = WAYS.iter().map(|way| format!("{way:?}"));
    let models = names.zip(left).chain([("whole".to_owned(), whole)]);
    let add = |setup: Setup, (name, upstream): (String, &ScriptedUpstream)| {
        setup.variable(&name, &upstream.url()).toml(&format!(
            "[models.{name}]\npipeline = 'mask'\nrouting = ['p']\n[models.{name}.providers.p]\ntype = 'openai'\n\
             api_base = 'env::{name}'\napi_key_location = 'none'"
        ))
    };
    models.fold(setup, add).start().await
}

/// One client that stays, or leaves.
async fn client(gateway: &TestGateway, leaves: Option<Leaves>) {
    let Some(way) = leaves else {
        let body = gateway.ask_model("whole", "hello").await.body().await;
        assert_eq!(deltas(&body), "One ****** more");
        assert!(body.ends_with("data: [DONE]\n\n"), "{body}");
        return;
    };
    let mut response = gateway.ask_model(&format!("{way:?}"), "hello").await;
    let leaves_at = match way {
        Leaves::BeforeHead | Leaves::BeforeEvent => ": ping",
        Leaves::Midway | Leaves::Flooded => "One",
    };
    while !response.event().await.expect("an open stream").contains(leaves_at) {}
}

/// The streams, some at once, and the most that was counted meanwhile.
async fn drive(gateway: &Arc<TestGateway>) -> Counts {
    let (mut clients, mut most) = (JoinSet::new(), Counts::now());
    for number in 0..2 * HALF {
        let leaves = (number % 2 == 1).then(|| WAYS[number / 2 % WAYS.len()]);
        let gateway = Arc::clone(gateway);
        clients.spawn(async move { client(&gateway, leaves).await });
        if clients.len() == CLIENTS {
            clients.join_next().await.expect("a client").expect("no panic");
            let now = Counts::now();
            most = Counts { tasks: most.tasks.max(now.tasks), sockets: most.sockets.max(now.sockets) };
        }
    }
    while let Some(ended) = clients.join_next().await {
        ended.expect("no panic");
    }
    most
}

/// Opens as many streams as the gateway takes, and one more.
async fn fill(gateway: &TestGateway, whole: &ScriptedUpstream) {
    let gate = Gate::new();
    whole.play(Script::stream().delta("One").wait_for(&gate).finish("stop").done());
    let mut open = Vec::new();
    for _ in 0..STREAMS_MAX {
        let mut response = gateway.ask_model("whole", "hello").await;
        while !response.event().await.expect("an open stream").contains("One") {}
        open.push(response);
    }
    assert_eq!(gateway.ask_model("whole", "hello").await.status(), 503);
    // All of them first: which upstream comes to the gate first is not known.
    open.iter().for_each(|_| gate.open());
    for response in open {
        assert!(response.body().await.ends_with("data: [DONE]\n\n"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_streams_of_which_half_are_abandoned_leave_nothing() {
    // Kept connections would be sockets that are there for another reason.
    let whole = Script::stream().header("connection", "close").delta("One").delta(" sec").delta("ret more");
    let whole = ScriptedUpstream::start([whole.finish("stop").done()]).await;
    let mut left = Vec::new();
    for way in WAYS {
        left.push(ScriptedUpstream::start([script(way)]).await);
    }
    let gateway = Arc::new(gateway(&whole, &left).await);

    let before = Counts::now();
    println!("before:                                    {before}");
    let most = drive(&gateway).await;
    println!("most, with {CLIENTS} clients at once:              {most}");
    for (way, upstream) in WAYS.iter().zip(&left) {
        // A client may have left before its upstream was asked.
        let asked = upstream.seen().len();
        for _ in 0..asked {
            upstream.abandoned().await;
        }
        println!("{way:?}: {} left, {asked} upstreams were asked and saw it", HALF / WAYS.len());
    }
    println!("after {} streams, {HALF} of them abandoned: {}", 2 * HALF, before.again().await);

    fill(&gateway, &whole).await;
    println!("{STREAMS_MAX} slots and their instances could be taken again, and not one more");
}
