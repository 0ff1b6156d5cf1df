//! A plugin that keeps and counts what the user's last text asks for, and puts what came of it in its place.
//!
//! Each line of the text is a call, one after another: `get KEY`, `set KEY VALUE [SECONDS]`,
//! `increment KEY BY [SECONDS]` or `delete KEY`. Its line in the new text is the value (`-` where there is none),
//! `ok`, the sum, `true` or `false`, or the error's name. A value of `*N` stands for N bytes, a key likewise.
//!
//! With `{"stamp": KEY}` the answer's first piece begins with the count of its key: `1: `, `2: ` and so on.

use rust_proxy_sdk::{
    Batch, Context, Decision, Description, Item, Outcome, Plugin, Processor, ResponseModifier, Session, kv,
    parse_config,
};

/// The plugin.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kv {
    stamp: Option<String>,
}

impl Plugin for Kv {
    fn describe() -> Description {
        Description::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), "Keeps what the text asks for.")
    }

    fn configure(config_json: &str) -> Result<Self, String> {
        parse_config(config_json)
    }
}

impl Processor for Kv {
    fn process(&mut self, _: &Context, items: &[Item]) -> Result<Decision, String> {
        let mut decision = Decision::unchanged();
        let last = items.iter().rev().find_map(|item| Some((item.id, item.text()?)));
        if let Some((item, text)) = last.filter(|_| self.stamp.is_none()) {
            let answers: Vec<String> = text.lines().map(|line| told(call(line))).collect();
            decision.set_text(item, answers.join("\n"));
        }
        Ok(decision)
    }
}

impl ResponseModifier for Kv {
    type Session = Stamp;

    fn open(&mut self, _: &Context) -> Result<Stamp, String> {
        Ok(Stamp(self.stamp.clone()))
    }
}

/// One response; the key that is still to be counted.
#[derive(Debug)]
pub struct Stamp(Option<String>);

impl Session for Stamp {
    fn push(&mut self, batch: &Batch) -> Result<Outcome, String> {
        let mut outcome = Outcome::release();
        if let Some(first) = batch.pieces.first()
            && let Some(key) = self.0.take()
        {
            outcome.insert(first.lane, first.offset, format!("{}: ", told(count(&key))));
        }
        Ok(outcome)
    }
}

fn count(key: &str) -> Result<String, kv::Error> {
    kv::increment(key, 1, None).map(|sum| sum.to_string())
}

fn call(line: &str) -> Result<String, kv::Error> {
    let mut words = line.split(' ');
    let mut next = || words.next().unwrap_or_default();
    let (call, key) = (next(), long(next()));
    let argument = if matches!(call, "set" | "increment") { next() } else { "" };
    let expiry = next().parse().ok().map(std::time::Duration::from_secs);
    match call {
        "get" => kv::get(&key).map(|value| value.as_deref().map_or_else(|| "-".to_owned(), short)),
        "set" => kv::set(&key, long(argument), expiry).map(|()| "ok".to_owned()),
        "increment" => kv::increment(&key, argument.parse().unwrap_or(1), expiry).map(|sum| sum.to_string()),
        "delete" => kv::delete(&key).map(|there| there.to_string()),
        other => Err(kv::Error::Other(format!("no call {other:?}"))),
    }
}

fn told(answer: Result<String, kv::Error>) -> String {
    answer.unwrap_or_else(|error| match error {
        kv::Error::Quota => "quota".to_owned(),
        kv::Error::Unavailable => "unavailable".to_owned(),
        kv::Error::TooLarge => "too large".to_owned(),
        kv::Error::Other(text) => format!("other: {text}"),
    })
}

/// `*N` is N bytes.
fn long(word: &str) -> String {
    word.strip_prefix('*').and_then(|count| count.parse().ok()).map_or(word.to_owned(), |n| "x".repeat(n))
}

/// Values of more than a few bytes by their length.
fn short(value: &[u8]) -> String {
    if value.len() > 40 { format!("{} bytes", value.len()) } else { String::from_utf8_lossy(value).into() }
}

rust_proxy_sdk::filter_plugin!(Kv);
