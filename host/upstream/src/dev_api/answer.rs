//! ⑤ The provider's answer as OpenAI's chunks, so that nothing behind it has to know.
//!
//! OpenAI's own form passes byte for byte. Of the provider's own events each text becomes a chunk, its string
//! literal as it came: half a surrogate pair waits for the other half where OpenAI's does. A stream that is cut
//! gets no finish reason, so it does not look complete.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use rust_proxy_stream::UpstreamError;
use rust_proxy_stream::dialect::openai_chat::{self, TERMINAL};
use rust_proxy_stream::json::{self, Pointer};
use rust_proxy_stream::sse::{self, Block, Decoder};
use rust_proxy_stream::upstream::{BodyStream, UpstreamRequest};
use serde_json::Value;

use super::options::{Format, ResponseOptions};
use crate::beginning::unreadable;

/// What an answer is made into.
#[derive(Debug)]
pub(super) struct Target {
    options: Arc<ResponseOptions>,
    id: String,
    created: u64,
    model: String,
    usage: bool,
}

impl Target {
    pub(super) fn new(options: Arc<ResponseOptions>, request: &UpstreamRequest) -> Self {
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let model = request.request.model().to_owned();
        let usage = request.request.include_usage();
        Self { options, id: format!("chatcmpl-{}", request.request_id), created, model, usage }
    }

    /// A JSON text of OpenAI's; the arguments are JSON.
    fn envelope(&self, object: &str, choices: &str, usage: Option<&str>) -> String {
        let (id, model) = (json::quote(&self.id), json::quote(&self.model));
        let usage = usage.map_or(String::new(), |usage| format!(",\"usage\":{usage}"));
        let created = self.created;
        format!(
            "{{\"id\":{id},\"object\":\"{object}\",\"created\":{created},\"model\":{model},\"choices\":{choices}{usage}}}"
        )
    }

    fn chunk(&self, choices: &str, usage: Option<&str>) -> Bytes {
        sse::encode(None, &self.envelope("chat.completion.chunk", choices, usage))
    }

    /// A whole answer.
    fn whole(&self, own: &Own) -> Bytes {
        let (text, finish) = (&own.text, own.finish());
        let message = format!("{{\"role\":\"assistant\",\"content\":\"{text}\"}}");
        let choices = format!("[{{\"index\":0,\"message\":{message},\"finish_reason\":\"{finish}\"}}]");
        Bytes::from(self.envelope("chat.completion", &choices, own.usage.as_deref()))
    }

    /// The chunk of a text, the inside of a string literal.
    fn text(&self, text: &str, first: bool) -> Bytes {
        let role = if first { "\"role\":\"assistant\"," } else { "" };
        let delta = format!("{{{role}\"content\":\"{text}\"}}");
        self.chunk(&format!("[{{\"index\":0,\"delta\":{delta},\"finish_reason\":null}}]"), None)
    }

    /// The end of a stream that is complete.
    fn end(&self, own: &Own, out: &mut VecDeque<Bytes>) {
        let delta = if own.begun { "{}" } else { "{\"role\":\"assistant\",\"content\":\"\"}" };
        let finish = own.finish();
        out.push_back(
            self.chunk(&format!("[{{\"index\":0,\"delta\":{delta},\"finish_reason\":\"{finish}\"}}]"), None),
        );
        if let (Some(usage), true) = (&own.usage, self.usage) {
            out.push_back(self.chunk("[]", Some(usage)));
        }
        out.push_back(Bytes::from_static(TERMINAL));
    }

    /// Reads a whole answer.
    ///
    /// # Errors
    /// [`UpstreamError::Reported`], [`UpstreamError::Protocol`].
    pub(super) fn read_whole(&self, body: &Bytes) -> Result<Whole, UpstreamError> {
        let text = std::str::from_utf8(body).map_err(|_| protocol("it is not UTF-8"))?;
        if self.is_openai(text) {
            return Ok(Whole::OpenAi(body.clone()));
        }
        let mut own = Own::default();
        self.read_facts(text, &mut own)?;
        own.text = self.literal(&self.options.whole, text)?.ok_or_else(|| {
            protocol(&format!(
                "there is no text at `{}`, where `response.whole` looks for it",
                self.options.whole
            ))
        })?;
        Ok(Whole::Own(own))
    }

    fn is_openai(&self, data: &str) -> bool {
        match self.options.format {
            Format::Auto => serde_json::from_str::<Probe>(data).is_ok_and(|probe| probe.choices.is_some()),
            Format::OpenAi => true,
            Format::Own => false,
        }
    }

    /// Reads what an event or a whole answer says besides its text.
    fn read_facts(&self, data: &str, own: &mut Own) -> Result<(), UpstreamError> {
        if serde_json::from_str::<serde::de::IgnoredAny>(data).is_err() {
            return Err(protocol("it is not JSON"));
        }
        let options = &self.options;
        if let Some(error) =
            options.error.as_ref().and_then(|at| at.find(data)).filter(|value| says_yes(value))
        {
            let ok =
                serde_json::from_str::<Value>(error).is_ok_and(|value| options.error_ok.contains(&value));
            if !ok {
                return Err(UpstreamError::Reported(self.error_message(data)));
            }
        }
        if let Some(reason) = options.finish_reason.as_ref().and_then(|at| at.find_text(data))
            && !reason.is_empty()
        {
            own.finish = Some(finish_reason(&reason));
        }
        if let Some(usage) =
            options.usage.as_ref().and_then(|at| at.find(data)).filter(|value| value.starts_with('{'))
        {
            own.usage = Some(usage.to_owned());
        }
        Ok(())
    }

    /// The message of an error, where the settings or the usual shapes have it.
    pub(super) fn error_message(&self, body: &str) -> String {
        let set = self.options.error_message.as_ref().and_then(|at| at.find_text(body));
        let found = set.map(|text| json::quote(&text));
        let found = found.or_else(|| self.options.error.as_ref()?.find(body).map(str::to_owned));
        openai_chat::error_message(found.as_deref().unwrap_or(body))
    }

    /// The inside of the string literal at a place; `None` for nothing there, and for null.
    fn literal(&self, at: &Pointer, data: &str) -> Result<Option<String>, UpstreamError> {
        match at.find(data) {
            None | Some("null") => Ok(None),
            Some(value) => match value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
                Some(inside) => Ok(Some(inside.to_owned())),
                None => Err(protocol(&format!("`{at}` is not a string"))),
            },
        }
    }
}

/// Whether a text is one of OpenAI's.
#[derive(serde::Deserialize)]
struct Probe {
    choices: Option<serde::de::IgnoredAny>,
}

/// A whole answer.
pub(super) enum Whole {
    /// In OpenAI's form: as it came.
    OpenAi(Bytes),
    /// In the provider's own.
    Own(Own),
}

/// What is known of an answer in the provider's own form.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// The text of a whole answer: the inside of a string literal.
    text: String,
    begun: bool,
    finish: Option<&'static str>,
    usage: Option<String>,
}

impl Own {
    fn finish(&self) -> &'static str {
        self.finish.unwrap_or("stop")
    }
}

impl Whole {
    /// As a body.
    pub(super) fn into_body(self, target: &Target) -> Bytes {
        match self {
            Self::OpenAi(body) => body,
            Self::Own(own) => target.whole(&own),
        }
    }

    /// As a stream, for a client that wanted one.
    ///
    /// # Errors
    /// [`UpstreamError::Protocol`] for OpenAI's form, whose streams differ in more than their frame.
    pub(super) fn into_stream(self, target: &Target) -> Result<BodyStream, UpstreamError> {
        let Self::Own(mut own) = self else {
            return Err(protocol("it is a whole answer in place of a stream"));
        };
        let mut out = VecDeque::from([target.text(&own.text, true)]);
        own.begun = true;
        target.end(&own, &mut out);
        Ok(Box::pin(stream::iter(out.into_iter().map(Ok))))
    }
}

/// A stream on its way through.
struct Converting {
    target: Target,
    decoder: Decoder,
    form: Form,
    out: VecDeque<Bytes>,
}

/// Where a stream is.
enum Form {
    /// Nothing has told it yet.
    Unknown,
    /// OpenAI's.
    OpenAi,
    /// The provider's own.
    Own(Own),
    /// Its own, and the last event was there.
    Ended,
}

impl Converting {
    fn new(target: Target) -> Self {
        let form = match target.options.format {
            Format::Auto => Form::Unknown,
            Format::OpenAi => Form::OpenAi,
            Format::Own => Form::Own(Own::default()),
        };
        Self { target, decoder: Decoder::default(), form, out: VecDeque::new() }
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), UpstreamError> {
        self.decoder.push(bytes);
        while let Some(block) = self.decoder.next_block().map_err(unreadable)? {
            self.read(block)?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), UpstreamError> {
        if let Some(block) = std::mem::take(&mut self.decoder).finish().map_err(unreadable)? {
            self.read(block)?;
        }
        // Without a reason to take it for the end, the exchange finds no finish reason and says so.
        if let Form::Own(own) = &self.form
            && (own.finish.is_some() || (self.target.options.end.is_none() && own.begun))
        {
            self.end();
        }
        Ok(())
    }

    fn read(&mut self, block: Block) -> Result<(), UpstreamError> {
        if let Some(data) = block.data.as_deref().filter(|data| !data.trim().is_empty())
            && matches!(self.form, Form::Unknown)
        {
            let openai = self.target.is_openai(data);
            self.form = if openai { Form::OpenAi } else { Form::Own(Own::default()) };
        }
        match &mut self.form {
            Form::OpenAi => {
                self.out.push_back(block.raw);
                Ok(())
            }
            Form::Own(_) => self.read_own(&block),
            Form::Unknown | Form::Ended => Ok(()),
        }
    }

    fn read_own(&mut self, block: &Block) -> Result<(), UpstreamError> {
        let (Form::Own(own), Some(data)) = (&mut self.form, block.data.as_deref()) else { return Ok(()) };
        let name = block.name.as_deref();
        if name == Some("ping") || data.trim().is_empty() {
            return Ok(());
        }
        if self.target.options.end.as_deref() == Some(data.trim()) {
            self.end();
            return Ok(());
        }
        if name == Some("error") {
            return Err(UpstreamError::Reported(self.target.error_message(data)));
        }
        let finished = own.finish.is_some();
        self.target.read_facts(data, own)?;
        let text = self.target.literal(&self.target.options.text, data)?.filter(|text| !text.is_empty());
        if let Some(text) = text {
            if finished {
                return Err(protocol("text follows the finish reason"));
            }
            self.out.push_back(self.target.text(&text, !own.begun));
            own.begun = true;
        }
        if self.target.options.done.as_ref().and_then(|at| at.find(data)).is_some_and(says_yes) {
            self.end();
        }
        Ok(())
    }

    fn end(&mut self) {
        if let Form::Own(own) = std::mem::replace(&mut self.form, Form::Ended) {
            self.target.end(&own, &mut self.out);
        }
    }
}

/// A stream of the provider as one of OpenAI's.
pub(super) fn convert(body: BodyStream, target: Target) -> BodyStream {
    let state = (body, Converting::new(target), None);
    Box::pin(stream::unfold(Some(state), |state| async {
        let (mut body, mut converting, mut ended) = state?;
        loop {
            if let Some(bytes) = converting.out.pop_front() {
                return Some((Ok(bytes), Some((body, converting, ended))));
            }
            match ended {
                Some(Ok(())) => return None,
                Some(Err(error)) => return Some((Err(error), None)),
                None => {}
            }
            // What came before an error is still good.
            ended = match body.next().await {
                Some(Ok(bytes)) => converting.push(&bytes).err().map(Err),
                Some(Err(error)) => Some(Err(error)),
                None => Some(converting.finish()),
            };
        }
    }))
}

/// A stream of the provider as a whole answer, for a client that wanted one; at most `max` bytes of text. What is
/// an end to [`convert`] is one here, and nothing behind it is waited for.
///
/// # Errors
/// [`UpstreamError`]: the stream's own, and [`UpstreamError::Protocol`] for OpenAI's form.
pub(super) async fn gather(mut body: BodyStream, target: Target, max: usize) -> Result<Bytes, UpstreamError> {
    let mut decoder = Decoder::default();
    let mut own = Own::default();
    let mut complete = false;
    'body: while let Some(bytes) = body.next().await {
        decoder.push(&bytes?);
        while let Some(block) = decoder.next_block().map_err(unreadable)? {
            let Some(data) = block.data.as_deref().filter(|data| !data.trim().is_empty()) else { continue };
            if block.name.as_deref() == Some("ping") {
                continue;
            }
            if target.options.end.as_deref() == Some(data.trim()) {
                complete = true;
                break 'body;
            }
            if block.name.as_deref() == Some("error") {
                return Err(UpstreamError::Reported(target.error_message(data)));
            }
            if target.is_openai(data) {
                return Err(protocol("it is a stream in place of a whole answer"));
            }
            let finished = own.finish.is_some();
            target.read_facts(data, &mut own)?;
            let text = target.literal(&target.options.text, data)?.filter(|text| !text.is_empty());
            if let Some(text) = text {
                if finished {
                    return Err(protocol("text follows the finish reason"));
                }
                own.text.push_str(&text);
                own.begun = true;
            }
            if own.text.len() > max {
                return Err(protocol(&format!("a text of more than {max} bytes")));
            }
            if target.options.done.as_ref().and_then(|at| at.find(data)).is_some_and(says_yes) {
                complete = true;
                break 'body;
            }
        }
    }
    if complete {
        // As in an exchange: what is there already lets the connection be used again.
        body.next().now_or_never();
        return Ok(target.whole(&own));
    }
    let marked = decoder.finish().map_err(unreadable)?.is_some();
    if marked || own.finish.is_some() || (target.options.end.is_none() && own.begun) {
        return Ok(target.whole(&own));
    }
    Err(UpstreamError::Incomplete("it has no end".to_owned()))
}

/// Any value but null, false and an empty string.
fn says_yes(value: &str) -> bool {
    !matches!(value, "null" | "false" | "\"\"")
}

/// The reason in OpenAI's words.
fn finish_reason(reason: &str) -> &'static str {
    match reason {
        "length" | "max_tokens" => "length",
        "content_filter" => "content_filter",
        _ => "stop",
    }
}

fn protocol(what: &str) -> UpstreamError {
    UpstreamError::Protocol(what.to_owned())
}
