//! What a client sees of an answer.

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;

use crate::wire::{Head, Left, Reader, within};

/// An answer whose head is there. Dropping it closes the connection.
#[derive(Debug)]
pub struct Response {
    /// Its head.
    pub head: Head,
    reader: Reader,
    left: Left,
    buffer: Vec<u8>,
    connection: OwnedWriteHalf,
}

impl Response {
    pub(crate) async fn read(stream: TcpStream) -> Self {
        let (read, connection) = stream.into_split();
        let mut reader = Reader::new(read);
        let head = within("the head of an answer", reader.head()).await;
        let (head, left) = head.expect("an open connection").expect("an answer");
        Self { head, reader, left, buffer: Vec::new(), connection }
    }

    /// The status.
    pub fn status(&self) -> u16 {
        let status = self.head.start.split(' ').nth(1).and_then(|status| status.parse().ok());
        status.unwrap_or_else(|| panic!("no status line: {:?}", self.head.start))
    }

    /// The next event or comment with its blank line; `None` at the proper end of the body.
    ///
    /// # Panics
    /// Where the body was cut.
    pub async fn event(&mut self) -> Option<String> {
        loop {
            let end = self.buffer.windows(2).position(|pair| pair == b"\n\n");
            if let Some(end) = end {
                return Some(text(self.buffer.drain(..end + 2).collect()));
            }
            let part = within("an event", self.reader.part(&mut self.left)).await;
            match part.expect("a body that is not cut") {
                Some(part) => self.buffer.extend(part),
                None if self.buffer.is_empty() => return None,
                None => panic!("the body ends within {:?}", String::from_utf8_lossy(&self.buffer)),
            }
        }
    }

    /// The text of the next event, which must have one.
    pub async fn delta(&mut self) -> String {
        let event = self.event().await.expect("an event");
        let text = deltas(&event);
        assert!(!text.is_empty(), "no text: {event}");
        text
    }

    /// All that is left of the body.
    ///
    /// # Panics
    /// Where the body was cut.
    pub async fn body(mut self) -> String {
        let mut body = std::mem::take(&mut self.buffer);
        while let Some(part) =
            within("a body", self.reader.part(&mut self.left)).await.expect("a body that is not cut")
        {
            body.extend(part);
        }
        text(body)
    }

    /// Closes the half of the connection that requests go by.
    pub async fn close_half(&mut self) {
        self.connection.shutdown().await.expect("an open connection");
    }

    /// Reads the rest of the body, then waits until the connection is closed.
    pub async fn closed(mut self) {
        while within("a body", self.reader.part(&mut self.left)).await.is_ok_and(|part| part.is_some()) {}
        within("the end of a connection", self.reader.closed()).await;
    }

    /// The body as JSON.
    pub async fn json(self) -> Value {
        let body = self.body().await;
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"))
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("an answer in UTF-8")
}

/// The text of the first choice in the events of a stream.
pub fn deltas(events: &str) -> String {
    let data = events.split(['\n', '\r']).filter_map(|line| line.strip_prefix("data: "));
    let chunks = data.filter_map(|data| serde_json::from_str::<Value>(data).ok());
    let texts =
        chunks.filter_map(|chunk| Some(chunk.pointer("/choices/0/delta/content")?.as_str()?.to_owned()));
    texts.collect()
}
