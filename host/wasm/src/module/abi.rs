//! How a module's function is called: where its helpers are, found by types and order, and the call itself.

use wasmtime::{
    ExternType, Func, FuncType, Instance, Memory, Module, ModuleExport, Ref, Store, Table, Val, ValType,
};

use super::Broken;
use super::javascript::{Page, Value};
use crate::guard::Failed;
use crate::limits::OutputSpent;

/// Bytes that a result takes which is returned through memory: four words.
const RESULT_BYTES: i32 = 16;
/// What an error of a signer may say, in bytes.
const ERROR_MAX: usize = 1000;

/// Where a module has what a call needs.
pub(super) struct Abi {
    memory: ModuleExport,
    /// The table of JavaScript values. Older modules have none, and pass indices that the host gives.
    values: Option<ModuleExport>,
    function: ModuleExport,
    result: ResultShape,
    malloc: Malloc,
    start: Option<ModuleExport>,
}

/// How a string, or an error, is returned.
#[derive(Clone, Copy)]
enum ResultShape {
    /// Pointer and length, as two results.
    Text,
    /// The same, then the error's index and whether there is one.
    TextOrError,
    /// One or the other in memory, at an address that the caller takes from the module's stack.
    InMemory(ModuleExport),
}

#[derive(Clone, Copy)]
struct Malloc {
    export: ModuleExport,
    /// Whether it takes the alignment too: since 0.2.87.
    aligned: bool,
}

/// An instance that is ready to be called.
pub(super) struct Guest {
    memory: Memory,
    values: Option<Table>,
    malloc: Func,
    aligned: bool,
    function: Func,
    result: GuestResult,
}

enum GuestResult {
    Text,
    TextOrError,
    InMemory(Func),
}

impl Abi {
    /// Finds the function, `sign` or the only one unless it is named, and what is needed to call it.
    ///
    /// # Errors
    /// What is missing or does not fit.
    pub(super) fn find(
        module: &Module,
        export: Option<&str>,
        arguments: usize,
    ) -> Result<(String, Self), String> {
        let functions: Vec<(&str, FuncType)> = module
            .exports()
            .filter_map(|export| export.ty().func().map(|kind| (export.name(), kind.clone())))
            .collect();
        let (name, kind) = choose(&functions, export)?;
        let place = |name: &str| module.get_export_index(name);
        let missing = |what: &str| format!("exports no {what}, so it is no wasm-bindgen module");

        let strings = "ii".repeat(arguments);
        let result = match shape(kind) {
            shape if shape == format!("{strings}->ii") => ResultShape::Text,
            shape if shape == format!("{strings}->iiii") => ResultShape::TextOrError,
            shape if shape == format!("i{strings}->") => {
                let stack = place("__wbindgen_add_to_stack_pointer").ok_or_else(|| {
                    format!("`{name}` has the ABI of wasm-bindgen before 0.2.70; build it with a newer one")
                })?;
                ResultShape::InMemory(stack)
            }
            _ => return Err(misfit(name, kind, arguments)),
        };
        let memory = module.exports().find_map(|export| match export.ty() {
            ExternType::Memory(kind) if !kind.is_64() && !kind.is_shared() => place(export.name()),
            _ => None,
        });
        let values = module.exports().find_map(|export| match export.ty() {
            ExternType::Table(kind) if kind.element().matches(&wasmtime::RefType::EXTERNREF) => {
                place(export.name())
            }
            _ => None,
        });
        let abi = Self {
            memory: memory.ok_or_else(|| missing("memory of 32 bits"))?,
            values,
            function: place(name).ok_or_else(|| missing("such function"))?,
            result,
            malloc: malloc(module, &functions).ok_or_else(|| missing("allocator (`__wbindgen_malloc`)"))?,
            start: functions
                .iter()
                .any(|(name, kind)| *name == "__wbindgen_start" && shape(kind) == "->")
                .then(|| place("__wbindgen_start"))
                .flatten(),
        };
        Ok((name.to_owned(), abi))
    }

    /// Makes an instance ready; what a module's `main` would do is not done.
    pub(super) async fn begin(
        &self,
        store: &mut Store<Page>,
        instance: &Instance,
    ) -> wasmtime::Result<Guest> {
        let function = |store: &mut Store<Page>, place: &ModuleExport| {
            let export = instance.get_module_export(store, place).and_then(wasmtime::Extern::into_func);
            export.ok_or(Broken("an export is gone"))
        };
        let memory =
            instance.get_module_export(&mut *store, &self.memory).and_then(wasmtime::Extern::into_memory);
        let memory = memory.ok_or(Broken("the memory is gone"))?;
        let values = self.values.and_then(|place| instance.get_module_export(&mut *store, &place));
        let values = values.and_then(wasmtime::Extern::into_table);
        (store.data_mut().memory, store.data_mut().table) = (Some(memory), values);
        if let Some(start) = &self.start {
            function(store, start)?.call_async(&mut *store, &[], &mut []).await?;
        }
        Ok(Guest {
            memory,
            values,
            malloc: function(store, &self.malloc.export)?,
            aligned: self.malloc.aligned,
            function: function(store, &self.function)?,
            result: match &self.result {
                ResultShape::Text => GuestResult::Text,
                ResultShape::TextOrError => GuestResult::TextOrError,
                ResultShape::InMemory(stack) => GuestResult::InMemory(function(store, stack)?),
            },
        })
    }
}

impl Guest {
    /// Calls the function. The instance is not to be used again: its stack pointer is left where it is.
    pub(super) async fn call(
        &self,
        store: &mut Store<Page>,
        arguments: &[&str],
        output: u64,
    ) -> wasmtime::Result<String> {
        let mut parameters = Vec::with_capacity(1 + 2 * arguments.len());
        let mut address = None;
        if let GuestResult::InMemory(stack) = &self.result {
            let at = word(&call(store, stack, &[Val::I32(-RESULT_BYTES)]).await?)?;
            // A function that cannot fail writes two of the four words; the others then say "no error".
            self.memory.write(&mut *store, index(at), &[0; RESULT_BYTES as usize])?;
            address = Some(at);
            parameters.push(Val::I32(at.cast_signed()));
        }
        for argument in arguments {
            let (pointer, length) = self.copy(store, argument).await?;
            parameters.extend([Val::I32(pointer.cast_signed()), Val::I32(length.cast_signed())]);
        }
        let mut words = [Val::I32(0), Val::I32(0), Val::I32(0), Val::I32(0)];
        let results = match self.result {
            GuestResult::Text => &mut words[..2],
            GuestResult::TextOrError => &mut words[..],
            GuestResult::InMemory(_) => &mut words[..0],
        };
        self.function.call_async(&mut *store, &parameters, results).await?;
        let [pointer, length, error, is_error] = match address {
            Some(address) => self.words(store, address)?,
            None => [word(&words[0])?, word(&words[1])?, word(&words[2])?, word(&words[3])?],
        };
        if is_error != 0 {
            return Err(Failed(self.error(store, error)).into());
        }
        self.text(store, pointer, length, output)
    }

    /// Gives the module a text: it owns the memory, which is exactly as long.
    pub(super) async fn copy(&self, store: &mut Store<Page>, text: &str) -> wasmtime::Result<(u32, u32)> {
        let length = u32::try_from(text.len()).map_err(|_| Broken("an argument does not fit its memory"))?;
        let arguments = [Val::I32(length.cast_signed()), Val::I32(1)];
        let (one, two) = (&arguments[..1], &arguments[..]);
        let pointer = word(&call(store, &self.malloc, if self.aligned { two } else { one }).await?)?;
        let copied = self.memory.write(&mut *store, index(pointer), text.as_bytes());
        copied.map_err(|_| Broken("its allocator gives memory that is not there"))?;
        Ok((pointer, length))
    }

    fn words(&self, store: &Store<Page>, address: u32) -> wasmtime::Result<[u32; 4]> {
        let mut bytes = [0; RESULT_BYTES as usize];
        self.memory.read(store, index(address), &mut bytes)?;
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        Ok(words)
    }

    fn text(&self, store: &Store<Page>, pointer: u32, length: u32, output: u64) -> wasmtime::Result<String> {
        if u64::from(length) > output {
            return Err(OutputSpent.into());
        }
        let bytes = slice(self.memory.data(store), pointer, length)
            .ok_or(Broken("its result is not in its memory"))?;
        let text = std::str::from_utf8(bytes).map_err(|_| Broken("its result is not UTF-8"))?;
        Ok(text.to_owned())
    }

    /// What an error value says, where it is a text.
    fn error(&self, store: &mut Store<Page>, index: u32) -> String {
        let value = match self.values {
            Some(table) => match table.get(&mut *store, index.into()) {
                Some(Ref::Extern(Some(value))) => Value::of(&*store, &Val::ExternRef(Some(value))),
                _ => None,
            },
            None => store.data().at(index),
        };
        value.as_ref().and_then(Value::text).map_or_else(|| "an error without a text".to_owned(), shortened)
    }
}

/// The bytes at a pointer, if all of them are there.
pub(super) fn slice(memory: &[u8], pointer: u32, length: u32) -> Option<&[u8]> {
    memory.get(index(pointer)..)?.get(..index(length))
}

/// A text for an error or a log, of a bounded length.
pub(super) fn shortened(text: &str) -> String {
    let end = text.floor_char_boundary(ERROR_MAX);
    text.get(..end).unwrap_or_default().to_owned()
}

/// Bytes that should be a text, for an error or a log, of a bounded length.
pub(super) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.get(..ERROR_MAX).unwrap_or(bytes)).into_owned()
}

/// The function to call, by its name, or the only one there is.
fn choose<'a>(
    functions: &'a [(&'a str, FuncType)],
    export: Option<&str>,
) -> Result<(&'a str, &'a FuncType), String> {
    let own: Vec<_> = functions
        .iter()
        .filter(|(name, _)| !name.starts_with("__") && !matches!(*name, "main" | "_start" | "_initialize"))
        .collect();
    let wanted = match (export, own.as_slice()) {
        (Some(name), _) => name,
        (None, [(name, _)]) => name,
        (None, _) => "sign",
    };
    match functions.iter().find(|(name, _)| *name == wanted) {
        Some((name, kind)) => Ok((name, kind)),
        None if own.is_empty() => Err("exports no function to sign with".to_owned()),
        None => {
            let names: Vec<_> = own.iter().map(|(name, _)| *name).collect();
            Err(format!("exports no `{wanted}`; set `export` to one of `{}`", names.join("`, `")))
        }
    }
}

/// The allocator: by its name, or the first helper without a name that has its type.
fn malloc(module: &Module, functions: &[(&str, FuncType)]) -> Option<Malloc> {
    let aligned = |kind: &FuncType| match shape(kind).as_str() {
        "ii->i" => Some(true),
        "i->i" => Some(false),
        _ => None,
    };
    let named = functions.iter().filter(|(name, _)| *name == "__wbindgen_malloc");
    let nameless = functions.iter().filter(|(name, _)| name.starts_with("__wbindgen_export"));
    let (name, aligned) = named.chain(nameless).find_map(|(name, kind)| Some((name, aligned(kind)?)))?;
    Some(Malloc { export: module.get_export_index(name)?, aligned })
}

/// A function's type, a letter per value: `ii->r` takes two `i32` and gives an `externref`.
pub(super) fn shape(kind: &FuncType) -> String {
    let letter = |kind: ValType| match kind {
        ValType::I32 => 'i',
        ValType::I64 => 'I',
        ValType::F32 => 'f',
        ValType::F64 => 'F',
        kind if ValType::EXTERNREF.matches(&kind) => 'r',
        _ => '?',
    };
    kind.params().map(letter).chain("->".chars()).chain(kind.results().map(letter)).collect()
}

fn misfit(name: &str, kind: &FuncType, arguments: usize) -> String {
    let wanted =
        format!("`arguments` names {arguments}, so `{name}` must take {arguments} strings and return one");
    let (parameters, results) = (kind.params().len(), kind.results().len());
    let only_words = kind.params().chain(kind.results()).all(|kind| kind.is_i32());
    let words = match results {
        2 | 4 => parameters,
        0 => parameters.wrapping_sub(1),
        _ => usize::MAX,
    };
    if only_words && words.is_multiple_of(2) {
        return format!("{wanted}; by its type it takes {}", words / 2);
    }
    format!("{wanted} (`String`, or `Result<String, JsValue>`); its type is `{kind}`")
}

async fn call(store: &mut Store<Page>, function: &Func, arguments: &[Val]) -> wasmtime::Result<Val> {
    let mut results = [Val::I32(0)];
    function.call_async(&mut *store, arguments, &mut results).await?;
    let [result] = results;
    Ok(result)
}

fn word(value: &Val) -> Result<u32, Broken> {
    value.i32().map(i32::cast_unsigned).ok_or(Broken("a helper gives no number"))
}

fn index(pointer: u32) -> usize {
    // Lossless where memories of 4 GiB are possible.
    pointer as usize
}
