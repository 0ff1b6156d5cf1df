//! Whether a request of the Dev API may be answered: its signature, its age, and that it is no replay.
//!
//! The signature itself is that of the crate `rust-proxy-sign`, which the signers in `signer/` are made of.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use rust_proxy_sign::Signed;
use serde_json::json;

use crate::app::json_response;

/// How far a timestamp may be from this clock, in seconds, either way.
const AGE_MAX: u64 = 300;

/// The longest nonce, in bytes: three times a UUID.
const NONCE_MAX: usize = 128;

/// The nonces that are kept, each for as long as its timestamp is good: 160 requests a second for ten minutes.
const NONCES_MAX: usize = 100_000;

/// Why a request is not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// A header is not there, or not text.
    #[error("the header `{0}` is missing")]
    Missing(&'static str),
    /// A header that cannot be read.
    #[error("the header `{0}` must be {1}")]
    Malformed(&'static str, &'static str),
    /// Not signed with our key, or changed since.
    #[error("the signature is not that of this request: sign its exact bytes with the key of this server")]
    Forged,
    /// Signed too long ago.
    #[error("the timestamp is older than five minutes: sign each attempt anew")]
    Old,
    /// Signed by a clock that is ahead.
    #[error("the timestamp is more than five minutes ahead: set the clock, and send Unix seconds")]
    Early,
    /// Answered before.
    #[error("the nonce was used before: make a new one for each attempt")]
    Replayed,
    /// More requests than nonces can be kept for.
    #[error("too many requests at once; try again in a minute")]
    Busy,
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (status, code) = match self {
            Self::Missing(_) => (StatusCode::BAD_REQUEST, "missing_header"),
            Self::Malformed(..) => (StatusCode::BAD_REQUEST, "malformed_header"),
            Self::Forged => (StatusCode::UNAUTHORIZED, "forged"),
            Self::Old => (StatusCode::UNAUTHORIZED, "too_old"),
            Self::Early => (StatusCode::UNAUTHORIZED, "too_early"),
            Self::Replayed => (StatusCode::UNAUTHORIZED, "replayed"),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
        };
        let error = json!({ "error": { "code": code, "message": self.to_string() } });
        let mut response = json_response(error.to_string());
        *response.status_mut() = status;
        response
    }
}

/// Verifies requests, and remembers the nonces of those that it let pass.
pub(super) struct Verifier {
    key: String,
    /// Until when each is kept, in Unix seconds.
    nonces: Mutex<HashMap<String, u64>>,
}

impl Verifier {
    pub(super) fn new(key: String) -> Self {
        Self { key, nonces: Mutex::default() }
    }

    /// Lets a request pass once; `now` is in Unix seconds.
    pub(super) fn verify(&self, headers: &HeaderMap, content: &[u8], now: u64) -> Result<(), Refused> {
        let text = |name: &'static str| {
            let value =
                headers.get(name).and_then(|value| value.to_str().ok()).filter(|value| !value.is_empty());
            value.ok_or(Refused::Missing(name))
        };
        let (nonce, timestamp, device_id) = (text("nonce")?, text("timestamp")?, text("device-id")?);
        let (_, _, signature) = (text("os-type")?, text("sid")?, text("sign")?);
        if nonce.len() > NONCE_MAX {
            return Err(Refused::Malformed("nonce", "128 bytes at most"));
        }
        let signed_at: u64 =
            timestamp.parse().map_err(|_| Refused::Malformed("timestamp", "Unix seconds"))?;
        // Before anything is remembered or told of this request.
        let content = std::str::from_utf8(content).map_err(|_| Refused::Forged)?;
        let signed = Signed { nonce, timestamp, device_id, content };
        if !rust_proxy_sign::verify(&self.key, &signed, signature) {
            return Err(Refused::Forged);
        }
        if now.saturating_sub(signed_at) > AGE_MAX {
            return Err(Refused::Old);
        }
        if signed_at.saturating_sub(now) > AGE_MAX {
            return Err(Refused::Early);
        }
        let mut nonces = self.nonces.lock().unwrap_or_else(PoisonError::into_inner);
        if nonces.get(nonce).is_some_and(|until| *until >= now) {
            return Err(Refused::Replayed);
        }
        if nonces.len() >= NONCES_MAX {
            nonces.retain(|_, until| *until >= now);
        }
        if nonces.len() >= NONCES_MAX {
            return Err(Refused::Busy);
        }
        nonces.insert(nonce.to_owned(), signed_at.saturating_add(AGE_MAX));
        Ok(())
    }
}

/// Signs, as the signer of a gateway does.
#[cfg(test)]
pub(crate) fn sign(key: &str, nonce: &str, timestamp: &str, device_id: &str, content: &str) -> String {
    rust_proxy_sign::sign(key, &Signed { nonce, timestamp, device_id, content })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000;
    const NONCE: &str = "8c8e3f64-5f7c-4c58-9d6e-0d0a2f8f3f10";
    const CONTENT: &[u8] = br#"{"model":"m"}"#;

    fn signed(nonce: &str, timestamp: u64) -> HeaderMap {
        let timestamp = timestamp.to_string();
        let content = std::str::from_utf8(CONTENT).unwrap();
        let sign = sign("key", nonce, &timestamp, "d", content);
        let headers = [
            ("nonce", nonce),
            ("timestamp", &timestamp),
            ("device-id", "d"),
            ("os-type", "3"),
            ("sid", "s"),
            ("sign", &sign),
        ];
        headers.into_iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn set(mut headers: HeaderMap, name: &'static str, value: &str) -> HeaderMap {
        headers.insert(name, value.parse().unwrap());
        headers
    }

    fn verifier() -> Verifier {
        Verifier::new("key".to_owned())
    }

    #[test]
    fn a_request_passes_once() {
        let verifier = verifier();
        let request = signed(NONCE, NOW);
        assert_eq!(verifier.verify(&request, CONTENT, NOW), Ok(()));
        assert_eq!(verifier.verify(&request, CONTENT, NOW), Err(Refused::Replayed));
        assert_eq!(verifier.verify(&request, CONTENT, NOW + AGE_MAX), Err(Refused::Replayed));
        assert_eq!(verifier.verify(&request, CONTENT, NOW + AGE_MAX + 1), Err(Refused::Old));
        // From a clock that is ahead: kept until its timestamp is too old.
        let ahead = signed("other", NOW + AGE_MAX);
        assert_eq!(verifier.verify(&ahead, CONTENT, NOW), Ok(()));
        assert_eq!(verifier.verify(&ahead, CONTENT, NOW + 2 * AGE_MAX), Err(Refused::Replayed));
    }

    #[test]
    fn timestamps_have_a_window() {
        for (timestamp, expect) in [
            (NOW - AGE_MAX, Ok(())),
            (NOW - AGE_MAX - 1, Err(Refused::Old)),
            (NOW + AGE_MAX, Ok(())),
            (NOW + AGE_MAX + 1, Err(Refused::Early)),
            (NOW * 1000, Err(Refused::Early)),
            (u64::MAX, Err(Refused::Early)),
        ] {
            assert_eq!(verifier().verify(&signed(NONCE, timestamp), CONTENT, NOW), expect, "{timestamp}");
        }
    }

    #[test]
    fn whatever_is_signed_cannot_be_changed() {
        let verifier = verifier();
        let good = || signed(NONCE, NOW);
        let right = good()["sign"].to_str().unwrap().to_owned();
        for (headers, content) in [
            (set(good(), "nonce", "another"), CONTENT),
            (set(good(), "timestamp", "1700000001"), CONTENT),
            (set(good(), "device-id", "e"), CONTENT),
            (set(good(), "sign", &right.to_uppercase()), CONTENT),
            (set(good(), "sign", &right[1..]), CONTENT),
            (set(good(), "sign", &"0".repeat(64)), CONTENT),
            (good(), br#"{"model": "m"}"#),
        ] {
            assert_eq!(verifier.verify(&headers, content, NOW), Err(Refused::Forged), "{headers:?}");
        }
        assert_eq!(Verifier::new("other".to_owned()).verify(&good(), CONTENT, NOW), Err(Refused::Forged));
        // A forged request does not use up its nonce.
        assert_eq!(verifier.verify(&good(), CONTENT, NOW), Ok(()));
    }

    #[test]
    fn what_is_missing_or_malformed_is_named() {
        for name in ["nonce", "timestamp", "device-id", "os-type", "sid", "sign"] {
            let mut headers = signed(NONCE, NOW);
            headers.remove(name);
            assert_eq!(verifier().verify(&headers, CONTENT, NOW), Err(Refused::Missing(name)));
        }
        let malformed = Err(Refused::Malformed("timestamp", "Unix seconds"));
        assert_eq!(verifier().verify(&set(signed(NONCE, NOW), "timestamp", "1e9"), CONTENT, NOW), malformed);
        let long = verifier().verify(&signed(&"n".repeat(129), NOW), CONTENT, NOW);
        assert_eq!(long, Err(Refused::Malformed("nonce", "128 bytes at most")));
    }
}
