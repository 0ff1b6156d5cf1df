//! ④⑤ The side that talks to models: egress, credentials, backends and routing. And for plugins, the
//! vetted way out. The only crate that names reqwest.

mod beginning;
pub mod dev_api;
mod egress;
mod fetch;
mod grant;
mod openai;
mod routing;
mod tally;
mod token;
mod vetting;

pub use dev_api::{DevApi, DevApiOptions};
pub use egress::{Client, EgressError, Timeouts};
pub use fetch::GuardedFetch;
pub use grant::{Grant, Target, TargetError};
pub use openai::OpenAi;
pub use routing::{Provider, Router};
pub use tally::{Counts, Tally};
pub use token::StaticToken;
pub use vetting::not_public;
