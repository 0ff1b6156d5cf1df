//! Between the contract's types and those of `rust-proxy-stream`.

use rust_proxy_stream::item::{Body, Change, Decision, Item};
use rust_proxy_stream::lane::{
    self, Batch, Channel, CloseReason, Edit, Finding, Hold, Outcome, Rejection, Stop,
};
use rust_proxy_stream::stage::Context;

use crate::bindings::types;

/// A context with its metadata, which the contract wants as a slice of pairs.
pub(crate) fn context<'a>(context: &'a Context, metadata: &'a [(&'a str, &'a str)]) -> types::Context<'a> {
    types::Context {
        request_id: &context.request_id,
        model: &context.model,
        dialect: context.dialect,
        streaming: context.streaming,
        metadata,
    }
}

pub(crate) fn metadata(context: &Context) -> Vec<(&str, &str)> {
    pairs(&context.metadata)
}

pub(crate) fn pairs(pairs: &[(String, String)]) -> Vec<(&str, &str)> {
    pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

pub(crate) fn item(item: &Item) -> types::Item<'_> {
    let body = match &item.body {
        Body::Text(text) => types::Body::Text(text),
        Body::ToolCall { id, name } => types::Body::ToolCall(types::ToolCall { id, name }),
        Body::ToolArgument { call, pointer, text } => {
            types::Body::ToolArgument(types::ToolArgument { call, pointer: pointer.as_deref(), text })
        }
        Body::ToolResult { call, text } => types::Body::ToolResult(types::ToolResult { call, text }),
        Body::Opaque(kind) => types::Body::Opaque(kind),
    };
    types::Item { id: item.id, message: item.message, role: &item.role, body }
}

pub(crate) fn decision(decision: types::Decision) -> Decision {
    Decision {
        changes: decision.changes.into_iter().map(change).collect(),
        route: decision.route,
        findings: findings(decision.findings),
        stop: decision.stop.map(stop),
    }
}

fn change(change: types::Change) -> Change {
    match change {
        types::Change::SetText(types::TextChange { item, text }) => Change::SetText { item, text },
        types::Change::DropMessage(message) => Change::DropMessage(message),
        types::Change::Insert(types::Insertion { before, role, text }) => {
            Change::Insert { before, role, text }
        }
    }
}

/// The lists of a batch in the contract's types.
pub(crate) struct BatchLists<'a> {
    opened: Vec<types::Lane<'a>>,
    pieces: Vec<types::Piece<'a>>,
    closed: Vec<(u32, types::CloseReason)>,
}

impl<'a> BatchLists<'a> {
    pub(crate) fn new(batch: &Batch<'a>) -> Self {
        let piece = |piece: &lane::Piece<'a>| types::Piece {
            lane: piece.lane,
            offset: piece.offset,
            text: piece.text,
        };
        Self {
            opened: batch.opened.iter().map(lane).collect(),
            pieces: batch.pieces.iter().map(piece).collect(),
            closed: batch.closed.iter().map(|(lane, reason)| (*lane, close_reason(*reason))).collect(),
        }
    }

    pub(crate) fn batch(&self) -> types::Batch<'_> {
        types::Batch { opened: &self.opened, pieces: &self.pieces, closed: &self.closed }
    }
}

fn lane(lane: &lane::Lane) -> types::Lane<'_> {
    let channel = match lane.channel {
        Channel::Text => types::Channel::Text,
        Channel::Reasoning => types::Channel::Reasoning,
        Channel::Refusal => types::Channel::Refusal,
        Channel::ToolArgument => types::Channel::ToolArgument,
        Channel::Other => types::Channel::Other,
    };
    types::Lane {
        id: lane.id,
        choice: lane.choice,
        part: lane.part,
        channel,
        name: lane.name.as_deref(),
        pointer: lane.pointer.as_deref(),
    }
}

fn close_reason(reason: CloseReason) -> types::CloseReason {
    match reason {
        CloseReason::Next => types::CloseReason::Next,
        CloseReason::Stop => types::CloseReason::Stop,
        CloseReason::Length => types::CloseReason::Length,
        CloseReason::ToolCalls => types::CloseReason::ToolCalls,
        CloseReason::ContentFilter => types::CloseReason::ContentFilter,
        CloseReason::Other => types::CloseReason::Other,
    }
}

pub(crate) fn outcome(outcome: types::Outcome) -> Outcome {
    let edit = |types::Edit { lane, start, end, text }| Edit { lane, start, end, text };
    let hold = |types::Hold { lane, start }| Hold { lane, start };
    Outcome {
        edits: outcome.edits.into_iter().map(edit).collect(),
        holds: outcome.holds.into_iter().map(hold).collect(),
        findings: findings(outcome.findings),
        stop: outcome.stop.map(stop),
    }
}

pub(crate) fn findings(findings: Vec<types::Finding>) -> Vec<Finding> {
    let finding = |types::Finding { lane, start, end, rule }| Finding { lane, start, end, rule };
    findings.into_iter().map(finding).collect()
}

fn stop(stop: types::Stop) -> Stop {
    match stop {
        types::Stop::Reject(types::Rejection { status, message }) => {
            Stop::Reject(Rejection { status, message })
        }
        types::Stop::Respond(text) => Stop::Respond(text),
        types::Stop::Block(reason) => Stop::Block(reason),
    }
}
