//! OpenAI chat completions: `POST /v1/chat/completions`, streaming and not.
//!
//! Nothing is deserialised into a model of the format and written out again. The places that hold text are
//! found in the JSON as it came, and where a plugin changed a text, that literal alone is replaced; so
//! unknown fields, number spellings and key order survive, and what was not changed is not even copied.
//! `docs/dialects.md` says which field is which item or lane.

mod chunk;
mod request;
mod response;

pub use chunk::{error_message, reported_error};
pub use request::Request;
pub(super) use request::{invalid, parse_object};
pub(crate) use response::{Response, canned};

/// The event that ends a stream that is complete or stopped.
pub const TERMINAL: &[u8] = b"data: [DONE]\n\n";
