//! Modules of wasm-bindgen (`NAME_bg.wasm`), run without JavaScript.
//!
//! Such a module is a core module with an ABI of its own, which changed over the years. Names of its helpers are
//! unreliable (they depend on the version, and on whether names were stripped); types and order are reliable, so
//! [`Abi`] goes by those. [`javascript`] has the few functions of JavaScript that a signer needs.
//!
//! A call: instantiate, `__wbindgen_start`, copy each argument into memory that the module's own allocator
//! gives (exactly as long as the text; the module frees it), call, read the result. The instance is dropped
//! after it, so nothing is freed by the host. Everything that comes from the module, pointers first, is untrusted.

mod abi;
mod javascript;

use std::sync::Arc;

use rust_proxy_stream::stage::{Fault, FaultKind, StageError};
use rust_proxy_stream::upstream::SignRequest;
use wasmtime::{InstancePre, Linker, Store};

use self::abi::Abi;
use self::javascript::Page;
use crate::compile::Compiler;
use crate::component::LoadError;
use crate::guard::Caller;
use crate::imports::Imports;
use crate::limits::Limits;
use crate::log::Rate;
use crate::signer::SignerSettings;

/// A loaded module.
pub(crate) struct Module {
    name: Arc<str>,
    limits: Limits,
    arguments: Vec<String>,
    pre: InstancePre<Page>,
    abi: Abi,
    imports: Imports,
    description: String,
    log_rate: Arc<Rate>,
}

/// Ends a module that broke the ABI.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Broken(&'static str);

impl Module {
    pub(crate) async fn load(
        compiler: &Compiler,
        bytes: &[u8],
        settings: SignerSettings,
    ) -> Result<Self, LoadError> {
        let SignerSettings { name, limits, config_json, export, arguments } = settings;
        if !matches!(config_json.trim(), "" | "{}") {
            return Err(LoadError::Signer(
                "a wasm-bindgen module takes no `config`; leave it out, or build the signer as a component"
                    .to_owned(),
            ));
        }
        let unfit = |error: wasmtime::Error| LoadError::NotASigner(format!("{error:#}"));
        let module: wasmtime::Module = compiler.load(&name, bytes).await.map_err(unfit)?;
        let functions = javascript::functions(&module)?;
        let (function, abi) =
            Abi::find(&module, export.as_deref(), arguments.len()).map_err(LoadError::Signer)?;
        let mut linker = Linker::new(&compiler.engine);
        for (import, function) in module.imports().zip(&functions) {
            function.link(&mut linker, &import).map_err(unfit)?;
        }
        let pre = linker.instantiate_pre(&module).map_err(unfit)?;
        let mut always: Vec<String> = functions.iter().map(|function| function.name().to_owned()).collect();
        always.retain(|name| !name.is_empty());
        always.sort();
        always.dedup();
        let module = Self {
            name: name.into(),
            limits,
            description: format!("wasm-bindgen module: `{function}` of {} strings", arguments.len()),
            arguments,
            pre,
            abi,
            imports: Imports { always, ..Imports::default() },
            log_rate: Arc::default(),
        };
        module.try_out().await.map_err(LoadError::Trial)?;
        Ok(module)
    }

    pub(crate) fn description(&self) -> &str {
        &self.description
    }

    pub(crate) fn imports(&self) -> &Imports {
        &self.imports
    }

    /// # Errors
    /// [`StageError::Failed`] with what the module returned or threw as an error.
    pub(crate) async fn sign(&self, request: &SignRequest) -> Result<String, StageError> {
        let mut arguments = Vec::with_capacity(self.arguments.len());
        for name in &self.arguments {
            arguments.push(argument(request, name).ok_or_else(|| {
                let known: Vec<_> = request.parameters.iter().map(|(name, _)| name.as_str()).collect();
                let known = known.join("`, `");
                Fault::new(
                    FaultKind::Host,
                    format!("`arguments` names `{name}`, but the request has `{known}`, `content`, `method` and `url`"),
                )
            })?);
        }
        let output = self.limits.output;
        self.caller()
            .call(async |store| self.instantiate(store).await?.call(store, &arguments, output).await)
            .await
    }

    /// Instantiates, and allocates once: a wrong guess of the allocator ends here.
    async fn try_out(&self) -> Result<(), StageError> {
        let call = async |store: &mut Store<Page>| self.instantiate(store).await?.copy(store, "trial").await;
        self.caller().call(call).await.map(drop)
    }

    fn caller(&self) -> Caller<Page> {
        let page = Page::new(Arc::clone(&self.name), &self.limits, Arc::clone(&self.log_rate));
        Caller::new(self.pre.module().engine(), page, self.limits)
    }

    async fn instantiate(&self, store: &mut Store<Page>) -> wasmtime::Result<abi::Guest> {
        let instance = self.pre.instantiate_async(&mut *store).await?;
        self.abi.begin(store, &instance).await
    }
}

/// The value of a parameter.
fn argument<'a>(request: &'a SignRequest, name: &str) -> Option<&'a str> {
    let parameter = request.parameters.iter().find(|(known, _)| known == name);
    parameter.map(|(_, value)| value.as_str()).or(match name {
        "content" => Some(&request.content),
        "method" => Some(&request.method),
        "url" => Some(&request.url),
        _ => None,
    })
}
