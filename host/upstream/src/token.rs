//! ④ Token providers.

use std::fmt;

use async_trait::async_trait;
use rust_proxy_stream::upstream::TokenProvider;

/// A fixed token.
pub struct StaticToken(String);

impl StaticToken {
    /// A provider of this token.
    pub fn new(token: impl Into<String>) -> Self {
        Self(token.into())
    }
}

#[async_trait]
impl TokenProvider for StaticToken {
    async fn token(&self) -> Result<String, String> {
        Ok(self.0.clone())
    }
}

impl fmt::Debug for StaticToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StaticToken(..)")
    }
}
