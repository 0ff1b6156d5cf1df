//! A delta, or the message of a whole answer: where its texts are.

use std::borrow::Cow;
use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Call, Choice, Field, Note, TEXT_FIELDS, Text, protocol};
use crate::error::UpstreamError;
use crate::json::{self, AtMost};

/// The most tool calls, reasoning details or annotations of one chunk or whole answer: far above any real one.
/// An empty one takes two bytes of JSON and many more here.
const PARTS_MAX: usize = 1024;

type Parts<T> = AtMost<T, PARTS_MAX>;

#[derive(Deserialize)]
pub(super) struct RawDelta<'a> {
    #[serde(borrow)]
    reasoning_content: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning_details: Option<Parts<RawDetail<'a>>>,
    #[serde(borrow)]
    audio: Option<RawAudio<'a>>,
    #[serde(borrow)]
    annotations: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_calls: Option<Parts<RawCall<'a>>>,
    #[serde(borrow)]
    function_call: Option<RawFunction<'a>>,
}

#[derive(Deserialize)]
struct RawDetail<'a> {
    index: Option<u32>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    summary: Option<&'a RawValue>,
    #[serde(borrow)]
    signature: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawAudio<'a> {
    #[serde(borrow)]
    transcript: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawAnnotation<'a> {
    #[serde(borrow)]
    url_citation: Option<RawCitation<'a>>,
}

#[derive(Deserialize)]
struct RawCitation<'a> {
    #[serde(borrow)]
    title: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawCall<'a> {
    index: Option<u32>,
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    function: Option<RawFunction<'a>>,
    #[serde(borrow)]
    custom: Option<RawCustom<'a>>,
}

#[derive(Default, Deserialize)]
struct RawFunction<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawCustom<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
}

impl RawDelta<'_> {
    /// Adds its places to `choice`.
    ///
    /// # Errors
    /// [`UpstreamError::Protocol`] where something else than a string stands in the place of a text, and for sound.
    pub(super) fn places(self, data: &str, choice: &mut Choice) -> Result<(), UpstreamError> {
        let fields = [self.reasoning_content, self.reasoning, self.content, self.refusal];
        for (field, value) in fields.into_iter().enumerate() {
            let name = TEXT_FIELDS.get(field).map_or("", |(name, _)| *name);
            choice.text(data, Field::Text(field), value, name)?;
        }
        for (at, detail) in self.reasoning_details.into_iter().flat_map(|details| details.0).enumerate() {
            let entry = detail.index.unwrap_or(u32::try_from(at).unwrap_or(u32::MAX));
            choice.text(data, Field::Detail { entry, summary: false }, detail.text, "text")?;
            choice.text(data, Field::Detail { entry, summary: true }, detail.summary, "summary")?;
            if let Some(signature) = detail.signature {
                let (field, place) =
                    (Field::Detail { entry, summary: false }, json::place(data, signature.get()));
                choice.notes.push(Note { field, place, instead: "null" });
            }
        }
        if let Some(RawAudio { transcript, data: sound }) = self.audio {
            if sound.is_some_and(|sound| sound.get() != "\"\"") {
                return Err(protocol("it speaks (`audio.data`), which no link can look at"));
            }
            choice.text(data, Field::Transcript, transcript, "transcript")?;
        }
        if let Some(list) = self.annotations {
            choice.annotations(data, list)?;
        }
        for (at, call) in self.tool_calls.into_iter().flat_map(|calls| calls.0).enumerate() {
            choice.call(data, at, call)?;
        }
        if let Some(function) = self.function_call {
            choice.function(data, Field::FunctionCall, None, function)?;
        }
        Ok(())
    }
}

impl Choice {
    fn text(
        &mut self,
        data: &str,
        field: Field,
        value: Option<&RawValue>,
        name: &str,
    ) -> Result<(), UpstreamError> {
        if let Some(literal) = literal(data, value, name)? {
            self.texts.push(Text { field, literal: Some(literal), call: None });
        }
        Ok(())
    }

    /// Citations point into the text by offsets; a title is a text of its own, and so is what is quoted.
    fn annotations(&mut self, data: &str, list: &RawValue) -> Result<(), UpstreamError> {
        let AtMost::<RawAnnotation<'_>, PARTS_MAX>(all) = super::read(list.get())?;
        for citation in all.into_iter().filter_map(|annotation| annotation.url_citation) {
            self.text(data, Field::Citation { content: false }, citation.title, "title")?;
            self.text(data, Field::Citation { content: true }, citation.content, "content")?;
        }
        self.notes.push(Note { field: Field::CONTENT, place: json::place(data, list.get()), instead: "[]" });
        Ok(())
    }

    fn call(&mut self, data: &str, at: usize, call: RawCall<'_>) -> Result<(), UpstreamError> {
        let index = call.index.unwrap_or(u32::try_from(at).unwrap_or(u32::MAX));
        let id = || call.id.as_deref().filter(|id| !id.is_empty()).map(str::to_owned);
        let custom = call.custom.is_some();
        if let Some(RawCustom { name, input }) = call.custom {
            let literal = literal(data, input, "input")?;
            let call = Call { id: id(), name: name.map(Cow::into_owned) };
            self.texts.push(Text { field: Field::Input(index), literal, call: Some(call) });
        }
        match call.function {
            None if custom => Ok(()),
            function => self.function(data, Field::Arguments(index), id(), function.unwrap_or_default()),
        }
    }

    fn function(
        &mut self,
        data: &str,
        field: Field,
        id: Option<String>,
        function: RawFunction<'_>,
    ) -> Result<(), UpstreamError> {
        let name = function.name.map(Cow::into_owned).filter(|name| !name.is_empty());
        let literal = literal(data, function.arguments, "arguments")?;
        self.texts.push(Text { field, literal, call: Some(Call { id, name }) });
        Ok(())
    }
}

/// The place of a text's literal, if it is not empty.
fn literal(data: &str, value: Option<&RawValue>, name: &str) -> Result<Option<Range<usize>>, UpstreamError> {
    let Some(value) = value.filter(|value| value.get() != "\"\"") else { return Ok(None) };
    if !json::is_string(value) {
        return Err(protocol(&format!("`{name}` is not a string")));
    }
    Ok(Some(json::place(data, value.get())))
}
