//! Just enough HTTP/1.1 to see every byte and every way in which a message can end.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::tcp::OwnedReadHalf;

/// Far longer than anything here takes on a busy machine: what did not come by then never will.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the system buffers for a socket: little, so that who does not read is soon noticed.
pub(crate) const SOCKET_BUFFER: u32 = 256 << 10;

/// Fails the test where `future` does not end.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let ended = tokio::time::timeout(PATIENCE, future).await;
    ended.unwrap_or_else(|_| panic!("waited {PATIENCE:?} for {what}"))
}

/// How many bytes the system holds for the connections of these listeners, in both directions.
///
/// # Panics
/// Where the system is not Linux.
#[expect(clippy::disallowed_methods, reason = "reads what Linux tells of its sockets")]
pub fn queued(listeners: &[SocketAddr]) -> usize {
    let sockets = std::fs::read_to_string("/proc/net/tcp").expect("Linux");
    let is_ours = |address: &str| {
        let port = address.split_once(':').and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
        listeners.iter().any(|listener| port == Some(listener.port()))
    };
    let bytes = |socket: &str| {
        let mut fields = socket.split_ascii_whitespace().skip(1);
        let (local, remote) = (fields.next()?, fields.next()?);
        let (sending, received) = fields.nth(1)?.split_once(':')?;
        let number = |text| usize::from_str_radix(text, 16).ok();
        (is_ours(local) || is_ours(remote)).then_some(number(sending)? + number(received)?)
    };
    sockets.lines().filter_map(bytes).sum()
}

/// The head of a request or an answer.
#[derive(Debug, Clone)]
pub struct Head {
    /// The first line.
    pub start: String,
    headers: Vec<(String, String)>,
}

impl Head {
    /// The value of a header; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// A request as an upstream saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its head.
    pub head: Head,
    /// Its body.
    pub body: String,
}

impl Seen {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The text of the last message.
    pub fn last_text(&self) -> String {
        let body = self.json();
        let message = body.get("messages").and_then(Value::as_array).and_then(|messages| messages.last());
        message.and_then(|message| message.get("content")?.as_str()).unwrap_or_default().to_owned()
    }
}

/// How much of a body is left.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Left {
    Bytes(usize),
    Chunks,
}

/// The reading half of a connection.
#[derive(Debug)]
pub(crate) struct Reader(BufReader<OwnedReadHalf>);

impl Reader {
    pub(crate) fn new(half: OwnedReadHalf) -> Self {
        Self(BufReader::new(half))
    }

    /// The next head and what follows it; `None` at the end of the connection.
    pub(crate) async fn head(&mut self) -> io::Result<Option<(Head, Left)>> {
        let Some(start) = self.line().await? else { return Ok(None) };
        let mut head = Head { start, headers: Vec::new() };
        while let Some(line) = self.line().await?.filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').ok_or(ErrorKind::InvalidData)?;
            head.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let length = head.header("content-length").and_then(|length| length.parse().ok());
        let chunked = head.header("transfer-encoding") == Some("chunked");
        let left = if chunked { Left::Chunks } else { Left::Bytes(length.unwrap_or(0)) };
        Ok(Some((head, left)))
    }

    /// The next part of a body; `None` at its proper end, an error where it was cut.
    pub(crate) async fn part(&mut self, left: &mut Left) -> io::Result<Option<Vec<u8>>> {
        let size = match left {
            Left::Bytes(size) => std::mem::take(size),
            Left::Chunks => {
                let line = self.line().await?.ok_or(ErrorKind::UnexpectedEof)?;
                usize::from_str_radix(&line, 16).map_err(|_| ErrorKind::InvalidData)?
            }
        };
        let mut part = vec![0; size];
        self.0.read_exact(&mut part).await?;
        if matches!(left, Left::Chunks) {
            self.line().await?.ok_or(ErrorKind::UnexpectedEof)?;
        }
        if size == 0 {
            *left = Left::Bytes(0);
            return Ok(None);
        }
        Ok(Some(part))
    }

    /// The next whole request.
    pub(crate) async fn request(&mut self) -> io::Result<Option<Seen>> {
        let Some((head, mut left)) = self.head().await? else { return Ok(None) };
        let mut body = Vec::new();
        while let Some(part) = self.part(&mut left).await? {
            body.extend(part);
        }
        let body = String::from_utf8(body).map_err(|_| ErrorKind::InvalidData)?;
        Ok(Some(Seen { head, body }))
    }

    /// Ready once the other side has gone away. It must have nothing more to say.
    pub(crate) async fn closed(&mut self) {
        while self.0.fill_buf().await.is_ok_and(|more| !more.is_empty()) {
            let read = self.0.buffer().len();
            self.0.consume(read);
        }
    }

    async fn line(&mut self) -> io::Result<Option<String>> {
        let mut line = String::new();
        if self.0.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned()))
    }
}
