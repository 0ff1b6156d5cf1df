//! The page of a measurement: tables, and plots beside them.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};

use crate::calls::{self, Calls};
use crate::system::{Measured, Memory, Pass, Subject};

mod plot;
mod targets;

use plot::{Bar, bars};

/// The median of a figure over the passes, with the least and the most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figure {
    pub(crate) median: f64,
    least: f64,
    most: f64,
}

impl Figure {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let median = *values.get(values.len() / 2)?;
        Some(Self { median, least: *values.first()?, most: *values.last()? })
    }

    /// With so many digits behind the point.
    fn shown(self, digits: usize) -> String {
        let Self { median, least, most } = self;
        format!("{median:.digits$} ({least:.digits$}–{most:.digits$})")
    }
}

impl Measured {
    /// A figure of a scenario and a subject.
    pub(crate) fn figure(
        &self,
        scenario: &str,
        subject: Subject,
        figure: impl Fn(&Pass) -> f64,
    ) -> Result<Figure> {
        let row = self.rows.iter().find(|row| row.scenario == scenario && row.subject == subject);
        let row = row.with_context(|| format!("{scenario} of {} was not measured", subject.name()))?;
        Figure::of(row.passes.iter().map(figure).collect()).context("no passes")
    }
}

/// The figures of a pass.
pub(crate) mod of {
    use crate::system::Pass;

    pub(crate) fn requests(pass: &Pass) -> f64 {
        pass.load.requests as f64 / pass.load.seconds
    }

    pub(crate) fn deltas(pass: &Pass) -> f64 {
        requests(pass) * pass.deltas as f64
    }

    pub(crate) fn cpu_of_request(pass: &Pass) -> f64 {
        pass.cpu / pass.load.requests as f64
    }

    pub(crate) fn cpu_of_delta(pass: &Pass) -> f64 {
        cpu_of_request(pass) / pass.deltas as f64
    }
}

impl Calls {
    /// Microseconds of a call: the median, and what one in a hundred takes.
    pub(crate) fn microseconds(&self, name: &str) -> Result<(f64, f64)> {
        let found = self.0.iter().find(|(known, _)| known == name);
        let (_, spread) = found.with_context(|| format!("`{name}` was not measured"))?;
        Ok((spread.p50 / 1e3, spread.p99 / 1e3))
    }
}

/// Writes the page `benchmarks.md` and its plots into a folder.
pub(crate) fn write(file: &Path, folder: &Path) -> Result<()> {
    let measured: Measured = serde_json::from_str(&std::fs::read_to_string(file)?)?;
    let calls = measured.calls.as_ref().context("calls were not measured")?;
    let mut page = String::new();
    writeln!(
        page,
        "# Benchmarks\n\nMade by `cargo xtask bench`, which anyone can run again. Commit {}; {}. The gateway has one core, \
         the model and whoever asks another; all run in the same minutes, in turn. Figures are medians over the passes, with \
         the least and the most behind. Every answer is checked; failures: {}.\n\n\
         - *direct*: the model itself, which has its answer ready and writes each event by itself.\n\
         - *TCP relay*: takes every byte and hands it on, and reads nothing: the floor under any gateway.\n\
         - *no links*, *N sandboxed links*: the gateway. A link is `sensitive-word` with 1,000 words, in the answer.\n\
         - *3 native links*: the same search, compiled into the gateway, without a sandbox.\n\n\
         It logs warnings only (`RUST_LOG=warn`). The model and whoever asks never sleep: to wake a core that sleeps takes an \
         interrupt, which is paid by who writes to it, and would be paid more often by a slow gateway than by a fast one. A \
         gateway whose clients sleep pays it.\n",
        measured.commit,
        measured.machine,
        failures(&measured),
    )?;
    page += "## Targets\n\n";
    page += &targets::table(&measured, calls)?;
    page += "\n## CPU time of a delta\n\n![CPU time of a delta](benchmarks/cpu-per-delta.svg)\n\n";
    page += &streams(&measured)?;
    page += "\n## Requests that are answered whole\n\n![Time of a request](benchmarks/added-latency.svg)\n\n";
    page += &plain(&measured)?;
    page += "\n## Streams, paced\n\nA first token after 50 ms, then one each 20 ms, 50 of them. One of the 50 begins a \
             listed word, and waits for the next: that is the last column's 40 ms.\n\n";
    page += &paced(&measured)?;
    page += "\n## A thousand streams at once\n\nEach 60 deltas, one each 50 ms; a process of its own for each subject. Resident \
             memory, as `ps` shows it (idle, all open, at most), counts a page once for each instance that reads it. *Each page \
             once* is `Pss` and the page tables; the last column but one is of that.\n\n\
             ![Memory](benchmarks/memory.svg)\n\n";
    page += &open(&measured)?;
    page += "\n## Calls into links\n\nEach call is timed by itself, in one process, in turn; microseconds. A *bare call* is \
             wasmtime's own binding into the same guest with the same payload, and none of the gateway's code; a *bare instance* is \
             one that is made by wasmtime's own binding, called once and dropped.\n\n";
    page += &called(calls)?;
    std::fs::write(folder.join("benchmarks.md"), page)?;
    let plots = folder.join("benchmarks");
    std::fs::create_dir_all(&plots)?;
    let bar = |scenario: &str, subject: Subject, figure: fn(&Pass) -> f64| -> Result<Bar> {
        let figure = measured.figure(scenario, subject, figure)?;
        Ok(Bar { name: subject.name(), value: figure.median, least: figure.least, most: figure.most })
    };
    let all = |scenario: &str, subjects: &[Subject], figure: fn(&Pass) -> f64| -> Result<Vec<Bar>> {
        subjects.iter().map(|subject| bar(scenario, *subject, figure)).collect()
    };
    let [_, between @ ..] = &Subject::ALL;
    let deltas = all("stream-64", between, of::cpu_of_delta)?;
    bars(&plots.join("cpu-per-delta.svg"), "CPU time of a streamed delta, 64 streams at once (µs)", &deltas)?;
    let latency = all("plain-1", &Subject::ALL, |pass| pass.load.total.p50)?;
    bars(&plots.join("added-latency.svg"), "Time of a request, one connection, median (µs)", &latency)?;
    let open = [Subject::Relay, Subject::Empty, Subject::Native, Subject::Three];
    let memory = all("open-1000", &open, |pass| memory(pass, |memory| memory.open.pages))?;
    bars(&plots.join("memory.svg"), "Memory with 1,000 streams open, each page counted once (MiB)", &memory)
}

fn failures(measured: &Measured) -> u64 {
    measured.rows.iter().flat_map(|row| &row.passes).map(|pass| pass.load.failures).sum()
}

/// A figure of a pass's memory, in MiB.
pub(crate) fn memory(pass: &Pass, which: fn(&Memory) -> u64) -> f64 {
    pass.memory.as_ref().map_or(0.0, |memory| which(memory) as f64 / f64::from(1 << 20))
}

fn streams(measured: &Measured) -> Result<String> {
    let mut table = "Unpaced streams of 200 deltas. In the last rows the last letters of nearly every delta may become a listed \
                     word, so that each waits for the next.\n\n| | streams | deltas/s | CPU of a delta, µs | first event, ms, \
                     median | between reads, ms, 99 % |\n|---|---|---|---|---|---|\n"
        .to_owned();
    for (scenario, name) in [
        ("stream-1", "1"),
        ("stream-32", "32"),
        ("stream-64", "64"),
        ("stream-1000", "1,000"),
        ("held-64", "64, each delta held"),
    ] {
        for subject in Subject::ALL {
            let figure = |figure: fn(&Pass) -> f64| measured.figure(scenario, subject, figure);
            writeln!(
                table,
                "| {} | {name} | {} | {} | {} | {} |",
                subject.name(),
                figure(of::deltas)?.shown(0),
                cpu(subject, figure(of::cpu_of_delta)?, 1),
                figure(|pass| pass.load.first.p50 / 1e3)?.shown(2),
                figure(|pass| pass.load.gap.p99 / 1e3)?.shown(2),
            )?;
        }
    }
    Ok(table)
}

/// The model is not measured.
fn cpu(subject: Subject, figure: Figure, digits: usize) -> String {
    if subject == Subject::Direct { "–".to_owned() } else { figure.shown(digits) }
}

fn plain(measured: &Measured) -> Result<String> {
    let mut table =
        "| | connections | requests/s | CPU of a request, µs | median, ms | 99 %, ms |\n|---|---|---|---|---|---|\n"
            .to_owned();
    for (scenario, name) in [("plain-1", "1"), ("plain-32", "32"), ("plain-1000", "1,000")] {
        for subject in Subject::ALL {
            let figure = |figure: fn(&Pass) -> f64| measured.figure(scenario, subject, figure);
            writeln!(
                table,
                "| {} | {name} | {} | {} | {} | {} |",
                subject.name(),
                figure(of::requests)?.shown(0),
                cpu(subject, figure(of::cpu_of_request)?, 0),
                figure(|pass| pass.load.total.p50 / 1e3)?.shown(3),
                figure(|pass| pass.load.total.p99 / 1e3)?.shown(3),
            )?;
        }
    }
    Ok(table)
}

fn paced(measured: &Measured) -> Result<String> {
    let mut table =
        "| | whole answer, ms | first event, ms | between events, ms, median | 99 % |\n|---|---|---|---|---|\n".to_owned();
    for subject in Subject::ALL {
        let figure = |figure: fn(&Pass) -> f64| measured.figure("paced-1", subject, figure);
        writeln!(
            table,
            "| {} | {} | {} | {} | {} |",
            subject.name(),
            figure(|pass| pass.load.total.p50 / 1e3)?.shown(2),
            figure(|pass| pass.load.first.p50 / 1e3)?.shown(2),
            figure(|pass| pass.load.gap.p50 / 1e3)?.shown(2),
            figure(|pass| pass.load.gap.p99 / 1e3)?.shown(2),
        )?;
    }
    Ok(table)
}

fn open(measured: &Measured) -> Result<String> {
    let mut table =
        "| | failures | idle, MiB | all open, MiB | at most, MiB | all open, each page once, MiB | each stream, KiB | CPU of a delta, µs |\n\
                     |---|---|---|---|---|---|---|---|\n"
            .to_owned();
    for subject in [Subject::Relay, Subject::Empty, Subject::Native, Subject::Three] {
        let figure = |figure: fn(&Pass) -> f64| measured.figure("open-1000", subject, figure);
        writeln!(
            table,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            subject.name(),
            figure(|pass| pass.load.failures as f64)?.median,
            figure(|pass| memory(pass, |memory| memory.before.mapped))?.shown(1),
            figure(|pass| memory(pass, |memory| memory.open.mapped))?.shown(1),
            figure(|pass| memory(pass, |memory| memory.most))?.shown(1),
            figure(|pass| memory(pass, |memory| memory.open.pages))?.shown(1),
            figure(each_stream)?.shown(0),
            figure(of::cpu_of_delta)?.shown(1),
        )?;
    }
    Ok(table)
}

/// KiB of a stream of a thousand at most, a page counted once for each instance that reads it.
pub(crate) fn each_stream_mapped(pass: &Pass) -> f64 {
    let mapped = |which| memory(pass, which);
    (mapped(|memory| memory.most) - mapped(|memory| memory.before.mapped)) * 1024.0 / 1000.0
}

/// KiB of a stream of a thousand, each page counted once.
pub(crate) fn each_stream(pass: &Pass) -> f64 {
    let pages = |which| memory(pass, which);
    (pages(|memory| memory.open.pages) - pages(|memory| memory.before.pages)) * 1024.0 / 1000.0
}

fn called(calls: &Calls) -> Result<String> {
    let mut table = "| | median | 99 % |\n|---|---|---|\n".to_owned();
    let names = calls::LINK.into_iter().chain(calls::BARE).chain(calls::NATIVE);
    let names = names.chain([
        calls::CHAIN,
        calls::CHAIN_NATIVE,
        calls::REFILL,
        calls::REFILL_BARE,
        calls::OPEN_WITHOUT,
        calls::OPEN,
    ]);
    for name in names {
        let (median, most) = calls.microseconds(name)?;
        writeln!(table, "| {name} | {median:.2} | {most:.2} |")?;
    }
    Ok(table)
}
