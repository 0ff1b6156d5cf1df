//! ⑥ What a response is made of: lanes, and the edits that modifiers make to them.
//!
//! These types mirror `wit/types.wit`, which documents each of them; this is their native form.

/// One append-only text of a response, with UTF-8 byte offsets from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane {
    /// Unique within the response.
    pub id: u32,
    /// The choice it belongs to.
    pub choice: u32,
    /// Its place among the parts of the choice.
    pub part: u32,
    /// What the text is for.
    pub channel: Channel,
    /// For a tool argument: the tool's name.
    pub name: Option<String>,
    /// For a tool argument: the value's JSON pointer; `None` where the arguments are not JSON.
    pub pointer: Option<String>,
}

/// What a lane's text is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// The answer.
    Text,
    /// The model's reasoning.
    Reasoning,
    /// A refusal by the model.
    Refusal,
    /// One string value of a tool call's arguments.
    ToolArgument,
    /// Any other text that a reader may see.
    Other,
}

/// Why a lane ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// The text is complete, the answer goes on with another part.
    Next,
    /// The model came to its end.
    Stop,
    /// The token limit was reached.
    Length,
    /// The model wants tools to be called.
    ToolCalls,
    /// A filter ended the answer.
    ContentFilter,
    /// Any other reason.
    Other,
}

/// New text at the end of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    /// The lane that grows.
    pub lane: u32,
    /// The number of bytes that the lane had before.
    pub offset: u32,
    /// Whole characters.
    pub text: &'a str,
}

/// Everything that is queued for a modifier.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch<'a> {
    /// Lanes that begin.
    pub opened: &'a [Lane],
    /// New text, at most one piece per lane.
    pub pieces: Vec<Piece<'a>>,
    /// Lanes that end with this batch.
    pub closed: &'a [(u32, CloseReason)],
}

/// Replace `[start, end)` of a lane. The rules are in `wit/types.wit`; breaking one is a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// A lane of the batch.
    pub lane: u32,
    /// First byte that is replaced.
    pub start: u32,
    /// The byte after the last one; equal to `start` inserts.
    pub end: u32,
    /// What takes its place.
    pub text: String,
}

/// Keep everything of a lane from `start` on with the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// A lane of the batch.
    pub lane: u32,
    /// First byte that is kept.
    pub start: u32,
}

/// Something to report. The rule's name is for the log, the text itself never is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The lane, or the item of a request.
    pub lane: u32,
    /// First byte.
    pub start: u32,
    /// The byte after the last one.
    pub end: u32,
    /// The name of a rule.
    pub rule: String,
}

/// An error that a plugin has for the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// An HTTP status from 400 to 499.
    pub status: u16,
    /// Short and safe to show.
    pub message: String,
}

/// How a plugin ends an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// With an error for the client.
    Reject(Rejection),
    /// With an answer in the model's place.
    Respond(String),
    /// The answer ends here, marked as filtered; the string is for the log.
    Block(String),
}

/// What a modifier makes of a batch. The default releases everything unchanged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Replacements, sorted by place within each lane.
    pub edits: Vec<Edit>,
    /// What stays with the host for now.
    pub holds: Vec<Hold>,
    /// What to report.
    pub findings: Vec<Finding>,
    /// Ends the exchange.
    pub stop: Option<Stop>,
}
