//! Watches the folders of a configuration's files, and reloads once a change has settled.
//!
//! Folders, not files: editors, package managers and container platforms put a new file in the place of the old one.
//! What else happens in such a folder does not count, unless the last reload was refused: then it may be what was
//! missing.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use notify::event::{AccessKind, AccessMode};
use notify::{ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::watch::{self, Receiver};
use tokio::time::{Instant, sleep, timeout};

use crate::reload::Reloader;

/// How long nothing must happen before a change counts as whole: longer than the pause between two writes of a
/// copy, shorter than a person waits.
const QUIET: Duration = Duration::from_millis(300);
/// How long changes beside the files may go on before those of the files count nevertheless, in a folder that is
/// never quiet.
const RESTLESS: Duration = Duration::from_secs(5);

/// Reloads after changes, until it is dropped.
pub(crate) async fn watch(reloader: Reloader) {
    let (tell, mut seen) = watch::channel(Seen::default());
    let names = Arc::new(ArcSwap::from_pointee(Names::default()));
    let told = {
        let (names, record) = (Arc::clone(&names), reloader.record());
        move |event: notify::Result<Event>| {
            if let Some(what) = event.ok().and_then(|event| names.load().concerned(&event)) {
                let anything = record.borrow().refusal.is_some();
                tell.send_if_modified(|seen| {
                    seen.count(what);
                    anything || what != What::Other
                });
            }
        }
    };
    let mut eyes = match notify::recommended_watcher(told) {
        Ok(watcher) => Eyes { watcher, watched: BTreeSet::new(), blind: BTreeSet::new(), names },
        Err(error) => {
            tracing::warn!(%error, "files cannot be watched; SIGHUP and POST /admin/reload still reload");
            return;
        }
    };
    loop {
        if eyes.follow(&reloader.files()) {
            // What changed before the folder was watched.
            written(&reloader).await;
            let _ = reloader.reload("a look at the files").await;
            continue;
        }
        if seen.changed().await.is_err() {
            return;
        }
        settle(&mut seen).await;
        written(&reloader).await;
        // Another folder may be in the place of the one that was watched.
        eyes.renew(&reloader.files());
        let others = seen.borrow().others;
        let refused = reloader.reload("a change of the files").await.is_err();
        // What was missing may have come meanwhile.
        if refused && seen.borrow().others != others {
            seen.mark_changed();
        }
    }
}

/// The folders that are watched.
struct Eyes {
    watcher: RecommendedWatcher,
    watched: BTreeSet<PathBuf>,
    /// Those that could not be watched the last time: each is told of once.
    blind: BTreeSet<PathBuf>,
    names: Arc<ArcSwap<Names>>,
}

impl Eyes {
    /// Watches the folders of these files too; answers whether there were new ones.
    fn follow(&mut self, files: &[PathBuf]) -> bool {
        let places: Vec<PathBuf> = files.iter().flat_map(|file| places_of(file)).collect();
        let folders: BTreeSet<&Path> = places.iter().filter_map(|file| file.parent()).collect();
        self.names.store(Arc::new(Names {
            files: places.iter().filter_map(|file| file.file_name()).map(OsString::from).collect(),
            folders: folders.iter().filter_map(|folder| folder.file_name()).map(OsString::from).collect(),
        }));
        folders.into_iter().filter(|folder| self.add(folder)).count() > 0
    }

    /// Watches a folder, or where it is to appear; answers whether that is new.
    fn add(&mut self, folder: &Path) -> bool {
        for place in folder.ancestors() {
            if self.watched.contains(place) {
                return false;
            }
            match self.watcher.watch(place, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.blind.remove(place);
                    return self.watched.insert(place.to_owned());
                }
                Err(error) => {
                    if self.blind.insert(place.to_owned()) {
                        tracing::warn!(%error, folder = %place.display(), "a folder cannot be watched");
                    }
                    if !is_missing(&error) {
                        return false;
                    }
                }
            }
        }
        false
    }

    /// Watches what is now where these folders were.
    fn renew(&mut self, files: &[PathBuf]) {
        for folder in std::mem::take(&mut self.watched) {
            // An error says that it is not there any more.
            let _ = self.watcher.unwatch(&folder);
        }
        self.follow(files);
    }
}

fn is_missing(error: &notify::Error) -> bool {
    match &error.kind {
        ErrorKind::PathNotFound => true,
        ErrorKind::Io(error) => error.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

/// Where a file is, and where it really is; absolute, as events say it.
fn places_of(file: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    #[expect(clippy::disallowed_methods, reason = "looks where a link leads; opens nothing")]
    let real = std::fs::canonicalize(file).ok();
    [std::path::absolute(file).ok(), real].into_iter().flatten()
}

/// What a change is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// One of the files.
    File,
    /// Something that may have to do with them.
    Beside,
    /// Something else in their folders.
    Other,
}

/// How often something happened.
#[derive(Debug, Default)]
struct Seen {
    files: u64,
    others: u64,
}

impl Seen {
    fn count(&mut self, what: What) {
        match what {
            What::File => self.files += 1,
            What::Beside | What::Other => self.others += 1,
        }
    }
}

/// The last parts of paths. The rest does not matter: a folder may be watched by another of its paths.
#[derive(Debug, Default)]
struct Names {
    files: BTreeSet<OsString>,
    folders: BTreeSet<OsString>,
}

impl Names {
    /// What an event is about, if it is a change. Reading is none, which reloads do themselves.
    fn concerned(&self, event: &Event) -> Option<What> {
        if matches!(event.kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write)) {
            return None;
        }
        if event.paths.iter().filter_map(|path| path.file_name()).any(|name| self.files.contains(name)) {
            return Some(What::File);
        }
        let beside = |path: &PathBuf| {
            // Without a name it is a folder: `..`, or the root.
            path.file_name().is_none_or(|name| {
                let bytes = name.as_encoded_bytes();
                // Container platforms swap the link `..data`, through which the files are reached.
                self.folders.contains(name) || bytes.starts_with(b"..data") || bytes.ends_with(b".minisig")
            })
        };
        // Without a path events were lost.
        let beside = event.paths.is_empty() || event.paths.iter().any(beside);
        Some(if beside { What::Beside } else { What::Other })
    }
}

/// Waits until nothing has happened for a while, or, in a folder that is never quiet, nothing to the files.
async fn settle(seen: &mut Receiver<Seen>) {
    let restless = Instant::now() + RESTLESS;
    let mut files = seen.borrow_and_update().files;
    let mut last_written = Instant::now();
    while let Ok(Ok(())) = timeout(QUIET, seen.changed()).await {
        let (before, now) = (files, Instant::now());
        files = seen.borrow_and_update().files;
        if files != before {
            last_written = now;
        }
        if now >= restless && now >= last_written + QUIET {
            return;
        }
    }
}

/// Waits while a file is being written, as far as its time tells: a copy may pause, and half a list of words is
/// one too.
async fn written(reloader: &Reloader) {
    let modified = |file: &PathBuf| file.metadata().and_then(|metadata| metadata.modified()).ok();
    while {
        let now = SystemTime::now();
        reloader.files().iter().filter_map(modified).any(|modified| is_young(modified, now))
    } {
        sleep(QUIET).await;
    }
}

/// Whether a file may still be being written. One from the future is not, beyond what two clocks differ in.
fn is_young(modified: SystemTime, now: SystemTime) -> bool {
    now.duration_since(modified).unwrap_or_else(|error| error.duration()) < QUIET
}

#[cfg(test)]
mod tests;
