//! Guests that want out of the directory that they were granted.

use std::sync::Arc;

use crate::bench::{Bench, Plugins, Saw, ask};

pub(super) fn plugins(plugins: Plugins) -> Plugins {
    let grant = "grant = { directories = [{ host = 'data', guest = '/data', write = true }] }";
    let table = format!("{grant}\nlimits = {{ cpu = '5s', wall = '20s' }}");
    plugins.file("data/a.txt", "granted").plugin("files", &["process"], &table)
}

pub(crate) async fn run(bench: &mut Bench) {
    stays(
        bench,
        "a path out of a granted directory",
        &[
            "read /data/../gateway.toml",
            "raw ../gateway.toml",
            "raw x/../../gateway.toml",
            "raw /etc/hostname",
        ],
        &["PermissionDenied", "not-permitted", "no-entry", "not-permitted"],
    )
    .await;
    stays(
        bench,
        "a symbolic link out of a granted directory, made by the plugin",
        &[
            "link ../gateway.toml out",
            "raw out",
            "link .. up",
            "raw up/gateway.toml",
            "link /etc all",
            "raw all/hostname",
        ],
        &["ok", "not-permitted", "ok", "not-permitted", "not-permitted", "no-entry"],
    )
    .await;
}

/// The plugin is told no each time; what is granted is there.
async fn stays(bench: &mut Bench, promise: &'static str, deeds: &[&str], told: &[&str]) {
    let before = bench.gateway.account("files").failures;
    let gateway = Arc::clone(&bench.gateway);
    let text = deeds.join("\n") + "\nraw a.txt";
    assert_eq!(bench.beside(ask(&gateway, "files", &text)).await, Saw::Whole, "{promise}");
    let answers = bench.model.seen().last().unwrap().last_text();
    assert_eq!(answers, told.join("\n") + "\ngranted", "{promise}");
    assert_eq!(bench.gateway.account("files").failures, before, "{promise}");
    bench.row(promise, "all of the answer", "nothing", "none failed");
}
