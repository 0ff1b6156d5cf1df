//! Watches the folders of a configuration's files, and reloads once a change has settled.
//!
//! Folders, not files: editors, package managers and container platforms put a new file in the place of the old one.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::reload::Reloader;

/// How long nothing must happen before a change counts as whole: longer than the pause between two writes of a
/// copy, shorter than a person waits.
const QUIET: Duration = Duration::from_millis(300);
/// How long a change may go on before it counts nevertheless, in a folder that is never quiet.
const RESTLESS: Duration = Duration::from_secs(5);

/// Reloads after changes, until it is dropped.
pub(crate) async fn watch(reloader: Reloader) {
    // One is enough: it stands for all changes that were not looked at yet.
    let (seen, mut changes) = mpsc::channel(1);
    let told = move |event: notify::Result<Event>| {
        if event.is_ok_and(|event| counts(&event)) {
            // Full: it will be looked at.
            let _ = seen.try_send(());
        }
    };
    let mut watcher = match notify::recommended_watcher(told) {
        Ok(watcher) => watcher,
        Err(error) => {
            tracing::warn!(%error, "files cannot be watched; SIGHUP and POST /admin/reload still reload");
            return;
        }
    };
    let mut folders = BTreeSet::new();
    loop {
        if follow(&mut watcher, &mut folders, &reloader.files()) {
            // What changed before the folder was watched.
            let _ = reloader.reload("a look at the files").await;
            continue;
        }
        if changes.recv().await.is_none() {
            return;
        }
        settle(&mut changes).await;
        let _ = reloader.reload("a change of the files").await;
    }
}

/// Watches the folders of these files too; answers whether there were new ones.
fn follow(watcher: &mut RecommendedWatcher, folders: &mut BTreeSet<PathBuf>, files: &[PathBuf]) -> bool {
    let mut new = false;
    for folder in files.iter().flat_map(|file| folders_of(file)) {
        if !folders.contains(&folder) {
            if let Err(error) = watcher.watch(&folder, RecursiveMode::NonRecursive) {
                tracing::warn!(%error, folder = %folder.display(), "a folder cannot be watched");
            }
            // One that cannot be watched is not tried again.
            new |= folders.insert(folder);
        }
    }
    new
}

/// Where a file is, and where it really is.
fn folders_of(file: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let folder = |file: &Path| match file.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    #[expect(clippy::disallowed_methods, reason = "looks where a link leads; opens nothing")]
    let real = std::fs::canonicalize(file).ok();
    [Some(folder(file)), real.as_deref().map(folder)].into_iter().flatten()
}

/// Whether an event may have changed what a file says. Reading does not, which reloads do themselves.
fn counts(event: &Event) -> bool {
    match event.kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

/// Waits until nothing has happened for a while.
async fn settle(changes: &mut mpsc::Receiver<()>) {
    let restless = Instant::now() + RESTLESS;
    while Instant::now() < restless && matches!(timeout(QUIET, changes.recv()).await, Ok(Some(()))) {}
}
