//! ④ Signers: components, and modules of wasm-bindgen. One instance per signature, dropped after it.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use rust_proxy_stream::stage::{Fault, FaultKind, StageError};
use rust_proxy_stream::upstream::{SignRequest, Signer as Sign};
use tokio::sync::Semaphore;
use wasmtime::component::Linker;

use crate::compile::Compiler;
use crate::component::{Component, LoadError, Settings, Usage};
use crate::imports::Imports;
use crate::instance::Host;
use crate::limits::Limits;
use crate::module::Module;

/// How many signatures one signer makes at once; others wait. They are short work for a processor, so more
/// would only take slots.
const AT_ONCE: u16 = 16;
/// How many configured instances of a component are kept ready.
const READY: u16 = 2;

/// How a signer is to be run.
#[derive(Debug, Clone)]
pub struct SignerSettings {
    /// The signer's name in the configuration.
    pub name: String,
    /// Its limits, for one signature.
    pub limits: Limits,
    /// What a component's `configure` gets: a JSON object. A module takes none: `{}`.
    pub config_json: String,
    /// The module's function. `None` is `sign`, or the only one there is. A component's is always `sign`.
    pub export: Option<String>,
    /// Which of the request's parameters a module's function takes, in its order. `content`, `method` and `url`
    /// stand for the request's own where no parameter has such a name. A component gets all, with their names.
    pub arguments: Vec<String>,
}

/// A loaded signer. Cheap to clone.
///
/// A component answers with names and values of its own choice, a module with one value, which is named
/// `result`.
#[derive(Clone)]
pub struct Signer {
    kind: Kind,
    permits: Arc<Semaphore>,
    name: Arc<str>,
}

#[derive(Clone)]
enum Kind {
    Component(Component),
    Module(Arc<Module>),
}

impl Signer {
    /// How many slots of a [`Runtime`](crate::Runtime) one signer takes at most.
    pub const SLOTS: u32 = (AT_ONCE + READY) as u32;

    pub(crate) async fn load(
        compiler: &Compiler,
        linker: &Linker<Host>,
        bytes: &[u8],
        settings: SignerSettings,
    ) -> Result<Self, LoadError> {
        let name = settings.name.as_str().into();
        let kind = match bytes.get(..8) {
            Some(b"\0asm\x01\0\0\0") => {
                Kind::Module(Arc::new(Module::load(compiler, bytes, settings).await?))
            }
            Some([0, b'a', b's', b'm', ..]) => {
                Kind::Component(component(compiler, linker, bytes, settings).await?)
            }
            _ => return Err(LoadError::NotASigner("it is no WebAssembly".to_owned())),
        };
        Ok(Self { kind, permits: Arc::new(Semaphore::new(AT_ONCE.into())), name })
    }

    /// What the signer is, in one line.
    pub fn description(&self) -> &str {
        match &self.kind {
            Kind::Component(component) => component.description(),
            Kind::Module(module) => module.description(),
        }
    }

    /// Keeps no instances ready from now on: for a signer that another takes the place of. It still signs.
    pub fn retire(&self) {
        if let Kind::Component(component) = &self.kind {
            component.retire();
        }
    }

    /// What it imports; for a module, the JavaScript functions that it is given.
    pub fn imports(&self) -> &Imports {
        match &self.kind {
            Kind::Component(component) => component.imports(),
            Kind::Module(module) => module.imports(),
        }
    }
}

#[async_trait]
impl Sign for Signer {
    async fn sign(&self, request: &SignRequest) -> Result<Vec<(String, String)>, StageError> {
        let closed = |_| Fault::new(FaultKind::Host, "the signer is closed");
        let _permit = self.permits.acquire().await.map_err(closed)?;
        match &self.kind {
            Kind::Component(component) => component.instance().await?.sign(request).await,
            Kind::Module(module) => Ok(vec![("result".to_owned(), module.sign(request).await?)]),
        }
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("name", &self.name).field("description", &self.description()).finish()
    }
}

async fn component(
    compiler: &Compiler,
    linker: &Linker<Host>,
    bytes: &[u8],
    settings: SignerSettings,
) -> Result<Component, LoadError> {
    let SignerSettings { name, limits, config_json, export, .. } = settings;
    if let Some(export) = export.filter(|export| export != "sign") {
        return Err(LoadError::Signer(format!(
            "`export` is `{export}`, but the file is a component, whose function is always `sign`; leave `export` out"
        )));
    }
    // What becomes of a failed signature is the attempt's affair. One may need random numbers that nobody else has: an
    // instance of a signer is no copy of another.
    let settings =
        Settings { ready: READY.into(), secret: true, ..Settings::new(&name, &config_json, limits) };
    Component::load(compiler, linker, bytes, settings, Usage::Signer).await
}
