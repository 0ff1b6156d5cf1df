//! The floor under a sandboxed link: the same guest, the same payload, and wasmtime's own binding, with none of the
//! gateway's code around it.

use wasmtime::component::{Component, Linker, ResourceAny, ResourceTable};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::{exchange, sample};

mod contract {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "filter-plugin",
        ownership: Borrowing { duplicate_if_necessary: true },
        exports: { default: async },
    });
}

use contract::rust_proxy::plugin::types;

struct Host {
    wasi: WasiCtx,
    table: ResourceTable,
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// What instances of `sensitive-word` are made of.
pub struct Instances {
    engine: Engine,
    pre: contract::FilterPluginPre<Host>,
}

impl Instances {
    fn of(allocation: InstanceAllocationStrategy) -> Self {
        let mut config = Config::new();
        config.allocation_strategy(allocation).epoch_interruption(true).concurrency_support(false);
        let engine = Engine::new(&config).expect("an engine");
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).expect("a linker");
        let component = Component::new(&engine, exchange::sensitive_word()).expect("a component");
        let pre = linker.instantiate_pre(&component).expect("all imports");
        Self { engine, pre: contract::FilterPluginPre::new(pre).expect("all exports") }
    }

    /// With a pool, as the gateway.
    ///
    /// # Panics
    /// Where the plugin does not fit the contract.
    pub fn pooled() -> Self {
        let mut pool = PoolingAllocationConfig::default();
        pool.table_keep_resident(4 << 10);
        Self::of(InstanceAllocationStrategy::Pooling(pool))
    }

    async fn make(&self) -> (Store<Host>, contract::FilterPlugin) {
        let host = Host { wasi: WasiCtx::builder().build(), table: ResourceTable::new() };
        let mut store = Store::new(&self.engine, host);
        store.set_epoch_deadline(1_000_000);
        let plugin = self.pre.instantiate_async(&mut store).await.expect("an instance");
        (store, plugin)
    }

    /// Makes an instance, calls it once, and drops it.
    ///
    /// # Panics
    /// Where any of it fails.
    pub async fn once(&self) -> usize {
        let (mut store, plugin) = self.make().await;
        let description = plugin.rust_proxy_plugin_lifecycle().call_describe(&mut store).await;
        description.expect("an answer").name.len()
    }
}

impl std::fmt::Debug for Instances {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Instances")
    }
}

/// A session of `sensitive-word` whose only lane is open.
pub struct Session {
    store: Store<Host>,
    plugin: contract::FilterPlugin,
    session: ResourceAny,
    end: u32,
}

impl Session {
    /// Instantiates as the gateway does, configures with so many words, and opens.
    ///
    /// # Panics
    /// Where any of it fails.
    pub async fn open(words: usize) -> Self {
        Self::open_in(Instances::pooled(), words).await
    }

    /// As [`open`](Self::open), with memory that is allocated on demand: valgrind has no room for a pool.
    ///
    /// # Panics
    /// Where any of it fails.
    pub async fn open_on_demand(words: usize) -> Self {
        Self::open_in(Instances::of(InstanceAllocationStrategy::OnDemand), words).await
    }

    async fn open_in(instances: Instances, words: usize) -> Self {
        let (mut store, plugin) = instances.make().await;
        let settings = sample::settings(words);
        let configured = plugin.rust_proxy_plugin_lifecycle().call_configure(&mut store, &settings);
        configured.await.expect("an answer").expect("settings that are right");
        let context = types::Context {
            request_id: "r",
            model: "m",
            dialect: "openai-chat",
            streaming: true,
            metadata: &[],
        };
        let modifier = plugin.rust_proxy_plugin_response_modifier().session();
        let session = modifier.call_open(&mut store, context).await.expect("an answer").expect("a session");
        let opened = [types::Lane {
            id: 0,
            choice: 0,
            part: 0,
            channel: types::Channel::Text,
            name: None,
            pointer: None,
        }];
        let first = types::Batch { opened: &opened, pieces: &[], closed: &[] };
        modifier.call_push(&mut store, session, first).await.expect("an answer").expect("an outcome");
        Self { store, plugin, session, end: 0 }
    }

    /// One call with new text.
    ///
    /// # Panics
    /// Where it fails.
    pub async fn push(&mut self, text: &str) -> usize {
        let pieces = [types::Piece { lane: 0, offset: self.end, text }];
        let batch = types::Batch { opened: &[], pieces: &pieces, closed: &[] };
        let modifier = self.plugin.rust_proxy_plugin_response_modifier().session();
        let outcome = modifier.call_push(&mut self.store, self.session, batch).await;
        let outcome = outcome.expect("an answer").expect("an outcome");
        self.end = self.end.wrapping_add(u32::try_from(text.len()).unwrap_or(u32::MAX));
        outcome.edits.len() + outcome.holds.len()
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("end", &self.end).finish_non_exhaustive()
    }
}
