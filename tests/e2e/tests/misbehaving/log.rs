//! The log of this process, line by line.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// One line: its message and its fields.
#[derive(Debug, Clone, Default)]
pub(crate) struct Line {
    pub(crate) message: String,
    pub(crate) fields: BTreeMap<&'static str, String>,
}

impl Line {
    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }
}

/// Every line of this process from `info` on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<Line>>>);

impl Log {
    /// Begins to write down; once per process.
    pub(crate) fn begin() -> Self {
        let log = Self::default();
        tracing_subscriber::registry().with(log.clone().with_filter(LevelFilter::INFO)).init();
        log
    }

    /// How many lines there are.
    pub(crate) fn length(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// What was said of a plugin, or by it, behind so many lines.
    pub(crate) fn of(&self, plugin: &str, behind: usize) -> Vec<Line> {
        let lines = self.0.lock().unwrap();
        lines.iter().skip(behind).filter(|line| line.field("plugin") == plugin).cloned().collect()
    }

    /// Whether any line says this.
    pub(crate) fn says(&self, text: &str) -> bool {
        let lines = self.0.lock().unwrap();
        lines
            .iter()
            .any(|line| line.message.contains(text) || line.fields.values().any(|value| value.contains(text)))
    }
}

impl<S: Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        self.0.lock().unwrap().push(line);
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let value = format!("{value:?}");
        match field.name() {
            "message" => self.message = value,
            name => {
                self.fields.insert(name, value);
            }
        }
    }
}
