//! Where the files are found that a configuration names.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, File, OpenOptions, OpenOptionsExt};
use rustix::fs::OFlags;

/// The longest file that is read into memory: far above any word list, far below what would hurt.
const FILE_MAX: u64 = 64 * 1024 * 1024;

/// The files that a configuration may refer to.
///
/// Asked while a configuration is read, never after. Paths are as written in the configuration.
pub trait FileSource {
    /// Reads a whole text file.
    ///
    /// # Errors
    /// Returns the error of the system, or `InvalidData` for a file that is not UTF-8 or too long.
    fn read(&self, path: &Path) -> io::Result<String>;

    /// Whether there is a file that can be opened.
    fn is_file(&self, path: &Path) -> bool;

    /// Whether there is a directory that can be opened.
    fn is_directory(&self, path: &Path) -> bool;

    /// The path by which the file can be opened from the working directory.
    fn resolve(&self, path: &Path) -> PathBuf;
}

/// A folder that relative paths start at.
///
/// Absolute paths, `..` and symbolic links are followed: they are the operator's own words.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// The folder at `path`, itself relative to the working directory; `""` is that directory.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }
}

impl FileSource for Folder {
    fn read(&self, path: &Path) -> io::Result<String> {
        String::from_utf8(read(&self.resolve(path))?)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not UTF-8"))
    }

    fn is_file(&self, path: &Path) -> bool {
        open(&self.resolve(path)).is_ok()
    }

    fn is_directory(&self, path: &Path) -> bool {
        Dir::open_ambient_dir(self.resolve(path), ambient_authority()).is_ok()
    }

    fn resolve(&self, path: &Path) -> PathBuf {
        self.0.join(path)
    }
}

/// Where a path really leads: absolute, without symbolic links and `..`, as far as it is there.
pub(super) fn real(path: &Path) -> PathBuf {
    let mut there = if path.as_os_str().is_empty() { PathBuf::from(".") } else { path.to_owned() };
    let mut missing = Vec::new();
    loop {
        // The method, not a function of `std::fs`: it opens nothing.
        if let Ok(real) = there.canonicalize() {
            return missing.iter().rev().fold(real, |path, part| path.join(part));
        }
        // What is not there has no links to follow.
        match there.file_name().map(ToOwned::to_owned) {
            Some(name) => missing.push(name),
            None => return path.to_owned(),
        }
        there = match there.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
    }
}

/// Reads a file whole.
///
/// # Errors
/// The error of the system, or `InvalidData` for a file that is too long.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    read_up_to(path, FILE_MAX)
}

/// As [`read`], with a bound of `max` bytes.
pub(crate) fn read_up_to(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        let message = format!("longer than {} KiB", max >> 10);
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(bytes)
}

/// Opens a file to read it. What only looks like one is not waited for: a pipe may never have a writer.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    let file = File::open_ambient_with(path, &options, ambient_authority())?;
    if !file.metadata()?.is_file() {
        let message = "not a regular file, but a directory, a pipe or a device";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_without_a_writer_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let error = read(&pipe).expect_err("no file");
        assert_eq!(error.to_string(), "not a regular file, but a directory, a pipe or a device");
        assert!(!Folder::new(folder.path()).is_file(Path::new("pipe")));
    }
}
