//! ④⑤ Providers: from settings to what asks models.

use std::collections::BTreeSet;
use std::sync::Arc;

use rust_proxy_stream::upstream::{Backend, TokenProvider};
use rust_proxy_upstream::{
    Client, DevApi, DevApiOptions, EgressError, OpenAi, Provider, Router, StaticToken, Tally,
};

use super::StartProblem;
use super::sandbox::Signers;
use super::upstreams::Upstreams;
use crate::config::{self, Config};

/// The headers that any provider or rule asks for.
pub(super) fn headers(config: &Config) -> Vec<String> {
    let providers = config.models.values().flat_map(|model| model.providers.values());
    let headers = providers.flat_map(|provider| match provider {
        config::Provider::DevApi(provider) => provider.headers().map(str::to_owned).collect(),
        config::Provider::OpenAi(_) => Vec::new(),
    });
    headers
        .chain(config.rule_headers().map(str::to_owned))
        .collect::<BTreeSet<String>>()
        .into_iter()
        .collect()
}

/// The providers of a model, each with what it is counted by.
pub(super) type Tallies = Vec<(String, Arc<Tally>)>;

pub(super) fn backend(
    name: &str,
    model: &config::Model,
    signers: &Signers,
    upstreams: &Upstreams,
    problems: &mut Vec<StartProblem>,
) -> (Arc<dyn Backend>, Tallies) {
    let mut providers = Vec::with_capacity(model.routing.len());
    let mut tallies = Tallies::with_capacity(model.routing.len());
    for provider in &model.routing {
        let made = match model.providers.get(provider) {
            Some(config::Provider::OpenAi(settings)) => openai(provider, settings),
            Some(config::Provider::DevApi(settings)) => dev_api(provider, settings, signers),
            None => continue,
        };
        match made {
            Ok(made) => {
                let tally = upstreams.tally(name, provider);
                providers.push((made, Arc::clone(&tally)));
                tallies.push((provider.clone(), tally));
            }
            Err(error) => {
                let settings = model.providers.get(provider);
                let (model, provider) = (name.to_owned(), provider.clone());
                problems.push(match settings {
                    Some(config::Provider::DevApi(_)) => StartProblem::DevApi { model, provider, error },
                    _ => StartProblem::Provider { model, provider, error },
                });
            }
        }
    }
    (Arc::new(Router::new(providers)), tallies)
}

fn openai(name: &str, settings: &config::OpenAi) -> Result<Provider, EgressError> {
    let key = settings.api_key.as_ref();
    let token = key.map(|key| Arc::new(StaticToken::new(key.expose())) as Arc<dyn TokenProvider>);
    let client = Client::new(settings.timeouts)?;
    Ok(Provider::OpenAi(OpenAi::new(name, &settings.api_base, &settings.model_name, token, client)))
}

fn dev_api(name: &str, settings: &config::DevApi, signers: &Signers) -> Result<Provider, EgressError> {
    // A signer that did not load has been reported; nothing is started then.
    let signing = settings.signer.as_ref().and_then(|name| signers.get(name)).map(|loaded| loaded.it.clone());
    let options = DevApiOptions {
        name: name.to_owned(),
        endpoint: settings.endpoint.clone(),
        model: settings.model_name.clone(),
        device_id: settings.device_id.clone(),
        os_type: settings.os_type.clone(),
        sid: settings.sid.clone(),
        signing,
        request: settings.request.clone(),
        response: settings.response.clone(),
    };
    Ok(Provider::DevApi(DevApi::new(options, Client::new(settings.timeouts)?)))
}
