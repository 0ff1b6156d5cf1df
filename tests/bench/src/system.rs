//! The measurement: which processes there are, what is asked of them, and in which order.
//!
//! The gateway, the relay and the gateway with native links have one core, the model and whoever asks another. All
//! subjects are measured in turn within a round, so that they meet the same noise; figures are medians over rounds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rust_proxy_bench::sample::{self, Space};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::calls::{self, Calls};
use crate::load::{Load, Plan};
use crate::process::{Core, Resident, Server, beside};
use crate::upstream::Ask;

/// What is measured beside what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Subject {
    /// The model itself.
    Direct,
    Relay,
    /// The gateway without links.
    Empty,
    /// With three native masks.
    Native,
    /// With one mask in the sandbox.
    One,
    /// With three of them.
    Three,
}

impl Subject {
    pub(crate) const ALL: [Self; 6] =
        [Self::Direct, Self::Relay, Self::Empty, Self::Native, Self::One, Self::Three];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Relay => "TCP relay",
            Self::Empty => "no links",
            Self::Native => "3 native links",
            Self::One => "1 sandboxed link",
            Self::Three => "3 sandboxed links",
        }
    }

    fn model(self) -> &'static str {
        match self {
            Self::Direct | Self::Relay | Self::Empty => "empty",
            Self::One => "one",
            Self::Native | Self::Three => "three",
        }
    }

    fn masks(self) -> bool {
        matches!(self, Self::Native | Self::One | Self::Three)
    }
}

/// One kind of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Scenario {
    name: &'static str,
    stream: bool,
    ask: Ask,
    connections: usize,
    milliseconds: u64,
    at_least: usize,
}

const PLAIN: Ask = Ask { deltas: 100, space: Space::Behind, first_ms: 0, pace_ms: 0 };
const UNPACED: Ask = Ask { deltas: 200, ..PLAIN };
const HELD: Ask = Ask { space: Space::Before, ..UNPACED };
const SHORT: Ask = Ask { deltas: 3, ..PLAIN };
/// The pace of the user's own documents: a first token after 50 ms, then one each 20 ms.
const PACED: Ask = Ask { deltas: 50, space: Space::Behind, first_ms: 50, pace_ms: 20 };
/// Slow enough for one core to ask and to answer.
const MANY: Ask = Ask { deltas: 60, space: Space::Behind, first_ms: 50, pace_ms: 50 };

const SCENARIOS: [Scenario; 10] = [
    plain("plain-1", 1, 800),
    plain("plain-32", 32, 1500),
    plain("plain-1000", 1000, 1500),
    Scenario { stream: true, ask: SHORT, ..plain("first-1", 1, 800) },
    Scenario { stream: true, ask: PACED, at_least: 1, ..plain("paced-1", 1, 0) },
    unpaced("stream-1", 1),
    unpaced("stream-32", 32),
    unpaced("stream-64", 64),
    unpaced("stream-1000", 1000),
    Scenario { ask: HELD, ..unpaced("held-64", 64) },
];

/// A thousand streams at once, each subject in a process of its own.
const OPEN: Scenario = Scenario { stream: true, ask: MANY, at_least: 1, ..plain("open-1000", 1000, 0) };

const fn plain(name: &'static str, connections: usize, milliseconds: u64) -> Scenario {
    Scenario { name, stream: false, ask: PLAIN, connections, milliseconds, at_least: 1 }
}

const fn unpaced(name: &'static str, connections: usize) -> Scenario {
    Scenario { stream: true, ask: UNPACED, ..plain(name, connections, 1500) }
}

/// A load, and what the subject took for it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Pass {
    pub(crate) load: Load,
    pub(crate) deltas: usize,
    /// Of the subject, in microseconds.
    pub(crate) cpu: f64,
    /// Of the subject; for `open-1000` only.
    pub(crate) memory: Option<Memory>,
}

/// Bytes of memory.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Memory {
    pub(crate) before: Resident,
    /// With all streams open.
    pub(crate) open: Resident,
    /// The most of [`Resident::mapped`] that there was.
    pub(crate) most: u64,
}

/// All passes of a scenario and a subject.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) scenario: String,
    pub(crate) subject: Subject,
    pub(crate) connections: usize,
    pub(crate) passes: Vec<Pass>,
}

/// All that was measured.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) machine: String,
    pub(crate) commit: String,
    pub(crate) rows: Vec<Row>,
    /// From the start of the gateway with three links until it listened, with a cache of compiled code.
    pub(crate) ready_ms: Vec<f64>,
    /// Resident memory of the gateway that was asked nothing, without links and with three, in bytes.
    pub(crate) idle: [u64; 2],
    pub(crate) calls: Option<Calls>,
}

/// Measures; prints what came of it.
pub(crate) fn run(gateway: &Path, flags: &[&str]) -> Result<()> {
    let quick = flags.contains(&"--quick");
    let only = flags.iter().position(|flag| *flag == "--only").and_then(|at| flags.get(at + 1)).copied();
    let rounds = if quick { 1 } else { 5 };
    let mut measured = Measured {
        machine: machine()?,
        commit: commit()?,
        rows: Vec::new(),
        ready_ms: Vec::new(),
        idle: [0; 2],
        calls: None,
    };
    if only.is_none_or(|only| only == "calls") {
        eprintln!("calls into links …");
        measured.calls = Some(calls::measure(quick)?);
    }
    if only != Some("calls") {
        let rig = Rig::start(gateway)?;
        let chosen = only.filter(|only| *only != "system");
        rig.measure(rounds, quick, chosen, &mut measured)?;
    }
    println!("{}", serde_json::to_string(&measured)?);
    Ok(())
}

fn machine() -> Result<String> {
    let cpus = std::fs::read_to_string("/proc/cpuinfo")?;
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let count = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(format!("{count} cores, {}, Linux {}", model.trim_start_matches([' ', '\t', ':']), kernel.trim()))
}

fn commit() -> Result<String> {
    let git = |arguments: &[&str]| -> Result<String> {
        let output = Command::new("git").args(arguments).output().context("git")?;
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    };
    let changed = !git(&["status", "--porcelain", "host", "plugins", "Cargo.toml"])?.is_empty();
    Ok(git(&["rev-parse", "--short=10", "HEAD"])? + if changed { " with changes" } else { "" })
}

/// The processes that stay.
struct Rig {
    gateway: PathBuf,
    folder: TempDir,
    upstream: Server,
}

impl Rig {
    fn start(gateway: &Path) -> Result<Self> {
        let gateway = gateway.canonicalize().context("the gateway's program")?;
        let upstream = Server::start(Core::Beside, &std::env::current_exe()?, &["upstream"])?;
        let rig = Self { gateway, folder: tempfile::tempdir()?, upstream };
        std::fs::write(rig.folder.path().join("words.txt"), sample::words(1000).join("\n"))?;
        for (name, links) in [("empty", 0), ("all", 3)] {
            std::fs::write(rig.config(name), config(&rig.upstream, links, rig.folder.path()))?;
        }
        Ok(rig)
    }

    fn config(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.toml"))
    }

    /// Starts what is between the client and the model.
    fn server(&self, subject: Subject) -> Result<Option<Server>> {
        let own = std::env::current_exe()?;
        let config = self.config(if subject == Subject::Empty { "empty" } else { "all" });
        let config = config.to_str().context("a path")?;
        let target = self.upstream.address.to_string();
        Ok(match subject {
            Subject::Direct => None,
            Subject::Relay => Some(Server::start(Core::Gateway, &own, &["relay", &target])?),
            Subject::Native => Some(Server::start(Core::Gateway, &own, &["native", config])?),
            Subject::Empty | Subject::One | Subject::Three => {
                Some(Server::start(Core::Gateway, &self.gateway, &["serve", "--config", config])?)
            }
        })
    }

    fn measure(
        &self,
        rounds: usize,
        quick: bool,
        chosen: Option<&str>,
        measured: &mut Measured,
    ) -> Result<()> {
        // Fills the cache of compiled code.
        drop(self.server(Subject::Three)?);
        for _ in 0..rounds {
            let three = self.server(Subject::Three)?.context("a gateway")?;
            measured.ready_ms.push(three.ready.as_secs_f64() * 1e3);
            let empty = self.server(Subject::Empty)?.context("a gateway")?;
            // The instances that are to be ready are made behind the start.
            std::thread::sleep(Duration::from_millis(500));
            measured.idle = [empty.resident()?.mapped, three.resident()?.mapped];
        }
        let mut rows: BTreeMap<(String, Subject), Row> = BTreeMap::new();
        let mut keep = |scenario: &Scenario, subject: Subject, pass: Pass| {
            let row = rows.entry((scenario.name.to_owned(), subject)).or_insert_with(|| Row {
                scenario: scenario.name.to_owned(),
                subject,
                connections: scenario.connections,
                passes: Vec::new(),
            });
            row.passes.push(pass);
        };
        let all = self.server(Subject::Three)?;
        let servers =
            [None, self.server(Subject::Relay)?, self.server(Subject::Empty)?, self.server(Subject::Native)?];
        for round in 0..rounds {
            for scenario in
                SCENARIOS.iter().filter(|scenario| chosen.is_none_or(|name| name == scenario.name))
            {
                eprintln!("round {}, {} …", round + 1, scenario.name);
                for subject in Subject::ALL {
                    let server = servers.get(subject as usize).unwrap_or(&all);
                    keep(scenario, subject, self.pass(scenario, subject, server.as_ref(), quick)?);
                }
            }
        }
        drop((servers, all));
        for round in 0..if chosen.is_none_or(|name| name == OPEN.name) { rounds.min(3) } else { 0 } {
            eprintln!("round {}, {} …", round + 1, OPEN.name);
            for subject in [Subject::Direct, Subject::Relay, Subject::Empty, Subject::Native, Subject::Three]
            {
                let server = self.server(subject)?;
                std::thread::sleep(Duration::from_millis(500));
                keep(&OPEN, subject, self.pass(&OPEN, subject, server.as_ref(), quick)?);
            }
        }
        measured.rows = rows.into_values().collect();
        Ok(())
    }

    fn pass(
        &self,
        scenario: &Scenario,
        subject: Subject,
        server: Option<&Server>,
        quick: bool,
    ) -> Result<Pass> {
        let Scenario { stream, ask, connections, .. } = *scenario;
        let plan = Plan {
            address: server.unwrap_or(&self.upstream).address,
            model: subject.model().to_owned(),
            stream,
            ask,
            masked: subject.masks(),
            connections,
            milliseconds: if quick { scenario.milliseconds / 10 } else { scenario.milliseconds },
            at_least: scenario.at_least,
        };
        let before = server.map(Server::resident).transpose()?;
        let cpu = || server.map_or(Ok(Duration::ZERO), Server::cpu);
        let began = cpu()?;
        let mut child = beside(&["load", &serde_json::to_string(&plan)?])?;
        let open = match server {
            // The middle of the streams, when all of them are open.
            Some(server) if *scenario == OPEN => {
                std::thread::sleep(Duration::from_millis(
                    ask.first_ms + ask.pace_ms * ask.deltas as u64 * 2 / 3,
                ));
                Some(server.resident()?)
            }
            _ => None,
        };
        let load = ended(&mut child)?;
        ensure!(
            load.failures == 0,
            "{} of {}: {} failures, {:?}",
            scenario.name,
            subject.name(),
            load.failures,
            load.failure
        );
        let cpu = (cpu()? - began).as_secs_f64() * 1e6;
        let most = server.map(Server::most).transpose()?;
        let memory = || Some(Memory { before: before?, open: open?, most: most? });
        Ok(Pass { load, deltas: ask.deltas, cpu, memory: memory() })
    }
}

fn ended(child: &mut Child) -> Result<Load> {
    let out = std::io::read_to_string(child.stdout.take().context("its output")?)?;
    ensure!(child.wait()?.success(), "the load failed");
    serde_json::from_str(&out).context("what the load printed")
}

/// A configuration with a model for each number of links up to `links`.
fn config(upstream: &Server, links: usize, folder: &Path) -> String {
    let plugins = std::env::current_dir().unwrap_or_default().join("config/plugins");
    let mut text = format!(
        "[server]\nlisten = '127.0.0.1:0'\nstreams_max = 1100\nqueue_max = 1000\nlinks_max = 3\nwatch = false\n\
         [plugins]\nfolder = {plugins:?}\ncache = {:?}\n",
        folder.join("cache")
    );
    for (name, count) in [("empty", 0), ("one", 1), ("three", 3)] {
        if count > links {
            continue;
        }
        let names: Vec<String> = (1..=count).map(|link| format!("mask-{link}")).collect();
        text += &format!("[models.{name}]\nrouting = ['p']\n");
        if count > 0 {
            text += &format!("pipeline = '{name}'\n[pipelines.{name}]\nmodify = {names:?}\n");
        }
        text += &format!(
            "[models.{name}.providers.p]\ntype = 'openai'\napi_base = 'http://{}/v1/'\napi_key_location = 'none'\n",
            upstream.address
        );
    }
    for link in 1..=links {
        text += &format!(
            "[plugins.mask-{link}]\nfile = 'sensitive-word.wasm'\nconfig = {{ words = {{ file = 'words.txt' }} }}\n"
        );
    }
    text
}
