//! Machine code that is kept from one start to the next.
//!
//! The folder has an entry per file and kind of engine. An entry is a SHA-256 and the code: the hash is that of its
//! key and the code, so that an entry which was cut, changed, or put in the place of another is noticed. The hash is
//! no seal: who can write here decides what the gateway executes. So the folder must be ours, with no access for
//! others, and it stays open, so that another one in its place changes nothing.
//!
//! An entry is read once, and what was hashed is what is executed. It is not mapped from the file: the hash has to
//! read all of it anyway, and a mapping could still change or end under running code, and fails where the folder's
//! file system is mounted `noexec`.
//!
//! Several processes may share a folder: an entry is written under another name, synced, and renamed.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

#[cfg(test)]
mod tests;

/// Bytes of all entries. Holds a thousand plugins in Rust (half a megabyte each), or ten in Python; what was not
/// used for longest goes first.
const CACHE_MAX: u64 = 512 << 20;
/// When what a process left half written is taken for abandoned. Writing takes seconds.
const ABANDONED: Duration = Duration::from_secs(60 * 60);

const ENTRY: &str = ".cwasm";
const UNFINISHED: &str = ".tmp";
const HASH: usize = 32;

/// A folder of compiled components and modules. Cheap to clone; clones share their counts.
#[derive(Debug, Clone)]
pub struct Cache(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: Dir,
    path: PathBuf,
    max: u64,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    hits: AtomicU64,
    misses: AtomicU64,
    broken: AtomicU64,
    unwritten: AtomicU64,
    evicted: AtomicU64,
}

/// What a [`Cache`] did since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheCounts {
    /// Files whose code was there.
    pub hits: u64,
    /// Files that were compiled.
    pub misses: u64,
    /// Of `misses`, those whose entry was damaged and thrown away.
    pub broken: u64,
    /// Of `misses`, those whose code could not be kept.
    pub unwritten: u64,
    /// Entries that made room for others.
    pub evicted: u64,
}

/// Why a folder is not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// It cannot be made or opened. Nothing is wrong with going on without it.
    #[error("{}: {error}", path.display())]
    Unusable {
        /// The folder.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
    /// It is a link, which somebody else may turn.
    #[error("{} is a symbolic link; name the folder that it leads to", .0.display())]
    Link(PathBuf),
    /// It is something else.
    #[error("{} is not a folder; remove it, or name another place", .0.display())]
    NotAFolder(PathBuf),
    /// Somebody else can write to it.
    #[error(
        "{} belongs to the user {owner}, and this process is {user}'s, which would execute what the other one puts there; name a folder of its own",
        path.display()
    )]
    Owner {
        /// The folder.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Whose this process is.
        user: u32,
    },
    /// Somebody else can get in.
    #[error("{} is open to other users (mode {mode:04o}); close it with `chmod 700 {}`", path.display(), path.display())]
    Mode {
        /// The folder.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
}

/// Which file was compiled, and for which kind of engine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    source: [u8; HASH],
    engine: [u8; HASH],
}

/// Code that is what [`Cache::store`] was given for the same key.
pub(crate) struct Checked(Vec<u8>);

impl Cache {
    /// Opens a folder, which is made with those around it where it is not there.
    ///
    /// # Errors
    /// [`CacheError::Unusable`], without which the gateway can run; all others are dangers, which say what to change.
    pub fn open(path: &Path) -> Result<Self, CacheError> {
        Self::bounded(path, CACHE_MAX)
    }

    fn bounded(path: &Path, max: u64) -> Result<Self, CacheError> {
        // Without a slash at its end, behind which a link would be followed.
        let path: PathBuf = path.components().collect();
        let folder = folder(&path)?;
        Ok(Self(Arc::new(Inner { folder, path, max, counts: Counts::default() })))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// What it did so far.
    #[must_use]
    pub fn counts(&self) -> CacheCounts {
        let Counts { hits, misses, broken, unwritten, evicted } = &self.0.counts;
        CacheCounts {
            hits: hits.load(Relaxed),
            misses: misses.load(Relaxed),
            broken: broken.load(Relaxed),
            unwritten: unwritten.load(Relaxed),
            evicted: evicted.load(Relaxed),
        }
    }

    /// The code of `key` as `load` takes it in, or else what `compile` makes, which is kept as `serialize` gives it.
    ///
    /// Nothing that goes wrong here is an error: there is the compiler.
    ///
    /// # Errors
    /// Those of `compile`.
    pub(crate) fn get<T, E>(
        &self,
        plugin: &str,
        key: &Key,
        load: impl FnOnce(&Checked) -> Result<T, String>,
        compile: impl FnOnce() -> Result<T, E>,
        serialize: impl FnOnce(&T) -> Result<Vec<u8>, String>,
    ) -> Result<T, E> {
        let (counts, folder) = (&self.0.counts, self.0.path.display());
        match self.read(key).and_then(|entry| entry.map(|entry| load(&entry)).transpose()) {
            Ok(Some(code)) => {
                counts.hits.fetch_add(1, Relaxed);
                tracing::debug!(plugin, "compiled code was taken from the cache");
                return Ok(code);
            }
            Ok(None) => {}
            Err(reason) => {
                counts.broken.fetch_add(1, Relaxed);
                let entry = key.name();
                tracing::warn!(plugin, %folder, entry, reason, "an entry of the cache is damaged; it is made anew");
                // Where it cannot be removed it cannot be replaced either, which is told below.
                let _ = self.0.folder.remove_file(&entry);
            }
        }
        counts.misses.fetch_add(1, Relaxed);
        let code = compile()?;
        let stored =
            serialize(&code).and_then(|code| self.store(key, &code).map_err(|error| error.to_string()));
        if let Err(error) = stored {
            counts.unwritten.fetch_add(1, Relaxed);
            tracing::warn!(
                plugin, %folder, error,
                "compiled code cannot be kept, so the next start compiles again; see `cache` of [plugins]"
            );
        }
        Ok(code)
    }

    /// An entry; `None` where there is none.
    fn read(&self, key: &Key) -> Result<Option<Checked>, String> {
        let file = match self.0.folder.open(key.name()) {
            Ok(file) => file.into_std(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let (mut hash, mut code) = ([0; HASH], Vec::new());
        let length = file.metadata().map_or(0, |metadata| metadata.len().min(self.0.max));
        code.reserve(usize::try_from(length).unwrap_or(0));
        (&file)
            .read_exact(&mut hash)
            .and_then(|()| (&file).take(self.0.max).read_to_end(&mut code))
            .map_err(|error| error.to_string())?;
        if hash != key.seal(&code) {
            return Err("it does not have the hash that it was written with".to_owned());
        }
        // Its place in the order of use: of a folder that cannot be written nothing is thrown away.
        let _ = file.set_modified(SystemTime::now());
        Ok(Some(Checked(code)))
    }

    fn store(&self, key: &Key, code: &[u8]) -> io::Result<()> {
        let Inner { folder, max, .. } = &*self.0;
        if code.len() as u64 > *max {
            return Err(io::Error::other("it is larger than the whole cache may be"));
        }
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let (name, unfinished) = (key.name(), format!("{}{UNFINISHED}", hex(&random)));
        // Read-only from the beginning: it is written once, by this handle.
        let mut file =
            folder.open_with(&unfinished, OpenOptions::new().write(true).create_new(true).mode(0o400))?;
        let written = file
            .write_all(&key.seal(code))
            .and_then(|()| file.write_all(code))
            .and_then(|()| file.sync_all())
            .and_then(|()| folder.rename(&unfinished, folder, &name));
        if written.is_err() {
            let _ = folder.remove_file(&unfinished);
        }
        written?;
        self.make_room(&name)
    }

    /// Throws away what was not used for longest until the rest fits, but not `new`; and what others left behind.
    fn make_room(&self, new: &str) -> io::Result<()> {
        let Inner { folder, max, counts, .. } = &*self.0;
        let (mut total, mut entries) = (0, Vec::new());
        for entry in folder.entries()? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            // Another process may have removed it.
            let Ok(metadata) = entry.metadata() else { continue };
            let used = metadata.modified()?.into_std();
            if name.ends_with(UNFINISHED) && used.elapsed().is_ok_and(|age| age > ABANDONED) {
                let _ = folder.remove_file(&name);
            } else if name.ends_with(ENTRY) && metadata.is_file() {
                total += metadata.len();
                entries.push((used, name, metadata.len()));
            }
        }
        entries.sort();
        for (_, name, length) in entries {
            if total <= *max {
                break;
            }
            if name != new && folder.remove_file(&name).is_ok() {
                counts.evicted.fetch_add(1, Relaxed);
                total -= length;
            }
        }
        Ok(())
    }
}

impl Key {
    /// `making` is what is made of the source; `engine` stands for all that code depends on besides its file.
    pub(crate) fn new(making: &str, source: &[u8], engine: [u8; HASH]) -> Self {
        let source = Sha256::new().chain_update(making).chain_update([0]).chain_update(source).finalize();
        Self { source: source.into(), engine }
    }

    fn name(&self) -> String {
        let (engine, _) = self.engine.split_at(8);
        format!("{}-{}{ENTRY}", hex(&self.source), hex(engine))
    }

    fn seal(&self, code: &[u8]) -> [u8; HASH] {
        Sha256::new().chain_update(self.source).chain_update(self.engine).chain_update(code).finalize().into()
    }
}

impl Checked {
    pub(crate) fn code(&self) -> &[u8] {
        &self.0
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The folder at `path`, if nobody else can have put anything there. What is checked is what is returned.
fn folder(path: &Path) -> Result<Dir, CacheError> {
    let unusable = |error: Errno| CacheError::Unusable { path: path.to_owned(), error: error.into() };
    let open = || {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(CWD, path, flags, Mode::empty())
    };
    let opened = match open() {
        Err(Errno::NOENT) => make(path).and_then(|()| open()),
        opened => opened,
    };
    let folder = match opened {
        Err(error @ (Errno::NOTDIR | Errno::LOOP)) => {
            return Err(match rustix::fs::lstat(path).map(|stat| FileType::from_raw_mode(stat.st_mode)) {
                Ok(FileType::Symlink) => CacheError::Link(path.to_owned()),
                Ok(_) => CacheError::NotAFolder(path.to_owned()),
                // Not itself, but one around it.
                Err(_) => unusable(error),
            });
        }
        opened => opened.map_err(unusable)?,
    };
    let stat = rustix::fs::fstat(&folder).map_err(unusable)?;
    let (owner, user) = (stat.st_uid, rustix::process::geteuid().as_raw());
    if owner != user {
        return Err(CacheError::Owner { path: path.to_owned(), owner, user });
    }
    let mode = stat.st_mode & 0o7777;
    if mode & 0o077 != 0 {
        return Err(CacheError::Mode { path: path.to_owned(), mode });
    }
    Ok(Dir::from_std_file(folder.into()))
}

/// Makes a folder, and those around it, for this user alone.
fn make(path: &Path) -> rustix::io::Result<()> {
    let made = match (rustix::fs::mkdir(path, Mode::RWXU), path.parent()) {
        (Err(Errno::NOENT), Some(parent)) if !parent.as_os_str().is_empty() => {
            make(parent)?;
            rustix::fs::mkdir(path, Mode::RWXU)
        }
        (made, _) => made,
    };
    // Another process may have been quicker.
    made.or_else(|error| if error == Errno::EXIST { Ok(()) } else { Err(error) })
}
