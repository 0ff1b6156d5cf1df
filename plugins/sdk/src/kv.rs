//! A small store that outlives exchanges: counters, flags, answers worth keeping.
//!
//! The plugin has it only where its configuration grants it: `grant = { kv = true }` in `[plugins.NAME]`. A plugin
//! that calls a function of this module is refused at load without that grant; one that calls none does not import
//! the store.
//!
//! Keys are the plugin's own. All of its exchanges and instances share them, in several gateways too where the
//! configuration names a Redis. Anything may be gone at any time, so this is a place for what can be made again.
//! Each call is atomic. A call may wait for the store, which counts as time of the call, not as CPU time.
//!
//! Off WebAssembly the functions use [`testing::kv`](crate::testing::kv), a store in the test's own thread.
//!
//! # Examples
//!
//! At most ten requests a minute:
//!
//! ```
//! use std::time::Duration;
//!
//! use rust_proxy_sdk::{Decision, kv};
//!
//! fn admit(user: &str) -> Result<Decision, String> {
//!     let mut decision = Decision::unchanged();
//!     match kv::increment(&format!("requests:{user}"), 1, Some(Duration::from_secs(60))) {
//!         Ok(count) if count > 10 => {
//!             decision.reject(429, "ten requests a minute are enough");
//!         }
//!         // Better a request too many than none at all while the store is away.
//!         Ok(_) | Err(kv::Error::Unavailable) => {}
//!         Err(error) => return Err(error.to_string()),
//!     }
//!     Ok(decision)
//! }
//!
//! for _ in 0..10 {
//!     assert!(admit("ada").unwrap().stop.is_none());
//! }
//! assert!(admit("ada").unwrap().stop.is_some());
//! rust_proxy_sdk::testing::kv::advance(Duration::from_secs(60));
//! assert!(admit("ada").unwrap().stop.is_none());
//! ```

use std::time::Duration;

pub use crate::bindings::kv::Error;

#[cfg(target_arch = "wasm32")]
use crate::bindings::kv as store;
#[cfg(not(target_arch = "wasm32"))]
use crate::testing::kv as store;

/// The longest key, in bytes.
pub const KEY_MAX: usize = 256;
/// The largest value, in bytes.
pub const VALUE_MAX: usize = 65_536;

/// The value of a key; `None` where it is not there or has expired. A count is its decimal digits.
///
/// # Errors
///
/// [`Error`] says what can be done.
///
/// # Examples
///
/// ```
/// use rust_proxy_sdk::kv;
///
/// kv::set("greeting", "hello", None)?;
/// assert_eq!(kv::get("greeting")?.as_deref(), Some(&b"hello"[..]));
/// # Ok::<(), kv::Error>(())
/// ```
pub fn get(key: &str) -> Result<Option<Vec<u8>>, Error> {
    store::get(key)
}

/// Sets a key, whatever it was. It expires after a time, which is rounded up to seconds; without one never, even
/// if it would have before.
///
/// # Errors
///
/// [`Error`] says what can be done.
///
/// # Examples
///
/// See [`get`].
pub fn set(key: &str, value: impl AsRef<[u8]>, expiry: Option<Duration>) -> Result<(), Error> {
    store::set(key, value.as_ref(), expiry.map(seconds))
}

/// Adds to a count and gives the sum. A key that is not there counts from 0 and expires after a time, which is
/// rounded up to seconds; of a key that is there the expiry stays as it is.
///
/// # Errors
///
/// [`Error`] says what can be done.
///
/// # Examples
///
/// The module has one.
pub fn increment(key: &str, by: u32, expiry: Option<Duration>) -> Result<u32, Error> {
    store::increment(key, by, expiry.map(seconds))
}

/// Deletes a key, and says whether it was there.
///
/// # Errors
///
/// [`Error`] says what can be done.
///
/// # Examples
///
/// ```
/// use rust_proxy_sdk::kv;
///
/// kv::set("once", "x", None)?;
/// assert_eq!((kv::delete("once")?, kv::delete("once")?), (true, false));
/// # Ok::<(), kv::Error>(())
/// ```
pub fn delete(key: &str) -> Result<bool, Error> {
    store::delete(key)
}

/// At least 1, and what is beyond the range is the end of it.
fn seconds(expiry: Duration) -> u32 {
    let up = u64::from(expiry.subsec_nanos() > 0);
    u32::try_from(expiry.as_secs().saturating_add(up)).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_rounded_up_to_seconds() {
        assert_eq!(seconds(Duration::ZERO), 1);
        assert_eq!(seconds(Duration::from_millis(1001)), 2);
        assert_eq!(seconds(Duration::from_secs(60)), 60);
        assert_eq!(seconds(Duration::MAX), u32::MAX);
    }
}
