//! The functions of JavaScript that modules are given: strings, errors, the console, random numbers and the
//! clock. A browser's page, and whatever is not here, is refused when a module is loaded.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use wasmtime::{
    AsContext, AsContextMut, Caller, ExternRef, ImportType, Linker, Memory, Module, Ref, Table, Val,
};

use super::Broken;
use super::abi::{lossy, shape, shortened, slice};
use crate::component::LoadError;
use crate::guard::{Failed, Metered};
use crate::limits::{Limits, MemoryLimiter, Meter};
use crate::log::{GuestLog, Rate};

/// The most random bytes in one call; JavaScript has the same limit.
const RANDOM_MAX: usize = 64 << 10;
/// Where our indices of values begin: above those that any version keeps for itself, and does not free.
const FIRST_INDEX: u32 = 1028;
/// What the host's side of a value costs, beside its bytes.
const VALUE_COST: u64 = 128;

/// What only a browser has. Families of names are in [`is_browser`].
const BROWSER: [&str; 27] = [
    "addEventListener",
    "alert",
    "appendChild",
    "body",
    "cookie",
    "createElement",
    "document",
    "fetch",
    "getContext",
    "getElementById",
    "head",
    "history",
    "host",
    "hostname",
    "href",
    "localStorage",
    "location",
    "navigator",
    "origin",
    "querySelector",
    "requestAnimationFrame",
    "screen",
    "sessionStorage",
    "setTimeout",
    "toDataURL",
    "userAgent",
    "window",
];

/// What the host keeps for a module's instance: what it would have around it in JavaScript.
pub(crate) struct Page {
    limiter: MemoryLimiter,
    /// The module's own memory and table of values, once it is instantiated. Not asked of the caller: a module
    /// may export what it imports, and then there is no caller.
    pub(super) memory: Option<Memory>,
    pub(super) table: Option<Table>,
    meter: Meter,
    log: GuestLog,
    /// The values of modules that pass indices.
    values: Vec<Option<Value>>,
}

/// A value of JavaScript.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// A text, or a view of the module's memory: which of them a cast means, the module does not tell.
    Slice { pointer: u32, bytes: Arc<[u8]> },
    /// Milliseconds since 1970.
    Date(f64),
    /// One that nothing is done with.
    Object,
}

/// A function that a module imports.
#[derive(Debug, Clone, Copy)]
pub(super) struct Function {
    kind: Kind,
    name: &'static str,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    InitTable,
    Throw,
    ThrowValue,
    Forget,
    Copy,
    Cast,
    FillMemory,
    FillView,
    Random,
    Now,
    Date,
    Time,
    Object,
    NoStack,
    Print,
    PrintValue,
}

impl Page {
    pub(super) fn new(name: Arc<str>, limits: &Limits, rate: Arc<Rate>) -> Self {
        Self {
            limiter: MemoryLimiter::new(limits.memory),
            memory: None,
            table: None,
            meter: Meter::new(),
            log: GuestLog::new(name, limits.log, rate),
            values: Vec::new(),
        }
    }

    /// The value that a module calls by an index.
    pub(super) fn at(&self, index: u32) -> Option<Value> {
        self.values.get(index.checked_sub(FIRST_INDEX)? as usize)?.clone()
    }
}

impl Metered for Page {
    fn memory(&mut self) -> &mut MemoryLimiter {
        &mut self.limiter
    }

    fn meter(&self) -> &Meter {
        &self.meter
    }

    fn close(&mut self) {}
}

impl Value {
    pub(super) fn of(store: impl AsContext<Data = Page>, value: &Val) -> Option<Self> {
        match value {
            Val::I32(index) => store.as_context().data().at(index.cast_unsigned()),
            Val::ExternRef(value) => {
                value.as_ref()?.data(store.as_context()).ok()??.downcast_ref::<Self>().cloned()
            }
            _ => None,
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Slice { bytes, .. } => std::str::from_utf8(bytes).ok(),
            Self::Date(_) | Self::Object => None,
        }
    }
}

/// What a module's imports are, in their order.
///
/// # Errors
/// The names of those that this host does not give, and what can be done.
pub(super) fn functions(module: &Module) -> Result<Vec<Function>, LoadError> {
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for import in module.imports() {
        let name = base_name(import.name());
        let function = import.ty().func().and_then(|kind| Function::known(name, &shape(kind)));
        match function {
            Some(function) => known.push(function),
            None => unknown.push(name),
        }
    }
    if unknown.is_empty() {
        return Ok(known);
    }
    unknown.sort_unstable();
    unknown.dedup();
    let has = |names: &[&str]| unknown.iter().any(|name| names.contains(name));
    let cure = if has(&["__wbindgen_describe", "__wbindgen_externref_table_grow"]) {
        "it is not finished: run the wasm-bindgen tool on it, and take the `NAME_bg.wasm` that this makes"
    } else if has(&["crypto", "msCrypto", "randomFillSync"]) {
        "for random numbers build it with getrandom 0.3 or later, feature `wasm_js`"
    } else {
        let browser: Vec<_> =
            unknown.iter().filter(|name| is_browser(name)).map(|name| (*name).to_owned()).collect();
        if !browser.is_empty() {
            return Err(LoadError::Browser(browser));
        }
        "build it without them, or as a component (`wit/signer.wit`)"
    };
    Err(LoadError::JavaScript { names: unknown.into_iter().map(str::to_owned).collect(), cure })
}

/// An import's name without the marks that the tool adds: `__wbg_`, and a hash of 16 digits.
fn base_name(name: &str) -> &str {
    let name = name.strip_prefix("__wbg_").unwrap_or(name);
    let is_hash = |hash: &str| hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    match name.rsplit_once('_') {
        Some((base, hash)) if is_hash(hash) && !base.is_empty() => base,
        _ => name,
    }
}

fn is_browser(name: &str) -> bool {
    BROWSER.contains(&name)
        || ["instanceof_Html", "instanceof_Window", "static_accessor_WINDOW"]
            .iter()
            .any(|begin| name.starts_with(begin))
        || ["XMLHttpRequest", "WebSocket"].iter().any(|part| name.contains(part))
}

impl Function {
    /// What a function is, by its name and type. A JavaScript value is an `externref`, or in older modules an
    /// index.
    fn known(base: &str, shape: &str) -> Option<Self> {
        let function = |kind, name| Some(Self { kind, name });
        match (base, shape) {
            ("__wbindgen_init_externref_table", "->") => function(Kind::InitTable, ""),
            ("__wbindgen_throw" | "wbindgenthrow", "ii->") => function(Kind::Throw, "throw"),
            ("__wbindgen_rethrow", "r->" | "i->") => function(Kind::ThrowValue, "throw"),
            ("__wbindgen_object_drop_ref", "i->") => function(Kind::Forget, ""),
            ("__wbindgen_object_clone_ref", "i->i") => function(Kind::Copy, ""),
            ("__wbindgen_cast" | "__wbindgen_string_new", "ii->r" | "ii->i") => {
                function(Kind::Cast, "String")
            }
            ("__wbindgen_error_new" | "Error", "ii->r" | "ii->i") => function(Kind::Cast, "Error"),
            ("getRandomValues", "ii->") => function(Kind::FillMemory, "getRandomValues"),
            ("getRandomValues", "r->" | "i->") => function(Kind::FillView, "getRandomValues"),
            ("random", "->F") => function(Kind::Random, "Math.random"),
            ("now", "->F") => function(Kind::Now, "Date.now"),
            ("new_0" | "new0", "->r" | "->i") => function(Kind::Date, "Date"),
            ("getTime", "r->F" | "i->F") => function(Kind::Time, "Date"),
            // With `stack` and `error`: what prints a panic.
            ("new", "->r" | "->i") => function(Kind::Object, "Error"),
            ("stack", "ir->" | "ii->") => function(Kind::NoStack, "Error"),
            ("debug" | "error" | "info" | "log" | "warn", "ii->") => function(Kind::Print, "console"),
            ("debug" | "error" | "info" | "log" | "warn", "r->" | "i->") => {
                function(Kind::PrintValue, "console")
            }
            _ => None,
        }
    }

    /// What people call it; nothing for what only the ABI needs.
    pub(super) fn name(self) -> &'static str {
        self.name
    }

    pub(super) fn link(self, linker: &mut Linker<Page>, import: &ImportType<'_>) -> wasmtime::Result<()> {
        let Some(kind) = import.ty().func().cloned() else {
            return Err(Broken("it imports what is no function").into());
        };
        let by_index = kind.results().any(|result| result.is_i32());
        linker.func_new(import.module(), import.name(), kind, move |caller, parameters, results| {
            Call { caller, by_index }.run(self.kind, parameters, results)
        })?;
        Ok(())
    }
}

/// A function at work.
struct Call<'a> {
    caller: Caller<'a, Page>,
    /// Whether it gives its value as an index.
    by_index: bool,
}

impl Call<'_> {
    fn run(mut self, kind: Kind, parameters: &[Val], results: &mut [Val]) -> wasmtime::Result<()> {
        let answer = match (kind, parameters) {
            (Kind::InitTable, []) => return self.init_table(),
            (Kind::Throw, [Val::I32(pointer), Val::I32(length)]) => {
                let text = self.bytes(*pointer, *length)?;
                return Err(Failed(lossy(text)).into());
            }
            (Kind::ThrowValue, [value]) => {
                let value = Value::of(&self.caller, value);
                let text = value.as_ref().and_then(Value::text).unwrap_or("an error without a text");
                return Err(Failed(shortened(text)).into());
            }
            (Kind::Forget, [Val::I32(index)]) => return self.forget(index.cast_unsigned()),
            (Kind::Copy, [value]) => {
                let value =
                    Value::of(&self.caller, value).ok_or(Broken("it copies a value that is not there"))?;
                self.value(value)?
            }
            (Kind::Cast, [Val::I32(pointer), Val::I32(length)]) => {
                let length_of_copy = u64::from(length.cast_unsigned());
                self.caller.data_mut().limiter.take(length_of_copy)?;
                let bytes = self.bytes(*pointer, *length)?.into();
                self.value(Value::Slice { pointer: pointer.cast_unsigned(), bytes })?
            }
            (Kind::FillMemory, [Val::I32(pointer), Val::I32(length)]) => {
                return self.fill(pointer.cast_unsigned(), length.cast_unsigned() as usize);
            }
            (Kind::FillView, [value]) => match Value::of(&self.caller, value) {
                Some(Value::Slice { pointer, bytes }) => return self.fill(pointer, bytes.len()),
                _ => return Err(Broken("getRandomValues gets no array").into()),
            },
            (Kind::Random, []) => Val::from(random()?),
            (Kind::Now, []) => Val::from(now()),
            (Kind::Date, []) => self.value(Value::Date(now()))?,
            (Kind::Time, [value]) => match Value::of(&self.caller, value) {
                Some(Value::Date(time)) => Val::from(time),
                _ => return Err(Broken("getTime gets no date").into()),
            },
            (Kind::Object, []) => self.value(Value::Object)?,
            // An empty text: a pointer that is not null, and no length.
            (Kind::NoStack, [Val::I32(address), _]) => {
                return self.write(address.cast_unsigned(), &[1, 0, 0, 0, 0, 0, 0, 0]);
            }
            (Kind::Print, [Val::I32(pointer), Val::I32(length)]) => {
                let line = lossy(self.bytes(*pointer, *length)?);
                return self.print(&line);
            }
            (Kind::PrintValue, [value]) => {
                let value = Value::of(&self.caller, value);
                return self.print(value.as_ref().and_then(Value::text).unwrap_or("a value without a text"));
            }
            _ => return Err(Broken("a function of JavaScript has another type").into()),
        };
        match results {
            [result] => *result = answer,
            _ => return Err(Broken("a function of JavaScript has another type").into()),
        }
        Ok(())
    }

    fn memory(&self) -> Result<Memory, Broken> {
        self.caller.data().memory.ok_or(Broken("it calls JavaScript before it is ready"))
    }

    fn bytes(&mut self, pointer: i32, length: i32) -> Result<&[u8], Broken> {
        let memory = self.memory()?.data(&self.caller);
        slice(memory, pointer.cast_unsigned(), length.cast_unsigned())
            .ok_or(Broken("a text is not in its memory"))
    }

    fn write(&mut self, pointer: u32, bytes: &[u8]) -> wasmtime::Result<()> {
        let memory = self.memory()?;
        let written = memory.write(&mut self.caller, pointer as usize, bytes);
        Ok(written.map_err(|_| Broken("an address is not in its memory"))?)
    }

    fn fill(&mut self, pointer: u32, length: usize) -> wasmtime::Result<()> {
        if length > RANDOM_MAX {
            return Err(Broken("more random bytes at once than there are").into());
        }
        let mut bytes = vec![0; length];
        getrandom::fill(&mut bytes)?;
        self.write(pointer, &bytes)
    }

    fn print(&self, line: &str) -> wasmtime::Result<()> {
        self.caller.data().log.print(format!("{line}\n").as_bytes());
        Ok(())
    }

    /// Hands a value to the module.
    fn value(&mut self, value: Value) -> wasmtime::Result<Val> {
        self.caller.data_mut().limiter.take(VALUE_COST)?;
        if !self.by_index {
            return Ok(Val::ExternRef(Some(ExternRef::new(self.caller.as_context_mut(), value)?)));
        }
        let values = &mut self.caller.data_mut().values;
        // The memory limit keeps the number of values far below.
        let index = FIRST_INDEX + u32::try_from(values.len())?;
        values.push(Some(value));
        Ok(Val::I32(index.cast_signed()))
    }

    fn forget(&mut self, index: u32) -> wasmtime::Result<()> {
        // A module may also drop `undefined` and its like, which take no room.
        let values = &mut self.caller.data_mut().values;
        let place = index.checked_sub(FIRST_INDEX).and_then(|place| values.get_mut(place as usize));
        if let Some(place) = place {
            *place = None;
        }
        Ok(())
    }

    /// Makes room for `undefined`, `null`, `true` and `false`, which no signer tells apart.
    fn init_table(&mut self) -> wasmtime::Result<()> {
        let table = self.caller.data().table.ok_or(Broken("it has no table of values"))?;
        table.grow(&mut self.caller, 4, Ref::Extern(None))?;
        Ok(())
    }
}

fn random() -> wasmtime::Result<f64> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes)?;
    Ok(f64::from(u32::from_le_bytes(bytes)) / 4_294_967_296.0)
}

fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // As JavaScript: whole milliseconds.
    (since.as_secs_f64() * 1000.0).floor()
}
