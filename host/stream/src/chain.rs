//! ③⑥ Chains: a request passes processors, a response passes modifiers, each link seeing the text as the
//! link before it left it.
//!
//! [`Pipeline`] is what the configuration describes; `Links` is a pipeline at work for one exchange. A link
//! that failed with `fail_open` is out for the rest of the exchange, in both directions.

use std::sync::Arc;

use crate::error::ExchangeError;
use crate::lane::Finding;
use crate::stage::{Link, OnError, Plugin, StageError};

mod buffer;
mod flow;
mod request;
mod response;

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
            let mut active = ActiveLink { plugin: Arc::clone(plugin), link: None };
            match plugin.start().await {
                Ok(link) => active.link = Some(link),
                Err(error) => {
                    active.fail(error, "start")?;
                }
            }
            links.push(active);
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

/// One plugin at work.
pub(crate) struct ActiveLink {
    plugin: Arc<dyn Plugin>,
    /// `None` once it is out.
    link: Option<Box<dyn Link>>,
}

/// What becomes of the text that a failed call was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passed {
    /// This call counts as "nothing to change".
    ThisCall,
    /// The link is out; all that it holds passes.
    All,
}

impl ActiveLink {
    fn name(&self) -> &str {
        self.plugin.name()
    }

    /// Applies the step's `on_error` to a failure.
    ///
    /// # Errors
    /// The exchange's error, if the step is `fail_closed`.
    fn fail(&mut self, error: StageError, stage: &'static str) -> Result<Passed, ExchangeError> {
        let told = printable(&error.to_string());
        tracing::warn!(plugin = self.name(), stage, on_error = ?self.plugin.on_error(), error = told, "plugin failed");
        match (self.plugin.on_error(), &error) {
            (OnError::FailClosed, _) => {
                self.link = None;
                Err(ExchangeError::Plugin { plugin: self.name().to_owned(), error })
            }
            (OnError::Skip, StageError::Failed(_)) => Ok(Passed::ThisCall),
            (OnError::Skip | OnError::FailOpen, _) => {
                self.link = None;
                Ok(Passed::All)
            }
        }
    }

    fn report(&self, stage: &'static str, findings: &[Finding]) {
        for finding in findings {
            tracing::info!(
                plugin = self.name(),
                stage,
                rule = %printable(&finding.rule),
                lane = finding.lane,
                start = finding.start,
                end = finding.end,
                "finding"
            );
        }
    }
}

/// Words of a plugin or an upstream for the log: bounded, without control characters, so that they stay in their
/// line.
pub fn printable(text: &str) -> String {
    const PRINTED_MAX: usize = 500;
    text.chars().take(PRINTED_MAX).map(|char| if char.is_control() { ' ' } else { char }).collect()
}

#[cfg(test)]
mod tests;
