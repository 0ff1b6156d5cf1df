//! Asks, checks the answers, and measures how long they take.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rust_proxy_bench::sample;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use crate::upstream::Ask;

/// What is asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) address: SocketAddr,
    pub(crate) model: String,
    pub(crate) stream: bool,
    pub(crate) ask: Ask,
    /// Whether listed words come masked.
    pub(crate) masked: bool,
    pub(crate) connections: usize,
    /// How long each connection asks again.
    pub(crate) milliseconds: u64,
    /// How often each connection asks, whatever time that takes.
    pub(crate) at_least: usize,
}

/// How it went.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Load {
    pub(crate) requests: u64,
    /// Of the requests, those that were not answered as they should be.
    pub(crate) failures: u64,
    /// What was wrong with the first of them.
    pub(crate) failure: Option<String>,
    pub(crate) seconds: f64,
    /// Until an answer was whole.
    pub(crate) total: Spread,
    /// Until the first event with text.
    pub(crate) first: Spread,
    /// Between two reads of events.
    pub(crate) gap: Spread,
}

/// Times in microseconds.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Spread {
    pub(crate) fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        let at = |part: f64| times.get((times.len() as f64 * part) as usize).copied().unwrap_or_default();
        Self { p50: at(0.5), p99: at(0.99), max: times.last().copied().unwrap_or_default() }
    }
}

/// The times of the answers so far.
#[derive(Default)]
struct Times {
    total: Vec<f64>,
    first: Vec<f64>,
    gap: Vec<f64>,
    failure: Option<String>,
    failures: u64,
}

pub(crate) async fn run(plan: Plan) -> Result<()> {
    let times = Rc::new(RefCell::new(Times::default()));
    let all = LocalSet::new();
    let plan = Rc::new(plan);
    let began = Instant::now();
    // The first whole answers are read word by word, the others looked at by their size and end.
    let read = Rc::new(Cell::new(64));
    for _ in 0..plan.connections {
        let (plan, times, read) = (Rc::clone(&plan), Rc::clone(&times), Rc::clone(&read));
        all.spawn_local(async move {
            if let Err(error) = connection(&plan, &times, &read, began).await {
                let mut times = times.borrow_mut();
                times.failures += 1;
                times.failure.get_or_insert_with(|| format!("{error:#}"));
            }
        });
    }
    all.await;
    let seconds = began.elapsed().as_secs_f64();
    let Times { total, first, gap, failure, failures } = times.take();
    let load = Load {
        requests: total.len() as u64 + failures,
        failures,
        failure,
        seconds,
        total: Spread::of(total),
        first: Spread::of(first),
        gap: Spread::of(gap),
    };
    println!("{}", serde_json::to_string(&load)?);
    Ok(())
}

/// One connection, asking again and again; it is lost with the first answer that is wrong.
async fn connection(plan: &Plan, times: &RefCell<Times>, read: &Cell<usize>, began: Instant) -> Result<()> {
    let stream = TcpStream::connect(plan.address).await.context("cannot connect")?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::task::spawn_local(connection);
    let body = Bytes::from(serde_json::to_vec(&serde_json::json!({
        "model": plan.model,
        "messages": [
            { "role": "system", "content": "You are a helpful assistant." },
            { "role": "user", "content": "Say in a few words what a gateway does with a stream." },
        ],
        "temperature": 0.7,
        "stream": plan.stream,
        "bench": plan.ask,
    }))?);
    let until = Duration::from_millis(plan.milliseconds);
    let mut asked = 0;
    while asked < plan.at_least || began.elapsed() < until {
        ask(plan, &mut sender, body.clone(), times, read).await?;
        asked += 1;
    }
    Ok(())
}

async fn ask(
    plan: &Plan,
    sender: &mut SendRequest<Full<Bytes>>,
    body: Bytes,
    times: &RefCell<Times>,
    read: &Cell<usize>,
) -> Result<()> {
    let request = Request::post("/v1/chat/completions")
        .header("host", plan.address.to_string())
        .header("content-type", "application/json")
        .body(Full::new(body))?;
    let began = Instant::now();
    sender.ready().await?;
    let answer = sender.send_request(request).await?;
    ensure!(answer.status() == 200, "status {}", answer.status());
    let mut kept = (read.get() > 0).then(Vec::new);
    let read_at = read_body(plan, answer.into_body(), &mut kept).await?;
    let mut times = times.borrow_mut();
    let since = |at: &Instant| at.duration_since(began).as_secs_f64() * 1e6;
    times.first.extend(read_at.first().map(since));
    times.total.extend(read_at.last().map(since));
    if plan.stream {
        let gaps = read_at.windows(2).map(|pair| pair[1].duration_since(pair[0]).as_secs_f64() * 1e6);
        times.gap.extend(gaps);
    }
    if let Some(kept) = kept {
        check(plan, &kept)?;
        read.set(read.get().saturating_sub(1));
    }
    Ok(())
}

/// Reads an answer to its end; answers with the times of the reads that brought something.
async fn read_body(plan: &Plan, mut body: Incoming, kept: &mut Option<Vec<u8>>) -> Result<Vec<Instant>> {
    const TERMINAL: &[u8] = b"data: [DONE]\n\n";
    let mut at = Vec::new();
    let mut bytes = 0;
    let mut last: Vec<u8> = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        at.push(Instant::now());
        bytes += data.len();
        if let Some(kept) = kept {
            kept.extend_from_slice(&data);
        }
        last.extend_from_slice(&data[data.len().saturating_sub(TERMINAL.len())..]);
        last.drain(..last.len().saturating_sub(TERMINAL.len()));
    }
    ensure!(bytes > plan.ask.deltas, "an answer of {bytes} bytes");
    ensure!(!plan.stream || last == TERMINAL, "a stream without its terminal marker");
    Ok(at)
}

/// Reads an answer word by word.
fn check(plan: &Plan, body: &[u8]) -> Result<()> {
    let body = std::str::from_utf8(body)?;
    let mut text = String::new();
    if plan.stream {
        for data in
            body.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]")
        {
            let chunk: Value = serde_json::from_str(data).with_context(|| data.to_owned())?;
            text.push_str(chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default());
        }
    } else {
        let answer: Value = serde_json::from_str(body)?;
        text.push_str(answer["choices"][0]["message"]["content"].as_str().unwrap_or_default());
    }
    let listed = if plan.masked { 1000 } else { 0 };
    let expected = sample::masked(plan.ask.deltas, plan.ask.space, listed);
    ensure!(text == expected, "the text is {text:?}, not {expected:?}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use rust_proxy_bench::sample::Space;

    use super::*;

    fn plan(stream: bool, masked: bool) -> Plan {
        let ask = Ask { deltas: 60, space: Space::Before, first_ms: 0, pace_ms: 0 };
        let address = "127.0.0.1:1".parse().unwrap();
        Plan {
            address,
            model: "m".to_owned(),
            stream,
            ask,
            masked,
            connections: 1,
            milliseconds: 0,
            at_least: 1,
        }
    }

    #[test]
    fn an_answer_is_read_word_by_word() {
        let stream = sample::events(60, Space::Before).concat();
        let whole = sample::whole(60, Space::Before);
        for (is_stream, body) in [(true, &stream), (false, &whole)] {
            assert!(check(&plan(is_stream, false), body.as_bytes()).is_ok());
            assert!(check(&plan(is_stream, true), body.as_bytes()).is_err(), "a listed word is not masked");
            let other = body.replacen(" the", " tha", 1);
            assert!(check(&plan(is_stream, false), other.as_bytes()).is_err());
        }
    }

    #[test]
    fn percentiles_are_of_the_sorted_times() {
        let spread = Spread::of((0..1000).rev().map(f64::from).collect());
        assert_eq!((spread.p50, spread.p99, spread.max), (500.0, 990.0, 999.0));
    }
}
