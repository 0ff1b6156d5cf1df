//! Finishes a module that was built with the crate wasm-bindgen: `sign-bindgen INPUT.wasm FOLDER NAME` writes
//! `FOLDER/NAME_bg.wasm`.

use anyhow::{Result, bail};
use wasm_bindgen_cli_support::Bindgen;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, folder, name] = arguments.as_slice() else {
        bail!("usage: sign-bindgen INPUT.wasm FOLDER NAME");
    };
    let mut bindgen = Bindgen::new();
    bindgen.input_path(input).out_name(name).typescript(false).remove_name_section(true);
    bindgen.bundler(true)?.generate(folder)
}
