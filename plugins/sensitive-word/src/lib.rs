//! Finds listed words in requests and in answers while they flow, and masks, replaces, blocks or reports them.
//!
//! What leaves is the same however the text was cut into pieces, in every channel; only text that may still
//! become a listed word waits. The search is `rust-proxy-mask`'s; `config` has the settings.

mod config;
mod session;

#[cfg(test)]
mod tests;

use rust_proxy_mask::{Mask, Match, Matcher};
use rust_proxy_sdk::{
    Context, Decision, Description, Item, Plugin, Processor, ResponseModifier, compact, parse_config,
};

use crate::{config::Config, session::Scan};

/// The plugin.
#[derive(Debug)]
pub struct SensitiveWord {
    rules: &'static Rules,
}

/// A configuration that was found to make sense.
#[derive(Debug, Clone)]
struct Rules {
    /// The lists that act, searched as one.
    matcher: Option<Matcher>,
    /// What each of them does.
    lists: Vec<Rule>,
    /// The lists that only report, each searched by itself.
    watches: Vec<Watch>,
}

/// What a list does.
#[derive(Debug, Clone)]
struct Rule {
    action: Action,
    /// What findings are called.
    rule: String,
}

/// What becomes of a word.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Action {
    /// Something takes its place.
    Mask(Mask),
    /// It ends the exchange.
    Block,
}

/// A list whose words are reported, no more.
#[derive(Debug, Clone)]
struct Watch {
    matcher: Matcher,
    rule: String,
}

impl Rules {
    fn list(&self, found: &Match) -> Option<&Rule> {
        self.lists.get(found.list as usize)
    }
}

impl Plugin for SensitiveWord {
    fn describe() -> Description {
        let summary = "Masks, replaces, blocks or reports listed words in requests and answers.";
        Description::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), summary)
    }

    fn configure(config_json: &str) -> Result<Self, String> {
        let rules = compact(parse_config::<Config>(config_json)?.validate()?);
        // For as long as the instance: a count of those who use it would be on a page that each copy has to write to.
        Ok(Self { rules: Box::leak(Box::new(rules)) })
    }
}

impl Processor for SensitiveWord {
    fn process(&mut self, _: &Context, items: &[Item]) -> Result<Decision, String> {
        let rules = self.rules;
        let mut decision = Decision::unchanged();
        let mut blocked = false;
        for (item, text) in items.iter().filter_map(|item| Some((item.id, item.text()?))) {
            for watch in &rules.watches {
                let report = |found: Match| _ = decision.report(item, found.start..found.end, &*watch.rule);
                watch.matcher.find(text, report);
            }
            let Some(matcher) = &rules.matcher else { continue };
            let mut masked = String::new();
            let mut from = 0;
            matcher.find(text, |found| {
                let Some(Rule { action, rule }) = rules.list(&found) else { return };
                decision.report(item, found.start..found.end, rule);
                match action {
                    Action::Mask(mask) => {
                        masked.push_str(&text[from..found.start as usize]);
                        masked.push_str(&mask.text(&found));
                        from = found.end as usize;
                    }
                    Action::Block => blocked = true,
                }
            });
            if from > 0 {
                masked.push_str(&text[from..]);
                decision.set_text(item, masked);
            }
        }
        if blocked {
            decision.reject(400, "The request contains a word that is not allowed here. Rephrase it.");
        }
        Ok(decision)
    }
}

impl ResponseModifier for SensitiveWord {
    type Session = Scan;

    fn open(&mut self, _: &Context) -> Result<Scan, String> {
        Ok(Scan::new(self.rules))
    }
}

rust_proxy_sdk::filter_plugin!(SensitiveWord);
