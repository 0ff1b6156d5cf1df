//! The decoder of server-sent events, against a reading of the whole input line by line.

use rust_proxy_stream::sse::{Block, Decoder, SseError, encode};

use crate::source::split;

/// Any bytes, cut anywhere.
///
/// # Panics
/// If a cut changes the blocks or the error, if bytes are lost, if the blocks are not those that the standard
/// says, or if they are others after encoding.
pub fn check(input: &[u8]) {
    let (stream, choices) = split(input);
    let (blocks, error) = decode(&choices.cut(stream));
    let (whole, whole_error) = decode(&[stream]);
    assert_eq!((fields(&blocks), error), (fields(&whole), whole_error), "a cut changes nothing");

    for blocks in [&blocks, &whole] {
        let raw: Vec<u8> = blocks.iter().flat_map(|block| block.raw.iter().copied()).collect();
        let stream = if blocks.is_empty() { stream } else { unmarked(stream) };
        let rest = stream.strip_prefix(raw.as_slice()).expect("the blocks are the input");
        assert!(error.is_some() || rest.iter().all(is_break), "nothing is lost but blank lines at the end");
    }

    let expected = read(stream);
    assert_eq!((events(&whole), error), (expected.events(), expected.error), "as the standard says");

    let encoded: Vec<u8> = whole.iter().filter_map(encoded).flat_map(|event| event.to_vec()).collect();
    let (again, error) = decode(&[&encoded]);
    assert_eq!((events(&again), error), (events(&whole), None), "what is encoded is decoded");
}

fn decode(pieces: &[&[u8]]) -> (Vec<Block>, Option<SseError>) {
    let mut decoder = Decoder::default();
    let mut blocks = Vec::new();
    for piece in pieces {
        decoder.push(piece);
        loop {
            match decoder.next_block() {
                Ok(Some(block)) => blocks.push(block),
                Ok(None) => break,
                Err(error) => return (blocks, Some(error)),
            }
        }
    }
    match decoder.finish() {
        Ok(last) => {
            blocks.extend(last);
            (blocks, None)
        }
        Err(error) => (blocks, Some(error)),
    }
}

type Fields = (Option<String>, Option<String>);

fn fields(blocks: &[Block]) -> Vec<Fields> {
    blocks.iter().map(|block| (block.name.clone(), block.data.clone())).collect()
}

/// The blocks that are events: those with data.
fn events(blocks: &[Block]) -> Vec<Fields> {
    fields(blocks).into_iter().filter(|(_, data)| data.is_some()).collect()
}

fn encoded(block: &Block) -> Option<bytes::Bytes> {
    block.data.as_ref().map(|data| encode(block.name.as_deref(), data))
}

fn is_break(byte: &u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

/// The stream without the byte order mark that it may begin with.
fn unmarked(stream: &[u8]) -> &[u8] {
    stream.strip_prefix("\u{feff}".as_bytes()).unwrap_or(stream)
}

/// A stream as [`read`] sees it.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    pub(crate) blocks: Vec<Plain>,
    pub(crate) error: Option<SseError>,
}

/// A block without a memory of how its lines ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plain {
    /// The lines.
    pub(crate) lines: String,
    pub(crate) name: Option<String>,
    pub(crate) data: Option<String>,
}

impl Reading {
    fn events(&self) -> Vec<Fields> {
        let events = self.blocks.iter().filter(|block| block.data.is_some());
        events.map(|block| (block.name.clone(), block.data.clone())).collect()
    }
}

/// Reads a whole stream.
pub(crate) fn read(stream: &[u8]) -> Reading {
    let mut reading = Reading::default();
    let mut lines: Vec<&[u8]> = Vec::new();
    let mut rest = stream;
    while let Some(end) = rest.iter().position(is_break) {
        let crlf = rest[end..].starts_with(b"\r\n");
        let line = &rest[..end];
        rest = &rest[end + 1 + usize::from(crlf)..];
        if !line.is_empty() {
            lines.push(line);
        } else if !lines.is_empty() {
            match Plain::new(&lines, lines[0].as_ptr() == stream.as_ptr()) {
                Some(block) => reading.blocks.push(block),
                None => return Reading { error: Some(SseError::NotUtf8), ..reading },
            }
            lines.clear();
        }
    }
    lines.extend((!rest.is_empty()).then_some(rest));
    let Some(first) = lines.first() else { return reading };
    match Plain::new(&lines, first.as_ptr() == stream.as_ptr()) {
        Some(block) if block.data.as_deref() == Some("[DONE]") => reading.blocks.push(block),
        Some(_) => reading.error = Some(SseError::Cut),
        None => reading.error = Some(SseError::NotUtf8),
    }
    reading
}

impl Plain {
    /// `None` where it is not UTF-8. The byte order mark of a stream is not a part of its first line.
    fn new(lines: &[&[u8]], first: bool) -> Option<Self> {
        let lines = lines.join(&b'\n');
        let lines = if first { unmarked(&lines) } else { &lines };
        let mut block = Self { lines: String::from_utf8(lines.to_vec()).ok()?, ..Self::default() };
        let mut data = Vec::new();
        for line in block.lines.lines() {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => block.name = Some(value.to_owned()),
                "data" => data.push(value),
                _ => {}
            }
        }
        block.data = (!data.is_empty()).then(|| data.join("\n"));
        Some(block)
    }
}
