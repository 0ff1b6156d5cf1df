//! Durations in buckets.

use std::time::Duration;

/// How often a duration was at most so long, for each of some bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    bounds: &'static [Duration],
    /// One for each bound, and one for what is longer than all.
    counts: Vec<u64>,
    sum: Duration,
}

impl Histogram {
    /// One that is empty, with bounds that rise.
    pub fn new(bounds: &'static [Duration]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: Duration::ZERO }
    }

    /// Adds a duration.
    pub fn record(&mut self, duration: Duration) {
        let place = self.bounds.partition_point(|bound| *bound < duration);
        if let Some(count) = self.counts.get_mut(place) {
            *count += 1;
        }
        self.sum += duration;
    }

    /// Adds what another with the same bounds has.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.sum += other.sum;
    }

    /// The bounds, each with the durations up to it that are longer than the bound before; `None` for those that are
    /// longer than all.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<Duration>, u64)> {
        let bounds = self.bounds.iter().copied().map(Some).chain([None]);
        bounds.zip(self.counts.iter().copied())
    }

    /// All durations.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Their sum.
    pub fn sum(&self) -> Duration {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: [Duration; 2] = [Duration::from_millis(1), Duration::from_secs(1)];

    #[test]
    fn a_duration_is_in_the_first_bucket_that_takes_it() {
        let mut times = Histogram::new(&BOUNDS);
        for millis in [0, 1, 2, 1000, 1001] {
            times.record(Duration::from_millis(millis));
        }
        let buckets: Vec<_> = times.buckets().collect();
        assert_eq!(buckets, [(Some(BOUNDS[0]), 2), (Some(BOUNDS[1]), 2), (None, 1)]);
        times.add(&times.clone());
        assert_eq!((times.count(), times.sum()), (10, Duration::from_millis(4008)));
    }
}
