//! Strings that stand for something else: `env::NAME`, `path::FILE`, and lists of them.

use std::fmt;
use std::path::Path;

use toml::de::DeValue;

use rust_proxy_upstream::dev_api::{Hidden, Source};

use super::reader::Node;
use super::secret::Secret;

/// What to do where a secret is not found.
pub(super) const SECRET_FIX: &str = "provide it, or name another place: \"env::NAME\", \"path::FILE\"";

/// What a header of the client's request begins with.
const DYNAMIC: &str = "dynamic::";

/// Headers that never leave for a provider.
pub(super) const CLIENTS_OWN: [&str; 4] = ["authorization", "cookie", "host", "proxy-authorization"];

/// What a string or list of references came to. Prints its origin where that is not the file itself.
pub(super) struct Text {
    pub(super) value: String,
    origin: Option<String>,
}

impl Text {
    /// Whether it stands in the file itself.
    pub(super) fn is_literal(&self) -> bool {
        self.origin.is_none()
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Some(origin) => write!(f, "the value of {origin}"),
            None => write!(f, "{:?}", self.value),
        }
    }
}

enum Reference<'a> {
    Env(&'a str),
    File(&'a str),
    Literal(&'a str),
}

impl<'a> Reference<'a> {
    fn new(text: &'a str) -> Self {
        match text.split_once("::") {
            Some(("env", name)) => Self::Env(name),
            Some(("path", file)) => Self::File(file),
            _ => Self::Literal(text),
        }
    }
}

/// Whether `text` would be looked up rather than taken as it stands.
pub(super) fn is_reference(text: &str) -> bool {
    !matches!(Reference::new(text), Reference::Literal(_))
}

impl Node<'_> {
    /// A string, a reference, or a list of references of which the first that is there counts; the last
    /// of the list may be a plain string, the default.
    pub(super) fn text(&self) -> Option<Text> {
        let (last, others) = self.candidates()?;
        self.resolve_text(&others, &last)
    }

    /// As [`text`](Self::text), and `dynamic::NAME` stands for a header of the client's request.
    pub(super) fn source(&self) -> Option<Source> {
        let all = self.strings()?;
        let mut headers = Vec::new();
        for name in all.iter().filter_map(|text| text.strip_prefix(DYNAMIC)) {
            let name = name.to_ascii_lowercase();
            let refused = match name.parse::<http::HeaderName>() {
                Err(_) => "what follows dynamic:: is not the name of a header",
                // The client's key for the gateway, and what a browser adds, are nothing for a provider.
                Ok(_) if CLIENTS_OWN.contains(&name.as_str()) => {
                    "this header is between the client and the gateway"
                }
                Ok(_) => {
                    headers.push(name);
                    continue;
                }
            };
            return self.problem(refused, "write \"dynamic::x-…\"");
        }
        let others: Vec<String> = all.into_iter().filter(|text| !text.starts_with(DYNAMIC)).collect();
        let otherwise = match self.checked(others)? {
            Some((last, others)) => Some(Hidden::new(self.resolve_text(&others, &last)?.value)),
            None if headers.is_empty() => return self.empty_list(),
            None => None,
        };
        Some(Source { headers, otherwise })
    }

    fn resolve_text(&self, others: &[String], last: &String) -> Option<Text> {
        if others.iter().any(|other| !is_reference(other)) {
            let fix = "put the default last: [\"env::NAME\", \"default\"]";
            return self.problem("a list may hold one plain string only, its last", fix);
        }
        let otherwise = format!("provide it, or a default: [{last:?}, \"…\"]");
        self.resolve(others, last, &otherwise)
    }

    /// A reference to text that must not stand in the file, or a list of such references.
    /// `otherwise` says what to do where nothing is found.
    pub(super) fn secret(&self, otherwise: &str) -> Option<Secret> {
        let (last, others) = self.candidates()?;
        if others.iter().chain([&last]).any(|other| !is_reference(other)) {
            let fix = "write \"env::NAME\" or \"path::FILE\"";
            return self.problem("a secret must not be written into this file", fix);
        }
        self.resolve(&others, &last, otherwise).map(|text| Secret::new(text.value))
    }

    /// A secret that travels in a header and has at least `length` characters.
    pub(super) fn token(&self, length: usize, otherwise: &str) -> Option<Secret> {
        let token = self.secret(otherwise)?;
        if !token.expose().chars().all(|c| c.is_ascii_graphic()) {
            return self.problem(
                "the key holds a space, a line break or a character that is not ASCII",
                "check where it comes from; a header cannot carry it",
            );
        }
        if token.expose().len() < length {
            return self.problem(
                format!("the key is shorter than {length} characters"),
                "make one with `openssl rand -hex 32`",
            );
        }
        Some(token)
    }

    /// The text of a file that this value names.
    pub(super) fn file(&self, name: &str) -> Result<String, String> {
        let path = Path::new(name);
        self.note_read(path);
        let read = self.files().read(path);
        read.map_err(|error| format!("{}: {error}", self.files().resolve(path).display()))
    }

    fn candidates(&self) -> Option<(String, Vec<String>)> {
        let all = self.strings()?;
        if all.iter().any(|text| text.starts_with(DYNAMIC)) {
            return self.problem("dynamic:: is not available for this setting", "write \"env::NAME\"");
        }
        self.checked(all)?.or_else(|| self.empty_list())
    }

    fn strings(&self) -> Option<Vec<String>> {
        match self.value() {
            Some(DeValue::String(text)) => Some(vec![text.clone().into_owned()]),
            Some(DeValue::Array(_)) => self.items().iter().map(Node::name).collect(),
            _ => self.wrong_type("a string", "write it in quotes"),
        }
    }

    fn empty_list<T>(&self) -> Option<T> {
        self.problem("the list is empty", "write [\"env::NAME\", \"default\"]")
    }

    /// The last of a list and those before it; `Some(None)` for an empty one.
    #[expect(clippy::option_option, reason = "the outer one says that there is no problem")]
    fn checked(&self, mut all: Vec<String>) -> Option<Option<(String, Vec<String>)>> {
        // Not repeated: it may be a key that was pasted after `env::`.
        let named = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if all
            .iter()
            .any(|text| text.strip_prefix("env::").is_some_and(|name| name.is_empty() || !named(name)))
        {
            return self.problem("what follows env:: is not a variable's name", "write \"env::NAME\"");
        }
        Some(all.pop().map(|last| (last, all)))
    }

    fn resolve(&self, others: &[String], last: &String, otherwise: &str) -> Option<Text> {
        let mut missing = Vec::new();
        for candidate in others.iter().chain([last]) {
            let (found, why) = match Reference::new(candidate) {
                Reference::Literal(text) => {
                    return Some(Text { value: text.to_owned(), origin: None });
                }
                Reference::Env(name) => (
                    self.env().var(name).filter(|value| !value.is_empty()),
                    format!("the environment variable {name} is not set"),
                ),
                Reference::File(name) => match self.file(name) {
                    Ok(text) => {
                        let text = text.trim_end_matches(['\r', '\n']).to_owned();
                        let why = format!("the file {name} is empty");
                        (Some(text).filter(|text| !text.is_empty()), why)
                    }
                    Err(error) => (None, error),
                },
            };
            if let Some(value) = found {
                return Some(Text { value, origin: Some(candidate.clone()) });
            }
            missing.push(why);
        }
        self.problem(missing.join(", and "), otherwise)
    }
}
