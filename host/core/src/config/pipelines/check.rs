//! Rules held against the rest of the file: what they name must be there, and each must make a difference.

use std::collections::{BTreeMap, BTreeSet};

use super::{Effect, Pipeline, Pipelines, Resolver, Rule};
use crate::config::models::Model;
use crate::config::problems::suggest;
use crate::config::reader::{Node, Table};
use crate::config::server::Server;

/// Reports what of the rules would do nothing.
pub(in crate::config) fn check(pipelines: &Pipelines<'_>, models: &BTreeMap<String, Model>, server: &Server) {
    let keys: Vec<&str> = server.keys.iter().map(|key| key.name.as_str()).collect();
    let reach = reach(&pipelines.by_name, models);
    let mut fit = pipelines.whole;
    for (name, (node, places)) in &pipelines.places {
        let Some(pipeline) = pipelines.by_name.get(name) else { continue };
        fit &= !leads_back(name, node, &pipelines.by_name);
        for (number, (rule, place)) in pipeline.when.iter().zip(places).enumerate() {
            let last = number + 1 == pipeline.when.len();
            let running = reach.get(name.as_str());
            let subject = Subject { name, pipeline, rule, last, place };
            fit &= subject.check_names(&keys, &pipelines.by_name)
                & subject.check_models(models, running)
                & subject.check_effect();
        }
    }
    if fit {
        check_effects(pipelines, models, &keys);
    }
}

/// The models that may run each pipeline.
pub(super) fn reach<'a>(
    pipelines: &'a BTreeMap<String, Pipeline>,
    models: &'a BTreeMap<String, Model>,
) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
    let mut reach: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (model, settings) in models {
        let mut next: Vec<&str> = settings.pipeline.as_deref().into_iter().collect();
        while let Some(name) = next.pop() {
            if reach.entry(name).or_default().insert(model) {
                next.extend(pipelines.get(name).into_iter().flat_map(others));
            }
        }
    }
    reach
}

/// The pipelines that the rules of one choose.
fn others(pipeline: &Pipeline) -> impl Iterator<Item = &str> {
    pipeline.when.iter().filter_map(|rule| match &rule.effect {
        Effect::Use(other) => other.as_deref(),
        Effect::Add { .. } => None,
    })
}

/// Reports a pipeline that its rules lead back to.
fn leads_back(name: &str, node: &Node<'_>, pipelines: &BTreeMap<String, Pipeline>) -> bool {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let mut next = vec![name];
    while let Some(at) = next.pop() {
        for other in pipelines.get(at).into_iter().flat_map(others) {
            if other == name {
                let fix = "let one of the rules with `use` choose another pipeline";
                node.conflict::<()>("its rules lead back to it", fix);
                return true;
            }
            if seen.insert(other) {
                next.push(other);
            }
        }
    }
    false
}

/// A rule and where it stands.
struct Subject<'a, 'n> {
    name: &'a str,
    pipeline: &'a Pipeline,
    rule: &'a Rule,
    last: bool,
    place: &'a Node<'n>,
}

impl<'n> Subject<'_, 'n> {
    /// A key of the rule. The rule has been read, so that asking again reports nothing.
    fn at(&self, key: &'static str) -> Node<'n> {
        let read = |t: &mut Table<'n>| {
            let node = t.get(key);
            t.rest();
            node
        };
        self.place.table(read).unwrap_or_else(|| self.place.clone())
    }

    /// Whether the keys and the pipeline that it names are there.
    fn check_names(&self, keys: &[&str], pipelines: &BTreeMap<String, Pipeline>) -> bool {
        let mut fit = true;
        let mut missing = |place: Node<'_>, what: &str, name: &str, fix: String| {
            fit = false;
            place.conflict::<()>(format!("there is no {what} {name:?}"), fix);
        };
        for name in self.rule.conditions.keys.iter().filter(|name| !keys.contains(&name.as_str())) {
            let fix = match keys {
                [] => "add [[server.keys]] with this name".to_owned(),
                _ => suggest(name, keys.iter().copied()),
            };
            missing(self.at("key"), "client key", name, fix);
        }
        if let Effect::Use(Some(other)) = &self.rule.effect
            && !pipelines.contains_key(other)
        {
            let fix =
                suggest(other, pipelines.keys().map(String::as_str).filter(|known| *known != self.name));
            missing(self.at("use"), "pipeline", other, fix);
        }
        fit
    }

    /// Whether the models that it names are there and run the pipeline.
    fn check_models(&self, models: &BTreeMap<String, Model>, running: Option<&BTreeSet<&str>>) -> bool {
        let mut fit = true;
        for name in &self.rule.conditions.models {
            let (message, fix) = match models.contains_key(name) {
                false => {
                    (format!("there is no model {name:?}"), suggest(name, models.keys().map(String::as_str)))
                }
                true if running.is_some_and(|running| !running.contains(name.as_str())) => (
                    format!("the model {name:?} does not run this pipeline"),
                    format!("write pipeline = {:?} in [models.{name}], or remove it here", self.name),
                ),
                true => continue,
            };
            fit = false;
            self.at("model").conflict::<()>(message, fix);
        }
        fit
    }

    /// Whether it makes a difference by itself.
    fn check_effect(&self) -> bool {
        let mut fit = true;
        if self.rule.conditions.is_empty() && !(self.last && matches!(self.rule.effect, Effect::Use(_))) {
            fit = false;
            self.place.conflict::<()>(
                "a rule without a condition always holds",
                "put it last, with `use`; plugins that always run belong in the pipeline's own lists",
            );
        }
        let Effect::Add { process, modify } = &self.rule.effect else { return fit };
        let lists = [
            ("process_also", process, "process", &self.pipeline.process),
            ("modify_also", modify, "modify", &self.pipeline.modify),
        ];
        for (key, more, list, own) in lists {
            for name in more.iter().filter(|name| own.contains(name)) {
                let message = format!("{name:?} is in the pipeline's {list} already, so this adds nothing");
                fit = false;
                self.at(key).conflict::<()>(message, "remove it from one of the two");
            }
        }
        fit
    }
}

/// Reports rules and plugins that no request gets to.
fn check_effects(pipelines: &Pipelines<'_>, models: &BTreeMap<String, Model>, keys: &[&str]) {
    let mut resolver = Resolver::new(&pipelines.by_name, keys.iter().copied());
    for (model, settings) in models {
        let Some(name) = &settings.pipeline else { continue };
        if resolver.resolve(model, name).is_none() {
            if let Some((node, _)) = pipelines.places.get(name) {
                let message = format!("its rules combine in too many ways for the model {model:?}");
                node.conflict::<()>(message, "write fewer, or choose among whole pipelines with `use`");
            }
            return;
        }
    }
    for (name, (node, rules)) in &pipelines.places {
        let (name, pipeline) = (name.as_str(), pipelines.by_name.get(name));
        let Some(pipeline) = pipeline.filter(|_| resolver.entered.contains(name)) else { continue };
        for (number, rule) in rules.iter().enumerate() {
            if !resolver.effective.contains(&(name, number)) {
                rule.conflict::<()>(
                    "this rule changes nothing: the rules before it take every request that it is for, or add \
                     the same plugins",
                    "put it before them, or remove it",
                );
            }
        }
        let has_own = !(pipeline.process.is_empty() && pipeline.modify.is_empty());
        if has_own && !resolver.ran.contains(name) {
            node.conflict::<()>(
                "its own plugins never run: its rules choose another pipeline for every request",
                "remove its `process` and `modify`, or a rule",
            );
        }
    }
}
