//! ②③ What a request is made of: items, and the changes that processors make to them.
//!
//! These types mirror `wit/types.wit`, which documents each of them; this is their native form.

use crate::lane::{Finding, Stop};

/// One part of a request: a text part, a tool call, one string value of its arguments, a tool's result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Unique within the request, ascending.
    pub id: u32,
    /// The message it belongs to, counted from 0.
    pub message: u32,
    /// The message's role.
    pub role: String,
    /// What it is.
    pub body: Body,
}

/// What an [`Item`] is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// A text part of a message.
    Text(String),
    /// A tool call of an earlier assistant message.
    ToolCall {
        /// The call's id.
        id: String,
        /// The tool's name.
        name: String,
    },
    /// One string value of a tool call's arguments, unescaped.
    ToolArgument {
        /// The call's id.
        call: String,
        /// The value's JSON pointer; `None` where the arguments are not JSON.
        pointer: Option<String>,
        /// The value.
        text: String,
    },
    /// One text of a tool's result.
    ToolResult {
        /// The call's id.
        call: String,
        /// The text.
        text: String,
    },
    /// A part that stays with the host; its kind (`image_url`).
    Opaque(String),
}

impl Body {
    /// The text that a processor may set, if there is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::ToolArgument { text, .. } | Self::ToolResult { text, .. } => Some(text),
            Self::ToolCall { .. } | Self::Opaque(_) => None,
        }
    }
}

/// One change to a request; all changes of a decision count messages and items as they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Replace an item's text.
    SetText {
        /// The item.
        item: u32,
        /// Its new text; empty removes the part, and a message left without parts.
        text: String,
    },
    /// Remove a message.
    DropMessage(u32),
    /// Add a message.
    Insert {
        /// The message before which it goes; the number of messages appends.
        before: u32,
        /// Its role.
        role: String,
        /// Its text.
        text: String,
    },
}

/// What a processor makes of a request. The default leaves it as it came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// What to change.
    pub changes: Vec<Change>,
    /// Ask this model of the configuration instead.
    pub route: Option<String>,
    /// What to report; a finding's `lane` is the item.
    pub findings: Vec<Finding>,
    /// Ends the exchange without a model call.
    pub stop: Option<Stop>,
}
