//! The table of what was seen, on the screen and in `docs/sandbox.md`.
#![expect(clippy::disallowed_methods, reason = "reads the document and the tests that it names")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const DOCUMENT: &str = "docs/sandbox.md";
const HEAD: &str = "| promise | client | log | account | healthy streams |";

/// A promise, and who saw what of it.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) promise: &'static str,
    pub(crate) client: String,
    pub(crate) log: String,
    pub(crate) account: String,
    pub(crate) streams: String,
}

/// The rows so far.
#[derive(Debug, Default)]
pub(crate) struct Table(Vec<Row>);

impl Table {
    pub(crate) fn push(&mut self, row: Row) {
        println!("{}", row.line());
        self.0.push(row);
    }

    /// Fails where the document's first table is not this one.
    pub(crate) fn check_document(&self) {
        let seen: Vec<String> = self.0.iter().map(Row::line).collect();
        let promises: BTreeSet<_> = self.0.iter().map(|row| row.promise).collect();
        assert_eq!(promises.len(), seen.len(), "a promise has two rows");
        let text = read(DOCUMENT);
        let written: Vec<&str> = rows(&text, HEAD);
        for row in &seen {
            assert!(written.contains(&row.as_str()), "{DOCUMENT} has not what was seen:\n{row}");
        }
        for row in written {
            assert!(seen.iter().any(|seen| seen == row), "{DOCUMENT} has what was not seen:\n{row}");
        }
        check_elsewhere(&text);
    }
}

impl Row {
    fn line(&self) -> String {
        let Self { promise, client, log, account, streams } = self;
        format!("| {promise} | {client} | {log} | {account} | {streams} |")
    }
}

/// Each test that the second table names is there.
fn check_elsewhere(document: &str) {
    for row in rows(document, "| promise | test |") {
        let named = row.rsplit("| `").next().and_then(|test| test.strip_suffix("` |"));
        let (file, test) = named.and_then(|named| named.split_once("::")).expect("`FILE::TEST`");
        assert!(read(file).contains(&format!("fn {test}()")), "{DOCUMENT}: there is no {test} in {file}");
    }
}

/// The lines of the table with this head.
fn rows<'a>(document: &'a str, head: &str) -> Vec<&'a str> {
    let lines = document.lines().skip_while(|line| *line != head).skip(2);
    lines.take_while(|line| line.starts_with('|')).collect()
}

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
