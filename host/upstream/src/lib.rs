//! ④⑤ The side that talks to models: egress, credentials, backends and routing. The only crate that names
//! reqwest.

mod egress;
mod openai;
mod routing;
mod token;

pub use egress::{Client, EgressError, Timeouts};
pub use openai::OpenAi;
pub use routing::Router;
pub use token::StaticToken;
