use super::*;

mod accounts;
mod calls;
mod client;
mod contract;
mod delay;
mod endings;
mod hidden;
#[path = "../../../../tests/testkit/src/lanes.rs"]
#[expect(unreachable_pub, reason = "it is public in the testkit")]
mod lanes;
mod links;
mod masking;
mod matrix;
mod splits;
mod stops;
mod support;
mod transcripts;
mod untouched;
mod whole;
