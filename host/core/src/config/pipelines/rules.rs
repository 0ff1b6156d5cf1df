//! `[[pipelines.NAME.when]]`: a rule as it is written.

use std::collections::BTreeMap;
use std::fmt;

use http::{HeaderName, HeaderValue};
use rust_proxy_stream::dialect::Dialect;
use toml::de::DeValue;

use super::links;
use crate::config::problems::suggest;
use crate::config::reader::{Node, Table};
use crate::config::reference::CLIENTS_OWN;

/// What `use` names where no pipeline is to run.
pub(super) const NONE: &str = "none";

/// For whom a pipeline is another.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rule {
    /// All of them must hold.
    pub conditions: Conditions,
    /// What is done where they do.
    pub effect: Effect,
}

/// What a request must be. An empty part is no condition; of several values of a part one must be the request's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Conditions {
    /// The model that the client asks for.
    pub models: Vec<String>,
    /// The name of its key.
    pub keys: Vec<String>,
    /// The path that it asks.
    pub routes: Vec<String>,
    /// What it sends as headers, by name in lower case; each must hold.
    pub headers: BTreeMap<String, HeaderTest>,
}

/// What a header must be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderTest {
    /// It is there, with any value.
    Present,
    /// It has one of these values, to the letter.
    OneOf(Vec<String>),
}

/// What a rule does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect {
    /// Another pipeline runs in place of this one, or none.
    Use(Option<String>),
    /// These plugins run behind those that are there.
    Add {
        /// Over requests.
        process: Vec<String>,
        /// Over answers.
        modify: Vec<String>,
    },
}

impl Conditions {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

pub(super) fn read<'a>(t: &mut Table<'a>, uses: &mut Vec<(String, Node<'a>)>) -> Rule {
    let mut values = |key| t.get(key).map(|node| one_or_more(&node, Node::name)).unwrap_or_default();
    let (models, keys) = (values("model"), values("key"));
    let routes = t.get("route").map(|node| one_or_more(&node, route)).unwrap_or_default();
    let headers = t.get("header").map(|node| headers(&node)).unwrap_or_default();
    Rule { conditions: Conditions { models, keys, routes, headers }, effect: effect(t, uses) }
}

fn effect<'a>(t: &mut Table<'a>, uses: &mut Vec<(String, Node<'a>)>) -> Effect {
    const FIX: &str = "write use = \"PIPELINE\", or process_also = [\"PLUGIN\"], modify_also = [\"PLUGIN\"]";
    let chosen = t.get("use");
    let (process, modify) = (links(t, "process_also", uses), links(t, "modify_also", uses));
    match (chosen, process.is_empty() && modify.is_empty()) {
        (Some(node), true) => return Effect::Use(node.name().filter(|name| name != NONE)),
        (Some(node), false) => {
            node.problem::<()>("a rule chooses a pipeline or adds plugins", "make two rules of it");
        }
        (None, true) => {
            t.node.conflict::<()>("this rule does nothing", FIX);
        }
        (None, false) => {}
    }
    Effect::Add { process, modify }
}

/// A value, or a list of different ones.
fn one_or_more<'a>(node: &Node<'a>, read: impl Fn(&Node<'a>) -> Option<String>) -> Vec<String> {
    let Some(DeValue::Array(_)) = node.value() else { return read(node).into_iter().collect() };
    let items = node.items();
    if items.is_empty() {
        node.problem::<()>("the list is empty, so this holds for no request", "write a value, or remove it");
    }
    let mut values = Vec::new();
    for item in items {
        match read(&item) {
            Some(value) if values.contains(&value) => {
                item.problem::<()>(format!("{value:?} is named twice"), "remove one of them");
            }
            Some(value) => values.push(value),
            None => {}
        }
    }
    values
}

fn route(node: &Node<'_>) -> Option<String> {
    let route = node.name()?;
    let routes = || Dialect::ALL.into_iter().map(Dialect::route);
    if routes().any(|known| known == route) {
        return Some(route);
    }
    node.problem(format!("{route:?} takes no chat requests"), suggest(&route, routes()))
}

fn headers(node: &Node<'_>) -> BTreeMap<String, HeaderTest> {
    const FIX: &str = "write header = { x-… = \"VALUE\" }, or true in place of a value where any will do";
    if let Some(DeValue::Table(table)) = node.value()
        && table.is_empty()
    {
        node.problem::<()>("no header is named", FIX);
    }
    let mut headers = BTreeMap::new();
    for (written, value) in node.table(Table::rest) {
        let name = written.to_ascii_lowercase();
        let refused = match name.parse::<HeaderName>() {
            Err(_) => "this is not the name of a header",
            // They hold credentials, or say where the gateway is.
            Ok(_) if CLIENTS_OWN.contains(&name.as_str()) || name == "x-api-key" => {
                "this header is between the client and the gateway; `key` is the condition for client keys"
            }
            Ok(_) => {
                let test = match value.value() {
                    Some(DeValue::Boolean(true)) => HeaderTest::Present,
                    Some(DeValue::String(_) | DeValue::Array(_)) => {
                        HeaderTest::OneOf(one_or_more(&value, header_value))
                    }
                    _ => {
                        value.wrong_type::<()>("a header's value, or true", FIX);
                        continue;
                    }
                };
                if headers.insert(name, test).is_some() {
                    value.problem::<()>("this header is named twice", "remove one of them");
                }
                continue;
            }
        };
        value.problem::<()>(refused, FIX);
    }
    headers
}

fn header_value(node: &Node<'_>) -> Option<String> {
    let value = node.name()?;
    let sent = HeaderValue::from_str(&value).is_ok_and(|sent| sent.to_str().is_ok());
    if sent && value.trim() == value {
        return Some(value);
    }
    node.problem("no header has this value", "write visible ASCII, without spaces around it")
}

/// As `check` shows it.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.conditions)?;
        match &self.effect {
            Effect::Use(other) => write!(f, "use {}", other.as_deref().unwrap_or(NONE)),
            Effect::Add { process, modify } => {
                let lists = [("process also ", process), ("modify also ", modify)];
                let lists = lists.into_iter().filter(|(_, list)| !list.is_empty());
                let lists: Vec<_> =
                    lists.map(|(what, list)| format!("{what}{}", list.join(" → "))).collect();
                f.write_str(&lists.join(", "))
            }
        }
    }
}

impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lists = [("model", &self.models), ("key", &self.keys), ("route", &self.routes)];
        let lists = lists.into_iter().filter(|(_, values)| !values.is_empty());
        let mut all: Vec<String> =
            lists.map(|(what, values)| format!("{what} {}", values.join(" or "))).collect();
        all.extend(self.headers.iter().map(|(name, test)| match test {
            HeaderTest::Present => format!("header {name}"),
            HeaderTest::OneOf(values) => {
                let values: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
                format!("header {name} {}", values.join(" or "))
            }
        }));
        f.write_str(if all.is_empty() { "else".to_owned() } else { all.join(", ") }.as_str())
    }
}
