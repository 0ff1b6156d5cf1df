//! Directories, keys and values, and where these are.

use std::path::Path;
use std::time::Duration;

use rust_proxy_stream::kv::Quota;
use rust_proxy_wasm::Directory;

use super::{BASE, Config, Folder, Plugin, accept, check_with_models, environment, parse};
use crate::config::files::real;

fn plugin(lines: &str) -> Plugin {
    let config = accept(&format!("{BASE}[pipelines.a]\nprocess = ['mask']\n[plugins.mask]\n{lines}"));
    config.plugins["mask"].clone()
}

/// What is wrong with a grant of the plugin `mask`, which a pipeline uses.
fn refusal(grant: &str) -> String {
    let text = format!("[plugins.mask]\ngrant = {grant}\n[pipelines.a]\nprocess = ['mask']\n{BASE}");
    parse(&text).expect_err("is refused").to_string()
}

#[test]
fn directories_are_read_only_unless_they_say_otherwise() {
    let plugin = plugin(
        "grant = { directories = [{ host = 'data', guest = '/data', write = true }, { host = 'pages', guest = '/' }] }",
    );
    // Nothing of it is there, so the paths are as they are written.
    let host = |name: &str| std::env::current_dir().unwrap().join("folder").join(name);
    let granted = plugin.grant.unwrap();
    let directories = granted.directories.unwrap();
    assert_eq!(
        directories.value,
        [
            Directory { host: host("data"), guest: "/data".to_owned(), write: true },
            Directory { host: host("pages"), guest: "/".to_owned(), write: false },
        ]
    );
    assert_eq!(directories.place.to_string(), "c.toml:10:25: plugins.mask.grant.directories");
    assert_eq!((granted.http, granted.kv), (None, None));
    // Only HTTP may take long.
    assert_eq!(plugin.limits.wall, Duration::from_millis(200));
}

#[test]
fn directories_that_are_not_clear_are_refused() {
    let check = |grant: &str, expect: &str| {
        check_with_models(&format!("[plugins.x]\ngrant = {{ directories = [{grant}] }}"), expect);
    };
    let place = "2:26: plugins.x.grant.directories[0]";
    check(
        "{ host = 'gone', guest = '/data' }",
        "2:35: plugins.x.grant.directories[0].host: folder/gone is not a directory that can be opened; \
         make it; paths start at the folder of this file",
    );
    check(
        "{ host = 'words.txt', guest = '/data' }",
        "2:35: plugins.x.grant.directories[0].host: folder/words.txt is not a directory that can be opened; \
         make it; paths start at the folder of this file",
    );
    check(
        "{ host = 'data' }",
        &format!("{place}: `guest` is missing; write guest = \"/…\": what the plugin calls it"),
    );
    check(
        "{ guest = '/data' }",
        &format!("{place}: `host` is missing; write host = \"…\": the directory here"),
    );
    check(
        "'data'",
        &format!(
            "{place}: expected a table, found a string; write it like {{ host = \"data\", guest = \"/data\" }}"
        ),
    );
    check(
        "{ host = 'data', guest = '/data', write = 'yes' }",
        "2:68: plugins.x.grant.directories[0].write: expected true or false, found a string; write it without quotes",
    );
    check(
        "{ host = 'data', guest = '/data', writable = true }",
        "2:60: plugins.x.grant.directories[0].writable: unknown key; known here: guest, host, write",
    );
    for guest in ["data", "", "/data/", "//data", "/a/../b", "/./a", "/a\nb"] {
        let expect = format!(
            "2:51: plugins.x.grant.directories[0].guest: {guest:?} is not a path for a plugin; write it like \"/data\""
        );
        check(&format!("{{ host = 'data', guest = {guest:?} }}"), &expect);
    }
    check(
        "{ host = 'data', guest = '/data' }, { host = 'pages', guest = '/data' }",
        "2:62: plugins.x.grant.directories[1]: the plugin has a directory \"/data\" already; \
         give each a `guest` of its own",
    );
}

#[test]
fn directories_of_the_gateway_itself_are_refused() {
    let check = |directory: &str, expect: &str| {
        let problems = refusal(&format!("{{ directories = [{{ {directory}, guest = '/d' }}] }}"));
        assert!(problems.contains(expect) && problems.contains("1 problem;"), "{directory}: {problems}");
    };
    check("host = 'plugins'", "folder/plugins overlaps the plugin folder; grant a folder of its own");
    check("host = ''", "folder overlaps the plugin folder");
    // A folder of plugins elsewhere does not hide the configuration.
    let elsewhere = format!(
        "[plugins]\nfolder = '/elsewhere'\n[plugins.x]\ngrant = {{ directories = [{{ host = '', guest = '/d' }}] }}\n{BASE}"
    );
    let problems = parse(&elsewhere).expect_err("is refused").to_string();
    assert!(problems.contains("folder holds this configuration; grant a folder of its own"), "{problems}");
    // What is beside them may be granted, and so may what is under the configuration's folder.
    plugin("grant = { directories = [{ host = 'data', guest = '/d', write = true }] }");
}

#[test]
fn a_plugin_gets_no_write_access_to_what_others_go_by() {
    let config = "config = { words = { file = 'data/inner/answers.txt' } }\n";
    let check = |write: &str, lines: &str, expect: Option<&str>| {
        let text = format!(
            "[plugins.x]\ngrant = {{ directories = [{{ host = 'data', guest = '/d', write = {write} }}] }}\n\
             [plugins.mask]\n{lines}\n[pipelines.a]\nprocess = ['mask']\n{BASE}"
        );
        match (parse(&text), expect) {
            (Ok(_), None) => {}
            (Err(problems), Some(expect)) => assert!(problems.to_string().contains(expect), "{problems}"),
            (result, expect) => panic!("{result:?} {expect:?}"),
        }
    };
    let could = "folder/data could change";
    check("true", config, Some(could));
    check("false", config, None);
    let inner = "grant = { directories = [{ host = 'data/inner', guest = '/d' }] }";
    check("true", inner, Some("folder/data/inner is granted too, and a plugin that may write to"));
    check("false", inner, None);
    // Two plugins may share a directory.
    check("true", "grant = { directories = [{ host = 'data', guest = '/d' }] }", None);
}

#[test]
fn nobody_reads_a_file_that_is_named_as_secrets_are() {
    let check = |write: &str, plugin: &str, others: &str| {
        let text = format!(
            "[plugins.x]\ngrant = {{ directories = [{{ host = 'data', guest = '/d', write = {write} }}] }}\n\
             [plugins.mask]\n{plugin}\n[pipelines.a]\nprocess = ['mask']\n{others}\n{BASE}"
        );
        parse(&text).map(drop).map_err(|problems| problems.to_string())
    };
    let secret = "config = { nested = [{ key = { secret = 'path::data/inner/answers.txt' } }] }";
    // One that would count where another is not there.
    let other = "[kv]\nredis = ['env::REDIS_URL', 'path::data/inner/gone.txt']";
    for write in ["true", "false"] {
        for (plugin, others, file) in [(secret, "", "answers.txt"), ("", other, "gone.txt")] {
            let problems = check(write, plugin, others).expect_err("is refused");
            let (place, file) =
                ("c.toml:2:26: plugins.x.grant.directories[0]: ", format!("folder/data/inner/{file}, "));
            for words in [
                place,
                "folder/data holds ",
                &file,
                "; move one of them: no plugin may read it",
                "1 problem;",
            ] {
                assert!(problems.contains(words), "`{words}` is not in: {problems}");
            }
        }
    }
    // Elsewhere, or no secret.
    check("false", "config = { key = { secret = 'path::key.txt' } }", "").unwrap();
    check("false", "config = { words = { file = 'data/inner/answers.txt' } }", "").unwrap();
    check("false", "", "[plugins]\nkeys = ['path::data/minisign.pub']").unwrap();
}

#[test]
fn keys_and_values_have_a_quota() {
    let quota = |grant: &str| plugin(&format!("grant = {{ {grant} }}")).grant.unwrap().kv.unwrap().value;
    assert_eq!(quota("kv = true"), Quota { bytes: 1 << 20, keys: 10_000 });
    assert_eq!(quota("kv = { quota = '2MiB' }"), Quota { bytes: 2 << 20, keys: 10_000 });
    assert_eq!(quota("kv = { keys = 5 }"), Quota { bytes: 1 << 20, keys: 5 });
    assert_eq!(plugin("grant = { http = ['https://a.example'], kv = false }").grant.unwrap().kv, None);
    let check = |grant: &str, expect: &str| {
        check_with_models(&format!("[plugins.x]\ngrant = {{ kv = {grant} }}"), expect)
    };
    check(
        "{ quota = '1KiB' }",
        "2:26: plugins.x.grant.kv.quota: the number is out of range; write one from 65792 to 1073741824 bytes",
    );
    check(
        "{ keys = 0 }",
        "2:25: plugins.x.grant.kv.keys: the number is out of range; write one from 1 to 1000000",
    );
    check(
        "'1MiB'",
        "2:16: plugins.x.grant.kv: expected true or a table, found a string; \
         write kv = true, or kv = { quota = \"1MiB\", keys = 10000 }",
    );
    check(
        "false",
        "2:9: plugins.x.grant: this grants nothing; write http = [\"https://HOST\"], directories = \
         [{ host = \"…\", guest = \"/…\" }] or kv = true, or remove it",
    );
    check_with_models(
        "[plugins.x]\ngrant = { kv = true, private = ['127.0.0.1:81'] }",
        "2:32: plugins.x.grant.private: without `http` this grants nothing; add http = [\"http://NAME:PORT\"]",
    );
}

#[test]
fn a_redis_is_named_without_showing_its_password() {
    let config =
        accept(&format!("[kv]\nredis = 'env::REDIS_URL'\nprefix = 'team-a:'\ntimeout = '50ms'\n{BASE}"));
    assert_eq!((config.kv.prefix.as_str(), config.kv.timeout), ("team-a:", Duration::from_millis(50)));
    assert!(!format!("{config:?}").contains("redis-secret"));
    let redis = config.kv.connect().unwrap();
    assert_eq!(redis.address(), "redis.example:6380");
    assert!(!format!("{redis:?}").contains("redis-secret"));
    for url in ["redis://127.0.0.1", "rediss://redis.example:6380", "redis+unix:///run/redis.sock"] {
        assert!(accept(&format!("[kv]\nredis = '{url}'\n{BASE}")).kv.redis.is_some(), "{url}");
    }
    let like =
        "write it like \"redis://127.0.0.1:6379\", \"rediss://HOST\" or \"redis+unix:///run/redis.sock\"";
    for url in ["127.0.0.1:6379", "http://127.0.0.1", "env::URL"] {
        check_with_models(
            &format!("[kv]\nredis = '{url}'"),
            &format!("2:9: kv.redis: this is not the URL of a Redis; {like}"),
        );
    }
    for url in ["redis://user:redis-secret@redis.example", "redis+unix:///run/redis.sock?pass=redis-secret"] {
        check_with_models(
            &format!("[kv]\nredis = '{url}'"),
            "2:9: kv.redis: a secret must not be written into this file; write \"env::NAME\" or \"path::FILE\"",
        );
    }
    check_with_models(
        "[kv]\nredis = 'redis://127.0.0.1'\nprefix = 'a{b}'",
        "3:10: kv.prefix: this cannot begin a key; use up to 100 ASCII characters without spaces and braces",
    );
}

#[test]
fn settings_of_a_redis_without_one_are_noticed() {
    let config = accept(&format!("[kv]\nprefix = 'a:'\n{BASE}"));
    let notices: Vec<String> = config.notices.iter().map(ToString::to_string).collect();
    assert_eq!(notices, ["c.toml:2:10: kv.prefix: without `redis` this does nothing"]);
}

/// On a real folder, with real links.
#[test]
#[expect(clippy::disallowed_methods, reason = "makes what is looked at")]
fn links_and_parents_are_seen_through() {
    let folder = tempfile::tempdir().unwrap();
    let root = real(folder.path());
    for name in ["config/plugins", "config/data/inner", "elsewhere"] {
        std::fs::create_dir_all(root.join(name)).unwrap();
    }
    for file in ["config/plugins/mask.wasm", "config/data/inner/other.wasm"] {
        std::fs::write(root.join(file), "").unwrap();
    }
    for (target, link) in [("plugins", "config/link"), ("../config", "elsewhere/back")] {
        std::os::unix::fs::symlink(target, root.join(link)).unwrap();
    }
    assert_eq!(real(&root.join("config/link/../link/x/y")), root.join("config/plugins/x/y"));
    assert_eq!(real(Path::new("")), std::env::current_dir().unwrap());

    let check = |host: &str, lines: &str, expect: &str| {
        let text = format!(
            "[plugins.mask]\ngrant.directories = [{{ host = '{host}', guest = '/d', write = true }}]\n{lines}\n\
             [pipelines.a]\nprocess = ['mask']\n{BASE}"
        );
        let read = Config::parse(&text, "c.toml", &Folder::new(root.join("config")), &environment());
        let problems = read.err().map(|problems| problems.to_string()).unwrap_or_default();
        assert!(
            problems.contains(expect) && problems.is_empty() == expect.is_empty(),
            "{host}: {problems:?}"
        );
    };
    for host in ["plugins", "link", ".", "..", "../elsewhere/back", "../elsewhere/..", "/"] {
        check(host, "", "overlaps the plugin folder");
    }
    check("data", "file = '../data/inner/other.wasm'", "config/data/inner/other.wasm");
    for host in ["data", "data/inner", "../elsewhere"] {
        check(host, "", "");
    }
}
