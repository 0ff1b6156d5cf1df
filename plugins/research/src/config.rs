//! The settings, and what of them is refused.
//!
//! | key | meaning | default |
//! |---|---|---|
//! | `max_pages` | how many pages are fetched for a request | 3 |
//! | `max_page_bytes` | how large a page may be | 1,048,576 |
//! | `max_text` | how many characters of a page are quoted | 4,000 |
//! | `timeout_ms` | how long a page may take, redirects included | 5,000 |
//! | `user_agent` | the header of that name | `rust-proxy-research/VERSION` |
//! | `template` | what is inserted for a page: `{tag}`, `{url}`, `{text}` | see `quote` |

use std::time::Duration;

use serde::Deserialize;

use crate::quote::Template;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    max_pages: Option<u32>,
    max_page_bytes: Option<u32>,
    max_text: Option<u32>,
    timeout_ms: Option<u32>,
    user_agent: Option<String>,
    template: Option<String>,
}

/// A configuration that was found to make sense.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) max_pages: usize,
    pub(crate) max_text: usize,
    pub(crate) timeout: Duration,
    pub(crate) template: Template,
    pub(crate) max_page_bytes: usize,
    pub(crate) user_agent: String,
}

impl Config {
    pub(crate) fn validate(self) -> Result<Settings, String> {
        let positive = |name: &str, value: Option<u32>, default: u32| match value.unwrap_or(default) {
            0 => Err(format!("`{name}` is 0: write 1 or more, or remove the key for {default}")),
            value => Ok(value),
        };
        let user_agent = self
            .user_agent
            .unwrap_or_else(|| concat!("rust-proxy-research/", env!("CARGO_PKG_VERSION")).to_owned());
        if user_agent.trim().is_empty() || !user_agent.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(
                "`user_agent` is no header: write visible ASCII characters, or remove the key".to_owned()
            );
        }
        Ok(Settings {
            max_pages: positive("max_pages", self.max_pages, 3)? as usize,
            max_page_bytes: positive("max_page_bytes", self.max_page_bytes, 1 << 20)? as usize,
            max_text: positive("max_text", self.max_text, 4_000)? as usize,
            timeout: Duration::from_millis(positive("timeout_ms", self.timeout_ms, 5_000)?.into()),
            user_agent,
            template: self.template.as_deref().map(Template::new).transpose()?.unwrap_or_default(),
        })
    }
}
