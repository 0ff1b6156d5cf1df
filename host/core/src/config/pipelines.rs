//! `[pipelines]`: which plugins run, in which order, and for whom.
//!
//! A pipeline has its own plugins, and may have rules (`[[pipelines.NAME.when]]`), which are read in order for each
//! request. Where a rule's conditions hold, it adds plugins behind those that are there, and the next rule is read;
//! or it chooses another pipeline (`use`), whose own plugins stand in the place of this one's, and whose rules are
//! read next. What rules have added until then stays.
//!
//! All that rules can come to is worked out here ([`choice`]), so that a request has only to be matched.

use std::collections::BTreeMap;

use super::models::Model;
use super::reader::{Node, Table};

mod check;
mod choice;
mod rules;
#[cfg(test)]
mod tests;

pub(super) use check::check;
pub(crate) use choice::{Choice, Resolver, headers};
pub use rules::{Conditions, Effect, HeaderTest, Rule};

/// The links of a pipeline, and the rules of who has others. It has one or the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pipeline {
    /// Plugins that work on requests, first to last.
    pub process: Vec<String>,
    /// Plugins that work on answers, first to last.
    pub modify: Vec<String>,
    /// Rules in the order in which they are read.
    pub when: Vec<Rule>,
}

impl Pipeline {
    /// Its own plugins.
    pub(crate) fn own(&self) -> Stages {
        Stages { process: self.process.clone(), modify: self.modify.clone() }
    }
}

/// Plugins of an exchange: those of a pipeline and what its rules made of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stages {
    pub(crate) process: Vec<String>,
    pub(crate) modify: Vec<String>,
}

impl Stages {
    /// Adds plugins behind those that are there. Each runs once, at its first place.
    fn add(&mut self, process: &[String], modify: &[String]) {
        for (all, new) in [(&mut self.process, process), (&mut self.modify, modify)] {
            for name in new {
                if !all.contains(name) {
                    all.push(name.clone());
                }
            }
        }
    }

    /// The plugins, each once.
    pub(crate) fn plugins(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.process.iter().chain(&self.modify).map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// What there is of pipelines in a file.
pub(super) struct Pipelines<'a> {
    pub(super) by_name: BTreeMap<String, Pipeline>,
    /// Each plugin that they name, with the place of its first use.
    pub(super) uses: Vec<(String, Node<'a>)>,
    /// The places of pipelines and of their rules.
    places: BTreeMap<String, (Node<'a>, Vec<Node<'a>>)>,
    /// Whether all rules could be read.
    whole: bool,
}

pub(super) fn read<'a>(root: &mut Table<'a>) -> Pipelines<'a> {
    let mut all =
        Pipelines { by_name: BTreeMap::new(), uses: Vec::new(), places: BTreeMap::new(), whole: true };
    for (name, node) in root.section("pipelines", Table::rest) {
        let (mut rules, mut given) = (Vec::new(), false);
        let pipeline = node.table(|t| {
            let process = links(t, "process", &mut all.uses);
            let modify = links(t, "modify", &mut all.uses);
            let items = t.get("when").map(|node| node.items()).unwrap_or_default();
            given = !items.is_empty();
            let mut when = Vec::new();
            for item in items {
                match item.table(|t| rules::read(t, &mut all.uses)) {
                    Some(rule) => {
                        when.push(rule);
                        rules.push(item);
                    }
                    None => all.whole = false,
                }
            }
            Pipeline { process, modify, when }
        });
        if pipeline == Pipeline::default() && !given {
            node.conflict::<()>(
                "this pipeline is empty",
                "write process = [\"PLUGIN\"] or modify = [\"PLUGIN\"]",
            );
        }
        if name == rules::NONE {
            node.problem::<()>("use = \"none\" stands for no pipeline", "give it another name");
        }
        all.places.insert(name.clone(), (node, rules));
        all.by_name.insert(name, pipeline);
    }
    all
}

/// Notes the pipelines that no model runs.
pub(super) fn note_unused(pipelines: &Pipelines<'_>, models: &BTreeMap<String, Model>) {
    let reach = check::reach(&pipelines.by_name, models);
    for (name, (node, _)) in &pipelines.places {
        if !reach.contains_key(name.as_str()) {
            node.notice("no model uses this pipeline");
        }
    }
}

/// A list of plugins.
fn links<'a>(t: &mut Table<'a>, key: &'static str, uses: &mut Vec<(String, Node<'a>)>) -> Vec<String> {
    let links = t.get(key).map(|node| node.names()).unwrap_or_default();
    for (name, node) in &links {
        if !uses.iter().any(|(used, _)| used == name) {
            uses.push((name.clone(), node.clone()));
        }
    }
    links.into_iter().map(|(name, _)| name).collect()
}
