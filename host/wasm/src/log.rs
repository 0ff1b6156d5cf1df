//! What a guest prints: lines for the log, bounded and without control characters.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// The longest line, in bytes; the rest of it is dropped.
const LINE_MAX: usize = 1000;
/// How many lines an instance may print. It lives for one exchange, so this bounds what an exchange can log.
const LINES_MAX: usize = 100;

/// A guest's stdout or stderr.
#[derive(Debug, Clone)]
pub(crate) struct GuestLog {
    plugin: Arc<str>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    line: Vec<u8>,
    lines: usize,
}

impl GuestLog {
    pub(crate) fn new(plugin: Arc<str>) -> Self {
        Self { plugin, state: Arc::default() }
    }

    pub(crate) fn print(&self, bytes: &[u8]) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            if state.lines > LINES_MAX {
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
        state.lines += 1;
        if state.lines > LINES_MAX {
            tracing::warn!(
                plugin = &*self.plugin,
                "more than {LINES_MAX} lines printed; the rest is dropped"
            );
            return;
        }
        let line = String::from_utf8_lossy(line);
        let line: String =
            line.trim_end().chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
        tracing::info!(plugin = &*self.plugin, line, "printed");
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
