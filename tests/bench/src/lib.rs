//! What is measured, and what it is measured beside: the same for micro-benchmarks and for the whole gateway.

pub mod bare;
pub mod exchange;
pub mod native;
pub mod sample;
