//! Named steps with the time each took.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// The steps of a task, so far.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    done: Vec<(String, Duration)>,
}

impl Steps {
    /// Runs a step; its error names it.
    pub(crate) fn run(&mut self, name: &str, step: impl FnOnce() -> Result<()>) -> Result<()> {
        eprintln!("xtask: {name}");
        let start = Instant::now();
        step().with_context(|| format!("step `{name}`"))?;
        self.done.push((name.to_owned(), start.elapsed()));
        Ok(())
    }

    /// Runs the last step, with the summary of the others before it: the closing lines of the output are
    /// the step's own.
    pub(crate) fn last(&mut self, name: &str, step: impl FnOnce() -> Result<()>) -> Result<()> {
        eprint!("{self}");
        self.run(name, step)
    }
}

impl fmt::Display for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, took) in &self.done {
            writeln!(f, "xtask: {:>7.1} s  {name}", took.as_secs_f64())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_has_a_line_per_step() {
        let steps = Steps { done: vec![("build".into(), Duration::from_millis(61_240))] };
        assert_eq!(steps.to_string(), "xtask:    61.2 s  build\n");
    }

    #[test]
    fn a_failed_step_is_named_and_not_counted() {
        let mut steps = Steps::default();
        let error = steps.run("clippy", || anyhow::bail!("no")).unwrap_err();
        assert_eq!(format!("{error:#}"), "step `clippy`: no");
        assert_eq!(steps.to_string(), "");
    }
}
