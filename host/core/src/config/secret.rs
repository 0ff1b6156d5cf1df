//! Text that must not be printed.

use std::fmt;

/// A key or password.
///
/// There is no `Display`, and `Debug` prints `Secret(..)`: the text comes out by
/// [`expose`](Self::expose) only, which is easy to search for. There is no `==` either; compare in
/// constant time.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Takes the text in.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself: for the request that needs it, never for a log or an error.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
