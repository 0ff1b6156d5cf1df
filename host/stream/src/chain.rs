//! ③⑥ Chains: a request passes processors, a response passes modifiers, each link seeing the text as the
//! link before it left it.
//!
//! [`Pipeline`] is what the configuration describes; `Links` is a pipeline at work for one exchange. A link
//! that failed with `fail_open` is out for the rest of the exchange, in both directions.

use std::sync::Arc;

use crate::error::ExchangeError;
use crate::stage::Plugin;

mod active;
mod buffer;
mod flow;
mod request;
mod response;

use active::{ActiveLink, Passed};
pub(crate) use flow::{Flow, LaneText};
pub(crate) use request::{Processed, process};
pub(crate) use response::{ResponseChain, Stopped};

/// Plugins and the order in which requests and responses pass them.
#[derive(Debug, Clone, Default)]
pub struct Pipeline {
    /// Each plugin once.
    pub plugins: Vec<Arc<dyn Plugin>>,
    /// The places in `plugins` that a request passes, in order.
    pub process: Vec<usize>,
    /// The places in `plugins` that a response passes, in order.
    pub modify: Vec<usize>,
}

impl Pipeline {
    /// Takes a link of every plugin.
    ///
    /// # Errors
    /// [`ExchangeError::Plugin`] where one could not be had and its step does not say `fail_open`.
    pub(crate) async fn start(&self) -> Result<Links, ExchangeError> {
        let mut links = Vec::with_capacity(self.plugins.len());
        for plugin in &self.plugins {
            links.push(ActiveLink::start(plugin).await?);
        }
        Ok(Links { links, process: self.process.clone(), modify: self.modify.clone() })
    }
}

/// A pipeline at work for one exchange.
pub(crate) struct Links {
    links: Vec<ActiveLink>,
    process: Vec<usize>,
    modify: Vec<usize>,
}

/// Words of a plugin or an upstream for the log: bounded, without control characters, so that they stay in their
/// line.
pub fn printable(text: &str) -> String {
    const PRINTED_MAX: usize = 500;
    printable_up_to(PRINTED_MAX, text)
}

/// As [`printable`], with so many characters at most.
pub fn printable_up_to(most: usize, text: &str) -> String {
    // Besides the control characters, those that end a line or turn its direction.
    let spoils = |char: char| {
        char.is_control()
            || matches!(char, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().take(most).map(|char| if spoils(char) { ' ' } else { char }).collect()
}

#[cfg(test)]
mod tests;
