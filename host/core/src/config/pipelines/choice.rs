//! What the rules of pipelines come to: for each model a tree of questions with the plugins at its leaves.
//!
//! The requests of a model differ in a few properties: key, route, and the headers that rules name. Of each of them
//! rules tell a few values apart, so that all requests fall into finitely many kinds, which are followed through
//! the rules as sets ([`Kinds`]). A question stands in the tree only where the requests that get there differ in its
//! answer. So a rule that is asked by no tree holds for no request.

use std::collections::{BTreeMap, BTreeSet};

use rust_proxy_stream::dialect::Dialect;
use rust_proxy_stream::exchange::Asking;

use super::{Conditions, Effect, HeaderTest, Pipeline, Stages};

/// The most work for the rules of one model, in sets of requests that are followed: a dozen rules that have nothing
/// to do with one another take eight thousand, and a moment.
const WORK_MAX: usize = 10_000;

/// A tree of questions to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Choice<T> {
    /// What runs.
    Run(T),
    /// Whether the request fulfils conditions; those on its model are answered already.
    If(Box<Question<T>>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question<T> {
    conditions: Conditions,
    yes: Choice<T>,
    no: Choice<T>,
}

impl<T> Choice<T> {
    /// What runs for a request.
    pub(crate) fn choose(&self, asking: Asking<'_>) -> &T {
        let mut choice = self;
        loop {
            choice = match choice {
                Self::Run(it) => return it,
                Self::If(question) if question.conditions.hold(asking) => &question.yes,
                Self::If(question) => &question.no,
            }
        }
    }

    pub(crate) fn map<U>(self, make: &mut impl FnMut(T) -> U) -> Choice<U> {
        match self {
            Self::Run(it) => Choice::Run(make(it)),
            Self::If(question) => {
                let Question { conditions, yes, no } = *question;
                let (yes, no) = (yes.map(make), no.map(make));
                Choice::If(Box::new(Question { conditions, yes, no }))
            }
        }
    }

    /// All that may run.
    pub(crate) fn all(&self) -> Vec<&T> {
        match self {
            Self::Run(it) => vec![it],
            Self::If(question) => [question.yes.all(), question.no.all()].concat(),
        }
    }
}

impl Conditions {
    fn hold(&self, asking: Asking<'_>) -> bool {
        let among = |values: &[String], value: Option<&str>| {
            values.is_empty() || value.is_some_and(|value| values.iter().any(|known| known == value))
        };
        among(&self.keys, asking.key)
            && among(&self.routes, Some(asking.dialect.route()))
            && self.headers.iter().all(|(name, test)| {
                let sent = asking.headers.iter().find(|(header, _)| header == name);
                match test {
                    HeaderTest::Present => sent.is_some(),
                    HeaderTest::OneOf(values) => sent.is_some_and(|(_, value)| values.contains(value)),
                }
            })
    }
}

/// What requests differ in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Property {
    Key,
    Route,
    Header(String),
}

/// A value of a property.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// The request does not have it.
    Absent,
    /// One that is named somewhere.
    Named(String),
    /// Any other.
    Other,
}

/// A set of requests: for each property the values that theirs may have.
type Kinds = BTreeMap<Property, BTreeSet<Kind>>;

impl Conditions {
    /// The properties that it asks for, each with what it takes.
    fn tests(&self) -> impl Iterator<Item = (Property, Taken<'_>)> {
        let lists = [(Property::Key, &self.keys), (Property::Route, &self.routes)];
        let lists = lists.into_iter().filter(|(_, values)| !values.is_empty());
        let lists = lists.map(|(property, values)| (property, Taken::OneOf(values)));
        lists.chain(self.headers.iter().map(|(name, test)| {
            let taken = match test {
                HeaderTest::Present => Taken::Any,
                HeaderTest::OneOf(values) => Taken::OneOf(values),
            };
            (Property::Header(name.clone()), taken)
        }))
    }

    /// Parts a set: the requests that fulfil this, if there are any, and the others in sets that do not overlap.
    fn part(&self, kinds: Kinds) -> (Option<Kinds>, Vec<Kinds>) {
        let (mut fulfil, mut others) = (kinds.clone(), Vec::new());
        for (property, taken) in self.tests() {
            let values = fulfil.remove(&property).unwrap_or_default();
            let (yes, no): (BTreeSet<Kind>, BTreeSet<Kind>) =
                values.into_iter().partition(|kind| taken.takes(kind));
            if yes.is_empty() {
                return (None, vec![kinds]);
            }
            if !no.is_empty() {
                let mut other = fulfil.clone();
                other.insert(property.clone(), no);
                others.push(other);
            }
            fulfil.insert(property, yes);
        }
        (Some(fulfil), others)
    }
}

/// The values of a property that a condition takes.
enum Taken<'a> {
    Any,
    OneOf(&'a [String]),
}

impl Taken<'_> {
    fn takes(&self, kind: &Kind) -> bool {
        match (self, kind) {
            (_, Kind::Absent) | (Self::OneOf(_), Kind::Other) => false,
            (Self::Any, _) => true,
            (Self::OneOf(values), Kind::Named(value)) => values.contains(value),
        }
    }
}

/// Works out what runs for whom.
pub(crate) struct Resolver<'a> {
    pipelines: &'a BTreeMap<String, Pipeline>,
    /// All requests.
    kinds: Kinds,
    /// The pipelines that were gone into.
    pub(super) entered: BTreeSet<&'a str>,
    /// The pipelines whose own plugins run.
    pub(super) ran: BTreeSet<&'a str>,
    /// The rules that make a difference, by pipeline and number.
    pub(super) effective: BTreeSet<(&'a str, usize)>,
    work_left: usize,
}

/// Where the reading of rules is.
#[derive(Clone)]
struct Reading<'a> {
    name: &'a str,
    pipeline: &'a Pipeline,
    /// The rule that is read next.
    rule: usize,
    /// What rules have added.
    added: Stages,
}

impl<'a> Resolver<'a> {
    /// For pipelines whose rules name only pipelines that are there, without a circle among them.
    pub(crate) fn new(
        pipelines: &'a BTreeMap<String, Pipeline>,
        keys: impl Iterator<Item = &'a str>,
    ) -> Self {
        let named = |value: &str| Kind::Named(value.to_owned());
        // Whoever embeds an engine may run requests without a key.
        let keys = keys.map(named).chain([Kind::Absent]).collect();
        let routes = Dialect::ALL.iter().map(|dialect| named(dialect.route())).collect();
        let mut kinds = Kinds::from([(Property::Key, keys), (Property::Route, routes)]);
        for (name, test) in headers(pipelines) {
            let values = kinds.entry(Property::Header(name.to_owned())).or_default();
            values.extend([Kind::Absent, Kind::Other]);
            if let HeaderTest::OneOf(all) = test {
                values.extend(all.iter().map(|value| named(value)));
            }
        }
        let (entered, ran, effective) = Default::default();
        Self { pipelines, kinds, entered, ran, effective, work_left: 0 }
    }

    /// What runs for the requests of a model. `None` where its rules are too many to be followed.
    pub(crate) fn resolve(&mut self, model: &str, pipeline: &str) -> Option<Choice<Stages>> {
        self.work_left = WORK_MAX;
        self.enter(model, pipeline, Stages::default(), vec![self.kinds.clone()])
    }

    fn enter(&mut self, model: &str, name: &str, added: Stages, kinds: Vec<Kinds>) -> Option<Choice<Stages>> {
        let (name, pipeline) = self.pipelines.get_key_value(name)?;
        self.entered.insert(name);
        self.read(model, &Reading { name, pipeline, rule: 0, added }, kinds)
    }

    /// Follows these requests from a rule on.
    fn read(&mut self, model: &str, at: &Reading<'a>, kinds: Vec<Kinds>) -> Option<Choice<Stages>> {
        self.work_left = self.work_left.checked_sub(kinds.len())?;
        let Reading { name, pipeline, rule: number, added } = at;
        let Some(rule) = pipeline.when.get(*number) else {
            self.ran.insert(name);
            let mut stages = pipeline.own();
            stages.add(&added.process, &added.modify);
            return Some(Choice::Run(stages));
        };
        let next = Reading { rule: number + 1, ..at.clone() };
        let conditions = &rule.conditions;
        if !conditions.models.is_empty() && !conditions.models.iter().any(|known| known == model) {
            return self.read(model, &next, kinds);
        }
        let (mut fulfil, mut others) = (Vec::new(), Vec::new());
        for kinds in kinds {
            let (yes, no) = conditions.part(kinds);
            fulfil.extend(yes);
            others.extend(no);
        }
        if fulfil.is_empty() {
            return self.read(model, &next, others);
        }
        let yes = match &rule.effect {
            Effect::Use(other) => {
                self.effective.insert((name, *number));
                match other {
                    Some(other) => self.enter(model, other, added.clone(), fulfil)?,
                    None => Choice::Run(added.clone()),
                }
            }
            Effect::Add { process, modify } => {
                let mut more = next.clone();
                more.added.add(process, modify);
                if more.added != next.added {
                    self.effective.insert((name, *number));
                }
                self.read(model, &more, fulfil)?
            }
        };
        if others.is_empty() {
            return Some(yes);
        }
        let no = self.read(model, &next, others)?;
        let conditions = Conditions { models: Vec::new(), ..conditions.clone() };
        Some(Choice::If(Box::new(Question { conditions, yes, no })))
    }
}

/// The headers that rules ask for, each as often as it is named.
pub(crate) fn headers(pipelines: &BTreeMap<String, Pipeline>) -> impl Iterator<Item = (&str, &HeaderTest)> {
    let rules = pipelines.values().flat_map(|pipeline| &pipeline.when);
    rules.flat_map(|rule| &rule.conditions.headers).map(|(name, test)| (name.as_str(), test))
}
