//! A plugin that uses the files that the user's last text names, and puts what came of it in its place.
//!
//! Each line of the text is a deed, one after another: `read PATH`, `write PATH TEXT`, `list PATH`, `delete PATH` or
//! `rename PATH PATH`, as the standard library does it; `raw PATH` (reads) and `link TARGET PATH` (makes a symbolic
//! link), which ask the host for the path in the first directory as it is written. Its line in the new text is what
//! was read, the names in order, or `ok`; or the error's kind.
#![expect(clippy::disallowed_methods, reason = "what a plugin sees of files is what it was granted")]

#[cfg(target_arch = "wasm32")]
mod raw;

use std::fs;
use std::io;

use rust_proxy_sdk::{Context, Decision, Description, Item, Plugin, Processor};

/// The plugin.
#[derive(Debug)]
pub struct Files;

impl Plugin for Files {
    fn describe() -> Description {
        Description::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), "Uses the files it is told to.")
    }

    fn configure(_: &str) -> Result<Self, String> {
        Ok(Self)
    }
}

impl Processor for Files {
    fn process(&mut self, _: &Context, items: &[Item]) -> Result<Decision, String> {
        let mut decision = Decision::unchanged();
        if let Some((item, text)) = items.iter().rev().find_map(|item| Some((item.id, item.text()?))) {
            let answers: Vec<String> = text.lines().map(told).collect();
            decision.set_text(item, answers.join("\n"));
        }
        Ok(decision)
    }
}

fn told(line: &str) -> String {
    #[cfg(target_arch = "wasm32")]
    if let Some(answer) = raw::carry_out(line) {
        return answer;
    }
    carry_out(line).unwrap_or_else(|error| format!("{:?}", error.kind()))
}

fn carry_out(line: &str) -> io::Result<String> {
    let mut words = line.splitn(3, ' ');
    let mut next = || words.next().unwrap_or_default();
    let ok = |()| "ok".to_owned();
    match (next(), next(), next()) {
        ("read", path, _) => fs::read_to_string(path),
        ("write", path, text) => fs::write(path, text).map(ok),
        ("list", path, _) => {
            let names: io::Result<Vec<String>> = fs::read_dir(path)?
                .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                .collect();
            let mut names = names?;
            names.sort();
            Ok(names.join(" "))
        }
        ("delete", path, _) => fs::remove_file(path).map(ok),
        ("rename", from, to) => fs::rename(from, to).map(ok),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

rust_proxy_sdk::processor_plugin!(Files);
