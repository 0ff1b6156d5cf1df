//! The operator's listener: its state, and reloads. Every request needs the token, and none comes from a web page.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::header::ORIGIN;
use rust_proxy_core::config::Admin;
use rust_proxy_core::{PluginInfo, Reload};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::app::json_response;
use crate::ingress::{self, Refusal};
use crate::reload::Reloader;
use crate::respond::ApiError;

/// Where the state is.
pub(crate) const STATE: &str = "/admin/state";

/// What a gateway runs, for its operator. Holds no secret: sources are sealed with the token.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct GatewayState {
    /// The generation that serves new requests.
    pub(crate) generation: u64,
    models: Vec<String>,
    plugins: Vec<PluginState>,
    reloads: Reloads,
    /// See [`Sources::sealed`](rust_proxy_core::config::Sources::sealed).
    pub(crate) sources: BTreeMap<String, String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct PluginState {
    name: String,
    file: String,
    sha256: String,
    generation: u64,
    instances: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Reloads {
    changed: u64,
    unchanged: u64,
    refused: u64,
    refusal: Option<String>,
}

struct Token([u8; 32]);

#[derive(Clone)]
struct App {
    reloader: Reloader,
    /// What sources are sealed with.
    token: Arc<str>,
}

/// Everything that is served on the address of the operator.
pub(crate) fn router(admin: &Admin, reloader: Reloader) -> Router {
    let token = admin.token.expose();
    let guard = Arc::new(Token(ingress::digest(token.as_bytes())));
    let metrics = reloader.metrics();
    Router::new()
        .route(STATE, get(state))
        .route("/admin/reload", post(reload))
        .route("/metrics", get(async move || metrics.response()))
        .method_not_allowed_fallback(async || ingress::refuse(Refusal::Method))
        .fallback(async || ingress::refuse(Refusal::AdminRoute))
        .layer(middleware::from_fn_with_state(guard, admit))
        .with_state(App { reloader, token: token.into() })
}

async fn admit(State(token): State<Arc<Token>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    if headers.contains_key(ORIGIN) {
        return ingress::refuse(Refusal::AdminOrigin);
    }
    let given = ingress::bearer_of(headers).map(ingress::digest).unwrap_or_default();
    if bool::from(token.0.ct_eq(&given)) {
        next.run(request).await
    } else {
        ingress::refuse(Refusal::AdminToken)
    }
}

async fn state(State(App { reloader, token }): State<App>) -> Response {
    let engine = reloader.engine();
    let record = reloader.record().borrow().clone();
    let plugin = |plugin: PluginInfo| PluginState {
        name: plugin.name,
        file: plugin.file.display().to_string(),
        sha256: plugin.standing.sha256.to_string(),
        generation: plugin.generation,
        instances: plugin.instances.live,
    };
    json(&GatewayState {
        generation: engine.generation(),
        models: engine.models(),
        plugins: engine.plugins().into_iter().map(plugin).collect(),
        reloads: Reloads {
            changed: record.changed,
            unchanged: record.unchanged,
            refused: record.refused,
            refusal: record.refusal,
        },
        sources: engine.sources().sealed(token.as_bytes()),
    })
}

async fn reload(State(App { reloader, .. }): State<App>) -> Response {
    #[derive(Serialize)]
    struct Reloaded {
        result: &'static str,
        generation: u64,
        changes: Vec<String>,
    }
    match reloader.reload("POST /admin/reload").await {
        Ok(Reload::Changed { generation, changes }) => {
            let changes = changes.iter().map(ToString::to_string).collect();
            json(&Reloaded { result: "changed", generation, changes })
        }
        Ok(_) => {
            let generation = reloader.engine().generation();
            json(&Reloaded { result: "unchanged", generation, changes: Vec::new() })
        }
        Err(error) => ApiError::reload_refused(&error.to_string()).into_response(),
    }
}

fn json(value: &impl Serialize) -> Response {
    // Strings and numbers: there is nothing in it that could fail.
    json_response(serde_json::to_string(value).unwrap_or_default())
}
