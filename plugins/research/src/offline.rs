//! In the place of `http` off WebAssembly: no page can be had.

use std::{
    convert::Infallible,
    hash::{BuildHasher, RandomState},
    time::Instant,
};

use url::Url;

use crate::fetch::{Fetch, Head};

/// No HTTP client.
#[derive(Debug)]
#[expect(dead_code, reason = "its twin reads them")]
pub(crate) struct Http<'a> {
    pub(crate) user_agent: &'a str,
    pub(crate) max_bytes: usize,
}

impl Fetch for Http<'_> {
    type Sent = Infallible;

    fn send(&mut self, _: &Url) -> Result<Infallible, String> {
        Err("cannot be had: only WebAssembly has `wasi:http`".to_owned())
    }

    fn receive(
        &mut self,
        sent: Infallible,
        _: Instant,
        _: impl FnOnce(&Head) -> bool,
    ) -> Result<(Head, Vec<u8>), String> {
        match sent {}
    }
}

/// A number that is another each time.
pub(crate) fn tag() -> u64 {
    RandomState::new().hash_one(0)
}
