//! `[models]`: what clients can ask for, and who answers it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use http::Uri;
use toml::de::DeValue;

pub use rust_proxy_upstream::Timeouts;

use super::dev_api::{self, DevApi};
use super::pipelines::Pipeline;
use super::problems::suggest;
use super::reader::{Node, Table};
use super::secret::Secret;
use super::signers::Signers;

/// TensorZero's own default, so that its configurations read the same here.
const API_KEY: &DeValue<'static> = &DeValue::String(Cow::Borrowed("env::OPENAI_API_KEY"));
/// A day: longer waits are mistakes of the unit.
const TIMEOUT_MAX: u64 = 24 * 60 * 60 * 1000;

/// A model that clients can ask for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Model {
    /// The pipeline that its exchanges run through; `None` runs no plugins.
    pub pipeline: Option<String>,
    /// Providers in the order in which they are asked; never empty.
    pub routing: Vec<String>,
    /// The providers, each of which is in `routing`.
    pub providers: BTreeMap<String, Provider>,
}

impl Model {
    /// The signers of its providers.
    pub(crate) fn signers(&self) -> impl Iterator<Item = &str> {
        self.providers.values().filter_map(Provider::signer)
    }
}

/// Who answers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Provider {
    /// `type = "openai"`.
    OpenAi(OpenAi),
    /// `type = "dev-api"`.
    DevApi(Box<DevApi>),
}

impl Provider {
    /// The signer that it names.
    pub fn signer(&self) -> Option<&str> {
        match self {
            Self::OpenAi(_) => None,
            Self::DevApi(provider) => provider.signer.as_deref(),
        }
    }
}

/// An endpoint that speaks OpenAI's API.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OpenAi {
    /// An `http` or `https` URL that ends with a slash; no user, query or fragment.
    pub api_base: String,
    /// What the endpoint calls the model.
    pub model_name: String,
    /// What is sent as `Authorization: Bearer`; visible ASCII.
    pub api_key: Option<Secret>,
    /// How long each step may take.
    pub timeouts: Timeouts,
}

pub(super) fn read(
    root: &mut Table<'_>,
    pipelines: &BTreeMap<String, Pipeline>,
    signers: &Signers,
) -> BTreeMap<String, Model> {
    let models = root.section("models", Table::rest);
    if models.is_empty() {
        let fix = "write [models.NAME] and [models.NAME.providers.NAME]";
        root.node.conflict::<()>("there is no model, so every request would be refused", fix);
    }
    let read = |(name, node): (String, Node<'_>)| {
        let model = node.table(|t| model(&name, t, pipelines, signers));
        (name, model)
    };
    models.into_iter().map(read).collect()
}

fn model(name: &str, t: &mut Table<'_>, pipelines: &BTreeMap<String, Pipeline>, signers: &Signers) -> Model {
    let pipeline = t.get("pipeline").and_then(|node| {
        let pipeline = node.name()?;
        if !pipelines.contains_key(&pipeline) {
            let fix = suggest(&pipeline, pipelines.keys().map(String::as_str));
            return node.conflict(format!("there is no pipeline {pipeline:?}"), fix);
        }
        Some(pipeline)
    });
    let providers = t.require("providers", "write [models.NAME.providers.NAME]");
    let providers = providers.map(|node| node.table(Table::rest)).unwrap_or_default();
    let routing = t.require("routing", "write routing = [\"PROVIDER\"]");
    let routing = routing.map(|node| routes(&node, &providers)).unwrap_or_default();
    let read = |(key, node): (String, Node<'_>)| {
        let prefix = if is_dev_api(&node) { dev_api::PREFIX } else { "" };
        let provider = node.prefixed(prefix, || node.table(|t| provider(name, t, signers)))?;
        Some((key, provider))
    };
    Model { pipeline, routing, providers: providers.into_iter().filter_map(read).collect() }
}

/// Reads `routing` and holds it against the providers, both ways.
fn routes(node: &Node<'_>, providers: &BTreeMap<String, Node<'_>>) -> Vec<String> {
    let routing = node.names();
    if routing.is_empty() {
        node.conflict::<()>("no provider is asked", "write routing = [\"PROVIDER\"]");
    }
    for (name, node) in routing.iter().filter(|(name, _)| !providers.contains_key(name)) {
        let fix = suggest(name, providers.keys().map(String::as_str));
        node.conflict::<()>(format!("there is no provider {name:?}"), fix);
    }
    for (name, node) in providers {
        if !routing.iter().any(|(route, _)| route == name) {
            let fix = format!("add {name:?} to routing, or remove it");
            node.conflict::<()>("routing does not name it, so it would never be asked", fix);
        }
    }
    routing.into_iter().map(|(name, _)| name).collect()
}

fn is_dev_api(node: &Node<'_>) -> bool {
    let Some(DeValue::Table(entries)) = node.value() else { return false };
    matches!(entries.get("type").map(|kind| kind.get_ref()), Some(DeValue::String(kind)) if kind == "dev-api")
}

fn provider(model: &str, t: &mut Table<'_>, signers: &Signers) -> Option<Provider> {
    let kind = t
        .require("type", "write type = \"openai\" or \"dev-api\"")
        .map(|node| node.choice("a type of provider", &[("openai", false), ("dev-api", true)]));
    match kind {
        // The keys of another type are nothing that could be checked.
        Some(None) => {
            t.rest();
            None
        }
        Some(Some(true)) => Some(Provider::DevApi(Box::new(dev_api::read(model, t, signers)))),
        Some(Some(false)) | None => Some(Provider::OpenAi(openai(model, t))),
    }
}

fn openai(model: &str, t: &mut Table<'_>) -> OpenAi {
    let api_base = t.require("api_base", "write api_base = \"https://HOST/v1/\"");
    let model_name = t.get("model_name").and_then(|node| node.text());
    let api_key = t.get_or("api_key_location", API_KEY);
    let api_key = match api_key.value() {
        Some(DeValue::String(none)) if none == "none" => None,
        _ => {
            api_key.token(1, "provide it, or write api_key_location = \"none\" for a provider without a key")
        }
    };
    const FIX: &str = "write it like \"https://api.openai.com/v1/\"";
    OpenAi {
        api_base: api_base
            .and_then(|node| base(&node, FIX, "use api_key_location for the key"))
            .unwrap_or_default(),
        model_name: model_name.map_or(model.to_owned(), |text| text.value),
        api_key,
        timeouts: t.section("timeouts", timeouts),
    }
}

/// A URL that paths are added to, with a slash at its end.
pub(super) fn base(node: &Node<'_>, fix: &str, key_fix: &str) -> Option<String> {
    // Not `Node::parse`: a message must not repeat a URL that may hold a password.
    let text = node.text()?.value;
    let Ok(uri) = text.parse::<Uri>() else {
        return node.problem("this is not a URL", fix);
    };
    let (Some(scheme @ ("http" | "https")), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return node.problem("the URL does not begin with http:// or https://", fix);
    };
    if authority.as_str().contains('@') {
        return node.problem("a user or password in the URL", key_fix);
    }
    let exact = format!("{scheme}://{authority}{}", uri.path().trim_end_matches('/'));
    let has_port = authority.as_str() != authority.host();
    if (has_port && authority.port_u16().is_none()) || authority.host().is_empty() {
        return node.problem("the URL's host or port is not valid", fix);
    }
    if text.contains(['?', '#']) {
        return node.problem("a query or fragment in the URL", "end it with the path");
    }
    Some(format!("{exact}/"))
}

pub(super) fn timeouts(t: &mut Table<'_>) -> Timeouts {
    let mut millis = |key, default| Duration::from_millis(t.count(key, 1..=TIMEOUT_MAX, default));
    Timeouts {
        // A handshake across the world takes half a second; a lost packet is sent again after one and three.
        connect: millis("connect_ms", 5_000),
        // Answers that are not streamed have no head until they are whole.
        first_byte: millis("first_byte_ms", 60_000),
        // Models that think are silent for tens of seconds.
        idle: millis("idle_ms", 60_000),
        // TensorZero's own deadline for an exchange.
        total: millis("total_ms", 900_000),
    }
}
