//! ④⑤ The side that talks to models: egress, credentials, backends and routing. The only crate that names
//! reqwest.

pub mod dev_api;
mod egress;
mod openai;
mod routing;
mod token;

pub use dev_api::{DevApi, DevApiOptions};
pub use egress::{Client, EgressError, Timeouts};
pub use openai::OpenAi;
pub use routing::{Provider, Router};
pub use token::StaticToken;
