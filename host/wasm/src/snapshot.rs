//! Configuring a component once: what it is like behind `configure` becomes a component of its own, which every
//! exchange gets a fresh copy of.
//!
//! `wasmtime-wizer` adds functions that read an instance's memories and globals, and writes what they say into the
//! component in the place of what it began with. Instances of that begin configured, and share the pages that they do
//! not write to.
//!
//! Not everything can be copied like that: a handle of a resource belongs to its instance; a time or a random number
//! that was asked for once would come again in every exchange; and files change. A component that takes a handle in
//! `configure`, asks for any of these, or is granted directories is configured in each instance instead; so is what
//! wizer cannot read (tables that are written to, as in interpreters).

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use rand_core::{Infallible, Rng, TryRng};
use rust_proxy_stream::stage::{FaultKind, StageError};
use sha2::{Digest, Sha256};
use wasmtime::component::{self, Component, Lift, Linker, WasmList};
use wasmtime::{Engine, Store};
use wasmtime_wasi::random::thread_rng;
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtxBuilder};
use wasmtime_wizer::{ComponentInstanceState, Wizer};

use crate::bindings::lifecycle;
use crate::compile::{Code, Compiler};
use crate::component::Prepared;
use crate::guard::Caller;
use crate::instance::Host;
use crate::limits::Limits;

/// The largest file that is tried. Those of interpreters are larger: they cannot be copied, bring the like of this
/// along, and take long to read.
const FILE_MAX: usize = 8 << 20;
/// What reading an instance takes of its memory: a page for each of its memories.
const READING: u64 = 2 << 16;
/// What the cache calls this; another way of making it has another name.
const MAKING: &str = "configured 1";
/// Runs of bytes that are not zero in one memory: wizer takes some tens of bytes for each, which no limit counts.
const RUNS_MAX: usize = 1 << 20;

/// A component as it is behind `configure`; `None` where that cannot be copied.
///
/// What becomes of a file and a configuration is kept in the cache, unless the configuration holds secrets.
///
/// # Errors
/// The reason, where it could not be made though it should be.
pub(crate) async fn configured(
    compiler: &Compiler,
    linker: &Linker<Host>,
    bytes: &[u8],
    prepared: &Arc<Prepared>,
    secret: bool,
) -> wasmtime::Result<Option<Component>> {
    if bytes.len() > FILE_MAX || !prepared.directories.is_empty() {
        return Ok(None);
    }
    let key = [Sha256::digest(bytes).as_slice(), prepared.config_json().as_bytes()].concat();
    let compiler = if secret { compiler.without_cache() } else { compiler.clone() };
    let (engine, linker) = (compiler.engine.clone(), linker.clone());
    let (bytes, prepared, name) = (bytes.to_vec(), Arc::clone(prepared), Arc::clone(&prepared.name));
    let runtime = tokio::runtime::Handle::current();
    let make = move |_: &[u8]| runtime.block_on(make(&engine, &linker, &bytes, &prepared));
    Ok(compiler.keep(&name, MAKING, key, make).await?.0)
}

/// A component, or that there is none.
struct Copied(Option<Component>);

impl Code for Copied {
    fn serialized(&self) -> wasmtime::Result<Vec<u8>> {
        self.0.as_ref().map_or_else(|| Ok(Vec::new()), Code::serialized)
    }

    fn load(engine: &Engine, entry: &crate::cache::Checked) -> wasmtime::Result<Self> {
        if entry.code().is_empty() {
            return Ok(Self(None));
        }
        Code::load(engine, entry).map(Some).map(Self)
    }
}

async fn make(
    engine: &Engine,
    linker: &Linker<Host>,
    bytes: &[u8],
    prepared: &Prepared,
) -> wasmtime::Result<Copied> {
    match copy(engine, linker, bytes, prepared).await? {
        Ok(copy) => Component::from_binary(engine, &copy).map(Some).map(Copied),
        Err(reason) => {
            let plugin = &*prepared.name;
            tracing::debug!(plugin, reason, "it cannot be copied, so it is configured in each instance");
            Ok(Copied(None))
        }
    }
}

/// The copy as a file, or why there can be none.
///
/// # Errors
/// What went wrong and may go well another time.
async fn copy(
    engine: &Engine,
    linker: &Linker<Host>,
    bytes: &[u8],
    prepared: &Prepared,
) -> wasmtime::Result<Result<Vec<u8>, String>> {
    let wizer = Wizer::new();
    // It panics where a file has what it does not expect.
    let instrumented = std::panic::catch_unwind(|| wizer.instrument_component(bytes));
    let (context, readable) = match instrumented {
        Ok(Ok(readable)) => readable,
        Ok(Err(error)) => return Ok(Err(format!("{error:#}"))),
        Err(_) => return Ok(Err("wizer cannot read it".to_owned())),
    };
    let pre = linker.instantiate_pre(&Component::from_binary(engine, &readable)?)?;
    let lifecycle = lifecycle::GuestIndices::new(&pre)?;
    let asked = Asked::default();
    let host = Host::watched(prepared, &asked).map_err(wasmtime::Error::new)?;
    let memory = prepared.limits.memory.saturating_add(READING);
    let mut caller = Caller::new(engine, host, Limits { memory, ..prepared.limits });
    let instance = call(&mut caller, async |store| pre.instantiate_async(store).await).await?;
    let guest = lifecycle.load(caller.store(), &instance)?;
    let config = prepared.config_json();
    // A handle that it keeps could not be seen from outside, so it gets none.
    caller.store().set_max_component_handles(0);
    match caller.call(async |store| guest.call_configure(store, config).await).await {
        Ok(answer) => answer.map_err(wasmtime::Error::msg)?,
        // It was tried out with handles, and came to its end.
        Err(StageError::Fault(fault)) if matches!(fault.kind, FaultKind::Trap | FaultKind::Contract) => {
            return Ok(Err(format!("without handles of resources it ends with {fault}")));
        }
        Err(error) => return Err(wasmtime::Error::new(error)),
    }
    if asked.any() || !caller.data().is_alone() {
        return Ok(Err("it asks the host for something in `configure`".to_owned()));
    }
    // The guest's own code does not run any more.
    caller.store().set_hostcall_fuel(usize::MAX);
    let mut reader = Reader { caller: &mut caller, instance, lists: HashMap::new(), runs: 0, error: None };
    let copy = AssertUnwindSafe(wizer.snapshot_component(&context, &mut reader)).catch_unwind().await;
    reader.error.map_or(Ok(()), Err)?;
    if reader.runs > RUNS_MAX {
        return Ok(Err("its memory has too many pieces".to_owned()));
    }
    match copy {
        Ok(copy) => copy.map(Ok),
        Err(_) => Ok(Err("wizer cannot write it".to_owned())),
    }
}

async fn call<R>(
    caller: &mut Caller<Host>,
    call: impl AsyncFnOnce(&mut Store<Host>) -> wasmtime::Result<R>,
) -> wasmtime::Result<R> {
    caller.call(call).await.map_err(wasmtime::Error::new)
}

/// Reads an instance by the functions that wizer has added.
struct Reader<'a> {
    caller: &'a mut Caller<Host>,
    instance: component::Instance,
    /// What was read: a second reading would find the traces of the first.
    lists: HashMap<String, Vec<u8>>,
    /// Runs of bytes that are not zero.
    runs: usize,
    /// The first thing that went wrong, with which nothing that was read counts.
    error: Option<wasmtime::Error>,
}

impl Reader<'_> {
    async fn read<R: Lift + Default + Send + Sync + 'static>(&mut self, instance: &str, function: &str) -> R {
        self.read_as(instance, function, |_, value: R| value).await
    }

    /// What a function answers; nothing once something went wrong.
    async fn read_as<R: Lift + Send + Sync + 'static, T: Default>(
        &mut self,
        instance: &str,
        function: &str,
        take: impl FnOnce(&Store<Host>, R) -> T,
    ) -> T {
        let exports = self.instance;
        let read = async |store: &mut Store<Host>| {
            let missing = || wasmtime::format_err!("wizer has added no {instance}/{function}");
            let (_, within) = exports.get_export(&mut *store, None, instance).ok_or_else(missing)?;
            let (_, at) = exports.get_export(&mut *store, Some(&within), function).ok_or_else(missing)?;
            let function = exports.get_typed_func::<(), (R,)>(&mut *store, at)?;
            let (value,) = function.call_async(&mut *store, ()).await?;
            Ok(take(store, value))
        };
        match call(self.caller, read).await {
            Ok(value) => value,
            Err(error) => {
                self.error.get_or_insert(error);
                T::default()
            }
        }
    }
}

impl ComponentInstanceState for Reader<'_> {
    async fn call_func_ret_list_u8(
        &mut self,
        instance: &str,
        function: &str,
        contents: impl FnOnce(&[u8]) + Send,
    ) {
        if !self.lists.contains_key(function) {
            let take = |store: &Store<Host>, list: WasmList<u8>| list.as_le_slice(store).to_vec();
            let mut list = self.read_as(instance, function, take).await;
            self.runs += list.windows(2).filter(|pair| matches!(pair, [0, byte] if *byte != 0)).count();
            if self.runs > RUNS_MAX {
                list.clear();
            }
            self.lists.insert(function.to_owned(), list);
        }
        contents(self.lists.get(function).map(Vec::as_slice).unwrap_or_default());
    }

    async fn call_func_ret_s32(&mut self, instance: &str, function: &str) -> i32 {
        self.read(instance, function).await
    }

    async fn call_func_ret_s64(&mut self, instance: &str, function: &str) -> i64 {
        self.read(instance, function).await
    }

    async fn call_func_ret_f32(&mut self, instance: &str, function: &str) -> u32 {
        self.read::<f32>(instance, function).await.to_bits()
    }

    async fn call_func_ret_f64(&mut self, instance: &str, function: &str) -> u64 {
        self.read::<f64>(instance, function).await.to_bits()
    }
}

/// Whether the time or random numbers were asked for. The seed of hash tables (`wasi:random/insecure-seed`) does not
/// count: it may be any number, as long as nobody outside knows it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked(Arc<AtomicBool>);

impl Asked {
    fn any(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn note(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Clocks and random numbers of which note is taken.
    pub(crate) fn watch(&self, wasi: &mut WasiCtxBuilder) {
        wasi.secure_random(Random(self.clone(), thread_rng()))
            .insecure_random(Random(self.clone(), thread_rng()))
            .wall_clock(Clock(self.clone()))
            .monotonic_clock(Clock(self.clone()));
    }
}

/// A clock that stands still: nothing that it told is kept.
struct Clock(Asked);

impl HostWallClock for Clock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        self.0.note();
        Duration::ZERO
    }
}

impl HostMonotonicClock for Clock {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        self.0.note();
        0
    }
}

struct Random(Asked, Box<dyn Rng + Send>);

impl Random {
    fn asked(&mut self) -> &mut (dyn Rng + Send) {
        self.0.note();
        &mut *self.1
    }
}

impl TryRng for Random {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.asked().next_u32())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.asked().next_u64())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.asked().fill_bytes(bytes);
        Ok(())
    }
}
