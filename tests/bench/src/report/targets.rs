//! What the gateway is to reach, and how near to the floor it is.

use std::fmt::Write as _;

use anyhow::Result;

use super::{each_stream, each_stream_mapped, of};
use crate::calls::{self, Calls};
use crate::system::{Measured, Pass, Subject};

/// One line: what was measured, what is to be reached, and what it is compared with.
struct Target {
    what: &'static str,
    measured: f64,
    at_most: f64,
    unit: &'static str,
    /// The floor, and what it is.
    floor: Option<(f64, &'static str)>,
}

/// The table of targets.
pub(super) fn table(measured: &Measured, calls: &Calls) -> Result<String> {
    let mut table = "| | measured | target | | floor, measured in the same run | ratio to it |\n|---|---|---|---|---|---|\n".to_owned();
    for Target { what, measured, at_most, unit, floor } in
        of_calls(calls)?.into_iter().chain(of_system(measured, calls)?)
    {
        let met = if measured <= at_most { "met" } else { "**not met**" };
        let (name, ratio) = match floor {
            Some((floor, name)) => (format!("{name}: {floor:.2} {unit}"), format!("{:.2}", measured / floor)),
            None => (String::new(), String::new()),
        };
        writeln!(table, "| {what} | {measured:.2} {unit} | ≤ {at_most} {unit} | {met} | {name} | {ratio} |")?;
    }
    Ok(table)
}

fn of_calls(calls: &Calls) -> Result<Vec<Target>> {
    let median = |name: &str| calls.microseconds(name).map(|(median, _)| median);
    let target = |what, measured, at_most, floor| Target { what, measured, at_most, unit: "µs", floor };
    let [one, eight] = calls::LINK;
    let [bare, bare_eight] = calls::BARE;
    let [native, _] = calls::NATIVE;
    let (chain, chain_most) = calls.microseconds(calls::CHAIN)?;
    let (native_chain, native_chain_most) = calls.microseconds(calls::CHAIN_NATIVE)?;
    let without = median(calls::OPEN_WITHOUT)?;
    Ok(vec![
        target("one link, a delta, median", median(one)?, 2.0, Some((median(bare)?, "bare call"))),
        target(
            "one link, eight deltas in one push, a delta",
            median(eight)? / 8.0,
            0.8,
            Some((median(bare_eight)? / 8.0, "bare call")),
        ),
        target(
            "of that link, the host's own work",
            median(one)? - median(bare)?,
            median(bare)?,
            Some((median(native)?, "native link")),
        ),
        target("three links, a delta, median", chain, 5.0, Some((native_chain, "native links"))),
        target("three links, a delta, 99 %", chain_most, 15.0, Some((native_chain_most, "native links"))),
        target(
            "opening a stream, three links above none",
            median(calls::OPEN)? - without,
            25.0,
            Some((without, "the stream alone")),
        ),
        target(
            "making three instances ready and dropping them, time on an idle core",
            median(calls::REFILL)? * 3.0,
            120.0,
            Some((median(calls::REFILL_BARE)? * 3.0, "bare instances, called once")),
        ),
    ])
}

fn of_system(measured: &Measured, calls: &Calls) -> Result<Vec<Target>> {
    use Subject::{Direct, Empty, Native, Relay, Three};
    const RELAY: (Subject, &str) = (Relay, "relay");
    const NATIVE: (Subject, &str) = (Native, "native links");
    let median = |scenario: &str, subject: Subject, figure: fn(&Pass) -> f64| {
        measured.figure(scenario, subject, figure).map(|figure| figure.median)
    };
    let total: fn(&Pass) -> f64 = |pass| pass.load.total.p50 / 1e3;
    let first: fn(&Pass) -> f64 = |pass| pass.load.first.p50 / 1e3;
    let paced = |subject| median("paced-1", subject, total);
    let mut targets = vec![Target {
        what: "a paced answer through three links, slower than direct",
        measured: (paced(Three)? / paced(Direct)? - 1.0) * 100.0,
        at_most: 1.0,
        unit: "%",
        floor: None,
    }];
    for (what, scenario, figure, subject, more, (floor, name)) in [
        ("a plain request, no links, above direct", "plain-1", total, Empty, 0.1, RELAY),
        ("a plain request, three links, above direct", "plain-1", total, Three, 0.25, NATIVE),
        ("the first event, no links, above direct", "first-1", first, Empty, 0.1, RELAY),
        ("the first event, three links, above direct", "first-1", first, Three, 0.25, NATIVE),
    ] {
        let above = |subject| {
            Ok::<_, anyhow::Error>(median(scenario, subject, figure)? - median(scenario, Direct, figure)?)
        };
        targets.push(Target {
            what,
            measured: above(subject)?,
            at_most: ((above(Relay)? + more) * 1000.0).round() / 1000.0,
            unit: "ms",
            floor: Some((above(floor)?, name)),
        });
    }
    let (instance, _) = calls.microseconds(calls::REFILL_BARE)?;
    let request: fn(&Pass) -> f64 = of::cpu_of_request;
    let delta: fn(&Pass) -> f64 = of::cpu_of_delta;
    let new = (Native, "native links, and three bare instances");
    for (what, scenario, figure, subject, at_most, (floor, name), more) in [
        ("CPU of a plain request, no links", "plain-32", request, Empty, 35.0, RELAY, 0.0),
        ("CPU of a plain request, three links", "plain-32", request, Three, 180.0, new, 3.0 * instance),
        ("CPU of a streamed delta, 64 streams, no links", "stream-64", delta, Empty, 8.0, RELAY, 0.0),
        ("CPU of a streamed delta, 64 streams, three links", "stream-64", delta, Three, 13.0, NATIVE, 0.0),
    ] {
        let measured = median(scenario, subject, figure)?;
        let floor = median(scenario, floor, figure)? + more;
        targets.push(Target { what, measured, at_most, unit: "µs", floor: Some((floor, name)) });
    }
    let gap: fn(&Pass) -> f64 = |pass| pass.load.gap.p50;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let mut ready = measured.ready_ms.clone();
    ready.sort_by(f64::total_cmp);
    targets.extend([
        Target {
            what: "delay of a delta that holds no prefix, three links above none (to be about the same: 100 µs is taken for that)",
            measured: median("paced-1", Three, gap)? - median("paced-1", Empty, gap)?,
            at_most: 100.0,
            unit: "µs",
            floor: None,
        },
        Target {
            what: "memory, idle, three links",
            measured: mib(measured.idle[1]),
            at_most: 40.0,
            unit: "MiB",
            floor: Some((mib(measured.idle[0]), "no links")),
        },
    ]);
    for (what, figure) in [
        ("memory of a stream of 1,000, three links, each page counted once", each_stream as fn(&Pass) -> f64),
        (
            "memory of a stream of 1,000, three links, with shared pages counted for each instance",
            each_stream_mapped,
        ),
    ] {
        let floor = median("open-1000", Empty, figure)?;
        let measured = median("open-1000", Three, figure)?;
        targets.push(Target {
            what,
            measured,
            at_most: 600.0,
            unit: "KiB",
            floor: Some((floor, "no links")),
        });
    }
    targets.extend([
        Target {
            what: "failures with 1,000 streams and three links",
            measured: median("open-1000", Three, |pass| pass.load.failures as f64)?,
            at_most: 0.0,
            unit: "",
            floor: None,
        },
        Target {
            what: "ready, with a cache of compiled code",
            measured: ready.get(ready.len() / 2).copied().unwrap_or_default(),
            at_most: 150.0,
            unit: "ms",
            floor: None,
        },
    ]);
    Ok(targets)
}
