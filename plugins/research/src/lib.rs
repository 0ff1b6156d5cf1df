//! Fetches the web pages that the latest user message names, and quotes their text to the model.
//!
//! The quotes go in front of the user's own words, in the same text. A message of their own would be safer to look
//! at, and is not safe to send: some models refuse two user messages in a row, and in Anthropic's dialect a message
//! between a tool call and its result breaks the request. In front, because what ends the prompt should be what
//! the user wrote.
//!
//! `find` finds URLs, `fetch` has redirects and refusals, `http` speaks `wasi:http`, `text` reads pages, `quote`
//! keeps them apart, `config` has the settings. Only `http` does I/O.

mod config;
mod fetch;
mod find;
#[cfg_attr(not(target_arch = "wasm32"), path = "offline.rs")]
mod http;
mod quote;
mod text;

#[cfg(test)]
mod tests;

use rust_proxy_sdk::{Body, Context, Decision, Description, Item, Plugin, Processor, parse_config};

use crate::{
    config::{Config, Settings},
    fetch::{Fetch, page},
    find::Found,
    quote::clean,
};

/// What findings are called.
const RULE: &str = "research";

/// The plugin.
#[derive(Debug)]
pub struct Research {
    settings: Settings,
}

impl Plugin for Research {
    fn describe() -> Description {
        let summary = "Fetches the web pages that a user names and quotes them to the model.";
        Description::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), summary)
    }

    fn configure(config_json: &str) -> Result<Self, String> {
        Ok(Self { settings: parse_config::<Config>(config_json)?.validate()? })
    }
}

impl Processor for Research {
    fn process(&mut self, _: &Context, items: &[Item]) -> Result<Decision, String> {
        let Settings { user_agent, max_page_bytes, .. } = &self.settings;
        let mut http = http::Http { user_agent, max_bytes: *max_page_bytes };
        Ok(research(&self.settings, items, &mut http, http::tag, |line| {
            #[expect(clippy::print_stderr, reason = "the host logs it")]
            {
                eprintln!("{line}");
            }
        }))
    }
}

/// What to change; `tag` draws the tag of the marks, `log` gets a line for each page that is missing.
fn research<F: Fetch>(
    settings: &Settings,
    items: &[Item],
    fetch: &mut F,
    tag: impl FnOnce() -> u64,
    log: impl Fn(&str),
) -> Decision {
    let mut decision = Decision::unchanged();
    let texts = latest_texts(items);
    let Some(&(first, own)) = texts.first() else { return decision };

    let mut pages: Vec<(u32, Found)> = Vec::new();
    for (item, found) in texts.iter().flat_map(|(item, text)| find::urls(text).map(|found| (*item, found))) {
        if pages.iter().any(|(_, page)| page.url == found.url) {
            continue;
        }
        if pages.len() == settings.max_pages {
            log("more pages are named than `max_pages` allows");
            break;
        }
        pages.push((item, found));
    }

    // All are asked for before the first is waited for: the wait is that of the slowest.
    let sent: Vec<_> = pages.iter().map(|(_, found)| fetch.send(&found.url)).collect();
    let mut read = Vec::new();
    for ((item, Found { url, span }), sent) in pages.into_iter().zip(sent) {
        match page(fetch, &url, sent, settings.timeout) {
            Ok(text) => {
                decision.report(item, span.start as u32..span.end as u32, RULE);
                read.push((url, clean(&text, settings.max_text)));
            }
            // Not the whole URL: queries have secrets.
            Err(reason) => log(&format!("{}{} {reason}", url.authority(), url.path())),
        }
    }
    if !read.is_empty() {
        // Drawn after the pages were read, so that none of them can have it.
        let tag = tag();
        let quotes = read.iter().map(|(url, text)| settings.template.quote(tag, url, text) + "\n\n");
        decision.set_text(first, quotes.collect::<String>() + own);
    }
    decision
}

/// The texts of the latest message of a user that has any.
fn latest_texts(items: &[Item]) -> Vec<(u32, &str)> {
    let texts = || {
        items.iter().filter_map(|item| match &item.body {
            Body::Text(text) if item.role == "user" => Some((item.message, item.id, text.as_str())),
            _ => None,
        })
    };
    let latest = texts().map(|(message, ..)| message).max();
    texts().filter(|(message, ..)| Some(*message) == latest).map(|(_, id, text)| (id, text)).collect()
}

rust_proxy_sdk::processor_plugin!(Research);
