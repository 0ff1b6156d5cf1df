//! ③ The chain of processors.

use crate::chain::{ActiveLink, Links};
use crate::dialect::openai_chat::Request;
use crate::error::ExchangeError;
use crate::item::Item;
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
    let mut items = None;
    for place in links.process.clone() {
        let Some(active) = links.links.get_mut(place) else { continue };
        let now = items.get_or_insert_with(|| Items::of(request));
        active.account.request.events += now.texts;
        active.account.request.bytes_in += now.bytes;
        let unscanned = match active.process(context, request, now).await {
            Ok(Step { stop: Some(stop), .. }) => {
                let respond = active.stopped(stop, "process")?;
                return Ok(respond.map_or(Processed::Block, Processed::Respond));
            }
            Ok(step) => {
                route = step.route.or(route);
                step.unscanned
            }
            Err(error) => {
                active.fail(error, "process")?;
                true
            }
        };
        active.account.request.bytes_out += now.bytes;
        if unscanned {
            active.account.request.unscanned += now.bytes;
        }
    }
    Ok(Processed::Forward { route })
}

/// The items of a request, and how much text they have.
struct Items {
    list: Vec<Item>,
    texts: u64,
    bytes: u64,
}

impl Items {
    fn of(request: &Request) -> Self {
        let list = request.items();
        let (mut texts, mut bytes) = (0, 0);
        for text in list.iter().filter_map(|item| item.body.text()) {
            texts += 1;
            bytes += text.len() as u64;
        }
        Self { list, texts, bytes }
    }
}

/// What one processor decided, its changes being made.
#[derive(Default)]
struct Step {
    route: Option<String>,
    stop: Option<Stop>,
    /// Whether nobody was asked, because the link is out.
    unscanned: bool,
}

impl ActiveLink {
    /// Asks the link, and makes `items` and the request what it left.
    async fn process(
        &mut self,
        context: &Context,
        request: &mut Request,
        items: &mut Items,
    ) -> Result<Step, StageError> {
        let unscanned = self.is_out();
        let decision = match self.processor() {
            Some((processor, _call)) => processor.process(context, &items.list).await?,
            None => return Ok(Step { unscanned, ..Step::default() }),
        };
        self.report("process", &decision.findings);
        let account = &mut self.account.request;
        account.findings += decision.findings.len() as u64;
        if decision.stop.is_none() && !decision.changes.is_empty() {
            request.apply(&decision.changes)?;
            account.edits += decision.changes.len() as u64;
            *items = Items::of(request);
        }
        Ok(Step { route: decision.route, stop: decision.stop, unscanned })
    }
}
