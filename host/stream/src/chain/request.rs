//! ③ The chain of processors.

use crate::chain::{ActiveLink, Links, printable};
use crate::dialect::openai_chat::Request;
use crate::error::ExchangeError;
use crate::lane::Stop;
use crate::stage::{Context, StageError};

/// What the processors made of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Processed {
    /// Ask the model; another one than the client's where a processor chose it.
    Forward {
        /// The other model.
        route: Option<String>,
    },
    /// Answer with this text and ask no model.
    Respond(String),
    /// Answer with nothing, marked as filtered.
    Block,
}

/// Passes a request through the processors of `links`, each seeing it as the one before left it.
///
/// # Errors
/// [`ExchangeError::Rejected`], or [`ExchangeError::Plugin`] where a `fail_closed` link failed.
///
/// # Cancellation
/// After a dropped call the links must not be used.
pub(crate) async fn process(
    links: &mut Links,
    context: &Context,
    request: &mut Request,
) -> Result<Processed, ExchangeError> {
    let mut route = None;
    for place in links.process.clone() {
        let Some(active) = links.links.get_mut(place) else { continue };
        match active.process(context, request).await {
            Ok(Step { stop: Some(stop), .. }) => return active.stopped_request(stop),
            Ok(step) => route = step.route.or(route),
            Err(error) => {
                active.fail(error, "process")?;
                tracing::warn!(plugin = active.name(), "request left unscanned");
            }
        }
    }
    Ok(Processed::Forward { route })
}

/// What one processor decided, its changes being made.
#[derive(Default)]
struct Step {
    route: Option<String>,
    stop: Option<Stop>,
}

impl ActiveLink {
    async fn process(&mut self, context: &Context, request: &mut Request) -> Result<Step, StageError> {
        let Some(processor) = self.link.as_mut().and_then(|link| link.processor()) else {
            return Ok(Step::default());
        };
        let decision = processor.process(context, &request.items()).await?;
        self.report("process", &decision.findings);
        if decision.stop.is_none() {
            request.apply(&decision.changes)?;
        }
        Ok(Step { route: decision.route, stop: decision.stop })
    }

    fn stopped_request(&self, stop: Stop) -> Result<Processed, ExchangeError> {
        match stop {
            Stop::Reject(rejection) => {
                Err(ExchangeError::Rejected { plugin: self.name().to_owned(), rejection })
            }
            Stop::Respond(text) => Ok(Processed::Respond(text)),
            Stop::Block(reason) => {
                tracing::info!(plugin = self.name(), reason = printable(&reason), "request blocked");
                Ok(Processed::Block)
            }
        }
    }
}
