//! Both ends of a gateway for tests over real sockets: [`ScriptedUpstream`] plays the model, [`TestGateway`]
//! is the gateway itself, [`Response`] is what a client sees of it, byte by byte.
//!
//! ```no_run
//! # use rust_proxy_testkit::{Gate, Script, ScriptedUpstream, Setup};
//! # async fn example() {
//! let gate = Gate::new();
//! let script = Script::stream().delta("Hel").wait_for(&gate).delta("lo").finish("stop").done();
//! let upstream = ScriptedUpstream::start([script]).await;
//! let gateway = Setup::new().upstream(&upstream).start().await;
//! let mut response = gateway.ask("Say hello").await;
//! assert_eq!(response.delta().await, "Hel");
//! gate.open();
//! assert_eq!(response.delta().await, "lo");
//! # }
//! ```
//! Nothing sleeps: scripts wait for a [`Gate`], tests for bytes. What never comes fails the test by name.
#![expect(clippy::panic, clippy::expect_used, reason = "a test that cannot go on has to fail")]

mod gateway;
mod lanes;
mod minisign;
mod redis;
mod response;
mod script;
mod upstream;
mod wire;

pub use gateway::{CACHES, Connection, Setup, TestGateway};
pub use lanes::{Place, lanes};
pub use minisign::Minisign;
pub use redis::RedisServer;
pub use response::{Response, deltas};
pub use script::{Gate, Script, frame};
pub use upstream::{ScriptedUpstream, unreachable_url};
pub use wire::{Head, Seen, queued};
