//! A plugin that fetches what the user's last text asks for, and puts what came of it in its place.
//!
//! Each line of the text is a request, one after another: a URL, or `METHOD ORIGIN PATH [NAME:VALUE]… [BODY]`
//! (`PATH` goes to the host as it is). Its line in the new text is the status, the length of the body and its
//! first bytes (`200 5 hello`), with a ` > LOCATION` where there is one; or the error's name.
//!
//! `leak-fields` makes header lists without end, `fill-fields` one list with headers without end.
//!
//! In a text that begins with `together`, the other lines are sent at once.

#[cfg(target_arch = "wasm32")]
mod http;

use rust_proxy_sdk::{Context, Decision, Description, Item, Plugin, Processor};

/// The plugin.
#[derive(Debug)]
pub struct Fetch;

impl Plugin for Fetch {
    fn describe() -> Description {
        Description::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), "Fetches what the text asks for.")
    }

    fn configure(_: &str) -> Result<Self, String> {
        Ok(Self)
    }
}

impl Processor for Fetch {
    fn process(&mut self, _: &Context, items: &[Item]) -> Result<Decision, String> {
        let mut decision = Decision::unchanged();
        if let Some((item, text)) = items.iter().rev().find_map(|item| Some((item.id, item.text()?))) {
            decision.set_text(item, fetch(text));
        }
        Ok(decision)
    }
}

#[cfg(target_arch = "wasm32")]
fn fetch(text: &str) -> String {
    let answers: Vec<String> = match text.strip_prefix("together\n") {
        None => text.lines().map(|line| http::answer(http::send(line))).collect(),
        Some(lines) => {
            let sent: Vec<_> = lines.lines().map(http::send).collect();
            sent.into_iter().map(http::answer).collect()
        }
    };
    answers.join("\n")
}

#[cfg(not(target_arch = "wasm32"))]
fn fetch(_: &str) -> String {
    "there is no wasi:http here".to_owned()
}

rust_proxy_sdk::processor_plugin!(Fetch);
