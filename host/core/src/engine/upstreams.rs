//! What the providers of all models did.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rust_proxy_upstream::{Counts, Tally};

/// What one provider of a model did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProviderCounts {
    /// The model, as clients ask for it.
    pub model: String,
    /// The provider's name in the configuration.
    pub provider: String,
    /// What it did so far.
    pub counts: Counts,
}

/// The tallies of providers, by model and provider.
#[derive(Default)]
pub(super) struct Upstreams(Mutex<BTreeMap<(String, String), Arc<Tally>>>);

impl Upstreams {
    /// The tally of a provider, or a new one.
    pub(super) fn tally(&self, model: &str, provider: &str) -> Arc<Tally> {
        self.lock().get(&(model.to_owned(), provider.to_owned())).cloned().unwrap_or_default()
    }

    /// Keeps a tally, for this and for what comes after.
    pub(super) fn keep(&self, model: &str, provider: &str, tally: &Arc<Tally>) {
        self.lock().insert((model.to_owned(), provider.to_owned()), Arc::clone(tally));
    }

    pub(super) fn counts(&self) -> Vec<ProviderCounts> {
        let one = |((model, provider), tally): (&(String, String), &Arc<Tally>)| ProviderCounts {
            model: model.clone(),
            provider: provider.clone(),
            counts: tally.snapshot(),
        };
        self.lock().iter().map(one).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, String), Arc<Tally>>> {
        // Nothing is left half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
