//! Finds listed words in requests and in answers while they flow, and masks, replaces, blocks or reports them.
//!
//! What leaves is the same however the text was cut into pieces, in every channel; only text that may still
//! become a listed word waits. The search is `rust-proxy-mask`'s; `config` has the settings.

mod config;
mod session;

#[cfg(test)]
mod tests;

use std::rc::Rc;

use rust_proxy_mask::{Mask, Matcher};
use rust_proxy_sdk::{
    Context, Decision, Description, Item, Plugin, Processor, ResponseModifier, parse_config,
};

use crate::{config::Config, session::Scan};

/// The plugin.
#[derive(Debug)]
pub struct SensitiveWord {
    rules: Rc<Rules>,
}

/// A configuration that was found to make sense.
#[derive(Debug)]
struct Rules {
    matcher: Matcher,
    action: Action,
    /// What findings are called.
    rule: String,
}

/// What becomes of a word.
#[derive(Debug, PartialEq, Eq)]
enum Action {
    /// Something takes its place.
    Mask(Mask),
    /// It ends the exchange.
    Block,
    /// It is reported, no more.
    Monitor,
}

impl Plugin for SensitiveWord {
    fn describe() -> Description {
        let summary = "Masks, replaces, blocks or reports listed words in requests and answers.";
        Description::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), summary)
    }

    fn configure(config_json: &str) -> Result<Self, String> {
        let rules = parse_config::<Config>(config_json)?.validate()?;
        Ok(Self { rules: Rc::new(rules) })
    }
}

impl Processor for SensitiveWord {
    fn process(&mut self, _: &Context, items: &[Item]) -> Result<Decision, String> {
        let Rules { matcher, action, rule } = &*self.rules;
        let mut decision = Decision::unchanged();
        for (item, text) in items.iter().filter_map(|item| Some((item.id, item.text()?))) {
            let mut masked = String::new();
            let mut from = 0;
            matcher.find(text, |found| {
                decision.report(item, found.start..found.end, rule);
                if let Action::Mask(mask) = action {
                    masked.push_str(&text[from..found.start as usize]);
                    masked.push_str(&mask.text(&found));
                    from = found.end as usize;
                }
            });
            if from > 0 {
                masked.push_str(&text[from..]);
                decision.set_text(item, masked);
            }
        }
        if *action == Action::Block && !decision.findings.is_empty() {
            decision.reject(400, "The request contains a word that is not allowed here. Rephrase it.");
        }
        Ok(decision)
    }
}

impl ResponseModifier for SensitiveWord {
    type Session = Scan;

    fn open(&mut self, _: &Context) -> Result<Scan, String> {
        Ok(Scan::new(Rc::clone(&self.rules)))
    }
}

rust_proxy_sdk::filter_plugin!(SensitiveWord);
