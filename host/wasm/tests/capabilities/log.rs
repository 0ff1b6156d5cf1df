//! What guests print.

use std::io;
use std::sync::{Arc, Mutex};

use rust_proxy_stream::stage::Plugin;
use rust_proxy_wasm::{Limits, Settings};
use tracing::subscriber::DefaultGuard;

use super::{LIMITS, ask, load, settings};

/// The log of this thread, for as long as it lives.
struct Log {
    text: Arc<Mutex<Vec<u8>>>,
    _guard: DefaultGuard,
}

struct Writer(Arc<Mutex<Vec<u8>>>);

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn start() -> Self {
        let text = Arc::<Mutex<Vec<u8>>>::default();
        let writer = Arc::clone(&text);
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .with_writer(move || Writer(Arc::clone(&writer)))
            .finish();
        Self { text, _guard: tracing::subscriber::set_default(subscriber) }
    }

    /// The lines since the last look.
    fn lines(&self) -> Vec<String> {
        let bytes = std::mem::take(&mut *self.text.lock().unwrap());
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }
}

fn printing(lines: u32) -> Settings {
    Settings { limits: Limits { log: lines, ..LIMITS }, ..settings("hoard") }
}

#[tokio::test]
async fn an_exchange_prints_as_many_lines_as_its_limit_says() {
    let component = load(printing(3)).await.unwrap();
    let log = Log::start();
    let mut link = component.start().await.unwrap();
    ask(&mut *link, "print 2").await.unwrap();
    assert_eq!(log.lines().len(), 2);
    ask(&mut *link, "print 1000").await.unwrap();
    ask(&mut *link, "print 1000").await.unwrap();
    let lines = log.lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains(r#"printed plugin="hoard" line="line 0""#), "{lines:?}");
    assert!(
        lines[1].contains("more than 3 lines printed, the rest is dropped; limits = { log = … }"),
        "{lines:?}"
    );
    // The next exchange has as many again.
    let mut link = component.start().await.unwrap();
    ask(&mut *link, "print 3").await.unwrap();
    assert_eq!(log.lines().len(), 3);
}

/// Paused time stands still, so all of it is one second.
#[tokio::test(start_paused = true)]
async fn all_exchanges_of_a_plugin_together_print_so_many_lines_a_second() {
    let component = load(printing(400)).await.unwrap();
    let log = Log::start();
    for _ in 0..5 {
        let mut link = component.start().await.unwrap();
        ask(&mut *link, "print 400").await.unwrap();
    }
    let lines = log.lines();
    assert_eq!(lines.len(), 1001, "{:?}", lines.last());
    assert!(lines[1000].contains("more than 1000 lines a second"), "{:?}", lines.last());
    tokio::time::advance(std::time::Duration::from_secs(1)).await;
    let mut link = component.start().await.unwrap();
    ask(&mut *link, "print 1").await.unwrap();
    assert_eq!(log.lines().len(), 1);
}

#[tokio::test]
async fn control_characters_do_not_reach_the_log() {
    let config = r#"{"in": "process", "do": "print", "at": 0}"#;
    let component = load(Settings { config_json: config.to_owned(), ..settings("fault") }).await.unwrap();
    let log = Log::start();
    let mut link = component.start().await.unwrap();
    // The guest prints, and changes nothing.
    let context = super::context();
    link.processor().unwrap().process(&context, &[]).await.unwrap();
    let lines = log.lines();
    assert_eq!(lines.len(), 101);
    for line in &lines {
        assert!(!line.chars().any(|c| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}')), "{line:?}");
    }
    assert!(lines[0].contains("[31mline 0 [0m"), "{:?}", lines[0]);
}
