//! The signer as a component, for the contract's world `signer-plugin`.
//!
//! Signs the parameters `nonce`, `timestamp` and `device_id`, and the content. Its configuration may name
//! another key than the one that was built in: `{"key": "…"}`.

use rust_proxy_sdk::{Description, Plugin, SignRequest, Signer, parse_config};
use rust_proxy_sign::{Signed, built_in_key, sign};
use serde::Deserialize;

/// What the configuration says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Hmac {
    key: Option<String>,
}

impl Plugin for Hmac {
    fn describe() -> Description {
        Description::new("sign", env!("CARGO_PKG_VERSION"), "Signs for the reference Dev API: HMAC-SHA256.")
    }

    fn configure(config_json: &str) -> Result<Self, String> {
        let this: Self = parse_config(config_json)?;
        match &this.key {
            Some(key) if key.is_empty() => {
                Err("`key`: empty; leave it out to use the built-in one".to_owned())
            }
            _ => Ok(this),
        }
    }
}

impl Signer for Hmac {
    fn sign(&mut self, request: &SignRequest) -> Result<Vec<(String, String)>, String> {
        let parameter = |name: &str| {
            let found = request.parameters.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.as_str()).ok_or_else(|| format!("there is no parameter `{name}`"))
        };
        let signed = Signed {
            nonce: parameter("nonce")?,
            timestamp: parameter("timestamp")?,
            device_id: parameter("device_id")?,
            content: &request.content,
        };
        let key = self.key.as_deref().unwrap_or(built_in_key());
        Ok(vec![("result".to_owned(), sign(key, &signed))])
    }
}

rust_proxy_sdk::signer_plugin!(Hmac);

#[cfg(test)]
mod tests {
    use super::*;

    fn request(parameters: &[(&str, &str)]) -> SignRequest {
        SignRequest {
            method: "POST".to_owned(),
            url: "https://example.com/chat".to_owned(),
            headers: Vec::new(),
            parameters: parameters
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            content: "c".to_owned(),
        }
    }

    #[test]
    fn signs_with_the_configured_key_or_the_built_in_one() {
        let request = request(&[("device_id", "d"), ("nonce", "n"), ("timestamp", "1")]);
        let signed = Signed { nonce: "n", timestamp: "1", device_id: "d", content: "c" };
        for (config, key) in [("{}", built_in_key()), (r#"{"key": "k"}"#, "k")] {
            let result = Hmac::configure(config).unwrap().sign(&request).unwrap();
            assert_eq!(result, [("result".to_owned(), sign(key, &signed))]);
        }
        assert!(Hmac::configure(r#"{"key": ""}"#).is_err());
    }

    #[test]
    fn a_missing_parameter_is_named() {
        let error = Hmac::configure("{}").unwrap().sign(&request(&[("nonce", "n")])).unwrap_err();
        assert_eq!(error, "there is no parameter `timestamp`");
    }
}
