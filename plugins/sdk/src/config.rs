//! Typed configuration.

use serde::de::DeserializeOwned;

/// Reads a plugin's configuration into a type of its own.
///
/// Put `#[serde(deny_unknown_fields)]` on the type: a key that is misspelt then refuses the plugin at start,
/// instead of doing nothing.
///
/// # Errors
///
/// The text names the key, and says what was expected there.
///
/// # Examples
///
/// ```
/// use rust_proxy_sdk::parse_config;
///
/// #[derive(Debug, serde::Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Config {
///     words: Vec<String>,
/// }
///
/// assert_eq!(parse_config::<Config>(r#"{"words": ["a"]}"#).unwrap().words, ["a"]);
/// assert_eq!(
///     parse_config::<Config>(r#"{"words": ["a", 1]}"#).unwrap_err(),
///     "`words[1]`: invalid type: integer `1`, expected a string",
/// );
/// assert_eq!(
///     parse_config::<Config>(r#"{"word": "a"}"#).unwrap_err(),
///     "`word`: unknown field `word`, expected `words`",
/// );
/// assert_eq!(parse_config::<Config>("{}").unwrap_err(), "missing field `words`");
/// ```
pub fn parse_config<C: DeserializeOwned>(json: &str) -> Result<C, String> {
    let mut reader = serde_json::Deserializer::from_str(json);
    serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let text = error.inner().to_string();
        // The host made this JSON from TOML: a place in it says nothing to the reader.
        let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
        match error.path().to_string().as_str() {
            "." => text.to_owned(),
            path => format!("`{path}`: {text}"),
        }
    })
}
