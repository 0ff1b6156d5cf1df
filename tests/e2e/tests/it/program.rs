//! The program as a process: what it prints, and how it exits.

use std::process::Output;

use tokio::process::Command;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

async fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rust-proxy-e2e"));
    command.args(arguments).current_dir(ROOT).env_remove("UPSTREAM_URL").kill_on_drop(true);
    command.env("XDG_CACHE_HOME", rust_proxy_testkit::CACHES);
    command.output().await.expect("a program that can be started")
}

#[tokio::test]
async fn check_tells_every_mistake_at_its_place() {
    let Output { status, stdout, stderr } =
        run(&["check", "--config", "tests/fixtures/five-mistakes.toml"]).await;
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert_eq!(status.code(), Some(78), "{stderr}");
    assert_eq!(stdout, "");
    let (lines, last) = stderr.trim_end().rsplit_once('\n').expect("several lines");
    assert_eq!(last, "5 problems; nothing was started");
    let places: Vec<&str> =
        lines.lines().map(|line| line.rsplit_once(": ").map_or(line, |(place, _)| place)).collect();
    assert_eq!(places.len(), 5, "{stderr}");
    for (line, (place, fix)) in lines.lines().zip([
        ("4:10: server.listen: ", "[[server.keys]]"),
        ("5:1: server.hearbeat: ", "did you mean `heartbeat`?"),
        ("8:", "16MiB"),
        ("11:", "did you mean `sensitive-word`?"),
        ("19:", "UPSTREAM_URL"),
    ]) {
        assert!(line.starts_with(&format!("tests/fixtures/five-mistakes.toml:{place}")), "{line}");
        assert!(line.contains(fix), "{line}");
    }
}

#[tokio::test]
async fn check_shows_what_a_configuration_describes() {
    let Output { status, stdout, stderr } = run(&["check", "--config", "config/demo.toml"]).await;
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert_eq!(status.code(), Some(0), "{stderr}");
    for words in ["model demo", "plugin sensitive-word", "http://127.0.0.1:8787/v1/", "fail_closed"] {
        assert!(stdout.contains(words), "`{words}` is not in: {stdout}");
    }
}

#[tokio::test]
async fn a_configuration_that_is_not_there_exits_78() {
    let Output { status, stderr, .. } = run(&["serve", "--config", "config/nowhere.toml"]).await;
    assert_eq!(status.code(), Some(78));
    assert!(String::from_utf8_lossy(&stderr).starts_with("config/nowhere.toml: cannot be read: "));
}
