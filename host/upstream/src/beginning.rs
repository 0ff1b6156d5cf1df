//! ⑤ What an answer begins with, looked at before it counts as one.
//!
//! Some servers answer 200 and then tell of an error, or nothing at all. As long as nothing of an answer was
//! handed on, another provider can still be asked; so a stream is read up to its first event that says
//! something, and given on byte for byte. Heartbeats go on meanwhile: nobody waits for this but the exchange.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use rust_proxy_stream::UpstreamError;
use rust_proxy_stream::dialect::openai_chat;
use rust_proxy_stream::sse::{Block, Decoder, SseError};
use rust_proxy_stream::upstream::{BodyStream, UpstreamReply};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// How much of a stream is read ahead, in bytes: any error and nearly every first event is shorter. What a longer
/// one says is found by the exchange, too late for another provider.
const AHEAD_MAX: usize = 64 << 10;

/// Gives an answer on once it has begun.
///
/// # Errors
/// [`UpstreamError`]: it begins with an error, ends before its first event, or is no answer.
///
/// # Cancellation
/// Dropping the call closes the connection.
pub(crate) async fn begun(reply: UpstreamReply) -> Result<UpstreamReply, UpstreamError> {
    match reply {
        UpstreamReply::Whole(body) => match read(&body)? {
            Answer { choices: 0, .. } => Err(UpstreamError::Incomplete("it has no choices".to_owned())),
            Answer { .. } => Ok(UpstreamReply::Whole(body)),
        },
        UpstreamReply::Stream(body) => read_ahead(body).await.map(UpstreamReply::Stream),
    }
}

async fn read_ahead(mut body: BodyStream) -> Result<BodyStream, UpstreamError> {
    let (mut ahead, mut length, mut decoder) = (Vec::new(), 0, Decoder::default());
    while length <= AHEAD_MAX {
        let Some(bytes) = body.next().await.transpose()? else {
            return Err(ended(decoder));
        };
        length += bytes.len();
        decoder.push(&bytes);
        ahead.push(Ok::<Bytes, UpstreamError>(bytes));
        while let Some(block) = decoder.next_block().map_err(unreadable)? {
            if is_first(&block)? {
                return Ok(Box::pin(stream::iter(ahead).chain(body)));
            }
        }
    }
    Ok(Box::pin(stream::iter(ahead).chain(body)))
}

/// Whether a block is the first that says something of an answer; comments, pings and empty frames are not.
fn is_first(block: &Block) -> Result<bool, UpstreamError> {
    match (block.data.as_deref().map(str::trim), block.name.as_deref()) {
        (None, _) => block.error().map_or(Ok(false), |error| Err(reported(error))),
        (Some(""), _) | (_, Some("ping")) => Ok(false),
        (Some("[DONE]"), _) => Err(incomplete()),
        (Some(data), name) => match read(data.as_bytes()) {
            Err(UpstreamError::Protocol(_)) if name == Some("error") => Err(reported(data)),
            Ok(Answer { choices, usage }) => Ok(choices > 0 || usage),
            Err(error) => Err(error),
        },
    }
}

/// What a chunk or a whole answer has.
struct Answer {
    choices: usize,
    usage: bool,
}

fn read(data: &[u8]) -> Result<Answer, UpstreamError> {
    #[derive(Deserialize)]
    struct Raw {
        choices: Option<Vec<IgnoredAny>>,
        usage: Option<IgnoredAny>,
        error: Option<IgnoredAny>,
    }
    match serde_json::from_slice(data) {
        Ok(Raw { error: Some(_), .. }) => Err(reported(&String::from_utf8_lossy(data))),
        Ok(Raw { choices: Some(choices), usage, .. }) => {
            Ok(Answer { choices: choices.len(), usage: usage.is_some() })
        }
        _ => Err(UpstreamError::Protocol("it is no JSON, or has no `choices`".to_owned())),
    }
}

fn reported(error: &str) -> UpstreamError {
    UpstreamError::Reported(openai_chat::error_message(error))
}

/// Why a stream that ended before its first event is none.
fn ended(decoder: Decoder) -> UpstreamError {
    match decoder.finish() {
        Ok(_) => incomplete(),
        Err(error) => unreadable(error),
    }
}

fn incomplete() -> UpstreamError {
    UpstreamError::Incomplete("it ended before its first chunk".to_owned())
}

pub(crate) fn unreadable(error: SseError) -> UpstreamError {
    match error {
        SseError::Cut => UpstreamError::Incomplete(error.to_string()),
        _ => UpstreamError::Protocol(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
