//! `cargo xtask build-signer`: the signer of the reference Dev API, as a wasm-bindgen module and as a component.

use anyhow::Result;

use crate::command::{cargo, command, root, run};
use crate::plugins::{self, add_target, replace};

pub(crate) const MANIFEST: &str = "signer/Cargo.toml";
/// The tool takes a minute to build; its target folder keeps it.
pub(crate) const TARGET_DIR: &str = "signer/target";
const TARGET: &str = "wasm32-unknown-unknown";
const FOLDER: &str = "config/signer";

/// Builds the signer with the key that the environment's `SIGNER_KEY` has, else with the demonstration key.
pub(crate) fn build() -> Result<()> {
    plugins::build_guests(&["--package", "sign-component"])?;
    install()
}

/// Builds the module and puts both in place; the component is built already.
pub(crate) fn install() -> Result<()> {
    add_target(TARGET)?;
    let workspace = ["--manifest-path", MANIFEST, "--target-dir", TARGET_DIR];
    let module = ["build", "--release", "--package", "sign-module", "--target", TARGET];
    run(cargo(&module).args(workspace))?;
    run(cargo(&["build", "--package", "sign-bindgen"]).args(workspace))?;

    let built = format!("{TARGET_DIR}/{TARGET}/release/sign_module.wasm");
    let finished = format!("{TARGET_DIR}/finished");
    run(&mut command(&format!("{TARGET_DIR}/debug/sign-bindgen"), &[&built, &finished, "sign"]))?;
    for (from, name) in [
        (format!("{finished}/sign_bg.wasm"), "sign_bg.wasm"),
        (plugins::built("sign-component"), "sign.wasm"),
    ] {
        replace(&root().join(from), &root().join(FOLDER).join(name))?;
        println!("xtask: {FOLDER}/{name}");
    }
    Ok(())
}
