//! The traits that a plugin implements.

use crate::{Batch, Context, Decision, Finding, Item, Outcome, SignRequest};

/// Who a plugin is; for people, nothing depends on it.
///
/// # Examples
///
/// ```
/// use rust_proxy_sdk::Description;
///
/// let this = Description::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), "Does nothing.");
/// assert_eq!(this.name, "rust-proxy-sdk");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Short name.
    pub name: String,
    /// The plugin's own version.
    pub version: String,
    /// What it does, in a sentence.
    pub summary: String,
}

impl Description {
    /// A description of these three.
    pub fn new(name: impl Into<String>, version: impl Into<String>, summary: impl Into<String>) -> Self {
        Self { name: name.into(), version: version.into(), summary: summary.into() }
    }
}

/// What every plugin has: a description, and a configuration.
///
/// The value is the plugin's instance. It serves one exchange: at most one request, then at most one response.
///
/// # Examples
///
/// ```
/// use rust_proxy_sdk::{Description, Plugin, parse_config};
///
/// #[derive(serde::Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Greeter {
///     greeting: String,
/// }
///
/// impl Plugin for Greeter {
///     fn describe() -> Description {
///         Description::new("greeter", "1.0.0", "Greets.")
///     }
///
///     fn configure(config_json: &str) -> Result<Self, String> {
///         parse_config(config_json)
///     }
/// }
///
/// assert_eq!(Greeter::configure(r#"{"greeting": "hello"}"#).unwrap().greeting, "hello");
/// ```
pub trait Plugin: Sized + 'static {
    /// Says who the plugin is. May be called before [`configure`](Self::configure).
    fn describe() -> Description;

    /// Makes the instance from its configuration: a JSON object, `{}` where the TOML has none.
    ///
    /// Called once per instance, before all else but `describe`, and off the request path: costly preparations
    /// belong here. Memory that it gives back lies in gaps between what it keeps; of them about 512 KiB at
    /// most are not used again, so that instances that are copies of this one have few pages of their own.
    ///
    /// # Errors
    ///
    /// An error refuses the plugin at start. Its text should name the key and say what to write instead.
    fn configure(config_json: &str) -> Result<Self, String>;
}

/// Works on a request before the model is asked. Exported by [`processor_plugin!`](crate::processor_plugin)
/// and [`filter_plugin!`](crate::filter_plugin).
///
/// # Examples
///
/// ```
/// use rust_proxy_sdk::{Context, Decision, Description, Item, Plugin, Processor};
///
/// /// Asks for short answers.
/// struct Brief;
///
/// impl Plugin for Brief {
///     fn describe() -> Description {
///         Description::new("brief", "1.0.0", "Asks for short answers.")
///     }
///
///     fn configure(_: &str) -> Result<Self, String> {
///         Ok(Self)
///     }
/// }
///
/// impl Processor for Brief {
///     fn process(&mut self, _: &Context, _: &[Item]) -> Result<Decision, String> {
///         let mut decision = Decision::unchanged();
///         decision.insert(0, "system", "Answer in one sentence.");
///         Ok(decision)
///     }
/// }
///
/// rust_proxy_sdk::processor_plugin!(Brief);
/// # fn main() {}
/// ```
pub trait Processor: Plugin {
    /// Takes the whole conversation and says what to change.
    ///
    /// Called once per request; after the gateway ran tools, again in the same instance with the new items only.
    ///
    /// # Errors
    ///
    /// An error means "I failed", and the step's `on_error` says what becomes of the exchange. To refuse a
    /// request, answer with [`Decision::reject`].
    fn process(&mut self, context: &Context, items: &[Item]) -> Result<Decision, String>;
}

/// Works on an answer while it flows. Exported by
/// [`response_modifier_plugin!`](crate::response_modifier_plugin) and [`filter_plugin!`](crate::filter_plugin).
///
/// The crate's documentation has a whole example.
pub trait ResponseModifier: Plugin {
    /// The state of one response.
    type Session: Session;

    /// Begins a response. Called before its first batch, in the instance that saw the request.
    ///
    /// # Errors
    ///
    /// An error means "I failed": the step's `on_error` says what becomes of the exchange.
    fn open(&mut self, context: &Context) -> Result<Self::Session, String>;
}

/// One response. Dropped when the exchange is over, however it ended.
///
/// # Examples
///
/// ```
/// use rust_proxy_sdk::{Batch, Finding, Outcome, Session};
///
/// /// Counts what flows by, and changes nothing.
/// struct Count(usize);
///
/// impl Session for Count {
///     fn push(&mut self, batch: &Batch) -> Result<Outcome, String> {
///         self.0 += batch.pieces.iter().map(|piece| piece.text.len()).sum::<usize>();
///         Ok(Outcome::release())
///     }
///
///     fn finish(&mut self) -> Result<Vec<Finding>, String> {
///         let rule = format!("{} bytes", self.0);
///         Ok(vec![Finding { lane: 0, start: 0, end: 0, rule }])
///     }
/// }
/// ```
pub trait Session: 'static {
    /// Takes all that is queued and says what becomes of it.
    ///
    /// Called in order, never concurrently. See [`Outcome`] for the rules of edits and holds; breaking one is a
    /// fault of the plugin.
    ///
    /// # Errors
    ///
    /// An error means "I failed". To end an answer, use [`Outcome::block`] or its neighbours.
    fn push(&mut self, batch: &Batch) -> Result<Outcome, String>;

    /// Says what is left to report. Called once after the last batch, when all of the answer has passed or it is
    /// stopped; never after a failure. The client is told of the end behind it. Reports nothing unless implemented.
    ///
    /// # Errors
    ///
    /// An error means "I failed".
    fn finish(&mut self) -> Result<Vec<Finding>, String> {
        Ok(Vec::new())
    }
}

/// Signs requests for a provider. Exported by [`signer_plugin!`](crate::signer_plugin).
///
/// # Examples
///
/// ```
/// use rust_proxy_sdk::{Description, Plugin, SignRequest, Signer};
///
/// struct Length;
///
/// impl Plugin for Length {
///     fn describe() -> Description {
///         Description::new("length", "1.0.0", "Signs with the length of the content.")
///     }
///
///     fn configure(_: &str) -> Result<Self, String> {
///         Ok(Self)
///     }
/// }
///
/// impl Signer for Length {
///     fn sign(&mut self, request: &SignRequest) -> Result<Vec<(String, String)>, String> {
///         Ok(vec![("sign".to_owned(), request.content.len().to_string())])
///     }
/// }
///
/// rust_proxy_sdk::signer_plugin!(Length);
/// # fn main() {}
/// ```
pub trait Signer: Plugin {
    /// Called once per attempt. The names and values go where the configuration lists them, and nowhere else.
    ///
    /// # Errors
    ///
    /// An error ends the attempt.
    fn sign(&mut self, request: &SignRequest) -> Result<Vec<(String, String)>, String>;
}
