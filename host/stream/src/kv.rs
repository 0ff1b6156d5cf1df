//! What a plugin's keys and values need of the side that stores them.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

/// The longest key, in bytes: a name and a hash or two.
pub const KEY_MAX: usize = 256;
/// The largest value, in bytes: a page of text. What is larger is no business of a store that every push may ask.
pub const VALUE_MAX: usize = 64 << 10;

/// The keys and values of one plugin, which nobody else sees.
///
/// Called for several exchanges at once. Keys are from 1 to [`KEY_MAX`] bytes, values up to [`VALUE_MAX`],
/// expiries at least a second: see [`check_key`] and its neighbours. Each call is atomic, and a refused one
/// changes nothing.
///
/// # Cancellation
/// A change whose call is dropped may still be made.
#[async_trait]
pub trait KeyValue: Send + Sync + fmt::Debug {
    /// The value of a key that is there and has not expired.
    ///
    /// # Errors
    /// [`KvError::Unavailable`].
    async fn get(&self, key: &str) -> Result<Option<Bytes>, KvError>;

    /// Sets a key, to expire after a time or never.
    ///
    /// # Errors
    /// [`KvError::Quota`] and [`KvError::Unavailable`].
    async fn set(&self, key: &str, value: Bytes, expiry: Option<Duration>) -> Result<(), KvError>;

    /// Adds to a count, which is kept as decimal digits, and gives the sum. A key that is not there counts from 0
    /// and gets the expiry.
    ///
    /// # Errors
    /// All of [`KvError`].
    async fn increment(&self, key: &str, by: u32, expiry: Option<Duration>) -> Result<u32, KvError>;

    /// Deletes a key, and says whether it was there.
    ///
    /// # Errors
    /// [`KvError::Unavailable`].
    async fn delete(&self, key: &str) -> Result<bool, KvError>;
}

/// How much one plugin may store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Bytes of its keys and values.
    pub bytes: u64,
    /// How many keys.
    pub keys: u32,
}

/// Why a call was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KvError {
    /// The plugin has used up its [`Quota`]. The operator can raise it.
    #[error("the plugin's quota is used up")]
    Quota,
    /// The store cannot be reached, or did not answer in time; it may have made the change.
    #[error("the store is not available")]
    Unavailable,
    /// A key, a value or a count past its bound. The plugin asked for it.
    #[error("a key, a value or a count is too large")]
    TooLarge,
    /// What else is wrong with the call. The plugin made it.
    #[error("{0}")]
    Other(String),
}

/// Whether a key can be one.
///
/// # Errors
/// [`KvError::TooLarge`], and [`KvError::Other`] for an empty one.
pub fn check_key(key: &str) -> Result<(), KvError> {
    match key.len() {
        0 => Err(KvError::Other("the key is empty".to_owned())),
        1..=KEY_MAX => Ok(()),
        _ => Err(KvError::TooLarge),
    }
}

/// Whether a value can be one.
///
/// # Errors
/// [`KvError::TooLarge`].
pub fn check_value(value: &[u8]) -> Result<(), KvError> {
    if value.len() > VALUE_MAX { Err(KvError::TooLarge) } else { Ok(()) }
}

/// The expiry that a plugin asks for.
///
/// # Errors
/// [`KvError::Other`] for one of 0.
pub fn expiry(seconds: Option<u32>) -> Result<Option<Duration>, KvError> {
    match seconds {
        Some(0) => Err(KvError::Other("an expiry is at least 1 second; leave it out for never".to_owned())),
        seconds => Ok(seconds.map(|seconds| Duration::from_secs(seconds.into()))),
    }
}

/// The count that a value is: decimal digits without a sign or leading zeros.
pub fn count(value: &[u8]) -> Option<u32> {
    let digits = std::str::from_utf8(value).ok()?;
    let count: u32 = digits.parse().ok()?;
    (count.to_string() == digits).then_some(count)
}

/// What [`KeyValue::increment`] says of a value that is no count.
pub fn no_count() -> KvError {
    KvError::Other("the value is no count".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_values_and_expiries_have_bounds() {
        assert!(check_key("k").is_ok() && check_key(&"k".repeat(KEY_MAX)).is_ok());
        assert_eq!(check_key(&"k".repeat(KEY_MAX + 1)), Err(KvError::TooLarge));
        assert!(matches!(check_key(""), Err(KvError::Other(_))));
        assert!(check_value(&[0; VALUE_MAX]).is_ok());
        assert_eq!(check_value(&[0; VALUE_MAX + 1]), Err(KvError::TooLarge));
        assert_eq!(expiry(Some(2)), Ok(Some(Duration::from_secs(2))));
        assert_eq!(expiry(None), Ok(None));
        assert!(matches!(expiry(Some(0)), Err(KvError::Other(_))));
    }

    #[test]
    fn a_count_is_written_in_one_way_only() {
        assert_eq!((count(b"0"), count(b"4294967295")), (Some(0), Some(u32::MAX)));
        for other in ["", "00", "01", "+1", "-1", "1 ", "4294967296", "one"] {
            assert_eq!(count(other.as_bytes()), None, "{other:?}");
        }
    }
}
