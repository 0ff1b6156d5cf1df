//! The engine, its pool of slots, and the clock that interrupts guests.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::Linker;
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::cache::Cache;
use crate::compile::Compiler;
use crate::component::{Component, LoadError, Settings, Usage};
use crate::instance::Host;
use crate::signer::{Signer, SignerSettings};

/// How often running guests are looked at. Short enough that several spinning guests leave the other tasks of
/// their threads alive, long enough to cost nothing.
pub(crate) const TICK: Duration = Duration::from_millis(5);

/// Core instances, memories and tables of one component. Rust's and C's have 4, 1 and 2; jco's and
/// componentize-py's up to 30, 2 and 10.
const CORE_INSTANCES: u32 = 32;
const MEMORIES: u32 = 2;
const TABLES: u32 = 10;
/// Tables of one core module: its functions, and the JavaScript values of a wasm-bindgen module.
const MODULE_TABLES: u32 = 2;

/// The largest table, in elements, and the largest instance, in bytes, that fit CPython in a component.
const TABLE_ELEMENTS: usize = 100_000;
const INSTANCE_SIZE: usize = 4 << 20;

/// Bytes of a table that are zeroed and stay, where they fit: those of plugins in Rust have some hundred.
const TABLE_KEPT: usize = 4 << 10;

/// How large a [`Runtime`] is.
#[derive(Debug, Clone, Default)]
pub struct RuntimeOptions {
    /// How many instances there can be at once. Past it, making one fails.
    pub slots: u32,
    /// Where compiled code is kept; `None` compiles at each load.
    pub cache: Option<Cache>,
}

/// One engine: compiles components and gives their instances room.
#[derive(Clone)]
pub struct Runtime {
    compiler: Compiler,
    /// What every component has.
    linker: Arc<Linker<Host>>,
}

impl Runtime {
    /// Makes an engine. Takes address space, not memory.
    ///
    /// # Errors
    /// The reason, where the machine has no room for that many slots.
    pub fn new(options: RuntimeOptions) -> Result<Self, LoadError> {
        let build = || -> wasmtime::Result<Self> {
            let engine = Engine::new(&config(options.slots))?;
            let mut linker = Linker::new(&engine);
            wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
            let compiler = Compiler { engine, cache: options.cache };
            Ok(Self { compiler, linker: Arc::new(linker) })
        };
        let runtime = build().map_err(|error| LoadError::Engine(format!("{error:#}")))?;
        let engine = runtime.compiler.engine.weak();
        // Ends with the engine. A thread of its own: the runtime's threads may be busy with guests.
        let ticker = std::thread::Builder::new().name("epoch".to_owned()).spawn(move || {
            while let Some(engine) = engine.upgrade() {
                engine.increment_epoch();
                drop(engine);
                std::thread::sleep(TICK);
            }
        });
        ticker.map_err(|error| LoadError::Engine(error.to_string()))?;
        Ok(runtime)
    }

    /// Where compiled code is kept.
    #[must_use]
    pub fn cache(&self) -> Option<&Cache> {
        self.compiler.cache.as_ref()
    }

    /// Checks, compiles and tries out a component: it is instantiated and configured once.
    ///
    /// # Errors
    /// [`LoadError`], which says what to change.
    pub async fn load(&self, bytes: &[u8], settings: Settings) -> Result<Component, LoadError> {
        Component::load(&self.compiler, &self.linker, bytes, settings, Usage::Plugin).await
    }

    /// Checks, compiles and tries out a signer: a component of the world `signer-plugin`, or a wasm-bindgen
    /// module (`NAME_bg.wasm`). Which of the two it is, the file tells.
    ///
    /// A signer takes up to [`Signer::SLOTS`] of this runtime's slots.
    ///
    /// # Errors
    /// [`LoadError`], which says what to change.
    pub async fn load_signer(&self, bytes: &[u8], settings: SignerSettings) -> Result<Signer, LoadError> {
        Signer::load(&self.compiler, &self.linker, bytes, settings).await
    }
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Runtime")
    }
}

/// All memory of a slot is given back behind its instance (`madvise`). `pagemap_scan` would set back in place what was
/// written to, and spare the next instance some page faults; but a page that was swapped out is no page to it, and the
/// next instance would read it.
fn config(slots: u32) -> Config {
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(slots)
        .total_core_instances(slots.saturating_mul(CORE_INSTANCES))
        .total_memories(slots.saturating_mul(MEMORIES))
        .total_tables(slots.saturating_mul(TABLES))
        .total_stacks(slots)
        // A module of today's wasm-bindgen has one as soon as it makes a JavaScript value; a heap is a memory too.
        .total_gc_heaps(slots)
        .max_core_instances_per_component(CORE_INSTANCES)
        .max_memories_per_component(MEMORIES)
        .max_tables_per_component(TABLES)
        .max_tables_per_module(MODULE_TABLES)
        .max_component_instance_size(INSTANCE_SIZE)
        .max_core_instance_size(INSTANCE_SIZE)
        .table_elements(TABLE_ELEMENTS)
        .table_keep_resident(TABLE_KEPT);
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .epoch_interruption(true)
        // Twice the speed of a call; components of the async ABI would need it.
        .concurrency_support(false);
    config
}
