//! `cargo xtask build-plugins`: guests become components, where the gateway and the tests look for them.
//! The signer is built with them, since all that runs a gateway or its tests needs both.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::command::{cargo, command, output, root, run};
use crate::signer;

pub(crate) const MANIFEST: &str = "plugins/Cargo.toml";
pub(crate) const TARGET_DIR: &str = "plugins/target";
const TARGET: &str = "wasm32-wasip2";

/// Builds all guests; plugins go to `config/plugins/`, the tests' guests to `target/guests/`, the signer to
/// `config/signer/`.
pub(crate) fn build() -> Result<()> {
    build_guests(&["--workspace"])?;
    install("plugins", "config/plugins")?;
    install("tests/guests", "target/guests")?;
    signer::install()
}

/// Builds the packages that the arguments choose.
pub(crate) fn build_guests(packages: &[&str]) -> Result<()> {
    add_target(TARGET)?;
    let target = ["--target", TARGET, "--target-dir", TARGET_DIR];
    run(cargo(&["build", "--release", "--manifest-path", MANIFEST]).args(target).args(packages))
}

/// Where the build puts a package's component.
pub(crate) fn built(package: &str) -> String {
    format!("{TARGET_DIR}/{TARGET}/release/{}.wasm", package.replace('-', "_"))
}

pub(crate) fn add_target(target: &str) -> Result<()> {
    let folder = output(&mut command("rustc", &["--print", "target-libdir", "--target", target]))?;
    if Path::new(folder.trim()).is_dir() {
        return Ok(());
    }
    run(&mut command("rustup", &["target", "add", target])).with_context(|| {
        format!(
            "this Rust toolchain cannot build for {target}: install rustup (https://rustup.rs), or the \
             toolchain's {target} standard library by the package manager it came from"
        )
    })
}

/// Copies the component of each guest in a folder; the folder's name is the plugin's name.
fn install(guests: &str, destination: &str) -> Result<()> {
    let folder = root().join(destination);
    for name in component_names(&root().join(guests))? {
        let file = built(&name);
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
pub(crate) fn replace(source: &Path, destination: &Path) -> Result<()> {
    let part: PathBuf = destination.with_added_extension("part");
    let folder = destination.parent().unwrap_or(destination);
    fs::create_dir_all(folder)
        .and_then(|()| fs::copy(source, &part))
        .and_then(|_| fs::rename(&part, destination))
        .with_context(|| format!("cannot copy {} to {}", source.display(), destination.display()))
}
