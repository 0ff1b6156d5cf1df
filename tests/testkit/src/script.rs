//! What an upstream does with one request.

use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Semaphore;

use crate::wire::within;

/// Between two bytes of [`Script::trickle`].
const TRICKLE: Duration = Duration::from_millis(10);

/// Holds a script, or a test, back until it is opened: once for each time that somebody passes.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Semaphore>);

impl Gate {
    /// A closed gate.
    #[expect(clippy::new_without_default, reason = "a gate is made on purpose")]
    pub fn new() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    /// Lets one pass, now or when it comes.
    pub fn open(&self) {
        self.0.add_permits(1);
    }

    /// Waits until it may pass.
    pub async fn pass(&self) {
        within("a gate", self.wait()).await;
    }

    /// As [`pass`](Self::pass), for as long as it takes: for a script, whose client says what did not come.
    pub(crate) async fn wait(&self) {
        self.0.acquire().await.expect("gates are never destroyed").forget();
    }
}

/// One answer, step by step. Whatever is not cut ends properly, and the connection is kept.
#[derive(Debug, Clone)]
pub struct Script {
    /// `None` sends no head.
    head: Option<String>,
    framing: Framing,
    steps: Vec<Step>,
}

/// How a client knows where the body ends.
#[derive(Debug, Clone, Copy)]
enum Framing {
    Chunks,
    Length(usize),
    /// It ends with the connection.
    Close,
}

#[derive(Debug, Clone)]
enum Step {
    Send(Vec<u8>),
    Wait(Gate),
    Stall,
    Trickle,
    Cut,
    Reset,
}

/// What becomes of the connection after an answer.
pub(crate) enum After {
    Keep,
    Close,
    /// No end of the answer comes before the reset.
    Reset,
}

impl Script {
    /// An answer with this status and type, whose body follows.
    pub fn new(status: u16, content_type: &str) -> Self {
        let head = format!("HTTP/1.1 {status} -\r\ncontent-type: {content_type}\r\n");
        Self { head: Some(head), framing: Framing::Chunks, steps: Vec::new() }
    }

    fn headless() -> Self {
        Self { head: None, framing: Framing::Close, steps: Vec::new() }
    }

    /// An event stream of HTTP/1.0, which ends with its connection.
    pub fn http10() -> Self {
        let head = "HTTP/1.0 200 -\r\ncontent-type: text/event-stream\r\n".to_owned();
        Self { head: Some(head), framing: Framing::Close, steps: Vec::new() }
    }

    /// An event stream.
    pub fn stream() -> Self {
        Self::new(200, "text/event-stream")
    }

    /// A JSON body.
    pub fn json(status: u16, body: &Value) -> Self {
        Self::new(status, "application/json").bytes(body.to_string())
    }

    /// A whole answer that says `text`.
    pub fn whole(text: &str) -> Self {
        let message = json!({ "role": "assistant", "content": text });
        Self::json(200, &json!({ "choices": [{ "index": 0, "message": message, "finish_reason": "stop" }] }))
    }

    /// A streamed answer that says these texts.
    pub fn says<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        texts.into_iter().fold(Self::stream(), Self::delta).finish("stop").done()
    }

    /// No answer and an open connection.
    pub fn silent() -> Self {
        Self::headless().stall()
    }

    /// No answer and a closed connection.
    pub fn hang_up() -> Self {
        Self::headless().cut()
    }

    /// No answer and a connection that is reset.
    pub fn hang_up_hard() -> Self {
        Self::headless().reset()
    }

    /// These bytes in place of an answer, and a closed connection.
    pub fn raw(bytes: impl AsRef<[u8]>) -> Self {
        Self::headless().bytes(bytes)
    }

    /// Says how long the body is, true or not, and sends it as it is.
    #[must_use]
    pub fn length(self, length: usize) -> Self {
        Self { framing: Framing::Length(length), ..self }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.head.as_mut().expect("a script with a head").extend([name, ": ", value, "\r\n"]);
        self
    }

    /// Sends bytes of the body, in one write.
    #[must_use]
    pub fn bytes(self, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref().to_vec();
        if bytes.is_empty() { self } else { self.then(Step::Send(bytes)) }
    }

    /// Sends bytes of the body, each in a write of its own.
    #[must_use]
    pub fn drip(self, bytes: impl AsRef<[u8]>) -> Self {
        bytes.as_ref().iter().fold(self, |script, byte| script.bytes([*byte]))
    }

    /// Sends an event.
    #[must_use]
    pub fn event(self, data: impl Display) -> Self {
        self.bytes(format!("data: {data}\n\n"))
    }

    /// Sends a piece of the answer: [`frame`].
    #[must_use]
    pub fn delta(self, text: &str) -> Self {
        self.bytes(frame(&json!({ "content": text }), None))
    }

    /// Sends the finish reason.
    #[must_use]
    pub fn finish(self, reason: &str) -> Self {
        self.bytes(frame(&json!({}), Some(reason)))
    }

    /// Sends `[DONE]`.
    #[must_use]
    pub fn done(self) -> Self {
        self.event("[DONE]")
    }

    /// Waits for a gate.
    #[must_use]
    pub fn wait_for(self, gate: &Gate) -> Self {
        self.then(Step::Wait(gate.clone()))
    }

    /// Sends nothing more and keeps the connection open.
    #[must_use]
    pub fn stall(self) -> Self {
        self.then(Step::Stall)
    }

    /// Sends a byte every now and then, for ever.
    #[must_use]
    pub fn trickle(self) -> Self {
        self.then(Step::Trickle)
    }

    /// Closes the connection without the last chunk.
    #[must_use]
    pub fn cut(self) -> Self {
        self.then(Step::Cut)
    }

    /// Resets the connection.
    #[must_use]
    pub fn reset(self) -> Self {
        self.then(Step::Reset)
    }

    fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Plays it; `sent` counts the bytes of the body that the system took.
    pub(crate) async fn play(self, to: &mut OwnedWriteHalf, sent: &AtomicUsize) -> io::Result<After> {
        let length = match self.framing {
            Framing::Chunks => "transfer-encoding: chunked\r\n".to_owned(),
            Framing::Length(length) => format!("content-length: {length}\r\n"),
            Framing::Close => String::new(),
        };
        if let Some(head) = self.head {
            to.write_all(format!("{head}{length}\r\n").as_bytes()).await?;
        }
        for step in self.steps {
            match step {
                Step::Send(bytes) => {
                    match self.framing {
                        Framing::Chunks => {
                            let size = format!("{:x}\r\n", bytes.len());
                            to.write_all(&[size.as_bytes(), &bytes, b"\r\n"].concat()).await?;
                        }
                        Framing::Length(_) | Framing::Close => to.write_all(&bytes).await?,
                    }
                    sent.fetch_add(bytes.len(), Ordering::Relaxed);
                }
                Step::Wait(gate) => gate.wait().await,
                Step::Stall => std::future::pending().await,
                Step::Trickle => loop {
                    to.write_all(b"1\r\n.\r\n").await?;
                    tokio::time::sleep(TRICKLE).await;
                },
                Step::Cut => return Ok(After::Close),
                Step::Reset => {
                    to.as_ref().set_zero_linger()?;
                    return Ok(After::Reset);
                }
            }
        }
        match self.framing {
            Framing::Chunks => to.write_all(b"0\r\n\r\n").await?,
            Framing::Length(_) => {}
            Framing::Close => return Ok(After::Close),
        }
        Ok(After::Keep)
    }
}

/// An event with a chunk of an answer: a delta, and perhaps the finish reason.
pub fn frame(delta: &Value, finish: Option<&str>) -> String {
    let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish });
    format!("data: {}\n\n", json!({ "id": "c", "object": "chat.completion.chunk", "choices": [choice] }))
}
