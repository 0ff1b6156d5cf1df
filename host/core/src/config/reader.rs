//! A cursor over the TOML tree that collects problems where serde would stop at the first.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::path::PathBuf;

use toml::de::{DeTable, Error};

use super::environment::Environment;
use super::files::FileSource;
use super::problems::{Notice, Place, Position, Problem, Problems};
use super::sources::{Recorder, Sources};

mod node;
mod table;

pub(super) use node::{Node, child};
pub(super) use table::Table;

/// Reads a whole file: `read` gets the root table.
///
/// # Errors
/// Returns what `read` and the parser found wrong.
pub(super) fn read<T>(
    text: &str,
    file: &str,
    files: &dyn FileSource,
    env: &dyn Environment,
    read: impl FnOnce(&mut Table<'_>) -> T,
) -> Result<(T, Vec<Notice>, Sources), Problems> {
    let (tree, errors) = DeTable::parse_recoverable(text);
    let recorder = Recorder::new(files, env);
    let reading = Reading {
        file,
        text,
        files: &recorder,
        env: &recorder,
        unrecorded_env: env,
        empty: DeTable::new(),
        broken: RefCell::default(),
        problems: RefCell::default(),
        notices: RefCell::default(),
        read: RefCell::default(),
        prefix: Cell::new(""),
    };
    reading.report_syntax(&errors);
    // What follows a broken header would be read as part of another table.
    let root = if reading.headers_are_broken() { &reading.empty } else { tree.get_ref() };
    let value = Node { reading: &reading, value: None, offset: 0, key: String::new() }.read_table(root, read);
    let notices = reading.finish()?;
    let mut sources = recorder.into_sources();
    sources.add_settings(tree.get_ref());
    Ok((value, notices, sources))
}

/// One file being read, and what was found so far.
struct Reading<'a> {
    file: &'a str,
    text: &'a str,
    files: &'a dyn FileSource,
    env: &'a dyn Environment,
    /// The same without its recorder.
    unrecorded_env: &'a dyn Environment,
    /// Stands in for a section that is not there.
    empty: DeTable<'a>,
    /// The lines that are not TOML.
    broken: RefCell<BTreeSet<usize>>,
    problems: RefCell<Vec<Problem>>,
    notices: RefCell<Vec<Notice>>,
    /// The files that it names and has read, as it names them.
    read: RefCell<BTreeSet<PathBuf>>,
    /// What problems begin with.
    prefix: Cell<&'static str>,
}

impl Reading<'_> {
    /// Takes the first error of each line; the others are mostly echoes of it.
    fn report_syntax(&self, errors: &[Error]) {
        for error in errors {
            let position = self.position(error.span().map_or(0, |span| span.start));
            if self.broken.borrow_mut().insert(position.line) {
                let place = self.place(position, "");
                let message = format!("this is not TOML: {}", error.message());
                self.problems.borrow_mut().push(Problem { place, message, fix: None });
            }
        }
    }

    fn headers_are_broken(&self) -> bool {
        let broken = self.broken.borrow();
        let mut lines = self.text.lines().zip(1..);
        lines.any(|(line, number)| broken.contains(&number) && line.trim_start().starts_with('['))
    }

    fn position(&self, offset: usize) -> Position {
        Position::of(offset, self.text)
    }

    fn place(&self, position: Position, key: &str) -> Place {
        let position = Some(position);
        Place { file: self.file.to_owned(), position, key: key.to_owned() }
    }

    fn report(&self, offset: usize, key: &str, mut message: String, fix: String) {
        let position = self.position(offset);
        message.insert_str(0, self.prefix.get());
        let problem = Problem { place: self.place(position, key), message, fix: Some(fix) };
        let mut problems = self.problems.borrow_mut();
        if !self.broken.borrow().contains(&position.line) && !problems.contains(&problem) {
            problems.push(problem);
        }
    }

    fn finish(&self) -> Result<Vec<Notice>, Problems> {
        let mut problems = self.problems.take();
        if problems.is_empty() {
            return Ok(self.notices.take());
        }
        problems.sort_by_key(|problem| problem.place.position);
        Err(Problems::new(problems))
    }
}
