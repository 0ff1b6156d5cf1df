//! Directories for guests: what is granted, as WASI's preopened directories.
//!
//! WASI resolves a guest's paths one component at a time from the directory's handle, so neither `..` nor a
//! symbolic link leads out of it. What a guest reads and writes is copied by threads of their own, and the guest
//! is suspended meanwhile.

use std::path::PathBuf;

use rust_proxy_stream::stage::{Fault, FaultKind};
use wasmtime_wasi::{FsPerms, WasiCtxBuilder};

/// A directory that a plugin was granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    /// Where it is, without symbolic links.
    pub host: PathBuf,
    /// What the guest calls it: an absolute path.
    pub guest: String,
    /// Whether the guest may change what is in it.
    pub write: bool,
}

/// Opens the directories for an instance.
///
/// # Errors
/// A fault where one is not there any more.
pub(crate) fn open(wasi: &mut WasiCtxBuilder, directories: &[Directory]) -> Result<(), Fault> {
    for Directory { host, guest, write } in directories {
        let access = if *write { FsPerms::ReadWrite } else { FsPerms::ReadOnly };
        wasi.preopened_dir(host, guest, access).map_err(|error| {
            let text = format!("the directory {} cannot be opened: {error:#}", host.display());
            Fault::new(FaultKind::Host, text)
        })?;
    }
    Ok(())
}
