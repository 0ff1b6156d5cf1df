//! The settings, and what of them is refused.
//!
//! | key | meaning | default |
//! |---|---|---|
//! | `normalize` | tidy every text of every user message | `true` |
//! | `template` | what becomes of the last text of the latest user message, in Jinja's syntax | none |
//! | `variables` | a table of values for the template | `{}` |
//! | `trim_response` | drop white space at the ends of lines, and at the end of the answer | `true` |

use std::collections::BTreeMap;

use minijinja::Value;
use serde::Deserialize;

use crate::{Formatter, template::Template};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    #[serde(default = "yes")]
    normalize: bool,
    template: Option<String>,
    #[serde(default)]
    variables: BTreeMap<String, Value>,
    #[serde(default = "yes")]
    trim_response: bool,
}

const fn yes() -> bool {
    true
}

impl Config {
    pub(crate) fn validate(self) -> Result<Formatter, String> {
        let Self { normalize, template, variables, trim_response } = self;
        if template.is_none() && !variables.is_empty() {
            return Err(
                "`variables` are for `template`, which is missing: write it, or remove them".to_owned()
            );
        }
        if template.is_none() && !normalize && !trim_response {
            return Err(
                "nothing to do: `normalize` and `trim_response` are false and `template` is missing; \
                        set one, or take the plugin out of the pipeline"
                    .to_owned(),
            );
        }
        let template = template.map(|source| Template::new(&source, variables)).transpose()?;
        Ok(Formatter { normalize, template, trim_response })
    }
}
