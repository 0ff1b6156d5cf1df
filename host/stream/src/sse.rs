//! Server-sent events: an incremental, bounded decoder that keeps every byte, and an encoder.
//!
//! The decoder cuts the input behind each blank line and hands out the block with its raw bytes, so that the
//! blocks put together are the input again, but for a byte order mark at its beginning. Lines end with LF, CRLF
//! or CR (WHATWG HTML, "server-sent events"); a block is given out as soon as its blank line is there, without
//! waiting to see whether an LF follows a CR: such an LF opens the next block's raw bytes. Not kept: `id` and
//! `retry` fields of a block that is re-encoded.

use std::borrow::Cow;

use bytes::{Buf, Bytes, BytesMut};
use memchr::{memchr, memchr_iter, memchr2};

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

/// The fields of a block, as parts of it where they are: most blocks are read once, and then leave as they came.
#[derive(Debug, Default)]
pub(crate) struct Fields<'a> {
    /// As [`Block::name`].
    pub(crate) name: Option<&'a str>,
    /// As [`Block::data`].
    pub(crate) data: Option<Cow<'a, str>>,
}

impl Block {
    fn new(raw: Bytes) -> Result<Self, SseError> {
        let Fields { name, data } = Fields::read(utf8(&raw)?);
        let (name, data) = (name.map(str::to_owned), data.map(Cow::into_owned));
        Ok(Self { raw, name, data })
    }

    /// The value of a field named `error`, which llama.cpp's server sent in the place of data until September 2025.
    pub fn error(&self) -> Option<&str> {
        error(utf8(&self.raw).ok()?)
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
        if self.buffer.is_empty() {
            // As large as it is, so that a read that is one block becomes that block.
            self.buffer = BytesMut::from(input);
        } else {
            self.buffer.extend_from_slice(input);
        }
    }

    /// The next whole block, `None` if more input is needed.
    ///
    /// # Errors
    /// [`SseError`]; the decoder must not be used afterwards.
    pub fn next_block(&mut self) -> Result<Option<Block>, SseError> {
        self.next_raw()?.map(Block::new).transpose()
    }

    /// The bytes of the next whole block, of which nobody has seen yet whether they are UTF-8.
    ///
    /// # Errors
    /// As [`next_block`](Self::next_block).
    pub(crate) fn next_raw(&mut self) -> Result<Option<Bytes>, SseError> {
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
        let block = Block::new(self.cut()?)?;
        if block.data.as_deref() == Some("[DONE]") { Ok(Some(block)) } else { Err(SseError::Cut) }
    }

    /// Takes the block that ends where the next line begins. An LF that completes its CRLF and is there
    /// already goes with it.
    fn cut(&mut self) -> Result<Bytes, SseError> {
        if self.after_cr && self.buffer.get(self.line) == Some(&b'\n') {
            self.line += 1;
            self.after_cr = false;
        }
        let mut raw = if self.line == self.buffer.len() {
            std::mem::take(&mut self.buffer).freeze()
        } else {
            self.buffer.copy_to_bytes(self.line)
        };
        (self.searched, self.line, self.content) = (0, 0, false);
        if raw.len() > BLOCK_MAX {
            return Err(SseError::TooLong);
        }
        if !std::mem::replace(&mut self.begun, true) && raw.starts_with(BYTE_ORDER_MARK) {
            raw.advance(BYTE_ORDER_MARK.len());
        }
        Ok(raw)
    }
}

impl<'a> Fields<'a> {
    pub(crate) fn read(block: &'a str) -> Self {
        // Nearly every block is one line of data.
        if let Some(line) = block.strip_prefix("data: ").and_then(|rest| rest.strip_suffix("\n\n"))
            && memchr2(b'\n', b'\r', line.as_bytes()).is_none()
        {
            return Self { name: None, data: Some(Cow::Borrowed(line)) };
        }
        let mut fields = Self::default();
        for line in lines(block).filter(|line| !line.is_empty()) {
            let (field, value) = match memchr(b':', line.as_bytes()) {
                Some(colon) => line.split_at(colon),
                None => (line, ""),
            };
            let value = value.strip_prefix(':').unwrap_or(value);
            let value = value.strip_prefix(' ').unwrap_or(value);
            match (field, &mut fields.data) {
                ("event", _) => fields.name = Some(value),
                ("data", None) => fields.data = Some(Cow::Borrowed(value)),
                ("data", Some(data)) => data.to_mut().extend(["\n", value]),
                _ => {}
            }
        }
        fields
    }
}

/// As [`Block::error`].
pub(crate) fn error(block: &str) -> Option<&str> {
    lines(block).find_map(|line| line.strip_prefix("error:")).map(str::trim)
}

/// The lines of a block, and perhaps empty ones between them.
fn lines(block: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(block);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = memchr2(b'\n', b'\r', text.as_bytes());
        rest = end.and_then(|end| text.get(end + 1..));
        text.get(..end.unwrap_or(text.len()))
    })
}

/// # Errors
/// [`SseError::NotUtf8`].
pub(crate) fn utf8(block: &[u8]) -> Result<&str, SseError> {
    std::str::from_utf8(block).map_err(|_| SseError::NotUtf8)
}

/// Writes an event. Line breaks in `data` become further `data` lines.
pub fn encode(name: Option<&str>, data: &str) -> Bytes {
    // As large as it is with one line: then it need not be shared to be sent.
    let mut out = String::with_capacity(name.map_or(0, |name| name.len() + 8) + data.len() + 8);
    if let Some(name) = name {
        out.extend(["event: ", name, "\n"]);
    }
    let mut start = 0;
    for end in memchr_iter(b'\n', data.as_bytes()).chain([data.len()]) {
        out.extend(["data: ", data.get(start..end).unwrap_or_default(), "\n"]);
        start = end + 1;
    }
    out.push('\n');
    Bytes::from(out)
}

#[cfg(test)]
mod tests;
