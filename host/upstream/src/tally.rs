//! ⑤ What providers were asked and what became of it, as numbers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rust_proxy_stream::UpstreamError;
use rust_proxy_stream::upstream::{Tokens, Watch};

/// What one provider of a model did.
///
/// Locked when it is asked, and once when its answer has ended.
#[derive(Debug, Default)]
pub struct Tally(Mutex<Counts>);

/// What a provider did so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// How often it was asked.
    pub attempts: u64,
    /// Its failures by [kind](UpstreamError::kind), those of answers that had begun included.
    pub errors: BTreeMap<&'static str, u64>,
    /// What its answers took, where it said so.
    pub tokens: Tokens,
}

impl Tally {
    /// What there is so far.
    pub fn snapshot(&self) -> Counts {
        self.lock().clone()
    }

    pub(crate) fn asked(&self) {
        self.lock().attempts += 1;
    }

    pub(crate) fn failed(&self, error: &UpstreamError) {
        *self.lock().errors.entry(error.kind()).or_default() += 1;
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // Additions do not panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts one answer.
#[derive(Debug)]
pub(crate) struct Counting(pub(crate) Arc<Tally>);

impl Watch for Counting {
    fn ended(self: Box<Self>, tokens: Option<Tokens>, error: Option<&UpstreamError>) {
        if let Some(Tokens { prompt, completion }) = tokens {
            let mut counts = self.0.lock();
            // They are what an upstream says.
            counts.tokens.prompt = counts.tokens.prompt.saturating_add(prompt);
            counts.tokens.completion = counts.tokens.completion.saturating_add(completion);
        }
        if let Some(error) = error {
            self.0.failed(error);
        }
    }
}
