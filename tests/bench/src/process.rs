//! The processes of a measurement: where they run, what they take, and that none outlives it.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::{Deserialize, Serialize};

/// A core of the machine: the gateway has one, all that stands beside it another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Core {
    Gateway,
    Beside,
}

impl Core {
    /// Runs `start` so that what it starts runs on this core only.
    fn pinned<T>(self, start: impl FnOnce() -> Result<T>) -> Result<T> {
        let all = sched_getaffinity(None)?;
        let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core)).collect();
        let [first, second, ..] = cores.as_slice() else { bail!("two cores are needed") };
        let mut one = CpuSet::new();
        one.set(if self == Self::Gateway { *first } else { *second });
        sched_setaffinity(None, &one)?;
        let started = start();
        sched_setaffinity(None, &all)?;
        started
    }
}

/// A server that takes longer to end is killed.
const ENDS_WITHIN: Duration = Duration::from_secs(40);

/// Resident memory, in bytes.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Resident {
    /// With a page counted once for each place where it is mapped: what `ps` shows.
    pub(crate) mapped: u64,
    /// With each page counted once, and the page tables: what a limit of a container counts.
    pub(crate) pages: u64,
}

/// A server; it is ended when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    /// From its start until it listened.
    pub(crate) ready: Duration,
}

impl Server {
    /// Starts a program and waits until it says where it listens.
    pub(crate) fn start(core: Core, program: &Path, arguments: &[&str]) -> Result<Self> {
        core.pinned(|| {
            let began = Instant::now();
            let mut child = Command::new(program)
                .args(arguments)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                // What it warns of is shown; a line for each request would be measured with it.
                .env("RUST_LOG", "warn")
                .spawn()
                .with_context(|| format!("cannot start {}", program.display()))?;
            let mut line = String::new();
            let out = child.stdout.take().context("its output")?;
            BufReader::new(out).read_line(&mut line)?;
            let ready = began.elapsed();
            let Some(address) = line.trim().strip_prefix("listening on http://") else {
                let _ = child.kill();
                child.wait()?;
                bail!("{} {arguments:?} did not start", program.display());
            };
            Ok(Self { child, address: address.parse()?, ready })
        })
    }

    /// CPU time so far, of all its threads.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let stat = self.proc("stat")?;
        let fields = stat.rsplit_once(") ").context("a stat line")?.1;
        let ticks = fields.split(' ').skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
        // Linux counts in hundredths of a second.
        Ok(Duration::from_millis(ticks * 10))
    }

    /// Memory that is resident now.
    pub(crate) fn resident(&self) -> Result<Resident> {
        let status = self.proc("status")?;
        let pages = kilobytes(&self.proc("smaps_rollup")?, "Pss:")? + kilobytes(&status, "VmPTE:")?;
        Ok(Resident { mapped: kilobytes(&status, "VmRSS:")?, pages })
    }

    /// The most of [`Resident::mapped`] that there was.
    pub(crate) fn most(&self) -> Result<u64> {
        kilobytes(&self.proc("status")?, "VmHWM:")
    }

    fn proc(&self, file: &str) -> Result<String> {
        Ok(std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id()))?)
    }
}

/// The bytes of a field that is in kilobytes.
fn kilobytes(fields: &str, name: &str) -> Result<u64> {
    let field = fields.lines().find_map(|line| line.strip_prefix(name)).context("a field of /proc")?;
    Ok(field.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

impl Drop for Server {
    fn drop(&mut self) {
        // First by a request: a program that counts for its compiler writes that down when it ends. What cannot be asked
        // has ended.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let asked = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && asked.elapsed() < ENDS_WITHIN {
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts this program with a command, beside the gateway; its output is read when it has ended.
pub(crate) fn beside(arguments: &[&str]) -> Result<Child> {
    let program = std::env::current_exe()?;
    Core::Beside.pinned(|| Ok(Command::new(program).args(arguments).stdout(Stdio::piped()).spawn()?))
}
