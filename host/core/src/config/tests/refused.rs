//! One test for each kind of mistake.

use std::collections::BTreeMap;

use super::{BASE, Config, FILES, check, check_with_models, parse};

#[test]
fn unknown_keys_are_refused_everywhere() {
    check_with_models("sever = {}", "1:1: sever: unknown key; did you mean `server`?");
    check_with_models(
        "[elsewhere]",
        "1:2: elsewhere: unknown key; known here: admin, kv, models, pipelines, plugins, server, signers",
    );
    check_with_models(
        "[server]\nheartbeet = '1s'",
        "2:1: server.heartbeet: unknown key; did you mean `heartbeat`?",
    );
    check_with_models(
        "[[server.keys]]\nname = 'a'\nkey = 'env::CLIENT_KEY'\nkeys = 1",
        "4:1: server.keys[0].keys: unknown key; did you mean `key`?",
    );
    check_with_models(
        "[plugins.x]\nlimits = { cpus = '1s' }",
        "2:12: plugins.x.limits.cpus: unknown key; did you mean `cpu`?",
    );
    check_with_models(
        "[pipelines.a]\nmodify = ['mask']\nprocessor = []",
        "3:1: pipelines.a.processor: unknown key; did you mean `process`?",
    );
    check(
        &format!("{BASE}timeouts = {{ total = 1 }}\n"),
        "7:14: models.m.providers.p.timeouts.total: unknown key; did you mean `total_ms`?",
    );
    check(
        &format!("{BASE}'api \\key' = 1\n"),
        "7:1: models.m.providers.p.\"api \\\\key\": unknown key; known here: \
         api_base, api_key_location, model_name, timeouts, type",
    );
}

#[test]
fn wrong_types_are_refused() {
    check_with_models(
        "server = 1",
        "1:10: server: expected a table, found an integer; write it in [brackets] or { braces }",
    );
    check_with_models(
        "[server]\nheartbeat = 15",
        "2:13: server.heartbeat: expected a duration, found an integer; \
         write it like \"20ms\", \"15s\" or \"5m\"",
    );
    check_with_models(
        "[server]\nstreams_max = '9'",
        "2:15: server.streams_max: expected a whole number, found a string; write it without quotes",
    );
    check_with_models(
        "[server]\nhosts = 'a'",
        "2:9: server.hosts: expected a list, found a string; write it in brackets",
    );
    check_with_models(
        "[plugins]\nfolder = true",
        "2:10: plugins.folder: expected a string, found a boolean; write it in quotes",
    );
    check_with_models(
        "[pipelines.a]\nmodify = ['mask', 1.5]",
        "2:19: pipelines.a.modify[1]: expected a name, found a float; write it in quotes",
    );
}

#[test]
fn wrong_units_and_zeros_are_refused() {
    let duration = "is not a duration; write it like \"20ms\", \"15s\" or \"5m\"";
    for text in ["15", "15 s", "1.5s", "-1s", "s", "", "99999999999999999999s", "9999999999999999h"] {
        let expect = format!("2:13: server.heartbeat: {text:?} {duration}");
        check_with_models(&format!("[server]\nheartbeat = '{text}'"), &expect);
    }
    for text in ["16MB", "16", "16 MiB", "16mib", "99999999999999GiB"] {
        let expect = format!("2:12: server.body_max: {text:?} is not a size; write it like \"16MiB\"");
        check_with_models(&format!("[server]\nbody_max = '{text}'"), &expect);
    }
    check_with_models(
        "[server]\nshutdown = '0s'",
        "2:12: server.shutdown: must be longer than zero; leave it out for 30s",
    );
    check_with_models(
        "[server]\nstreams_max = 0",
        "2:15: server.streams_max: the number is out of range; write one from 1 to 1000000",
    );
    check_with_models(
        "[server]\nstreams_max = 9\nconnections_max = 8",
        "3:19: server.connections_max: the number is out of range; write one from 9 to 1000000",
    );
    check_with_models(
        "[server]\nbody_max = '2KiB'\nbodies_max = '1KiB'",
        "3:14: server.bodies_max: the number is out of range; write one from 2048 to 1099511627776 bytes",
    );
    check_with_models(
        "[plugins.x]\nlimits = { memory = '1KiB' }",
        "2:21: plugins.x.limits.memory: the number is out of range; \
         write one from 65536 to 4294967296 bytes",
    );
    check(
        &format!("{BASE}timeouts = {{ idle_ms = -1 }}\n"),
        "7:24: models.m.providers.p.timeouts.idle_ms: the number is out of range; \
         write one from 1 to 86400000",
    );
}

#[test]
fn server_mistakes_are_refused() {
    check_with_models(
        "[server]\nlisten = 'localhost:3000'",
        "2:10: server.listen: \"localhost:3000\" is not an address; write it like \"127.0.0.1:3000\"",
    );
    check_with_models(
        "[server]\nlisten = '[::]:3000'\nkeys = []",
        "2:10: server.listen: other machines can reach this address, and there are no \
         [[server.keys]]; add [[server.keys]] with name = \"…\" and key = \"env::…\", \
         or listen on 127.0.0.1",
    );
    for host in ["a:80", "http://a", "u@a", "a/b"] {
        let fix = "write it like \"gateway.local\", without a port";
        let expect = format!("2:10: server.hosts[0]: {host:?} is not a host name; {fix}");
        check_with_models(&format!("[server]\nhosts = ['{host}']"), &expect);
    }
    for origin in ["*", "null", "app.example.com", "https://a/", "https://u@a"] {
        let fix = "write it like \"https://app.example.com\"";
        let expect = format!("2:12: server.origins[0]: {origin:?} is not an origin; {fix}");
        check_with_models(&format!("[server]\norigins = ['{origin}']"), &expect);
    }
}

#[test]
fn client_key_mistakes_are_refused() {
    let key = |key: &str| format!("[[server.keys]]\nname = 'a'\nkey = {key}");
    check_with_models(
        &key("'literal-secret-0123456789'"),
        "3:7: server.keys[0].key: a secret must not be written into this file; \
         write \"env::NAME\" or \"path::FILE\"",
    );
    check_with_models(
        &key("['env::CLIENT_KEY', 'literal-secret-0123456789']"),
        "3:7: server.keys[0].key: a secret must not be written into this file; \
         write \"env::NAME\" or \"path::FILE\"",
    );
    check_with_models(
        &key("'env::UNSET'"),
        "3:7: server.keys[0].key: the environment variable UNSET is not set; \
         provide it, or name another place: \"env::NAME\", \"path::FILE\"",
    );
    check_with_models(
        &key("'env::SHORT_KEY'"),
        "3:7: server.keys[0].key: the key is shorter than 16 characters; \
         make one with `openssl rand -hex 32`",
    );
    check_with_models(
        &key("'env::SPACED_KEY'"),
        "3:7: server.keys[0].key: the key holds a space, a line break or a character that is not \
         ASCII; check where it comes from; a header cannot carry it",
    );
    check_with_models(
        "[[server.keys]]\nkey = 'env::CLIENT_KEY'",
        "1:1: server.keys[0]: `name` is missing; write name = \"…\": logs show it",
    );
    let two = |name, key: &str| {
        format!(
            "[server]\nkeys = [{{ name = 'a', key = 'env::CLIENT_KEY' }}, {{ name = '{name}', key = '{key}' }}]"
        )
    };
    check_with_models(
        &two("a", "path::key.txt"),
        "2:50: server.keys[1]: there is another key named \"a\"; rename one",
    );
    check_with_models(
        &two("b", "env::TWIN_KEY"),
        "2:50: server.keys[1]: \"a\" and \"b\" have the same key; give each a key of its own",
    );
}

#[test]
fn reference_mistakes_are_refused() {
    check_with_models(
        "[server]\nlisten = ['env::UNSET', 'path::gone.txt']",
        "2:10: server.listen: the environment variable UNSET is not set, and folder/gone.txt: \
         entity not found; provide it, or a default: [\"path::gone.txt\", \"…\"]",
    );
    check_with_models(
        "[server]\nlisten = 'env::CLIENT_KEY'",
        "2:10: server.listen: the value of env::CLIENT_KEY is not an address; \
         write it like \"127.0.0.1:3000\"",
    );
    check_with_models(
        "[server]\nlisten = ['127.0.0.1:1', 'env::UNSET']",
        "2:10: server.listen: a list may hold one plain string only, its last; \
         put the default last: [\"env::NAME\", \"default\"]",
    );
    check_with_models(
        "[server]\nlisten = []",
        "2:10: server.listen: the list is empty; write [\"env::NAME\", \"default\"]",
    );
    check(
        &BASE.replace("'none'", "'env::sk-pasted'"),
        "6:20: models.m.providers.p.api_key_location: what follows env:: is not a variable's name; \
         write \"env::NAME\"",
    );
    check(
        &BASE.replace("'none'", "'dynamic::key'"),
        "6:20: models.m.providers.p.api_key_location: dynamic:: is not available for this setting; \
         write \"env::NAME\"",
    );
}

#[test]
fn plugin_mistakes_are_refused() {
    check_with_models(
        "[pipelines.a]\nmodify = ['gone']",
        "2:11: pipelines.a.modify[0]: there is no plugin \"gone\": \
         folder/plugins/gone.wasm is not there; \
         put it there, or write [plugins.gone] with file = \"…\"",
    );
    check_with_models(
        "[plugins.mask]\n[pipelines.a]\nprocess = ['mask', 'masks']\nmodify = ['masks']",
        "3:20: pipelines.a.process[1]: there is no plugin \"masks\": \
         folder/plugins/masks.wasm is not there; did you mean `mask`?",
    );
    check_with_models(
        "[pipelines.a]\nmodify = ['../mask']",
        "2:11: pipelines.a.modify[0]: a plugin cannot be named \"../mask\"; \
         use letters, digits, - and _",
    );
    check_with_models(
        "[plugins.'a b']",
        "1:1: plugins.\"a b\": a plugin cannot have this name; use letters, digits, - and _",
    );
    check_with_models(
        "[plugins.x]\nmagic = 1",
        "2:1: plugins.x.magic: unknown key; known here: allow_changes, config, configure_once, file, grant, limits, on_error, ready, sha256",
    );
    check_with_models(
        "[plugins.x]\non_error = 'fail_opne'",
        "2:12: plugins.x.on_error: \"fail_opne\" is not a policy; did you mean `fail_open`?",
    );
}

#[test]
fn grants_that_are_not_clear_are_refused() {
    let check_grant =
        |grant: &str, expect: &str| check_with_models(&format!("[plugins.x]\ngrant = {grant}"), expect);
    let like =
        "write it like \"https://example.org\", \"https://*.example.org\" or \"http://127.0.0.1:8787\"";
    for (target, problem) in [
        ("example.org", "does not begin with http:// or https://"),
        ("ftp://example.org", "does not begin with http:// or https://"),
        ("https://example.org/path", "has more than scheme, host and port"),
        ("https://example.org?query", "has more than scheme, host and port"),
        ("https://*", "has a `*` that does not stand for the first labels of a name, as in *.example.org"),
        (
            "https://*example.org",
            "has a `*` that does not stand for the first labels of a name, as in *.example.org",
        ),
        ("https://example.org:0", "has no valid host and port"),
    ] {
        check_grant(
            &format!("{{ http = ['https://a.example', '{target}'] }}"),
            &format!("2:40: plugins.x.grant.http[1]: {target:?} {problem}; {like}"),
        );
    }
    check_grant(
        "{ http = ['https://user:url-secret@example.org'] }",
        &format!("2:19: plugins.x.grant.http[0]: this has more than scheme, host and port; {like}"),
    );
    check_grant(
        "{ http = ['http://2130706433:81'] }",
        "2:19: plugins.x.grant.http[0]: \"http://2130706433:81\" is another way to write http://127.0.0.1:81; \
         write \"http://127.0.0.1:81\"",
    );
    check_grant(
        "{ http = ['http://127.0.0.1:81'] }",
        "2:19: plugins.x.grant.http[0]: http://127.0.0.1:81 is not public (loopback), so it cannot be reached; \
         add private = [\"127.0.0.1:81\"] if that is meant",
    );
    check_grant(
        "{ http = ['http://a.example'], private = ['127.0.0.1'] }",
        "2:51: plugins.x.grant.private[0]: \"127.0.0.1\" is not an address with its port; \
         write it like \"127.0.0.1:8787\" or \"[::1]:8787\"",
    );
    check_grant(
        "{ http = ['http://a.example'], private = ['1.1.1.1:80'] }",
        "2:51: plugins.x.grant.private[0]: \"1.1.1.1:80\" is public, so this grants nothing; \
         name it under `http` only",
    );
    check_grant(
        "{ http = ['http://a.example'], private = ['10.0.0.1:81'] }",
        "2:51: plugins.x.grant.private[0]: no target under `http` has port 81, so this grants nothing; \
         write the target with its port, like \"http://NAME:81\"",
    );
    check_grant(
        "{}",
        "2:9: plugins.x.grant: this grants nothing; write http = [\"https://HOST\"], directories = \
         [{ host = \"…\", guest = \"/…\" }] or kv = true, or remove it",
    );
    check_grant(
        "{ http = [] }",
        "2:9: plugins.x.grant: this grants nothing; write http = [\"https://HOST\"], directories = \
         [{ host = \"…\", guest = \"/…\" }] or kv = true, or remove it",
    );
    check_grant(
        "{ private = ['127.0.0.1:81'] }",
        "2:9: plugins.x.grant: this grants nothing; write http = [\"https://HOST\"], directories = \
         [{ host = \"…\", guest = \"/…\" }] or kv = true, or remove it",
    );
    check_grant(
        "{ http = ['https://a.example'], files = [] }",
        "2:41: plugins.x.grant.files: unknown key; known here: directories, http, kv, private",
    );
    check_grant(
        "'http'",
        "2:9: plugins.x.grant: expected a table, found a string; \
         write it like { http = [\"https://example.org\"] }",
    );
    check_grant(
        "{ http = 'https://a.example' }",
        "2:18: plugins.x.grant.http: expected a list, found a string; write it in brackets",
    );
    check_with_models(
        "[plugins.x]\nlimits = { requests = 0 }",
        "2:23: plugins.x.limits.requests: the number is out of range; write one from 1 to 10000",
    );
    check_with_models(
        "[plugins.x]\nlimits = { fetch = '8MB' }",
        "2:20: plugins.x.limits.fetch: \"8MB\" is not a size; write it like \"16MiB\"",
    );
}

#[test]
fn plugin_settings_that_would_not_arrive_are_refused() {
    let config = |value: &str| format!("[plugins.x]\nconfig = {{ a = {value} }}");
    check_with_models(
        &config("{ file = 'gone.txt' }"),
        "2:25: plugins.x.config.a.file: folder/gone.txt: entity not found; \
         paths start at the folder of this file",
    );
    check_with_models(
        &config("{ file = 'empty.txt' }"),
        "2:25: plugins.x.config.a.file: \"empty.txt\" is empty, so the plugin would do nothing; \
         fill it",
    );
    check_with_models(
        &config("{ secret = 'literal-secret' }"),
        "2:27: plugins.x.config.a.secret: a secret must not be written into this file; \
         write \"env::NAME\" or \"path::FILE\"",
    );
    check_with_models(
        &config("'env::CLIENT_KEY'"),
        "2:16: plugins.x.config.a: the plugin would get this text itself; \
         write { secret = \"env::NAME\" }, or { file = \"…\" } for the text of a file",
    );
    check_with_models(
        &config("[inf]"),
        "2:17: plugins.x.config.a[0]: JSON has no such number; write it in quotes",
    );
    check_with_models(
        &config("9223372036854775808"),
        "2:16: plugins.x.config.a: the number is out of range; write it in quotes",
    );
}

#[test]
fn pipelines_that_would_do_nothing_are_refused() {
    check_with_models(
        "[pipelines.a]\nprocess = []",
        "1:1: pipelines.a: this pipeline is empty; \
         write process = [\"PLUGIN\"] or modify = [\"PLUGIN\"]",
    );
    check_with_models(
        "[pipelines.a]\nprocess = ['mask', 'emoji', 'mask']",
        "2:29: pipelines.a.process[2]: \"mask\" is named twice; remove one of them",
    );
    check(
        &format!(
            "[pipelines.strict]\nmodify = ['mask']\n{}",
            BASE.replace("routing", "pipeline = 'strikt'\nrouting")
        ),
        "4:12: models.m.pipeline: there is no pipeline \"strikt\"; did you mean `strict`?",
    );
}

#[test]
fn models_that_nobody_would_answer_are_refused() {
    check(
        "[server]",
        "1:1: there is no model, so every request would be refused; \
         write [models.NAME] and [models.NAME.providers.NAME]",
    );
    check(
        &BASE.replace("routing = ['p']", ""),
        "1:1: models.m: `routing` is missing; write routing = [\"PROVIDER\"]",
    );
    check(
        &BASE.replace("['p']", "['p', 'pp']"),
        "2:17: models.m.routing[1]: there is no provider \"pp\"; did you mean `p`?",
    );
    check(
        &format!("{BASE}[models.m.providers.spare]\ntype = 'openai'\napi_base = 'http://a'\n"),
        "7:1: models.m.providers.spare: routing does not name it, so it would never be asked; \
         add \"spare\" to routing, or remove it",
    );
    let problems = parse("[models.m]\nrouting = []").expect_err("is refused");
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "c.toml:1:1: models.m: `providers` is missing; write [models.NAME.providers.NAME]",
            "c.toml:2:11: models.m.routing: no provider is asked; write routing = [\"PROVIDER\"]",
        ]
    );
}

#[test]
fn provider_mistakes_are_refused() {
    check(
        &BASE.replace("'openai'", "'anthropic'"),
        "4:8: models.m.providers.p.type: \"anthropic\" is not a type of provider; known here: openai, dev-api",
    );
    check(
        &BASE.replace("type = 'openai'", ""),
        "3:1: models.m.providers.p: `type` is missing; write type = \"openai\" or \"dev-api\"",
    );
    let fix = "write it like \"https://api.openai.com/v1/\"";
    for (url, problem) in [
        ("not a url", format!("this is not a URL; {fix}")),
        ("api.openai.com", format!("the URL does not begin with http:// or https://; {fix}")),
        ("ftp://a/", format!("the URL does not begin with http:// or https://; {fix}")),
        ("http://a:99999/", format!("the URL's host or port is not valid; {fix}")),
        (
            "http://user:url-secret@a/",
            "a user or password in the URL; use api_key_location for the key".to_owned(),
        ),
        ("http://a/?key=1", "a query or fragment in the URL; end it with the path".to_owned()),
        ("http://a/#b", "a query or fragment in the URL; end it with the path".to_owned()),
    ] {
        check(
            &BASE.replace("http://127.0.0.1/v1", url),
            &format!("5:12: models.m.providers.p.api_base: {problem}"),
        );
    }
}

#[test]
fn a_key_location_left_out_is_the_one_of_tensorzero() {
    let text = BASE.replace("api_key_location = 'none'", "");
    let problems = Config::parse(&text, "c.toml", &FILES, &BTreeMap::new()).expect_err("is refused");
    assert_eq!(
        problems.to_string(),
        "c.toml:3:1: models.m.providers.p.api_key_location: the environment variable \
         OPENAI_API_KEY is not set; provide it, or write api_key_location = \"none\" for a provider \
         without a key\n1 problem; nothing was started"
    );
}

#[test]
fn columns_are_characters() {
    check_with_models(
        "绝密 = 1 # 密",
        "1:1: this is not TOML: invalid unquoted key, expected letters, numbers, `-`, `_`",
    );
    check_with_models(
        "[pipelines]\n'绝密' = { process = ['mask', 'mask'] }",
        "2:29: pipelines.\"绝密\".process[1]: \"mask\" is named twice; remove one of them",
    );
}

#[test]
fn the_operators_listener_needs_an_address_of_its_own_and_a_token() {
    check_with_models(
        "[admin]\nlisten = '127.0.0.1:3001'",
        "1:1: admin: `token` is missing; write token = \"env::NAME\" or \"path::FILE\"",
    );
    check_with_models(
        "[admin]\ntoken = 'env::CLIENT_KEY'",
        "1:1: admin: `listen` is missing; write listen = \"127.0.0.1:3001\"",
    );
    check_with_models(
        "[admin]\nlisten = '127.0.0.1:3000'\ntoken = 'env::CLIENT_KEY'",
        "2:10: admin.listen: clients reach this address too; choose another port than server.listen",
    );
    check_with_models(
        "[admin]\nlisten = '127.0.0.1:3001'\ntoken = 'env::SHORT_KEY'",
        "3:9: admin.token: the key is shorter than 16 characters; make one with `openssl rand -hex 32`",
    );
    check_with_models(
        "[server]\nwatch = 'no'",
        "2:9: server.watch: expected true or false, found a string; write it without quotes",
    );
}
