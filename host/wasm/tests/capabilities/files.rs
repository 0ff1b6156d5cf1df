//! Directories, from the inside: what a guest may do in them, and that it does not get out.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use rust_proxy_stream::stage::{FaultKind, Plugin};
use rust_proxy_wasm::{Directory, FILES, Settings};
use tempfile::TempDir;

use super::{ask, fault, load, settings, start};

/// A folder `data` with a file and links, beside a secret.
struct Tree(TempDir);

impl Tree {
    fn new() -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(tree.data().join("sub")).unwrap();
        fs::write(tree.secret(), "secret").unwrap();
        fs::write(tree.data().join("a.txt"), "hello").unwrap();
        for (target, name) in [
            ("a.txt".into(), "inside"),
            ("../secret.txt".into(), "out"),
            (tree.secret(), "absolute"),
            ("..".into(), "up"),
            ("sub/../../secret.txt".into(), "around"),
        ] {
            symlink(target, tree.data().join(name)).unwrap();
        }
        tree
    }

    fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    fn secret(&self) -> PathBuf {
        self.0.path().join("secret.txt")
    }

    fn granted(&self, write: bool) -> Settings {
        let directory = Directory { host: self.data(), guest: "/data".to_owned(), write };
        Settings { directories: vec![directory], ..settings("files") }
    }
}

#[tokio::test]
async fn what_is_not_granted_is_not_there() {
    let component = load(settings("files")).await.unwrap();
    assert!(component.imports().inert.iter().any(|name| name == FILES), "{:?}", component.imports());
    let mut link = component.start().await.unwrap();
    let told = ask(&mut *link, "read /etc/hostname\nread a.txt\nlist /\nraw a.txt").await.unwrap();
    for line in told.lines() {
        assert!(["NotFound", "Uncategorized", "no-entry"].contains(&line), "{told}");
    }
}

#[tokio::test]
async fn a_directory_is_read_only_unless_it_says_otherwise() {
    let tree = Tree::new();
    let component = load(tree.granted(false)).await.unwrap();
    assert!(component.imports().uses(FILES));
    let mut link = component.start().await.unwrap();
    let told = ask(
        &mut *link,
        "read /data/a.txt\nread /data/inside\nlist /data\nlist /data/sub\nraw inside\nraw sub/../a.txt",
    )
    .await
    .unwrap();
    assert_eq!(told, "hello\nhello\na.txt absolute around inside out sub up\n\nhello\nhello");
    let changes = "write /data/a.txt x\nwrite /data/new x\ndelete /data/a.txt\nrename /data/a.txt /data/b\nlink a.txt l";
    let told = ask(&mut *link, changes).await.unwrap();
    for line in told.lines() {
        assert!(["PermissionDenied", "not-permitted"].contains(&line), "{told}");
    }
    assert_eq!(fs::read_to_string(tree.data().join("a.txt")).unwrap(), "hello");
    assert!(!tree.data().join("new").exists() && !tree.data().join("l").exists());
}

#[tokio::test]
async fn a_directory_with_write_can_be_changed() {
    let tree = Tree::new();
    let mut link = start(tree.granted(true)).await;
    let deeds = "write /data/new x y\nread /data/new\nrename /data/new /data/sub/b\ndelete /data/a.txt";
    assert_eq!(ask(&mut *link, deeds).await.unwrap(), "ok\nx y\nok\nok");
    assert_eq!(fs::read_to_string(tree.data().join("sub/b")).unwrap(), "x y");
    assert!(!tree.data().join("a.txt").exists());
}

#[tokio::test]
async fn neither_paths_nor_links_lead_out() {
    let tree = Tree::new();
    let secret = tree.secret();
    let secret = secret.display();
    let mut paths: Vec<String> = [
        "../secret.txt",
        "sub/../../secret.txt",
        "./../secret.txt",
        "out",
        "out/",
        "absolute",
        "up/secret.txt",
        "around",
    ]
    .map(str::to_owned)
    .into();
    paths.push(secret.to_string());
    // Links that the guest makes itself.
    let mut deeds =
        vec!["link ../secret.txt mine".to_owned(), format!("link {secret} own"), "link .. parent".to_owned()];
    paths.extend(["mine", "own", "parent/secret.txt"].map(str::to_owned));
    for path in &paths {
        deeds.push(format!("raw {path}"));
        deeds.push(format!("read /data/{path}"));
    }
    deeds.push(format!("read {secret}"));
    deeds.push("list /data/up\nlist /data/..\nwrite /data/../new x\nwrite /data/up/new x\nrename /data/a.txt /data/../new".to_owned());
    deeds.push(
        "write /data/out x\nrename /data/out /data/moved\nread /data/moved\ndelete /data/up/secret.txt"
            .to_owned(),
    );
    let mut link = start(tree.granted(true)).await;
    let told = ask(&mut *link, &deeds.join("\n")).await.unwrap();
    let deeds = deeds.join("\n");
    for (deed, told) in deeds.lines().zip(told.lines()) {
        assert!(!told.contains("secret") && !told.contains("hello"), "{deed}: {told}");
    }
    assert_eq!(fs::read_to_string(tree.secret()).unwrap(), "secret");
    assert!(!tree.0.path().join("new").exists());
    assert_eq!(told.lines().count(), deeds.lines().count(), "{told}");
}

#[tokio::test]
async fn a_directory_that_is_gone_is_a_fault_that_names_it() {
    let tree = Tree::new();
    let component = load(tree.granted(false)).await.unwrap();
    drop(component.start().await.unwrap());
    fs::rename(tree.data(), tree.0.path().join("elsewhere")).unwrap();
    let (kind, detail) = fault(component.start().await.map(drop));
    assert_eq!(kind, FaultKind::Host);
    assert!(detail.starts_with("the directory ") && detail.contains("data"), "{detail}");
}
