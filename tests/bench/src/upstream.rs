//! A model that has its answer ready, and sends it as models do: each event by a write of its own.
//!
//! What it is to send stands in the request, in the field `bench` ([`Ask`]).

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result};
use rust_proxy_bench::sample::{self, Space};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, sleep_until};

/// What an answer is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ask {
    pub(crate) deltas: usize,
    pub(crate) space: Space,
    /// Until the first event.
    pub(crate) first_ms: u64,
    /// Between two events.
    pub(crate) pace_ms: u64,
}

#[derive(Deserialize)]
struct Request {
    #[serde(default)]
    stream: bool,
    bench: Ask,
}

pub(crate) async fn serve() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        // A client that is gone is no reason to end.
        tokio::spawn(async move { connection(stream).await.unwrap_or_default() });
    }
}

/// Answers that were asked for before, as they are written.
#[derive(Default)]
struct Answers(HashMap<(usize, bool, bool), Vec<Vec<u8>>>);

impl Answers {
    fn of(&mut self, request: &Request) -> &[Vec<u8>] {
        let Ask { deltas, space, .. } = request.bench;
        let make = || if request.stream { stream(deltas, space) } else { whole(deltas, space) };
        self.0.entry((deltas, request.stream, space == Space::Before)).or_insert_with(make)
    }
}

fn whole(deltas: usize, space: Space) -> Vec<Vec<u8>> {
    let body = sample::whole(deltas, space);
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    vec![(head + &body).into_bytes()]
}

fn stream(deltas: usize, space: Space) -> Vec<Vec<u8>> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let events = sample::events(deltas, space);
    let chunks = events.into_iter().map(|event| format!("{:x}\r\n{event}\r\n", event.len()));
    let mut writes: Vec<_> = std::iter::once(head.to_owned()).chain(chunks).map(String::into_bytes).collect();
    if let Some(last) = writes.last_mut() {
        last.extend_from_slice(b"0\r\n\r\n");
    }
    writes
}

async fn connection(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    let mut answers = Answers::default();
    while let Some(request) = read(&mut stream, &mut buffer).await? {
        let ask = request.bench;
        let mut next = Instant::now() + Duration::from_millis(ask.first_ms);
        if !request.stream && ask.first_ms > 0 {
            sleep(Duration::from_millis(ask.first_ms)).await;
        }
        for (place, bytes) in answers.of(&request).iter().enumerate() {
            // The head is there at once; the role, the text and the end at their times.
            if place > 0 && (ask.first_ms > 0 || ask.pace_ms > 0) {
                sleep_until(next).await;
                next += Duration::from_millis(ask.pace_ms);
            }
            stream.write_all(bytes).await?;
        }
    }
    Ok(())
}

/// The next request; `None` where the client is done.
async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<Option<Request>> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = std::str::from_utf8(&buffer[..end])?.to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.context("a request without a length")?.trim().parse()?;
            let body = end + 4..end + 4 + length;
            if buffer.len() >= body.end {
                let request = serde_json::from_slice(&buffer[body.clone()])?;
                buffer.drain(..body.end);
                return Ok(Some(request));
            }
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}
