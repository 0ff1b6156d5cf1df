//! Ends an answer with an emoji, or any other short text.
//!
//! It goes to the end of each answer that the model finished: the lanes of the channel `text` that close with
//! `stop` and have more than white space in them. A text before a tool call, an answer that was cut by the token
//! limit or a filter, reasoning, refusals and tool arguments stay as they are. Nothing is held back.
//!
//! | key | meaning | default |
//! |---|---|---|
//! | `text` | what is appended, as it is written | `" 😊"` |
//!
//! An answer in a format for machines (JSON, say) is an answer too: keep this plugin out of its pipeline.

#[cfg(test)]
mod tests;

use std::rc::Rc;

use rust_proxy_sdk::{
    Batch, Channel, CloseReason, Context, Description, Lanes, Outcome, Plugin, ResponseModifier, Session,
    parse_config,
};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    text: Option<String>,
}

/// The plugin.
#[derive(Debug)]
pub struct Emoji {
    text: Rc<str>,
}

impl Plugin for Emoji {
    fn describe() -> Description {
        let summary = "Ends complete answers with an emoji.";
        Description::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), summary)
    }

    fn configure(config_json: &str) -> Result<Self, String> {
        let Config { text } = parse_config(config_json)?;
        let text = text.unwrap_or_else(|| " 😊".to_owned());
        if text.is_empty() {
            return Err("`text` is empty: write what to append, or remove the key".to_owned());
        }
        Ok(Self { text: text.into() })
    }
}

impl ResponseModifier for Emoji {
    type Session = Appending;

    fn open(&mut self, _: &Context) -> Result<Appending, String> {
        Ok(Appending { text: Rc::clone(&self.text), lanes: Lanes::new() })
    }
}

/// One answer.
#[derive(Debug)]
pub struct Appending {
    text: Rc<str>,
    lanes: Lanes<Lane>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lane {
    /// Not an answer's text.
    Other,
    /// An answer without anything to see yet.
    Blank,
    /// An answer.
    Written,
}

impl Session for Appending {
    fn push(&mut self, batch: &Batch) -> Result<Outcome, String> {
        let mut outcome = Outcome::release();
        self.lanes.update(
            batch,
            |lane| if lane.channel == Channel::Text { Lane::Blank } else { Lane::Other },
            |lane, update| {
                if *lane == Lane::Blank && !update.text.trim().is_empty() {
                    *lane = Lane::Written;
                }
                if *lane == Lane::Written && update.closed == Some(CloseReason::Stop) {
                    outcome.insert(update.lane, update.end(), &*self.text);
                }
                Ok(())
            },
        )?;
        Ok(outcome)
    }
}

rust_proxy_sdk::response_modifier_plugin!(Emoji);
