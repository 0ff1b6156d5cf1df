//! The bodies of requests: each within its limits, and all of them together too.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::Request;
use bytes::Bytes;
use http::HeaderValue;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http_body_util::BodyExt;
use rust_proxy_core::config::Server;

use crate::ingress::Refusal;

/// Reads bodies. Clones share one budget, `server.bodies_max`, of which a body has its bytes from their arrival
/// until the exchange lets go of it.
#[derive(Debug, Clone)]
pub(crate) struct Bodies {
    left: Arc<AtomicUsize>,
    /// Bytes of one body.
    max: usize,
    within: Duration,
}

/// A body as far as it has come, and its share of the budget.
struct Body {
    bytes: Vec<u8>,
    left: Arc<AtomicUsize>,
}

impl Bodies {
    pub(crate) fn new(server: &Server) -> Self {
        let left = Arc::new(AtomicUsize::new(server.bodies_max));
        Self { left, max: server.body_max, within: server.exchange_max }
    }

    /// Those of a newer configuration, which share the budget.
    pub(crate) fn renewed(&self, server: &Server) -> Self {
        Self { within: server.exchange_max, ..self.clone() }
    }

    /// Reads a JSON body.
    ///
    /// Past the budget it is refused, not kept waiting: with bodies that wait for one another's room none would
    /// come to its end. Bytes count when they arrive, so that none are kept from others by an announcement.
    ///
    /// # Errors
    /// A [`Refusal`]; before the first byte is read if the headers give the reason.
    ///
    /// # Cancellation
    /// Nothing stays behind.
    pub(crate) async fn read(&self, request: Request) -> Result<Bytes, Refusal> {
        let headers = request.headers();
        if !headers.get(CONTENT_TYPE).is_some_and(is_json) {
            return Err(Refusal::ContentType);
        }
        let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length > self.max as u64) {
            return Err(Refusal::TooLarge(self.max));
        }
        tokio::time::timeout(self.within, self.collect(request)).await.unwrap_or(Err(Refusal::Slow))
    }

    async fn collect(&self, request: Request) -> Result<Bytes, Refusal> {
        let mut frames = request.into_body();
        let mut body = Body { bytes: Vec::new(), left: Arc::clone(&self.left) };
        while let Some(frame) = frames.frame().await {
            let Ok(data) = frame.map_err(|_| Refusal::Broken)?.into_data() else { continue };
            if data.len() > self.max - body.bytes.len() {
                return Err(Refusal::TooLarge(self.max));
            }
            body.push(&data)?;
        }
        Ok(Bytes::from_owner(body))
    }
}

impl Body {
    /// Adds bytes. They are copied: a piece of one byte may hold on to a whole buffer of its connection.
    fn push(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let take = |left: usize| left.checked_sub(bytes.len());
        let taken = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.map_err(|_| Refusal::Full)?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.left.fetch_add(self.bytes.len(), Ordering::Relaxed);
    }
}

fn is_json(value: &HeaderValue) -> bool {
    let essence = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"application/json")
}
