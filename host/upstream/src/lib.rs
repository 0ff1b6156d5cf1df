//! ④⑤ The side that talks to models: egress, credentials, backends and routing. And for plugins, the
//! vetted way out, and keys and values in Redis. The only crate that names reqwest and redis.

mod beginning;
pub mod dev_api;
mod egress;
mod fetch;
mod grant;
mod kv;
mod openai;
mod routing;
mod tally;
mod token;
mod turn;
mod vetting;

pub use dev_api::{DevApi, DevApiOptions};
pub use egress::{Client, EgressError, Timeouts};
pub use fetch::GuardedFetch;
pub use grant::{Grant, Target, TargetError};
pub use kv::{Redis, RedisOptions, RedisUrlError};
pub use openai::OpenAi;
pub use routing::{Provider, Router};
pub use tally::{Counts, Tally};
pub use token::StaticToken;
pub use vetting::not_public;
