//! The store behind [`kv`](crate::kv) in unit tests: one per thread, so that tests do not meet.
//!
//! It keeps the contract's bounds, has no quota, and its time stands still until [`advance`] moves it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::kv::{Error, KEY_MAX, VALUE_MAX};

thread_local! {
    static STORE: RefCell<Store> = RefCell::default();
}

#[derive(Default)]
struct Store {
    now: Duration,
    entries: BTreeMap<String, (Vec<u8>, Option<Duration>)>,
    failure: Option<Error>,
}

/// Empties the store, and ends [`fail_with`].
///
/// # Examples
///
/// ```
/// use rust_proxy_sdk::{kv, testing};
///
/// kv::set("k", "v", None)?;
/// testing::kv::clear();
/// assert_eq!(kv::get("k")?, None);
/// # Ok::<(), kv::Error>(())
/// ```
pub fn clear() {
    STORE.take();
}

/// Lets time pass.
///
/// # Examples
///
/// The documentation of [`kv`](crate::kv) has one.
pub fn advance(time: Duration) {
    STORE.with_borrow_mut(|store| {
        store.now = store.now.saturating_add(time);
        let now = store.now;
        store.entries.retain(|_, (_, end)| end.is_none_or(|end| end > now));
    });
}

/// Lets every call fail from now on, or none.
///
/// # Examples
///
/// ```
/// use rust_proxy_sdk::{kv, testing};
///
/// testing::kv::fail_with(Some(kv::Error::Unavailable));
/// assert_eq!(kv::get("k"), Err(kv::Error::Unavailable));
/// testing::kv::fail_with(None);
/// assert_eq!(kv::get("k"), Ok(None));
/// ```
pub fn fail_with(error: Option<Error>) {
    STORE.with_borrow_mut(|store| store.failure = error);
}

pub(crate) fn get(key: &str) -> Result<Option<Vec<u8>>, Error> {
    with(key, None, |store, _| Ok(store.entries.get(key).map(|(value, _)| value.clone())))
}

pub(crate) fn set(key: &str, value: &[u8], seconds: Option<u32>) -> Result<(), Error> {
    if value.len() > VALUE_MAX {
        return Err(Error::TooLarge);
    }
    with(key, seconds, |store, end| {
        store.entries.insert(key.to_owned(), (value.to_owned(), end));
        Ok(())
    })
}

pub(crate) fn increment(key: &str, by: u32, seconds: Option<u32>) -> Result<u32, Error> {
    with(key, seconds, |store, end| {
        let (old, end) = match store.entries.get(key) {
            Some((value, end)) => (count(value)?, *end),
            None => (0, end),
        };
        let sum = old.checked_add(by).ok_or(Error::TooLarge)?;
        store.entries.insert(key.to_owned(), (sum.to_string().into_bytes(), end));
        Ok(sum)
    })
}

pub(crate) fn delete(key: &str) -> Result<bool, Error> {
    with(key, None, |store, _| Ok(store.entries.remove(key).is_some()))
}

/// Calls `f` with the store and the end of a key that is set now.
fn with<R>(
    key: &str,
    seconds: Option<u32>,
    f: impl FnOnce(&mut Store, Option<Duration>) -> Result<R, Error>,
) -> Result<R, Error> {
    match key.len() {
        0 => return Err(Error::Other("the key is empty".to_owned())),
        1..=KEY_MAX => {}
        _ => return Err(Error::TooLarge),
    }
    STORE.with_borrow_mut(|store| {
        if let Some(error) = &store.failure {
            return Err(error.clone());
        }
        let end = seconds.map(|seconds| store.now + Duration::from_secs(seconds.into()));
        f(store, end)
    })
}

fn count(value: &[u8]) -> Result<u32, Error> {
    let digits = std::str::from_utf8(value).ok();
    let count = digits.and_then(|digits| Some((digits.parse::<u32>().ok()?, digits)));
    count
        .filter(|(count, digits)| count.to_string() == *digits)
        .map(|(count, _)| count)
        .ok_or_else(|| Error::Other("the value is no count".to_owned()))
}

#[cfg(test)]
mod tests {
    use crate::kv;

    #[test]
    fn the_store_of_tests_keeps_the_bounds() {
        assert_eq!(kv::get(&"k".repeat(257)), Err(kv::Error::TooLarge));
        assert!(matches!(kv::get(""), Err(kv::Error::Other(_))));
        assert_eq!(kv::set("k", vec![0; 65_537], None), Err(kv::Error::TooLarge));
        assert_eq!(kv::increment("k", u32::MAX, None), Ok(u32::MAX));
        assert_eq!(kv::increment("k", 1, None), Err(kv::Error::TooLarge));
        kv::set("k", "01", None).unwrap();
        assert!(matches!(kv::increment("k", 1, None), Err(kv::Error::Other(_))));
    }
}
