#![expect(clippy::disallowed_methods, reason = "plays the others who use the folder")]

use std::convert::Infallible;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use tempfile::TempDir;

use super::*;

const KEY: [u8; HASH] = [7; HASH];

fn folder() -> TempDir {
    tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o700)).tempdir().expect("a folder")
}

fn open(folder: &TempDir, max: u64) -> Cache {
    Cache::bounded(folder.path(), max).expect("a folder of ours")
}

/// The code of `source`, which is `source` in capitals, and whether it was compiled.
fn get(cache: &Cache, source: &str) -> (String, bool) {
    let mut compiled = false;
    let code = cache.get(
        "plugin",
        &Key::new("file", source.as_bytes(), KEY),
        |entry| String::from_utf8(entry.code().to_vec()).map_err(|error| error.to_string()),
        || {
            compiled = true;
            Ok::<_, Infallible>(source.to_uppercase())
        },
        |code| Ok(code.clone().into_bytes()),
    );
    let Ok(code) = code;
    (code, compiled)
}

fn entries(folder: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(folder.path()).expect("a folder");
    let mut names: Vec<_> =
        entries.map(|it| it.expect("an entry").file_name().into_string().expect("ASCII")).collect();
    names.sort();
    names
}

fn entry(folder: &TempDir, source: &str) -> PathBuf {
    folder.path().join(Key::new("file", source.as_bytes(), KEY).name())
}

/// Overwrites what the cache made read-only.
fn put(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).expect("an entry");
    fs::write(path, bytes).expect("a writable folder");
}

fn refused(path: &Path) -> String {
    let error = Cache::open(path).expect_err("it is refused");
    assert!(!matches!(error, CacheError::Unusable { .. }), "{error}");
    error.to_string().replace(&path.display().to_string(), "FOLDER")
}

#[test]
fn code_is_compiled_once() {
    let folder = folder();
    assert_eq!(get(&open(&folder, 1000), "a"), ("A".to_owned(), true));
    let cache = open(&folder, 1000);
    assert_eq!(get(&cache, "a"), ("A".to_owned(), false));
    assert_eq!(get(&cache, "b"), ("B".to_owned(), true));
    assert_eq!(cache.counts(), CacheCounts { hits: 1, misses: 1, ..CacheCounts::default() });
    let mode = fs::metadata(entry(&folder, "a")).expect("an entry").permissions().mode();
    assert_eq!(mode & 0o777, 0o400);
}

#[test]
fn another_kind_of_engine_has_other_entries() {
    let folder = folder();
    let cache = open(&folder, 1000);
    cache.store(&Key::new("file", b"a", [8; HASH]), b"other").expect("it is written");
    assert_eq!(get(&cache, "a"), ("A".to_owned(), true));
    assert_eq!(entries(&folder).len(), 2);
}

#[test]
fn damaged_entries_are_made_anew() {
    let folder = folder();
    let cache = open(&folder, 1000);
    let whole = {
        get(&cache, "some code");
        fs::read(entry(&folder, "some code")).expect("an entry")
    };
    get(&cache, "another");
    let foreign = fs::read(entry(&folder, "another")).expect("an entry");
    let mut cases: Vec<Vec<u8>> = (0..whole.len()).map(|length| whole[..length].to_vec()).collect();
    for index in 0..whole.len() {
        let mut changed = whole.clone();
        changed[index] ^= 1;
        cases.push(changed);
    }
    cases.extend([[whole.clone(), b"more".to_vec()].concat(), foreign]);
    for (number, case) in cases.iter().enumerate() {
        put(&entry(&folder, "some code"), case);
        assert_eq!(get(&cache, "some code"), ("SOME CODE".to_owned(), true), "case {number}");
        assert_eq!(get(&cache, "some code"), ("SOME CODE".to_owned(), false), "case {number}");
        assert_eq!(cache.counts().broken, number as u64 + 1);
    }
    assert_eq!(entries(&folder).len(), 2);
}

#[test]
fn what_the_engine_does_not_take_in_is_made_anew() {
    let folder = folder();
    let cache = open(&folder, 1000);
    cache.store(&Key::new("file", b"a", KEY), b"\xff").expect("it is written");
    assert_eq!(get(&cache, "a"), ("A".to_owned(), true));
    assert_eq!((get(&cache, "a").1, cache.counts().broken), (false, 1));
}

#[test]
fn something_else_in_the_place_of_an_entry_is_no_end() {
    let folder = folder();
    let cache = open(&folder, 1000);
    fs::create_dir(entry(&folder, "a")).expect("a new folder");
    assert_eq!(get(&cache, "a"), ("A".to_owned(), true));
    assert_eq!(cache.counts(), CacheCounts { misses: 1, broken: 1, unwritten: 1, ..CacheCounts::default() });
    assert_eq!(entries(&folder).len(), 1, "nothing half written stays");
    symlink("b", entry(&folder, "b")).expect("a new link");
    symlink(entry(&folder, "c"), entry(&folder, "c")).expect("a new link");
    assert_eq!((get(&cache, "b"), get(&cache, "c")), (("B".to_owned(), true), ("C".to_owned(), true)));
    assert_eq!((get(&cache, "b").1, get(&cache, "c").1), (false, false));
    // A link to nowhere counts as no entry.
    assert_eq!(cache.counts().broken, 2);
}

#[test]
fn what_was_not_used_for_longest_goes_first() {
    let folder = folder();
    // Three entries of one byte fit.
    let cache = open(&folder, 3 * (HASH as u64 + 1));
    let used = |source: &str, seconds: u64| {
        let file = fs::File::open(entry(&folder, source)).expect("an entry");
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).expect("ours");
    };
    for (source, seconds) in [("a", 1), ("b", 2), ("c", 3)] {
        get(&cache, source);
        used(source, seconds);
    }
    get(&cache, "a");
    get(&cache, "d");
    let left = ["a", "b", "c", "d"].map(|source| entry(&folder, source).exists());
    assert_eq!(left, [true, false, true, true]);
    assert_eq!(cache.counts().evicted, 1);
}

#[test]
fn code_that_is_larger_than_the_cache_throws_nothing_away() {
    let folder = folder();
    let cache = open(&folder, HASH as u64 + 1);
    get(&cache, "a");
    get(&cache, &"x".repeat(100));
    assert_eq!((get(&cache, "a").1, cache.counts().unwritten), (false, 1));
}

#[test]
fn strangers_files_stay_and_abandoned_ones_go() {
    let folder = folder();
    let cache = open(&folder, HASH as u64 + 1);
    for name in ["notes.txt", "old.tmp", "new.tmp"] {
        fs::write(folder.path().join(name), [0; 500]).expect("a writable folder");
    }
    let old = fs::File::open(folder.path().join("old.tmp")).expect("a file");
    old.set_modified(SystemTime::now() - 2 * ABANDONED).expect("ours");
    get(&cache, "a");
    let key = Key::new("file", b"a", KEY).name();
    let mut expect = vec![key, "new.tmp".to_owned(), "notes.txt".to_owned()];
    expect.sort();
    assert_eq!(entries(&folder), expect);
}

#[test]
fn a_folder_that_cannot_be_written_costs_only_time() {
    let folder = folder();
    let cache = open(&folder, 1000);
    get(&cache, "a");
    // Not by its mode, which binds everybody but root.
    fs::remove_dir_all(folder.path()).expect("ours");
    assert_eq!(get(&cache, "a"), ("A".to_owned(), true));
    assert_eq!(cache.counts(), CacheCounts { misses: 2, unwritten: 1, ..CacheCounts::default() });
}

#[test]
fn a_missing_folder_is_made_for_this_user_alone() {
    let above = folder();
    let path = above.path().join("one/two/");
    get(&Cache::open(&path).expect("it is made"), "a");
    for path in [&path, &above.path().join("one")] {
        assert_eq!(fs::metadata(path).expect("a folder").permissions().mode() & 0o777, 0o700);
    }
}

#[test]
fn a_folder_that_cannot_be_there_is_unusable_and_nothing_worse() {
    for path in ["/dev/null/.cache/rust-proxy", "/proc/nothing/rust-proxy"] {
        let error = Cache::open(Path::new(path)).expect_err("it cannot be made");
        assert!(matches!(error, CacheError::Unusable { .. }), "{error}");
    }
}

#[test]
fn a_folder_that_others_can_enter_is_refused() {
    let folder = folder();
    for mode in [0o701, 0o710, 0o720, 0o704, 0o755, 0o777, 0o1777] {
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).expect("ours");
        let expect =
            format!("FOLDER is open to other users (mode {mode:04o}); close it with `chmod 700 FOLDER`");
        assert_eq!(refused(folder.path()), expect);
    }
}

#[test]
fn a_folder_of_somebody_else_is_refused() {
    let folder = folder();
    let me = rustix::process::geteuid();
    let path = if me.is_root() {
        rustix::fs::chown(folder.path(), Some(rustix::fs::Uid::from_raw(1)), None).expect("root may");
        folder.path()
    } else {
        Path::new("/")
    };
    let owner = if me.is_root() { 1 } else { 0 };
    let expect = format!("belongs to the user {owner}, and this process is {}'s", me.as_raw());
    assert!(refused(path).contains(&expect));
}

#[test]
fn a_link_and_a_file_are_refused() {
    let (folder, above) = (folder(), folder());
    let (link, file) = (above.path().join("link"), above.path().join("file"));
    symlink(folder.path(), &link).expect("a new link");
    fs::write(&file, "").expect("a new file");
    assert_eq!(refused(&link), "FOLDER is a symbolic link; name the folder that it leads to");
    assert!(refused(&link.join("")).contains("is a symbolic link"), "a slash at the end hides nothing");
    assert_eq!(refused(&file), "FOLDER is not a folder; remove it, or name another place");
}

#[test]
fn another_folder_in_its_place_is_not_used() {
    let above = folder();
    let path = above.path().join("cache");
    let cache = Cache::open(&path).expect("it is made");
    fs::rename(&path, above.path().join("moved")).expect("ours");
    fs::create_dir(&path).expect("a new folder");
    get(&cache, "a");
    assert_eq!(fs::read_dir(&path).expect("a folder").count(), 0);
    assert_eq!(fs::read_dir(above.path().join("moved")).expect("a folder").count(), 1);
}

#[test]
fn several_can_share_a_folder() {
    let folder = folder();
    // Too small for all, so that they throw away each other's entries.
    let max = 4 * (HASH as u64 + 2);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let cache = open(&folder, max);
                for round in 0..50 {
                    let source = format!("c{}", round % 8);
                    assert_eq!(get(&cache, &source).0, source.to_uppercase());
                }
                assert_eq!(cache.counts().broken, 0);
            });
        }
    });
    assert!(entries(&folder).iter().all(|name| name.ends_with(ENTRY)));
}
