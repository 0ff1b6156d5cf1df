//! `cargo xtask build-plugins`: guests become components, where the gateway and the tests look for them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::command::{cargo, command, output, root, run};

pub(crate) const MANIFEST: &str = "plugins/Cargo.toml";
pub(crate) const TARGET_DIR: &str = "plugins/target";
const TARGET: &str = "wasm32-wasip2";

/// Builds all guests; plugins go to `config/plugins/`, the tests' guests to `target/guests/`.
pub(crate) fn build() -> Result<()> {
    add_target()?;
    let target = ["--target", TARGET, "--target-dir", TARGET_DIR];
    run(cargo(&["build", "--release", "--manifest-path", MANIFEST]).args(target))?;
    install("plugins", "config/plugins")?;
    install("tests/guests", "target/guests")
}

fn add_target() -> Result<()> {
    let folder = output(&mut command("rustc", &["--print", "target-libdir", "--target", TARGET]))?;
    if Path::new(folder.trim()).is_dir() {
        return Ok(());
    }
    run(&mut command("rustup", &["target", "add", TARGET])).with_context(|| {
        format!(
            "this Rust toolchain cannot build for {TARGET}: install rustup (https://rustup.rs), or the \
             toolchain's {TARGET} standard library by the package manager it came from"
        )
    })
}

/// Copies the component of each guest in a folder; the folder's name is the plugin's name.
fn install(guests: &str, destination: &str) -> Result<()> {
    let folder = root().join(destination);
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for name in component_names(&root().join(guests))? {
        let file = format!("{TARGET_DIR}/{TARGET}/release/{}.wasm", name.replace('-', "_"));
        let source = root().join(&file);
        if !source.is_file() {
            bail!("{guests}/{name} made no {file}: the package must have the name of its folder");
        }
        replace(&source, &folder.join(format!("{name}.wasm")))?;
        println!("xtask: {destination}/{name}.wasm");
    }
    Ok(())
}

/// The folders whose package makes a component (libraries beside them do not).
fn component_names(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        let manifest = fs::read_to_string(entry.path().join("Cargo.toml")).unwrap_or_default();
        if manifest.contains("cdylib") {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Puts a copy in place in one step: who reads the file meanwhile sees the old one or the new one.
fn replace(source: &Path, destination: &Path) -> Result<()> {
    let part: PathBuf = destination.with_extension("wasm.part");
    fs::copy(source, &part)
        .and_then(|_| fs::rename(&part, destination))
        .with_context(|| format!("cannot write {}", destination.display()))
}
