//! Server-sent events: an incremental, bounded decoder that keeps every byte, and an encoder.
//!
//! The decoder cuts the input behind each blank line and hands out the block with its raw bytes, so that the
//! blocks put together are the input again, but for a byte order mark at its beginning. Lines end with LF, CRLF
//! or CR (WHATWG HTML, "server-sent events"); a block is given out as soon as its blank line is there, without
//! waiting to see whether an LF follows a CR: such an LF opens the next block's raw bytes. Not kept: `id` and
//! `retry` fields of a block that is re-encoded.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr2;

/// The longest block that is taken, in bytes. Image parts in base64 reach a few MiB; above this an upstream
/// is broken or hostile, and the stream fails.
pub const BLOCK_MAX: usize = 16 << 20;

/// What the first bytes of a stream may be. It belongs to no block: in front of any other than a stream's first it
/// would be part of a field's name.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// One block of an event stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The bytes as they came, including the blank line, without a byte order mark.
    pub raw: Bytes,
    /// The `event` field.
    pub name: Option<String>,
    /// The `data` lines, joined by LF; `None` where there is none (a comment, a lone `retry`).
    pub data: Option<String>,
}

impl Block {
    /// The value of a field named `error`, which llama.cpp's server sent in the place of data until September 2025.
    pub fn error(&self) -> Option<&str> {
        let mut lines = std::str::from_utf8(&self.raw).ok()?.split(['\n', '\r']);
        lines.find_map(|line| line.strip_prefix("error:")).map(str::trim)
    }
}

/// Why an input is not an event stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SseError {
    /// A block is longer than [`BLOCK_MAX`].
    #[error("an event is longer than {BLOCK_MAX} bytes")]
    TooLong,
    /// A block is not UTF-8.
    #[error("an event is not UTF-8")]
    NotUtf8,
    /// The input ended within a block.
    #[error("the stream ended within an event")]
    Cut,
}

/// Cuts an input of any chunking into [`Block`]s.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: BytesMut,
    /// Where the search goes on, and where the line begins that is being searched.
    searched: usize,
    line: usize,
    /// Whether the block has a line that is not blank.
    content: bool,
    /// The last line ended with a CR: a following LF belongs to it.
    after_cr: bool,
    /// Whether input was cut off already: only the stream's first bytes are a byte order mark.
    begun: bool,
}

impl Decoder {
    /// Adds input.
    pub fn push(&mut self, input: &[u8]) {
        self.buffer.extend_from_slice(input);
    }

    /// The next whole block, `None` if more input is needed.
    ///
    /// # Errors
    /// [`SseError`]; the decoder must not be used afterwards.
    pub fn next_block(&mut self) -> Result<Option<Block>, SseError> {
        while let Some(found) = self.buffer.get(self.searched..).and_then(|rest| memchr2(b'\n', b'\r', rest))
        {
            let end = self.searched + found;
            let is_cr = self.buffer.get(end) == Some(&b'\r');
            self.searched = end + 1;
            if self.after_cr && !is_cr && end == self.line {
                // The LF of a CRLF.
                self.after_cr = false;
                self.line = end + 1;
                continue;
            }
            let blank = end == self.line;
            self.line = end + 1;
            self.after_cr = is_cr;
            if !blank {
                self.content = true;
            } else if self.content {
                return self.cut().map(Some);
            }
        }
        self.searched = self.buffer.len();
        if self.buffer.len() > BLOCK_MAX { Err(SseError::TooLong) } else { Ok(None) }
    }

    /// Ends the input. Blank lines may be left over, and a whole `data: [DONE]` line without its blank line,
    /// which some servers end with.
    ///
    /// # Errors
    /// [`SseError::Cut`] where the input ended within a block.
    pub fn finish(mut self) -> Result<Option<Block>, SseError> {
        if self.buffer.iter().all(|byte| matches!(byte, b'\n' | b'\r')) {
            return Ok(None);
        }
        self.line = self.buffer.len();
        let block = self.cut()?;
        if block.data.as_deref() == Some("[DONE]") { Ok(Some(block)) } else { Err(SseError::Cut) }
    }

    /// Takes the block that ends where the next line begins. An LF that completes its CRLF and is there
    /// already goes with it.
    fn cut(&mut self) -> Result<Block, SseError> {
        if self.after_cr && self.buffer.get(self.line) == Some(&b'\n') {
            self.line += 1;
            self.after_cr = false;
        }
        let mut raw = self.buffer.copy_to_bytes(self.line);
        (self.searched, self.line, self.content) = (0, 0, false);
        if raw.len() > BLOCK_MAX {
            return Err(SseError::TooLong);
        }
        if !std::mem::replace(&mut self.begun, true) && raw.starts_with(BYTE_ORDER_MARK) {
            raw.advance(BYTE_ORDER_MARK.len());
        }
        let (name, data) = parse(std::str::from_utf8(&raw).map_err(|_| SseError::NotUtf8)?);
        Ok(Block { raw, name, data })
    }
}

/// The `event` and `data` fields of a block.
fn parse(block: &str) -> (Option<String>, Option<String>) {
    let mut name = None;
    let mut data: Option<String> = None;
    for line in block.split(['\n', '\r']).filter(|line| !line.is_empty()) {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match (field, &mut data) {
            ("event", _) => name = Some(value.to_owned()),
            ("data", None) => data = Some(value.to_owned()),
            ("data", Some(data)) => {
                data.push('\n');
                data.push_str(value);
            }
            _ => {}
        }
    }
    (name, data)
}

/// Writes an event. Line breaks in `data` become further `data` lines.
pub fn encode(name: Option<&str>, data: &str) -> Bytes {
    let mut out = String::with_capacity(data.len() + 16);
    if let Some(name) = name {
        out.extend(["event: ", name, "\n"]);
    }
    for line in data.split('\n') {
        out.extend(["data: ", line, "\n"]);
    }
    out.push('\n');
    Bytes::from(out)
}

#[cfg(test)]
mod tests;
