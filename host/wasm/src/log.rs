//! What a guest prints: lines for the log, bounded and without control characters.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rust_proxy_stream::chain::printable_up_to;
use tokio::io::AsyncWrite;
use tokio::time::Instant;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// The longest line, in bytes; the rest of it is dropped.
const LINE_MAX: usize = 1000;
/// How many lines of one plugin are logged in a second, over all of its exchanges: more than anybody reads, and
/// little enough for any disk.
const LINES_PER_SECOND: u32 = 1000;

/// A guest's stdout or stderr.
#[derive(Debug, Clone)]
pub(crate) struct GuestLog {
    plugin: Arc<str>,
    /// How many lines the instance may print. It lives for one exchange, so this bounds what an exchange logs.
    limit: u32,
    rate: Arc<Rate>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    line: Vec<u8>,
    lines: u32,
}

/// Counts the lines of one plugin in the current second; all of its instances share it.
#[derive(Debug, Default)]
pub(crate) struct Rate(Mutex<Option<Second>>);

#[derive(Debug, Clone, Copy)]
struct Second {
    began: Instant,
    lines: u32,
}

/// Whether a line may be logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Granted,
    /// The first one that may not, in its second.
    Refused,
    RefusedAgain,
}

impl Rate {
    fn take(&self) -> Turn {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let second = match *current {
            Some(second) if second.began.elapsed() < Duration::from_secs(1) => second,
            _ => Second { began: Instant::now(), lines: 0 },
        };
        let lines = second.lines.saturating_add(1);
        *current = Some(Second { lines, ..second });
        match lines.checked_sub(LINES_PER_SECOND) {
            None | Some(0) => Turn::Granted,
            Some(1) => Turn::Refused,
            Some(_) => Turn::RefusedAgain,
        }
    }
}

impl GuestLog {
    pub(crate) fn new(plugin: Arc<str>, limit: u32, rate: Arc<Rate>) -> Self {
        Self { plugin, limit, rate, state: Arc::default() }
    }

    pub(crate) fn print(&self, bytes: &[u8]) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            if state.lines > self.limit {
                return;
            }
            let room = LINE_MAX.saturating_sub(state.line.len());
            state.line.extend(part.iter().take(room));
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut state.line);
                self.write(&mut state, &line);
            }
        }
    }

    fn write(&self, state: &mut State, line: &[u8]) {
        let plugin = &*self.plugin;
        state.lines = state.lines.saturating_add(1);
        if state.lines > self.limit {
            let limit = self.limit;
            tracing::warn!(
                plugin,
                "more than {limit} lines printed, the rest is dropped; limits = {{ log = … }} would allow more"
            );
            return;
        }
        match self.rate.take() {
            Turn::Granted => {
                let line = printable_up_to(LINE_MAX, String::from_utf8_lossy(line).trim_end());
                tracing::info!(plugin, line, "printed");
            }
            Turn::Refused => tracing::warn!(
                plugin,
                "more than {LINES_PER_SECOND} lines a second printed; the rest of this second is dropped"
            ),
            Turn::RefusedAgain => {}
        }
    }
}

impl IsTerminal for GuestLog {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestLog {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        // Asked for by WASI 0.3 only, which is not linked.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait::async_trait]
impl Pollable for GuestLog {
    async fn ready(&mut self) {}
}

impl OutputStream for GuestLog {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.print(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(64 << 10)
    }
}
