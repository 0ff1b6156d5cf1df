//! From a file to machine code: compiled, or taken from the cache.

use std::hash::{Hash, Hasher};

use sha2::{Digest, Sha256};
use wasmtime::{Engine, Module, component};

use crate::cache::{Cache, Checked, Key};

/// Compiles for one engine.
#[derive(Clone)]
pub(crate) struct Compiler {
    pub(crate) engine: Engine,
    pub(crate) cache: Option<Cache>,
}

/// Machine code, as it is kept.
pub(crate) trait Code: Sized + Send + 'static {
    fn serialized(&self) -> wasmtime::Result<Vec<u8>>;
    fn load(engine: &Engine, entry: &Checked) -> wasmtime::Result<Self>;
}

/// What is compiled from a file as it is.
pub(crate) trait Source: Code {
    fn compile(engine: &Engine, bytes: &[u8]) -> wasmtime::Result<Self>;
}

macro_rules! code {
    ($($kind:ty),*) => {$(
        impl Source for $kind {
            fn compile(engine: &Engine, bytes: &[u8]) -> wasmtime::Result<Self> {
                Self::from_binary(engine, bytes)
            }
        }

        impl Code for $kind {
            fn serialized(&self) -> wasmtime::Result<Vec<u8>> {
                self.serialize()
            }

            #[expect(
                unsafe_code,
                reason = "must get what `serialize` of this wasmtime gave. A `Checked` is that: its hash is that of \
                    what was written for this file and this engine's `precompile_compatibility_hash`, it is in \
                    memory of ours, and it was read from a folder that nobody but this user can enter or write. \
                    Who could write there runs as this user already. wasmtime checks its version, its settings \
                    and the kind of code once more."
            )]
            fn load(engine: &Engine, entry: &Checked) -> wasmtime::Result<Self> {
                // SAFETY: as the reason above says.
                unsafe { Self::deserialize(engine, entry.code()) }
            }
        }
    )*};
}

code!(component::Component, Module);

impl Compiler {
    /// One that keeps nothing.
    pub(crate) fn without_cache(&self) -> Self {
        Self { engine: self.engine.clone(), cache: None }
    }

    /// The code of a file, which takes from under a millisecond to seconds: on a thread where that stops nobody.
    ///
    /// # Errors
    /// The compiler's.
    ///
    /// # Cancellation
    /// What has begun goes on to its end, and fills the cache.
    pub(crate) async fn load<C: Source>(&self, plugin: &str, bytes: &[u8]) -> wasmtime::Result<C> {
        let (source, engine) = (bytes.to_vec(), self.engine.clone());
        self.keep(plugin, "file", source, move |source| C::compile(&engine, source)).await
    }

    /// What `make` makes of a source, which is kept under its hash and the kind of making.
    ///
    /// # Errors
    /// Those of `make`.
    ///
    /// # Cancellation
    /// As [`load`](Self::load).
    pub(crate) async fn keep<C: Code>(
        &self,
        plugin: &str,
        making: &'static str,
        source: Vec<u8>,
        make: impl FnOnce(&[u8]) -> wasmtime::Result<C> + Send + 'static,
    ) -> wasmtime::Result<C> {
        let (compiler, plugin) = (self.clone(), plugin.to_owned());
        let loading = tokio::task::spawn_blocking(move || compiler.keep_now(&plugin, making, &source, make));
        loading.await.map_err(|error| wasmtime::format_err!("the compiler broke off: {error}"))?
    }

    fn keep_now<C: Code>(
        &self,
        plugin: &str,
        making: &str,
        source: &[u8],
        make: impl FnOnce(&[u8]) -> wasmtime::Result<C>,
    ) -> wasmtime::Result<C> {
        let compile = || {
            let begun = tokio::time::Instant::now();
            let code = make(source)?;
            tracing::debug!(plugin, ms = begun.elapsed().as_millis() as u64, "compiled");
            Ok(code)
        };
        let Some(cache) = &self.cache else { return compile() };
        let load = |entry: &Checked| C::load(&self.engine, entry).map_err(|error| format!("{error:#}"));
        let serialize = |code: &C| code.serialized().map_err(|error| format!("{error:#}"));
        cache.get(plugin, &Key::new(making, source, self.kind()), load, compile, serialize)
    }

    /// All that code depends on besides its file: the compiler's version and settings, and this processor.
    fn kind(&self) -> [u8; 32] {
        let mut hash = Hash256(Sha256::new());
        self.engine.precompile_compatibility_hash().hash(&mut hash);
        hash.0.finalize().into()
    }
}

/// Takes in what is hashed; 64 bits would be few for a name in a file system.
struct Hash256(Sha256);

impl Hasher for Hash256 {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let digest = self.0.clone().finalize();
        digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}
