//! Tidies what users write, puts the latest of it into a prompt template, and trims answers while they flow.
//!
//! `normalize` has the request's rules, `template` the template's, `trim` the answer's; `config` has the settings.

mod config;
mod normalize;
mod template;
mod trim;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use rust_proxy_sdk::{
    Body, Context, Decision, Description, Item, Plugin, Processor, ResponseModifier, parse_config,
};

use crate::{config::Config, normalize::normalize, template::Template, trim::Trim};

/// The plugin.
#[derive(Debug)]
pub struct Formatter {
    normalize: bool,
    template: Option<Template>,
    trim_response: bool,
}

impl Plugin for Formatter {
    fn describe() -> Description {
        let summary = "Tidies what users write, puts it into a prompt template, and trims answers.";
        Description::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), summary)
    }

    fn configure(config_json: &str) -> Result<Self, String> {
        parse_config::<Config>(config_json)?.validate()
    }
}

impl Processor for Formatter {
    fn process(&mut self, _: &Context, items: &[Item]) -> Result<Decision, String> {
        let mut decision = Decision::unchanged();
        let texts: Vec<_> = items.iter().filter_map(user_text).collect();
        for (index, &(id, text)) in texts.iter().enumerate() {
            let mut new = if self.normalize { normalize(text) } else { Cow::Borrowed(text) };
            // An item that is emptied is removed, and with it perhaps the only message: white space stays.
            if new.is_empty() {
                continue;
            }
            if let Some(template) = self.template.as_ref().filter(|_| index + 1 == texts.len()) {
                new = Cow::Owned(template.render(&new)?);
            }
            if *new != *text {
                decision.set_text(id, new);
            }
        }
        Ok(decision)
    }
}

fn user_text(item: &Item) -> Option<(u32, &str)> {
    match &item.body {
        Body::Text(text) if item.role == "user" => Some((item.id, text)),
        _ => None,
    }
}

impl ResponseModifier for Formatter {
    type Session = Trim;

    fn open(&mut self, _: &Context) -> Result<Trim, String> {
        Ok(Trim::new(self.trim_response))
    }
}

rust_proxy_sdk::filter_plugin!(Formatter);
