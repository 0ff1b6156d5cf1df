//! ③ The prompt template.

use std::collections::BTreeMap;

use minijinja::{Environment, Error, UndefinedBehavior, Value};
use time::UtcDateTime;

/// What the plugin itself gives to a template.
const GIVEN: [&str; 2] = ["user", "date"];

/// A template that was tried: it has `user`, and no variable without a value.
#[derive(Debug)]
pub(crate) struct Template {
    environment: Environment<'static>,
    variables: BTreeMap<String, Value>,
}

impl Template {
    pub(crate) fn new(source: &str, variables: BTreeMap<String, Value>) -> Result<Self, String> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_debug(true);
        environment
            .add_template_owned("template", source.to_owned())
            .map_err(|error| refusal(source, &error))?;
        let this = Self { environment, variables };
        this.check_variables(source)?;
        this.rendered("text").map_err(|error| refusal(source, &error))?;
        Ok(this)
    }

    /// The text of the latest user message, in its place.
    pub(crate) fn render(&self, user: &str) -> Result<String, String> {
        let text = self.rendered(user).map_err(|error| format!("`template`: {error}"))?;
        if text.trim().is_empty() { Err("`template` made an empty text".to_owned()) } else { Ok(text) }
    }

    fn rendered(&self, user: &str) -> Result<String, Error> {
        let mut values = self.variables.clone();
        values.insert("user".to_owned(), user.into());
        values.insert("date".to_owned(), UtcDateTime::now().date().to_string().into());
        self.environment.get_template("template")?.render(values)
    }

    /// Also finds what a trial would miss: a variable in a branch that was not taken.
    fn check_variables(&self, source: &str) -> Result<(), String> {
        let template = self.environment.get_template("template").map_err(|error| refusal(source, &error))?;
        let mut used: Vec<_> = template.undeclared_variables(false).into_iter().collect();
        used.sort_unstable();
        if let Some(name) = GIVEN.into_iter().find(|name| self.variables.contains_key(*name)) {
            return Err(format!("`variables.{name}`: `{name}` has a value of its own; write another name"));
        }
        let known = |name: &str| {
            GIVEN.contains(&name)
                || self.variables.contains_key(name)
                || self.environment.globals().any(|(global, _)| global == name)
        };
        if let Some(name) = used.iter().find(|name| !known(name)) {
            let place = place(source, variable(source, name));
            return Err(format!("`template`, {place}: `{name}` has no value; write `variables.{name}`"));
        }
        if let Some(name) = self.variables.keys().find(|name| !used.contains(name)) {
            return Err(format!("`variables.{name}` is not in `template`; write `{{{{ {name} }}}}` there"));
        }
        if !used.iter().any(|name| name == "user") {
            return Err("`template` would drop what the user wrote: write `{{ user }}` into it".to_owned());
        }
        Ok(())
    }
}

fn refusal(source: &str, error: &Error) -> String {
    let place = match (error.range(), error.line()) {
        (Some(range), _) => format!(", {}", place(source, range.start)),
        (None, Some(line)) => format!(", line {line}"),
        (None, None) => String::new(),
    };
    let detail = error.detail().map_or_else(String::new, |detail| format!(": {detail}"));
    format!("`template`{place}: {}{detail}; correct it there", error.kind())
}

/// Where the offset `at` is, for people.
fn place(source: &str, at: usize) -> String {
    let before = source.get(..at).unwrap_or(source);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    format!("line {line}, column {column}")
}

/// Where a variable is first named inside of `{{ }}` or `{% %}`.
fn variable(source: &str, name: &str) -> usize {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_';
    let named = |&(at, _): &(usize, &str)| {
        let (before, after) = source.split_at(at);
        let opened = before.rfind("{{").max(before.rfind("{%"));
        let closed = before.rfind("}}").max(before.rfind("%}"));
        opened > closed
            && !before.ends_with(part_of_name)
            && !after.strip_prefix(name).is_some_and(|rest| rest.starts_with(part_of_name))
    };
    source.match_indices(name).find(named).map_or(0, |(at, _)| at)
}
