//! `[pipelines]`: which plugins run, and in which order.

use std::collections::BTreeMap;

use super::models::Model;
use super::reader::{Node, Table};

/// The links of a pipeline; at least one of the lists has an element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pipeline {
    /// Plugins that work on requests, first to last.
    pub process: Vec<String>,
    /// Plugins that work on answers, first to last.
    pub modify: Vec<String>,
}

/// The pipelines, and each plugin that they name with the place of its first use.
pub(super) fn read<'a>(root: &mut Table<'a>) -> (BTreeMap<String, Pipeline>, Vec<(String, Node<'a>)>) {
    let mut uses: Vec<(String, Node<'a>)> = Vec::new();
    let pipelines = root.section("pipelines", Table::rest);
    let read = |(name, node): (String, Node<'a>)| {
        let pipeline = node.table(|t| Pipeline {
            process: links(t, "process", &mut uses),
            modify: links(t, "modify", &mut uses),
        });
        if pipeline == Pipeline::default() {
            node.conflict::<()>(
                "this pipeline is empty",
                "write process = [\"PLUGIN\"] or modify = [\"PLUGIN\"]",
            );
        }
        (name, pipeline)
    };
    let pipelines = pipelines.into_iter().map(read).collect();
    (pipelines, uses)
}

/// Notes the pipelines that no model runs.
pub(super) fn note_unused(root: &mut Table<'_>, models: &BTreeMap<String, Model>) {
    for (name, node) in root.section("pipelines", Table::rest) {
        if !models.values().any(|model| model.pipeline.as_ref() == Some(&name)) {
            node.notice("no model uses this pipeline");
        }
    }
}

fn links<'a>(t: &mut Table<'a>, key: &'static str, uses: &mut Vec<(String, Node<'a>)>) -> Vec<String> {
    let links = t.get(key).map(|node| node.names()).unwrap_or_default();
    for (name, node) in &links {
        if !uses.iter().any(|(used, _)| used == name) {
            uses.push((name.clone(), node.clone()));
        }
    }
    links.into_iter().map(|(name, _)| name).collect()
}
