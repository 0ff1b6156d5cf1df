//! The stages of an exchange as traits: what a plugin, native or sandboxed, has to implement.

use std::fmt;

use async_trait::async_trait;

use crate::account::{Account, Usage};
use crate::item::{Decision, Item};
use crate::lane::{Batch, Finding, Outcome};

/// The exchange that a call belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// The id that the client sees as `x-request-id`.
    pub request_id: String,
    /// The model that the client asked for.
    pub model: String,
    /// The client's wire format: `openai-chat` or `chat`.
    pub dialect: &'static str,
    /// Whether the client asked for a stream.
    pub streaming: bool,
    /// What the configuration adds.
    pub metadata: Vec<(String, String)>,
}

/// ③ Works on a request before the model is asked.
///
/// Called once per request with the whole conversation, as the links before it left it.
#[async_trait]
pub trait Processor: Send {
    /// Decides what becomes of a request.
    ///
    /// # Errors
    /// "I failed", or a fault; the step's [`OnError`] says what becomes of the exchange.
    ///
    /// # Cancellation
    /// After a dropped call the link must not be called again.
    async fn process(&mut self, context: &Context, items: &[Item]) -> Result<Decision, StageError>;
}

/// ⑥ Works on an answer while it flows.
///
/// [`open`](Self::open) comes first, then any number of [`push`](Self::push), then at most one
/// [`finish`](Self::finish); never concurrently.
#[async_trait]
pub trait ResponseModifier: Send {
    /// Begins a response.
    ///
    /// # Errors
    /// As [`Processor::process`].
    async fn open(&mut self, context: &Context) -> Result<(), StageError>;

    /// Takes all that is queued and says what becomes of it.
    ///
    /// # Errors
    /// As [`Processor::process`].
    ///
    /// # Cancellation
    /// After a dropped call the link must not be called again.
    async fn push(&mut self, batch: &Batch<'_>) -> Result<Outcome, StageError>;

    /// Ends a response that has passed as a whole, or is stopped; not called after a failure. Its client learns of
    /// the end behind it.
    ///
    /// # Errors
    /// As [`Processor::process`].
    async fn finish(&mut self) -> Result<Vec<Finding>, StageError>;
}

/// A plugin at work for one exchange: the same value sees the request and then its answer.
///
/// Dropping it is the end of the exchange, however it ended.
pub trait Link: Send {
    /// Its request side, if it has one.
    fn processor(&mut self) -> Option<&mut dyn Processor> {
        None
    }

    /// Its response side, if it has one.
    fn modifier(&mut self) -> Option<&mut dyn ResponseModifier> {
        None
    }

    /// What the exchange's calls took so far, one that did not return included. `None` where the link does not
    /// measure itself; the chain then takes the wall time of its calls.
    fn usage(&self) -> Option<Usage> {
        None
    }
}

/// Something that can be named in a pipeline: makes a [`Link`] for each exchange.
#[async_trait]
pub trait Plugin: Send + Sync + fmt::Debug {
    /// The name in the configuration.
    fn name(&self) -> &str;

    /// What becomes of an exchange when the plugin fails.
    fn on_error(&self) -> OnError;

    /// Gives a configured link. Called once per exchange, before its first stage.
    ///
    /// # Errors
    /// A fault: no link could be made.
    async fn start(&self) -> Result<Box<dyn Link>, StageError>;

    /// Takes the account of an exchange. Called once per exchange, after its link is gone or could not be had,
    /// however the exchange ended.
    fn settle(&self, _account: &Account) {}
}

/// What becomes of an exchange when a plugin fails or faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnError {
    /// The exchange ends with an error; held text never leaves.
    #[default]
    FailClosed,
    /// The link is out for the rest of the exchange; held text is released as it came, and counted as
    /// unscanned.
    FailOpen,
    /// The call counts as "nothing to change"; the link stays in. A fault acts as [`Self::FailOpen`].
    Skip,
}

/// Why a stage gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StageError {
    /// The plugin said that it failed, in its own words.
    #[error("failed: {0}")]
    Failed(String),
    /// The plugin broke a rule or a limit and cannot go on.
    #[error("{0}")]
    Fault(#[from] Fault),
}

impl StageError {
    /// Its kind, as [`Account::failures`] has it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Failed(_) => "failed",
            Self::Fault(fault) => fault.kind.name(),
        }
    }
}

/// How a plugin broke.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {detail}")]
pub struct Fault {
    /// What kind of fault it is.
    pub kind: FaultKind,
    /// For the log.
    pub detail: String,
}

impl Fault {
    /// A fault of a kind, with a detail for the log.
    pub fn new(kind: FaultKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }
}

/// The kinds of [`Fault`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// The plugin trapped.
    Trap,
    /// It used up its CPU time for the call.
    Cpu,
    /// The call took too long.
    Wall,
    /// It wanted more memory than its limit.
    Memory,
    /// Its answer was larger than its limit.
    Output,
    /// It held back more text than the host keeps.
    Held,
    /// Its answer broke a rule of the contract.
    Contract,
    /// The host could not run it.
    Host,
}

impl FaultKind {
    /// What logs and counters call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::Cpu => "cpu limit",
            Self::Wall => "wall limit",
            Self::Memory => "memory limit",
            Self::Output => "output limit",
            Self::Held => "held text limit",
            Self::Contract => "broken contract",
            Self::Host => "host failure",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
