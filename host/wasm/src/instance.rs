//! One instance of a component at work for one exchange.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use rust_proxy_stream::account::Usage;
use rust_proxy_stream::item::{Decision, Item};
use rust_proxy_stream::lane::{Batch, Finding, Outcome};
use rust_proxy_stream::stage::{Context, Fault, FaultKind, Link, Processor, ResponseModifier, StageError};
use rust_proxy_stream::upstream::SignRequest;
use wasmtime::Store;
use wasmtime::component::{self, ResourceAny, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::bindings::{lifecycle, response_modifier, signer};
use crate::component::{Exports, Prepared};
use crate::convert;
use crate::files;
use crate::guard::{Caller, Metered};
use crate::http::Outgoing;
use crate::kv;
use crate::limits::{MemoryLimiter, Meter};
use crate::log::GuestLog;
use crate::ready::Alive;
use crate::snapshot::Asked;

/// How many host resources (streams, clocks, …) a guest may have open.
pub(crate) const RESOURCES_MAX: ResourcesMax = ResourcesMax { usual: 1000, with_directories: 64 };
/// The most random bytes in one call.
const RANDOM_MAX: u64 = 64 << 10;
/// The most that the headers of one message which a guest makes may take: servers take 8 to 32 KiB.
const HEADERS_MAX: usize = 32 << 10;

/// A number of resources, by what a guest was granted.
pub(crate) struct ResourcesMax {
    usual: usize,
    /// A listing of a directory is a resource, and the host reads it whole into memory that no limit counts: here the
    /// number of listings is all that bounds it. The directories themselves are not counted.
    with_directories: usize,
}

impl ResourcesMax {
    fn with(&self, directories: usize) -> usize {
        if directories == 0 { self.usual } else { self.with_directories + directories }
    }
}

impl fmt::Display for ResourcesMax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (with a grant of directories {})", self.usual, self.with_directories)
    }
}

/// What the host keeps for one store.
pub(crate) struct Host {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    outgoing: Outgoing,
    kv: kv::Store,
    table: ResourceTable,
    memory: MemoryLimiter,
    meter: Meter,
}

impl Host {
    /// # Errors
    /// A fault where a directory is not there any more.
    fn new(prepared: &Prepared) -> Result<Self, Fault> {
        Self::with(prepared, |_| {})
    }

    /// One that takes note of who asks for the time or random numbers.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub(crate) fn watched(prepared: &Prepared, asked: &Asked) -> Result<Self, Fault> {
        Self::with(prepared, |wasi| asked.watch(wasi))
    }

    /// Whether the guest has nothing of the host's open, and has not asked for anything outside of itself.
    pub(crate) fn is_alone(&self) -> bool {
        self.table.is_empty() && self.outgoing.spent() == (0, 0, 0) && !self.kv.was_asked()
    }

    fn with(prepared: &Prepared, more: impl FnOnce(&mut WasiCtxBuilder)) -> Result<Self, Fault> {
        let (plugin, limits) = (&prepared.name, prepared.limits);
        let log = GuestLog::new(Arc::clone(plugin), limits.log, Arc::clone(&prepared.log_rate));
        let mut wasi = WasiCtx::builder();
        wasi.stdout(log.clone()).stderr(log).max_random_size(RANDOM_MAX);
        more(&mut wasi);
        files::open(&mut wasi, &prepared.directories)?;
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(HEADERS_MAX);
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES_MAX.with(prepared.directories.len()));
        Ok(Self {
            wasi: wasi.build(),
            http,
            outgoing: Outgoing::new(Arc::clone(plugin), prepared.fetch.clone(), limits),
            kv: kv::Store::new(Arc::clone(plugin), prepared.kv.clone()),
            table,
            memory: MemoryLimiter::new(limits.memory),
            meter: Meter::new(),
        })
    }

    pub(crate) fn kv(&mut self) -> &mut kv::Store {
        &mut self.kv
    }
}

impl Metered for Host {
    fn memory(&mut self) -> &mut MemoryLimiter {
        &mut self.memory
    }

    fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Connections for one.
    fn close(&mut self) {
        self.table = ResourceTable::new();
    }
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Host {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.outgoing, table: &mut self.table, ctx: &mut self.http }
    }
}

/// An instance and its store. Once a call did not return, it is never called again.
pub(crate) struct Instance {
    /// An export is looked up when it is called: to find it and to check its types takes a microsecond, and most
    /// exchanges need one direction.
    exports: Arc<Exports>,
    instance: component::Instance,
    /// The response side, where it was looked up ahead.
    modifier: Option<response_modifier::Guest>,
    /// The response side, once it is open.
    session: Option<(response_modifier::Guest, ResourceAny)>,
    caller: Caller<Host>,
    pub(crate) alive: Alive,
}

impl Instance {
    /// Makes an instance of `exports`.
    pub(crate) async fn new(prepared: &Prepared, exports: &Arc<Exports>) -> Result<Self, StageError> {
        let mut caller = Caller::new(exports.pre.engine(), Host::new(prepared)?, prepared.limits);
        let instance = caller.call(async |store| exports.pre.instantiate_async(store).await).await?;
        let exports = Arc::clone(exports);
        let alive = prepared.population.add();
        Ok(Self { exports, instance, modifier: None, session: None, caller, alive })
    }

    /// Checks the types of all exports.
    pub(crate) async fn check(&mut self) -> Result<(), StageError> {
        let Self { exports, instance, caller, .. } = self;
        let check = async |store: &mut Store<Host>| {
            exports.lifecycle.load(&mut *store, instance)?;
            if let Some(processor) = &exports.processor {
                processor.load(&mut *store, instance)?;
            }
            if let Some(modifier) = &exports.modifier {
                modifier.load(&mut *store, instance)?;
            }
            if let Some(signer) = &exports.signer {
                signer.load(&mut *store, instance)?;
            }
            Ok(())
        };
        caller.call(check).await
    }

    /// Does what the first call of a response would have to do besides: a call copies the pages that every call writes
    /// to.
    pub(crate) async fn warm_up(&mut self) -> Result<(), StageError> {
        let Self { exports, instance, caller, .. } = self;
        let warm_up = async |store: &mut Store<Host>| {
            exports.lifecycle.load(&mut *store, instance)?.call_describe(&mut *store).await?;
            exports.modifier.as_ref().map(|modifier| modifier.load(store, instance)).transpose()
        };
        self.modifier = caller.call(warm_up).await?;
        Ok(())
    }

    /// Begins an exchange: what was used before is not its own.
    pub(crate) fn begin(&self) {
        self.caller.data().meter.reset();
    }

    pub(crate) async fn describe(&mut self) -> Result<lifecycle::Description, StageError> {
        let Self { exports, instance, caller, .. } = self;
        let describe = async |store: &mut Store<Host>| {
            exports.lifecycle.load(&mut *store, instance)?.call_describe(store).await
        };
        caller.call(describe).await
    }

    /// # Errors
    /// [`StageError::Failed`] with what the plugin says of its configuration.
    pub(crate) async fn configure(&mut self, config_json: &str) -> Result<(), StageError> {
        let Self { exports, instance, caller, .. } = self;
        let configure = async |store: &mut Store<Host>| {
            exports.lifecycle.load(&mut *store, instance)?.call_configure(store, config_json).await
        };
        caller.call(configure).await?.map_err(StageError::Failed)
    }

    /// # Errors
    /// [`StageError::Failed`] with what the signer says.
    pub(crate) async fn sign(&mut self, request: &SignRequest) -> Result<Vec<(String, String)>, StageError> {
        let Self { exports, instance, caller, .. } = self;
        let signer = exports.signer.as_ref().ok_or_else(|| missing("signer"))?;
        let (headers, parameters) = (convert::pairs(&request.headers), convert::pairs(&request.parameters));
        let request = signer::SignRequest {
            method: &request.method,
            url: &request.url,
            headers: &headers,
            parameters: &parameters,
            content: &request.content,
        };
        let sign = async |store: &mut Store<Host>| {
            signer.load(&mut *store, instance)?.call_sign(store, request).await
        };
        caller.call(sign).await?.map_err(StageError::Failed)
    }

    fn opened(&mut self) -> Result<(&response_modifier::Guest, ResourceAny, &mut Caller<Host>), StageError> {
        match &self.session {
            Some((guest, session)) => Ok((guest, *session, &mut self.caller)),
            None => Err(Fault::new(FaultKind::Host, "no session is open").into()),
        }
    }
}

impl Link for Instance {
    fn processor(&mut self) -> Option<&mut dyn Processor> {
        self.exports.processor.is_some().then_some(self as &mut dyn Processor)
    }

    fn modifier(&mut self) -> Option<&mut dyn ResponseModifier> {
        self.exports.modifier.is_some().then_some(self as &mut dyn ResponseModifier)
    }

    fn usage(&self) -> Option<Usage> {
        let host = self.caller.data();
        let (cpu, wall) = host.meter.spent();
        let (fetches, fetched, denied) = host.outgoing.spent();
        Some(Usage { cpu, wall, fetches, fetched, denied })
    }
}

#[async_trait]
impl Processor for Instance {
    async fn process(&mut self, context: &Context, items: &[Item]) -> Result<Decision, StageError> {
        let Self { exports, instance, caller, .. } = self;
        let processor = exports.processor.as_ref().ok_or_else(|| missing("processor"))?;
        let metadata = convert::metadata(context);
        let context = convert::context(context, &metadata);
        let items: Vec<_> = items.iter().map(convert::item).collect();
        let process = async |store: &mut Store<Host>| {
            processor.load(&mut *store, instance)?.call_process(store, context, &items).await
        };
        caller.call(process).await?.map(convert::decision).map_err(StageError::Failed)
    }
}

#[async_trait]
impl ResponseModifier for Instance {
    async fn open(&mut self, context: &Context) -> Result<(), StageError> {
        let Self { exports, instance, modifier: found, caller, .. } = self;
        let modifier = exports.modifier.as_ref().ok_or_else(|| missing("response-modifier"))?;
        let found = found.take();
        let metadata = convert::metadata(context);
        let context = convert::context(context, &metadata);
        let open = async |store: &mut Store<Host>| {
            let guest = found.map_or_else(|| modifier.load(&mut *store, instance), Ok)?;
            let session = guest.session().call_open(store, context).await?;
            Ok(session.map(|session| (guest, session)))
        };
        self.session = Some(caller.call(open).await?.map_err(StageError::Failed)?);
        Ok(())
    }

    async fn push(&mut self, batch: &Batch<'_>) -> Result<Outcome, StageError> {
        let (guest, session, caller) = self.opened()?;
        let lists = convert::BatchLists::new(batch);
        let push =
            async |store: &mut Store<Host>| guest.session().call_push(store, session, lists.batch()).await;
        let answer = caller.call(push).await?;
        answer.map(convert::outcome).map_err(StageError::Failed)
    }

    async fn finish(&mut self) -> Result<Vec<Finding>, StageError> {
        let (guest, session, caller) = self.opened()?;
        let finish = async |store: &mut Store<Host>| guest.session().call_finish(store, session).await;
        caller.call(finish).await?.map(convert::findings).map_err(StageError::Failed)
    }
}

fn missing(interface: &str) -> StageError {
    Fault::new(FaultKind::Host, format!("the component does not export `{interface}`")).into()
}
