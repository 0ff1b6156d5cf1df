use super::*;

mod calls;
mod accounts;
mod client;
mod contract;
mod endings;
mod hidden;
mod links;
mod masking;
mod splits;
mod stops;
mod support;
mod untouched;
mod whole;
