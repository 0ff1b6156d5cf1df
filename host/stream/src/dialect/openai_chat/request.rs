//! ②③ A request: its items, and the changes that are written back.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::chunk::CHOICES_MAX;
use crate::error::ExchangeError;
use crate::item::{Change, Item};
use crate::json::{self, Object};
use crate::stage::{Fault, FaultKind};

mod message;

use message::Message;

/// A chat request: the body as it came, and its messages as processors left them.
#[derive(Debug, Clone)]
pub struct Request {
    /// The body; every range below is one of its.
    body: String,
    model: String,
    model_place: Range<usize>,
    streaming: bool,
    include_usage: bool,
    choices: u32,
    spoken: bool,
    messages: Vec<Message>,
    messages_place: Range<usize>,
    changed: bool,
}

impl Request {
    /// Reads a request body.
    ///
    /// # Errors
    /// [`ExchangeError::InvalidRequest`], naming the JSON path of the culprit.
    pub fn parse(body: &Bytes) -> Result<Self, ExchangeError> {
        let body = std::str::from_utf8(body).map_err(|_| invalid("", "the body is not UTF-8"))?.to_owned();
        let fields = parse_object(&body)?;
        let model_raw = fields
            .get("model")
            .ok_or_else(|| invalid("model", "missing; name a model of `GET /v1/models`"))?;
        let model: String = typed("model", model_raw, "a string")?;
        let streaming = optional(&fields, "stream", "true or false")?.unwrap_or(false);
        let include_usage = match fields.get("stream_options").filter(|raw| raw.get() != "null") {
            Some(raw) => {
                let options: Object<'_> = nested("stream_options", raw, "an object")?;
                optional(&options, "include_usage", "true or false")?.unwrap_or(false)
            }
            None => false,
        };
        // A number that no upstream takes is the upstream's to refuse.
        let choices = fields.get("n").and_then(|raw| raw.get().parse().ok());
        let choices = choices.filter(|choices| (1..=CHOICES_MAX).contains(choices));
        let modalities: Option<Vec<String>> =
            fields.get("modalities").and_then(|raw| serde_json::from_str(raw.get()).ok());
        let messages_raw =
            fields.get("messages").ok_or_else(|| invalid("messages", "missing; send a list of messages"))?;
        let list: Vec<&RawValue> = nested("messages", messages_raw, "a list of messages")?;
        if list.is_empty() {
            return Err(invalid("messages", "empty; send at least one message"));
        }
        let messages = list
            .iter()
            .enumerate()
            .map(|(index, raw)| Message::parse(index, raw.get()))
            .collect::<Result<Vec<_>, _>>()?;
        let model_place = json::place(&body, model_raw.get());
        let messages_place = json::place(&body, messages_raw.get());
        Ok(Self {
            model,
            model_place,
            streaming,
            include_usage,
            choices: choices.and_then(|choices| u32::try_from(choices).ok()).unwrap_or(1),
            spoken: modalities.is_some_and(|all| all.iter().any(|modality| modality == "audio")),
            messages,
            messages_place,
            changed: false,
            body,
        })
    }

    /// The model that the client asks for.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Whether the client wants a stream.
    pub fn streaming(&self) -> bool {
        self.streaming
    }

    /// How many answers the client wants (`n`).
    pub fn choices(&self) -> u32 {
        self.choices
    }

    /// Whether the client wants to hear the answer (`modalities`).
    pub fn spoken(&self) -> bool {
        self.spoken
    }

    /// The text of the last message that a user wrote, its parts on lines of their own.
    pub fn last_user_text(&self) -> Option<String> {
        let message = self.messages.iter().rev().find(|message| message.role == "user")?;
        let texts: Vec<&str> = message.bodies().filter_map(|(_, body)| body.text()).collect();
        Some(texts.join("\n"))
    }

    /// Whether the client wants a usage frame in its stream.
    pub fn include_usage(&self) -> bool {
        self.include_usage
    }

    /// The body for an upstream that calls the model `model`. Apart from that name and from what processors
    /// changed, it is byte for byte the client's.
    pub fn to_body(&self, model: &str) -> Bytes {
        let mut changes: Vec<(Range<usize>, Cow<'_, str>)> = Vec::with_capacity(2);
        if model != self.model {
            changes.push((self.model_place.clone(), Cow::Owned(json::quote(model))));
        }
        if self.changed {
            let messages: Vec<_> = self.messages.iter().map(Message::to_json).collect();
            changes.push((self.messages_place.clone(), Cow::Owned(format!("[{}]", messages.join(",")))));
        }
        changes.sort_by_key(|(place, _)| place.start);
        Bytes::from(json::splice(&self.body, changes))
    }

    /// The request's items, in order.
    pub fn items(&self) -> Vec<Item> {
        let bodies = self.messages.iter().zip(0..).flat_map(|(message, index)| {
            message.bodies().map(move |(_, body)| (index, message.role.clone(), body.clone()))
        });
        bodies.zip(0..).map(|((message, role, body), id)| Item { id, message, role, body }).collect()
    }

    /// Makes the changes of one decision: all of them or, where one breaks the contract, none.
    ///
    /// # Errors
    /// A fault that says which change broke what.
    pub fn apply(&mut self, changes: &[Change]) -> Result<(), Fault> {
        if changes.is_empty() {
            return Ok(());
        }
        let mut messages: Vec<Option<Message>> = self.messages.iter().cloned().map(Some).collect();
        let mut insertions: Vec<(u32, Message)> = Vec::new();
        let mut set = HashSet::new();
        let places: Vec<(usize, usize)> = self
            .messages
            .iter()
            .enumerate()
            .flat_map(|(index, message)| message.bodies().map(move |(part, _)| (index, part)))
            .collect();
        for change in changes {
            match change {
                Change::SetText { item, text } => {
                    if !set.insert(*item) {
                        return Err(broken(format!("item {item} is set twice")));
                    }
                    let place = places.get(*item as usize);
                    let (message, part) = place.ok_or_else(|| broken(format!("there is no item {item}")))?;
                    if let Some(Some(message)) = messages.get_mut(*message) {
                        message
                            .set_text(*part, text)
                            .map_err(|()| broken(format!("item {item} has no text to set")))?;
                    }
                }
                Change::DropMessage(index) => match messages.get_mut(*index as usize) {
                    Some(message) => *message = None,
                    None => return Err(broken(format!("there is no message {index} to drop"))),
                },
                Change::Insert { before, role, text } => {
                    if *before as usize > messages.len() {
                        return Err(broken(format!("there is no message {before} to insert before")));
                    }
                    if !matches!(role.as_str(), "system" | "developer" | "user" | "assistant") {
                        return Err(broken(format!("a message of the role `{role}` cannot be inserted")));
                    }
                    insertions.push((*before, Message::new(role, text)));
                }
            }
        }
        insertions.sort_by_key(|(before, _)| *before);
        let mut insertions = insertions.into_iter().peekable();
        let mut changed = Vec::with_capacity(messages.len() + insertions.len());
        for (index, message) in (0..).zip(messages.into_iter().map(Some).chain([None])) {
            while let Some((_, message)) = insertions.next_if(|(before, _)| *before == index) {
                changed.push(message);
            }
            changed.extend(message.flatten().filter(|message| !message.is_emptied()));
        }
        check_calls(&self.messages, &changed)?;
        if changed.is_empty() {
            return Err(broken("no message is left".to_owned()));
        }
        self.messages = changed;
        self.changed = true;
        Ok(())
    }
}

/// Tool calls and their results stay together, and in order: a change may not part a pair that was whole.
fn check_calls(before: &[Message], after: &[Message]) -> Result<(), Fault> {
    let were_parted = parted_calls(before);
    match parted_calls(after).difference(&were_parted).next() {
        Some(call) => Err(broken(format!("the changes would part the call `{call}` from its result"))),
        None => Ok(()),
    }
}

/// The calls without a result, the results without a call, and those with another message between the two.
fn parted_calls(messages: &[Message]) -> HashSet<&str> {
    let mut parted = HashSet::new();
    let mut open: HashSet<&str> = HashSet::new();
    for message in messages {
        match &message.result_of {
            Some(call) => {
                if !open.remove(call.as_str()) {
                    parted.insert(call.as_str());
                }
            }
            None => parted.extend(open.drain()),
        }
        open.extend(message.calls.iter().map(String::as_str));
    }
    parted.extend(open);
    parted
}

fn broken(what: String) -> Fault {
    Fault::new(FaultKind::Contract, what)
}

pub(in crate::dialect) fn invalid(param: &str, message: impl Into<String>) -> ExchangeError {
    let message = message.into();
    if param.is_empty() {
        return ExchangeError::InvalidRequest { message, param: None };
    }
    ExchangeError::invalid(param, format!("`{param}`: {message}"))
}

/// The members of a body.
pub(in crate::dialect) fn parse_object(body: &str) -> Result<Object<'_>, ExchangeError> {
    serde_json::from_str(body)
        .map_err(|error| invalid("", format!("the body is not a JSON object: {}", json::unreadable(&error))))
}

fn typed<T: DeserializeOwned>(param: &str, raw: &RawValue, wanted: &str) -> Result<T, ExchangeError> {
    serde_json::from_str(raw.get()).map_err(|_| invalid(param, format!("must be {wanted}")))
}

fn nested<'a, T: serde::Deserialize<'a>>(
    param: &str,
    raw: &'a RawValue,
    wanted: &str,
) -> Result<T, ExchangeError> {
    serde_json::from_str(raw.get())
        .map_err(|error| invalid(param, format!("must be {wanted}: {}", json::unreadable(&error))))
}

fn optional<T: DeserializeOwned>(
    fields: &Object<'_>,
    param: &str,
    wanted: &str,
) -> Result<Option<T>, ExchangeError> {
    match fields.get(param) {
        Some(raw) if raw.get() != "null" => typed(param, raw, wanted).map(Some),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests;
