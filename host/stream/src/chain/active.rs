//! One plugin at work for one exchange: its link, what becomes of its failures, and its account.

use std::sync::Arc;

use crate::account::Account;
use crate::chain::printable;
use crate::error::ExchangeError;
use crate::lane::{Finding, Stop};
use crate::stage::{Link, OnError, Plugin, Processor, ResponseModifier, StageError};

/// How many findings of an exchange are logged for each link: more than anybody reads.
const FINDINGS_MAX: usize = 100;

/// One plugin at work. Dropping it settles its account.
pub(crate) struct ActiveLink {
    plugin: Arc<dyn Plugin>,
    /// `None` once it is out.
    link: Option<Box<dyn Link>>,
    /// Whether its calls are timed here.
    timed: bool,
    /// Findings that were logged.
    reported: usize,
    pub(super) account: Account,
}

/// What becomes of the text that a failed call was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passed {
    /// This call counts as "nothing to change".
    ThisCall,
    /// The link is out; all that it holds passes.
    All,
}

impl ActiveLink {
    /// Takes a link of a plugin.
    ///
    /// # Errors
    /// [`ExchangeError::Plugin`] where it could not be had and the step does not say `fail_open`.
    pub(super) async fn start(plugin: &Arc<dyn Plugin>) -> Result<Self, ExchangeError> {
        let account = Account { exchanges: 1, ..Account::default() };
        let mut active = Self { plugin: Arc::clone(plugin), link: None, timed: false, reported: 0, account };
        match plugin.start().await {
            Ok(link) => {
                active.timed = link.usage().is_none();
                active.link = Some(link);
            }
            Err(error) => {
                active.fail(error, "start")?;
            }
        }
        Ok(active)
    }

    pub(super) fn name(&self) -> &str {
        self.plugin.name()
    }

    pub(super) fn is_out(&self) -> bool {
        self.link.is_none()
    }

    /// Its request side, for one call.
    pub(super) fn processor(&mut self) -> Option<(&mut dyn Processor, Call<'_>)> {
        let processor = self.link.as_mut()?.processor()?;
        Some((processor, Call::begin(&mut self.account, self.timed)))
    }

    /// Its response side, for one call.
    pub(super) fn modifier(&mut self) -> Option<(&mut dyn ResponseModifier, Call<'_>)> {
        let modifier = self.link.as_mut()?.modifier()?;
        Some((modifier, Call::begin(&mut self.account, self.timed)))
    }

    /// Takes the link out for the rest of the exchange.
    pub(super) fn take_out(&mut self) {
        if let Some(usage) = self.link.take().and_then(|link| link.usage()) {
            self.account.usage = usage;
        }
    }

    /// Applies the step's `on_error` to a failure.
    ///
    /// # Errors
    /// The exchange's error, if the step is `fail_closed`.
    pub(super) fn fail(&mut self, error: StageError, stage: &'static str) -> Result<Passed, ExchangeError> {
        *self.account.failures.entry(error.kind()).or_default() += 1;
        let told = printable(&error.to_string());
        tracing::warn!(plugin = self.name(), stage, on_error = ?self.plugin.on_error(), error = told, "plugin failed");
        match (self.plugin.on_error(), &error) {
            (OnError::FailClosed, _) => {
                self.take_out();
                Err(ExchangeError::Plugin { plugin: self.name().to_owned(), error })
            }
            (OnError::Skip, StageError::Failed(_)) => Ok(Passed::ThisCall),
            (OnError::Skip | OnError::FailOpen, _) => {
                self.take_out();
                Ok(Passed::All)
            }
        }
    }

    /// Logs findings. An answer may have some ten thousand, and writing them takes time that nobody is billed for.
    pub(super) fn report(&mut self, stage: &'static str, findings: &[Finding]) {
        let room = FINDINGS_MAX - self.reported;
        self.reported += findings.len().min(room);
        if room > 0 && findings.len() > room {
            tracing::warn!(
                plugin = self.name(),
                "more than {FINDINGS_MAX} findings; the rest is counted, not logged"
            );
        }
        for finding in findings.iter().take(room) {
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

    /// Takes note of a stop. Answers with the text of a `respond`; with `None`, the exchange is blocked.
    ///
    /// # Errors
    /// The exchange's error, if it is a `reject`.
    pub(super) fn stopped(
        &mut self,
        stop: Stop,
        stage: &'static str,
    ) -> Result<Option<String>, ExchangeError> {
        let mut count = |kind| *self.account.stops.entry(kind).or_default() += 1;
        match stop {
            Stop::Reject(rejection) => {
                count("reject");
                Err(ExchangeError::Rejected { plugin: self.name().to_owned(), rejection })
            }
            Stop::Respond(text) => {
                count("respond");
                Ok(Some(text))
            }
            Stop::Block(reason) => {
                count("block");
                tracing::info!(plugin = self.name(), stage, reason = printable(&reason), "blocked");
                Ok(None)
            }
        }
    }
}

impl Drop for ActiveLink {
    fn drop(&mut self) {
        self.take_out();
        self.account.log(self.name());
        self.plugin.settle(&self.account);
    }
}

#[expect(clippy::disallowed_types, reason = "a measure that nothing waits for; this crate has no runtime")]
type Instant = std::time::Instant;

/// A call: counted, and timed until it is dropped.
pub(super) struct Call<'a> {
    account: &'a mut Account,
    began: Option<Instant>,
}

impl<'a> Call<'a> {
    fn begin(account: &'a mut Account, timed: bool) -> Self {
        account.calls += 1;
        Self { account, began: timed.then(Instant::now) }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if let Some(began) = self.began {
            self.account.usage.wall += began.elapsed();
        }
    }
}
