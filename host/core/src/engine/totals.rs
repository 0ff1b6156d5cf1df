//! What the plugins of all generations did, and which of their instances there still are.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rust_proxy_stream::account::{Account, Times, Total};
use rust_proxy_wasm::{Instances, Population};

/// Generations of a plugin that are told apart, beside those that have instances left. What older ones did is kept as
/// a sum.
const KEPT: usize = 16;

/// A plugin as one generation loaded it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PluginGeneration {
    /// Its name in the configuration.
    pub name: String,
    /// The generation that loaded it.
    pub generation: u64,
    /// What it did in the exchanges that have ended.
    pub account: Account,
    /// What its calls took in each of them.
    pub times: Times,
    /// Its instances.
    pub instances: Instances,
}

#[derive(Default)]
pub(super) struct Totals(Mutex<BTreeMap<String, Plugin>>);

/// A plugin of all generations.
#[derive(Default)]
struct Plugin {
    /// What the generations that are no longer told apart did.
    before: Account,
    /// The oldest first.
    kept: Vec<Loaded>,
}

struct Loaded {
    generation: u64,
    total: Arc<Total>,
    population: Population,
}

impl Totals {
    pub(super) fn add(&self, name: &str, generation: u64, total: Arc<Total>, population: Population) {
        let mut plugins = self.lock();
        let plugin = plugins.entry(name.to_owned()).or_default();
        let is_over = |loaded: &Loaded| loaded.population.count().live == 0;
        if plugin.kept.len() >= KEPT
            && let Some(oldest) = plugin.kept.iter().position(is_over)
        {
            let oldest = plugin.kept.remove(oldest);
            plugin.before.add(&oldest.total.snapshot());
        }
        plugin.kept.push(Loaded { generation, total, population });
    }

    pub(super) fn by_name(&self) -> BTreeMap<String, Account> {
        let sum = |plugin: &Plugin| {
            plugin.kept.iter().fold(plugin.before.clone(), |mut sum, loaded| {
                sum.add(&loaded.total.snapshot());
                sum
            })
        };
        self.lock().iter().map(|(name, plugin)| (name.clone(), sum(plugin))).collect()
    }

    pub(super) fn by_generation(&self) -> Vec<PluginGeneration> {
        let plugins = self.lock();
        let all = plugins.iter().flat_map(|(name, plugin)| plugin.kept.iter().map(move |it| (name, it)));
        let one = |(name, loaded): (&String, &Loaded)| {
            let (account, times) = loaded.total.snapshot_with_times();
            let (name, generation, instances) = (name.clone(), loaded.generation, loaded.population.count());
            PluginGeneration { name, generation, account, times, instances }
        };
        all.map(one).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Plugin>> {
        // Nothing is left half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_older_generations_did_is_still_counted() {
        let totals = Totals::default();
        for generation in 1..=KEPT as u64 + 3 {
            let total = Arc::new(Total::default());
            total.add(&Account { exchanges: 1, ..Account::default() });
            totals.add("p", generation, total, Population::default());
        }
        let kept = totals.by_generation();
        assert_eq!((kept.len(), kept[0].generation), (KEPT, 4));
        assert_eq!(totals.by_name()["p"].exchanges, KEPT as u64 + 3);
    }
}
