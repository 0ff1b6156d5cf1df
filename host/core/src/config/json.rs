//! `config = { … }` of a plugin: TOML to JSON, with files and secrets put in.

use serde_json::{Map, Number, Value};
use toml::de::DeValue;

use super::reader::Node;
use super::reference::{SECRET_FIX, is_reference};

/// A value for the plugin, and the same for people: secrets and the text of files left out.
#[derive(Clone, Default)]
pub(super) struct Json {
    pub(super) real: Value,
    pub(super) shown: Value,
    /// Whether there is a secret in it.
    pub(super) secret: bool,
}

impl Json {
    fn plain(value: impl Into<Value>) -> Self {
        let real = value.into();
        Self { shown: real.clone(), real, secret: false }
    }

    pub(super) fn empty() -> Self {
        Self::plain(Map::new())
    }
}

/// The whole `config` table. Here `file` and `secret` are settings like others; below, a table that has
/// nothing else is replaced.
pub(super) fn read(node: &Node<'_>) -> Json {
    node.table(|t| object(t.rest()))
}

/// The values of a list.
pub(super) fn list(node: &Node<'_>) -> Vec<Value> {
    node.items().iter().filter_map(|item| value(item).map(|json| json.real)).collect()
}

fn object<'a>(entries: impl IntoIterator<Item = (String, Node<'a>)>) -> Json {
    let mut real = Map::new();
    let mut shown = Map::new();
    let mut secret = false;
    for (key, node) in entries {
        let json = value(&node).unwrap_or_default();
        secret |= json.secret;
        shown.insert(key.clone(), json.shown);
        real.insert(key, json.real);
    }
    Json { real: Value::Object(real), shown: Value::Object(shown), secret }
}

fn value(node: &Node<'_>) -> Option<Json> {
    Some(match node.value()? {
        DeValue::String(text) if is_reference(text) => {
            return node.problem(
                "the plugin would get this text itself",
                "write { secret = \"env::NAME\" }, or { file = \"…\" } for the text of a file",
            );
        }
        DeValue::String(text) => Json::plain(text.as_ref()),
        DeValue::Boolean(boolean) => Json::plain(*boolean),
        DeValue::Datetime(date) => Json::plain(date.to_string()),
        DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(integer) => Json::plain(integer),
            Err(_) => return node.problem("the number is out of range", "write it in quotes"),
        },
        DeValue::Float(float) => match float.as_str().parse().ok().and_then(Number::from_f64) {
            Some(float) => Json::plain(float),
            None => return node.problem("JSON has no such number", "write it in quotes"),
        },
        DeValue::Array(_) => {
            let items = node.items();
            let items: Vec<Json> = items.iter().map(|item| value(item).unwrap_or_default()).collect();
            let secret = items.iter().any(|item| item.secret);
            let (real, shown): (Vec<_>, Vec<_>) =
                items.into_iter().map(|json| (json.real, json.shown)).unzip();
            Json { real: Value::Array(real), shown: Value::Array(shown), secret }
        }
        DeValue::Table(entries) => {
            let mut keys = entries.iter().map(|(key, _)| key.get_ref().as_ref());
            return match (keys.next(), keys.next()) {
                (Some("file"), None) => node.table(|t| t.get("file").and_then(|n| file(&n))),
                (Some("secret"), None) => node.table(|t| t.get("secret").and_then(|n| secret(&n))),
                _ => Some(node.table(|t| object(t.rest()))),
            };
        }
    })
}

fn file(node: &Node<'_>) -> Option<Json> {
    let name = node.name()?;
    match node.file(&name) {
        Ok(text) if text.trim().is_empty() => {
            node.problem(format!("{name:?} is empty, so the plugin would do nothing"), "fill it")
        }
        Ok(text) => {
            let shown = format!("(file {name}, {} bytes)", text.len()).into();
            Some(Json { real: text.into(), shown, secret: false })
        }
        Err(error) => node.problem(error, "paths start at the folder of this file"),
    }
}

fn secret(node: &Node<'_>) -> Option<Json> {
    let secret = node.secret(SECRET_FIX)?;
    Some(Json { real: secret.expose().into(), shown: "(secret)".into(), secret: true })
}
