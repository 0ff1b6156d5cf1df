//! `[plugins]` on files: where they are, where their code is kept, and which of them may run.

use super::*;

const KEY: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
const HASH: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Where compiled code goes, by the setting and the environment.
fn cache(setting: &str, variables: &[(&str, &str)]) -> Option<PathBuf> {
    let variables: BTreeMap<_, _> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let text = format!("[plugins]\n{setting}\n{BASE}");
    let config = Config::parse(&text, "c.toml", &FILES, &variables);
    config.unwrap_or_else(|problems| panic!("{problems}")).cache
}

#[test]
fn compiled_code_is_kept_where_the_setting_or_the_system_says() {
    let (xdg, home) = (("XDG_CACHE_HOME", "/xdg"), ("HOME", "/home/me"));
    let path = |path: &str| Some(PathBuf::from(path));
    assert_eq!(cache("", &[xdg, home]), path("/xdg/rust-proxy"));
    assert_eq!(cache("", &[home]), path("/home/me/.cache/rust-proxy"));
    assert_eq!(cache("", &[("XDG_CACHE_HOME", "not/absolute"), home]), path("/home/me/.cache/rust-proxy"));
    assert_eq!(cache("", &[("XDG_CACHE_HOME", ""), ("HOME", "")]), None);
    assert_eq!(cache("", &[]), None);
    assert_eq!(cache("cache = 'none'", &[xdg, home]), None);
    assert_eq!(cache("cache = 'code'", &[xdg, home]), path("folder/code"));
    assert_eq!(cache("cache = '/var/cache/rp'", &[xdg]), path("/var/cache/rp"));
    check_with_models(
        "[plugins]\ncache = ''",
        "2:9: plugins.cache: the name is empty; write a folder, or \"none\"",
    );
}

#[test]
fn pins_keys_and_permissions_are_read() {
    let config = accept(&format!(
        "{}[pipelines.a]
        process = ['mask', 'emoji']
        [plugins]
        keys = ['{KEY}', 'env::MINISIGN_KEY']
        require_signature = true
        [plugins.mask]
        sha256 = '{HASH}'
        config = {{ deep = [[{{ at = {{ secret = 'env::CLIENT_KEY' }} }}]] }}
        [plugins.emoji]
        allow_changes = true
        config = {{ secret = 'no reference' }}",
        BASE.replace("routing", "pipeline = 'a'\nrouting")
    ));
    let (mask, emoji) = (&config.plugins["mask"], &config.plugins["emoji"]);
    assert_eq!(mask.trust.pin.as_ref().map(|pin| pin.hash.to_string()).as_deref(), Some(HASH));
    assert_eq!((mask.trust.allow_changes, mask.secrets), (false, true));
    assert_eq!((&emoji.trust.pin, emoji.trust.allow_changes, emoji.secrets), (&None, true, false));
    let names: Vec<&str> = config.signatures.keys.iter().map(|key| key.name.as_str()).collect();
    assert_eq!(names, ["RWQf6LRCGA9i5", "RWQf6LRCGA9i5"]);
    assert!(config.signatures.required.is_some());
    assert!(accept(&format!("[plugins]\nrequire_signature = false\n{BASE}")).signatures.required.is_none());
}

#[test]
fn mistakes_of_pins_and_keys_are_refused() {
    let fix = "write the 64 digits that `sha256sum FILE` prints";
    for wrong in [&HASH[1..], &format!("{HASH}0"), &HASH.replace('f', "g"), &format!("é{}", &HASH[2..])] {
        check_with_models(
            &format!("[plugins.x]\nsha256 = '{wrong}'"),
            &format!("2:10: plugins.x.sha256: {wrong:?} is not a SHA-256; {fix}"),
        );
    }
    check_with_models(
        "[plugins.x]\nallow_changes = 'yes'",
        "2:17: plugins.x.allow_changes: expected true or false, found a string; write it without quotes",
    );
    let fix = "write the line of minisign.pub that begins with RW, or \"path::minisign.pub\"";
    for wrong in ["hello", &KEY[..50], "env::CLIENT_KEY", "path::words.txt"] {
        check_with_models(
            &format!("[plugins]\nkeys = ['{KEY}', '{wrong}']"),
            &format!("2:69: plugins.keys[1]: this is not a public key of minisign; {fix}"),
        );
    }
    check_with_models(
        "[plugins]\nrequire_signature = true",
        "2:21: plugins.require_signature: no signature could be valid, because there are no `keys`; \
         add keys = [\"path::minisign.pub\"]",
    );
}

#[test]
fn a_plugin_cannot_have_the_name_of_a_setting() {
    for name in ["cache", "folder", "keys", "require_signature"] {
        for table in [format!("[plugins.{name}]\nready = 1"), format!("[plugins]\n{name} = {{}}")] {
            let problems = parse(&format!("{table}\n{BASE}")).expect_err("is refused").to_string();
            let expect = format!(
                "plugins.{name}: the name is taken: `{name}` is a setting of [plugins], so no plugin can have it; \
                 name the plugin otherwise, with file = \"{name}.wasm\""
            );
            assert!(problems.contains(&expect) && problems.contains("1 problem;"), "{problems}");
        }
    }
}

#[test]
fn where_compiled_code_is_kept_is_granted_to_nobody() {
    let check = |cache: &str, host: &str| {
        let grant = format!("grant = {{ directories = [{{ host = '{host}', guest = '/d' }}] }}");
        parse(&format!("[plugins]\ncache = '{cache}'\n[plugins.x]\n{grant}\n{BASE}")).map(drop)
    };
    for (cache, host) in [("data", "data"), ("data/code", "data"), ("data", "data/inner")] {
        let problems = check(cache, host).expect_err("is refused").to_string();
        let expect = format!("folder/{host} overlaps the cache folder; grant a folder of its own");
        assert!(problems.contains(&expect), "{cache}: {problems}");
    }
    check("pages", "data").unwrap_or_else(|problems| panic!("{problems}"));
    check("none", "data").unwrap_or_else(|problems| panic!("{problems}"));
}
