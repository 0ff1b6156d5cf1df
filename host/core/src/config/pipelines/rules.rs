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

/// `None` where a part of it cannot be read, which has been reported.
pub(super) fn read<'a>(t: &mut Table<'a>, uses: &mut Vec<(String, Node<'a>)>) -> Option<Rule> {
    let models = t.get("model").map(|node| one_or_more(&node, Node::name));
    let keys = t.get("key").map(|node| one_or_more(&node, Node::name));
    let routes = t.get("route").map(|node| one_or_more(&node, route));
    let headers = t.get("header").map(|node| headers(&node));
    let effect = effect(t, uses);
    let conditions = Conditions {
        models: models.unwrap_or_else(|| Some(Vec::new()))?,
        keys: keys.unwrap_or_else(|| Some(Vec::new()))?,
        routes: routes.unwrap_or_else(|| Some(Vec::new()))?,
        headers: headers.unwrap_or_else(|| Some(BTreeMap::new()))?,
    };
    Some(Rule { conditions, effect: effect? })
}

fn effect<'a>(t: &mut Table<'a>, uses: &mut Vec<(String, Node<'a>)>) -> Option<Effect> {
    const FIX: &str = "write use = \"PIPELINE\", or process_also = [\"PLUGIN\"], modify_also = [\"PLUGIN\"]";
    let chosen = t.get("use");
    let (process, modify) = (links(t, "process_also", uses), links(t, "modify_also", uses));
    match (chosen, process.is_empty() && modify.is_empty()) {
        (Some(node), true) => Some(Effect::Use(Some(node.name()?).filter(|name| name != NONE))),
        (Some(node), false) => {
            node.problem("a rule chooses a pipeline or adds plugins", "make two rules of it")
        }
        (None, true) => t.node.conflict("this rule does nothing", FIX),
        (None, false) => Some(Effect::Add { process, modify }),
    }
}

/// A value, or a list of different ones; `None` where one of them cannot be read.
fn one_or_more<'a>(node: &Node<'a>, read: impl Fn(&Node<'a>) -> Option<String>) -> Option<Vec<String>> {
    let Some(DeValue::Array(_)) = node.value() else { return Some(vec![read(node)?]) };
    let items = node.items();
    if items.is_empty() {
        return node
            .problem("the list is empty, so this holds for no request", "write a value, or remove it");
    }
    let mut values: Vec<Option<String>> = Vec::new();
    for item in items {
        let value = read(&item);
        values.push(match value {
            Some(value) if values.contains(&Some(value.clone())) => {
                item.problem(format!("{value:?} is named twice"), "remove one of them")
            }
            value => value,
        });
    }
    values.into_iter().collect()
}

fn route(node: &Node<'_>) -> Option<String> {
    let route = node.name()?;
    let routes = || Dialect::ALL.into_iter().map(Dialect::route);
    if routes().any(|known| known == route) {
        return Some(route);
    }
    node.problem(format!("{route:?} takes no chat requests"), suggest(&route, routes()))
}

const HEADER_FIX: &str = "write header = { x-… = \"VALUE\" }, or true in place of a value where any will do";

fn headers(node: &Node<'_>) -> Option<BTreeMap<String, HeaderTest>> {
    let Some(DeValue::Table(_)) = node.value() else { return node.wrong_type("a table", HEADER_FIX) };
    let tests: Vec<_> = node
        .table(Table::rest)
        .into_iter()
        .map(|(name, node)| Some((header_name(&name, &node)?, header_test(&node)?, node)))
        .collect();
    if tests.is_empty() {
        return node.problem("no header is named", HEADER_FIX);
    }
    let mut headers = BTreeMap::new();
    for test in tests {
        let (name, test, node) = test?;
        if headers.insert(name, test).is_some() {
            return node.problem("this header is named twice", "remove one of them");
        }
    }
    Some(headers)
}

fn header_name(name: &str, node: &Node<'_>) -> Option<String> {
    let name = name.to_ascii_lowercase();
    if name.parse::<HeaderName>().is_err() {
        return node.problem("this is not the name of a header", HEADER_FIX);
    }
    // They hold credentials, or say where the gateway is.
    if CLIENTS_OWN.contains(&name.as_str()) || name == "x-api-key" {
        return node.problem(
            "this header is between the client and the gateway",
            "`key` is the condition for client keys",
        );
    }
    Some(name)
}

fn header_test(node: &Node<'_>) -> Option<HeaderTest> {
    match node.value() {
        Some(DeValue::Boolean(true)) => Some(HeaderTest::Present),
        Some(DeValue::String(_) | DeValue::Array(_)) => {
            one_or_more(node, header_value).map(HeaderTest::OneOf)
        }
        _ => node.wrong_type("a header's value, or true", HEADER_FIX),
    }
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
                let lists: Vec<_> = lists.map(|(what, list)| format!("{what}{}", list.join(" → "))).collect();
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
