//! One message: the places of its texts, and what they became.

use std::borrow::Cow;
use std::ops::Range;

use serde_json::value::RawValue;

use super::invalid;
use crate::error::ExchangeError;
use crate::item::Body;
use crate::json::{self, Object};

/// A message of a chat request.
#[derive(Debug, Clone)]
pub(super) struct Message {
    /// The message's JSON as it came; every range below is one of its.
    raw: String,
    pub(super) role: String,
    /// For a `tool` message: the call that it is the result of.
    pub(super) result_of: Option<String>,
    /// The ids of the tool calls in it.
    pub(super) calls: Vec<String>,
    parts: Vec<Part>,
    /// Bytes that the parts repeat of the message.
    repeated: usize,
    /// The places of a content list and of its elements.
    list: Option<(Range<usize>, Vec<Range<usize>>)>,
}

/// One item of a message.
#[derive(Debug, Clone)]
struct Part {
    body: Body,
    place: Place,
    changed: bool,
}

/// Where an item's text stands.
#[derive(Debug, Clone)]
enum Place {
    /// Nowhere: it cannot be set.
    None,
    /// The string literal of a message's content.
    Content(Range<usize>),
    /// A string literal in an element of the content list.
    Element { element: usize, literal: Range<usize> },
    /// In the literal of a tool call's arguments: the place in the unescaped arguments, or all of them.
    Argument { literal: Range<usize>, within: Option<Range<usize>> },
}

/// How many times a message's own size its parts may repeat of it.
const REPEATED_MAX: usize = 16;

type Splices<'a> = Vec<(Range<usize>, Cow<'a, str>)>;

impl Message {
    /// Reads the message at `index`.
    ///
    /// # Errors
    /// [`ExchangeError::InvalidRequest`], naming the JSON path of the culprit.
    pub(super) fn parse(index: usize, raw: &str) -> Result<Self, ExchangeError> {
        let at = format!("messages[{index}]");
        let fields = object(raw, &at)?;
        let role = string(&fields, "role", &at)?.ok_or_else(|| {
            invalid(&format!("{at}.role"), "missing; write `user`, `system` or another role")
        })?;
        let result_of = if role == "tool" { string(&fields, "tool_call_id", &at)? } else { None };
        let mut message = Self {
            raw: raw.to_owned(),
            role,
            result_of,
            calls: Vec::new(),
            parts: Vec::new(),
            repeated: 0,
            list: None,
        };
        if let Some(content) = present(&fields, "content") {
            message.parse_content(raw, content, &format!("{at}.content"))?;
        }
        if let Some(calls) = present(&fields, "tool_calls") {
            let at = format!("{at}.tool_calls");
            for (index, call) in list(calls, &at)?.into_iter().enumerate() {
                message.parse_call(raw, call, &format!("{at}[{index}]"))?;
            }
        }
        Ok(message)
    }

    /// A message of our own.
    pub(super) fn new(role: &str, text: &str) -> Self {
        let content = json::quote(text);
        let raw = format!("{{\"role\":{},\"content\":{content}}}", json::quote(role));
        let place = Place::Content(raw.len() - 1 - content.len()..raw.len() - 1);
        let part = Part { body: Body::Text(text.to_owned()), place, changed: false };
        Self {
            raw,
            role: role.to_owned(),
            result_of: None,
            calls: Vec::new(),
            parts: vec![part],
            repeated: 0,
            list: None,
        }
    }

    fn parse_content(&mut self, raw: &str, content: &RawValue, at: &str) -> Result<(), ExchangeError> {
        if json::is_string(content) {
            let body = self.text_body(unquote(content));
            return self.push(body, Place::Content(json::place(raw, content.get())), at);
        }
        let elements = list(content, at)?;
        let places = elements.iter().map(|element| json::place(raw, element.get())).collect();
        self.list = Some((json::place(raw, content.get()), places));
        for (element, value) in elements.into_iter().enumerate() {
            let at = format!("{at}[{element}]");
            let fields = object(value.get(), &at)?;
            let kind = string(&fields, "type", &at)?.ok_or_else(|| {
                invalid(&format!("{at}.type"), "missing; write `text` or another kind of part")
            })?;
            if matches!(kind.as_str(), "text" | "refusal") {
                let literal = fields
                    .get(&kind)
                    .filter(|text| json::is_string(text))
                    .ok_or_else(|| invalid(&format!("{at}.{kind}"), "must be a string"))?;
                let body = self.text_body(unquote(literal));
                let literal = json::place(raw, literal.get());
                self.push(body, Place::Element { element, literal }, &at)?;
            } else {
                self.push(Body::Opaque(kind), Place::None, &at)?;
            }
        }
        Ok(())
    }

    fn parse_call(&mut self, raw: &str, call: &RawValue, at: &str) -> Result<(), ExchangeError> {
        let fields = object(call.get(), at)?;
        let id = string(&fields, "id", at)?.unwrap_or_default();
        // A custom tool has `custom.input`, plain text, where a function has `function.arguments`.
        let (details, input) = match (present(&fields, "function"), present(&fields, "custom")) {
            (Some(function), None) => (object(function.get(), at)?, "arguments"),
            (None, Some(custom)) => (object(custom.get(), at)?, "input"),
            (Some(_), Some(_)) => return Err(invalid(at, "must have `function` or `custom`, not both")),
            (None, None) => return Err(invalid(&format!("{at}.function"), "missing")),
        };
        let name = string(&details, "name", at)?.unwrap_or_default();
        self.calls.push(id.clone());
        self.push(Body::ToolCall { id: id.clone(), name }, Place::None, at)?;
        let Some(arguments) = present(&details, input) else {
            return Ok(());
        };
        if !json::is_string(arguments) {
            return Err(invalid(&format!("{at}.{input}"), "must be a string"));
        }
        let literal = json::place(raw, arguments.get());
        let text = unquote(arguments);
        let too_complex = |_| {
            let what = "nested deeper than 64, with a key twice, or with too many values under long keys";
            invalid(&format!("{at}.{input}"), what)
        };
        // The input of a custom tool is its text as it stands, whatever it looks like.
        let values = match input {
            "arguments" => json::string_values(&text).map_err(too_complex)?,
            _ => None,
        };
        let Some(values) = values else {
            let body = Body::ToolArgument { call: id, pointer: None, text };
            return self.push(body, Place::Argument { literal, within: None }, at);
        };
        for (pointer, within) in values {
            let value = json::text(text.get(within.clone()).unwrap_or_default()).into_owned();
            let body = Body::ToolArgument { call: id.clone(), pointer: Some(pointer), text: value };
            self.push(body, Place::Argument { literal: literal.clone(), within: Some(within) }, at)?;
        }
        Ok(())
    }

    fn text_body(&self, text: String) -> Body {
        match &self.result_of {
            Some(call) => Body::ToolResult { call: call.clone(), text },
            None => Body::Text(text),
        }
    }

    /// Adds an item. What each repeats (role, call) is bounded by the size of the message, so that long names on
    /// many small parts do not multiply.
    fn push(&mut self, body: Body, place: Place, at: &str) -> Result<(), ExchangeError> {
        let call = match &body {
            Body::ToolCall { id: call, .. }
            | Body::ToolArgument { call, .. }
            | Body::ToolResult { call, .. } => call,
            Body::Text(_) | Body::Opaque(_) => "",
        };
        self.repeated += self.role.len() + call.len();
        if self.repeated > self.raw.len().saturating_mul(REPEATED_MAX).saturating_add(4096) {
            return Err(invalid(at, "too many parts for so long a role or call id; shorten those"));
        }
        self.parts.push(Part { body, place, changed: false });
        Ok(())
    }

    /// The message's items, in order, each with its place in the message.
    pub(super) fn bodies(&self) -> impl Iterator<Item = (usize, &Body)> {
        let parts = self.parts.iter().enumerate().filter(|(_, part)| !self.is_removed(part));
        parts.map(|(place, part)| (place, &part.body))
    }

    /// Sets the text of the item at a place of [`bodies`](Self::bodies).
    pub(super) fn set_text(&mut self, place: usize, new: &str) -> Result<(), ()> {
        let part = self.parts.get_mut(place).ok_or(())?;
        let (Body::Text(text) | Body::ToolArgument { text, .. } | Body::ToolResult { text, .. }) =
            &mut part.body
        else {
            return Err(());
        };
        new.clone_into(text);
        part.changed = true;
        Ok(())
    }

    /// Whether a change emptied a part that can go. A result and an argument stay as `""`: their call needs
    /// them.
    fn is_removed(&self, part: &Part) -> bool {
        part.changed
            && part.body.text() == Some("")
            && self.result_of.is_none()
            && matches!(part.place, Place::Content(_) | Place::Element { .. })
    }

    /// Whether changes left nothing of the message.
    pub(super) fn is_emptied(&self) -> bool {
        !self.parts.is_empty() && self.parts.iter().all(|part| self.is_removed(part))
    }

    /// The message as it goes to an upstream.
    pub(super) fn to_json(&self) -> Cow<'_, str> {
        if !self.parts.iter().any(|part| part.changed) {
            return Cow::Borrowed(&self.raw);
        }
        let mut splices = self.argument_splices();
        let mut elements: Vec<Splices<'_>> =
            vec![Vec::new(); self.list.as_ref().map_or(0, |(_, places)| places.len())];
        let mut removed = vec![false; elements.len()];
        for part in self.parts.iter().filter(|part| part.changed) {
            let text = part.body.text().unwrap_or_default();
            match &part.place {
                Place::Content(place) if self.is_removed(part) => {
                    splices.push((place.clone(), Cow::Borrowed("null")))
                }
                Place::Content(place) => splices.push((place.clone(), Cow::Owned(json::quote(text)))),
                Place::Element { element, literal } => {
                    if let (Some(splices), Some(removed)) =
                        (elements.get_mut(*element), removed.get_mut(*element))
                    {
                        splices.push((literal.clone(), Cow::Owned(json::quote(text))));
                        *removed = self.is_removed(part);
                    }
                }
                Place::Argument { .. } | Place::None => {}
            }
        }
        if let Some((place, elements)) = self.list_splice(elements, &removed) {
            splices.push((place, elements));
        }
        splices.sort_by_key(|(place, _)| place.start);
        Cow::Owned(json::splice(&self.raw, splices))
    }

    /// The content list without the elements that are removed; `null` where none is left.
    fn list_splice<'a>(
        &'a self,
        splices: Vec<Splices<'a>>,
        removed: &[bool],
    ) -> Option<(Range<usize>, Cow<'a, str>)> {
        let (place, places) =
            self.list.as_ref().filter(|_| splices.iter().any(|splices| !splices.is_empty()))?;
        let kept = places.iter().zip(splices).zip(removed).filter(|(_, removed)| !**removed);
        let elements: Vec<String> = kept
            .map(|((place, splices), _)| {
                let moved = splices
                    .into_iter()
                    .map(|(at, text)| (at.start - place.start..at.end - place.start, text));
                json::splice(self.raw.get(place.clone()).unwrap_or_default(), moved)
            })
            .collect();
        let list = if elements.is_empty() { "null".to_owned() } else { format!("[{}]", elements.join(",")) };
        Some((place.clone(), Cow::Owned(list)))
    }

    /// The arguments of tool calls in which a value was changed. The values of one literal follow each other.
    fn argument_splices(&self) -> Splices<'_> {
        let changed = self.parts.iter().filter(|part| part.changed);
        let mut values = changed
            .filter_map(|part| match &part.place {
                Place::Argument { literal, within } => {
                    Some((literal, within, part.body.text().unwrap_or_default()))
                }
                _ => None,
            })
            .peekable();
        let mut splices: Splices<'_> = Vec::new();
        while let Some((literal, within, text)) = values.next() {
            let arguments = match within {
                None => text.to_owned(),
                Some(within) => {
                    let mut inner: Splices<'_> = vec![(within.clone(), Cow::Owned(json::quote(text)))];
                    while let Some((_, Some(within), text)) = values.next_if(|(other, ..)| *other == literal)
                    {
                        inner.push((within.clone(), Cow::Owned(json::quote(text))));
                    }
                    json::splice(&json::text(self.raw.get(literal.clone()).unwrap_or_default()), inner)
                }
            };
            splices.push((literal.clone(), Cow::Owned(json::quote(&arguments))));
        }
        splices
    }
}

fn object<'a>(raw: &'a str, at: &str) -> Result<Object<'a>, ExchangeError> {
    serde_json::from_str(raw)
        .map_err(|error| invalid(at, format!("must be an object: {}", json::unreadable(&error))))
}

fn list<'a>(raw: &'a RawValue, at: &str) -> Result<Vec<&'a RawValue>, ExchangeError> {
    serde_json::from_str(raw.get()).map_err(|_| invalid(at, "must be a list"))
}

fn present<'a>(fields: &Object<'a>, field: &str) -> Option<&'a RawValue> {
    fields.get(field).filter(|value| value.get() != "null")
}

fn string(fields: &Object<'_>, field: &str, at: &str) -> Result<Option<String>, ExchangeError> {
    match present(fields, field) {
        Some(value) if json::is_string(value) => Ok(Some(unquote(value))),
        Some(_) => Err(invalid(&format!("{at}.{field}"), "must be a string")),
        None => Ok(None),
    }
}

fn unquote(literal: &RawValue) -> String {
    json::text(literal.get()).into_owned()
}
