//! `type = "dev-api"` and `[signers]`.

use rust_proxy_upstream::dev_api::{
    Argument, Content, Format, Hidden, Place, RequestOptions, ResponseOptions, Results, Source, TimeUnit,
};

use super::*;

/// The smallest provider that is right, with lines of its own behind.
fn provider(lines: &str) -> String {
    format!(
        "[signers.s]
file = 'sign.wasm'
result = {{ header = 'sign' }}
[models.m]
routing = ['p']
[models.m.providers.p]
type = 'dev-api'
endpoint = 'http://127.0.0.1:1/x'
device_id = ['dynamic::X-Device-Id', 'env::CLIENT_KEY']
os_type = ['env::UNSET', '3']
sid = 'path::key.txt'
signer = 's'
{lines}"
    )
}

fn dev_api(config: &Config) -> &DevApi {
    match &config.models["m"].providers["p"] {
        Provider::DevApi(provider) => provider,
        other => panic!("{other:?}"),
    }
}

fn header(name: &str) -> Place {
    Place::Header(name.parse().unwrap())
}

fn body(pointer: &str) -> Place {
    Place::Body(pointer.parse().unwrap())
}

fn fixed(value: &str) -> Option<Source> {
    Some(Source { headers: Vec::new(), otherwise: Some(Hidden::new(value)) })
}

/// `line` in the provider's place for it is refused with exactly this, behind the place and the prefix.
#[track_caller]
fn check_line(line: &str, key: &str, expect: &str) {
    let problems = parse(&provider(line)).expect_err("is refused");
    let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let [problem] = shown.as_slice() else { panic!("{shown:#?}") };
    let (place, message) = problem.split_once(": models.").expect("a place");
    assert!(place.starts_with("c.toml:"), "{problem}");
    let prefix = "Failed to create DevApiClient: ";
    assert_eq!(message, format!("m.providers.p{key}: {prefix}{expect}"));
}

#[test]
fn the_defaults_are_those_of_the_reference_server() {
    let config = accept(&provider(""));
    let it = dev_api(&config);
    assert_eq!((it.endpoint.as_str(), it.model_name.as_str()), ("http://127.0.0.1:1/x/", "m"));
    let device = Source {
        headers: vec!["x-device-id".to_owned()],
        otherwise: Some(Hidden::new("client-secret-0123456789")),
    };
    assert_eq!(it.device_id, Some(device));
    assert_eq!((&it.os_type, &it.sid), (&fixed("3"), &fixed("file-secret-0123456789")));
    assert_eq!((&it.request, &it.response), (&RequestOptions::default(), &ResponseOptions::default()));
    let signer = &config.signers["s"];
    assert_eq!(signer.file, Path::new("folder/sign.wasm"));
    assert_eq!(signer.results, Results::One(header("sign")));
    let arguments = [Argument::Nonce, Argument::Timestamp, Argument::DeviceId, Argument::Content];
    assert_eq!((signer.arguments.as_slice(), &signer.export), (arguments.as_slice(), &None));
    assert_eq!(config.server.chat_model.as_deref(), Some("m"));
    let shown = format!("{config:?}");
    assert!(!shown.contains("secret-0"), "{shown}");
}

#[test]
fn every_setting_is_read() {
    let config = accept(&provider(
        "model_name = 'theirs'
        [models.m.providers.p.request]
        path = '/v2/ask'
        nonce = { query = 'n' }
        timestamp = { body = '/t' }
        timestamp_unit = 'ms'
        timestamp_type = 'string'
        device_id = { body = '/d' }
        os_type = { header = 'os' }
        sid = { query = 's' }
        model = 'none'
        messages = '/a/m'
        stream = '/a/s'
        user_text = '/a/u'
        others = 'drop'
        content = { body = '/a/u' }
        headers = { x-app = 'env::CLIENT_KEY' }
        query = { v = '1' }
        body = { '/app' = { a = [1, true] }, '/key' = { secret = 'path::key.txt' } }
        [models.m.providers.p.response]
        format = 'own'
        text = '/x'
        whole = '/y'
        finish_reason = 'none'
        usage = '/u'
        end = 'none'
        done = '/end'
        error = '/code'
        error_ok = [0, 'ok']
        error_message = '/msg'",
    ));
    let at = |text: &str| text.parse().ok();
    let request = RequestOptions {
        path: "/v2/ask".to_owned(),
        nonce: Some(Place::Query("n".to_owned())),
        timestamp: Some(body("/t")),
        timestamp_unit: TimeUnit::Milliseconds,
        timestamp_is_text: true,
        device_id: Some(body("/d")),
        os_type: Some(header("os")),
        sid: Some(Place::Query("s".to_owned())),
        model: None,
        messages: at("/a/m"),
        stream: at("/a/s"),
        user_text: at("/a/u"),
        keep_others: false,
        constants: vec![
            (header("x-app"), Hidden::new("client-secret-0123456789")),
            (Place::Query("v".to_owned()), Hidden::new("1")),
            (body("/app"), Hidden::new("{\"a\":[1,true]}")),
            (body("/key"), Hidden::new("\"file-secret-0123456789\"")),
        ],
        content: Content::At("/a/u".parse().unwrap()),
    };
    let response = ResponseOptions {
        format: Format::Own,
        text: "/x".parse().unwrap(),
        whole: "/y".parse().unwrap(),
        finish_reason: None,
        usage: at("/u"),
        end: None,
        done: at("/end"),
        error: at("/code"),
        error_ok: vec![json!(0), json!("ok")],
        error_message: at("/msg"),
    };
    let it = dev_api(&config);
    assert_eq!((&it.request, &it.response), (&request, &response));
    assert_eq!(it.model_name, "theirs");
}

#[test]
fn signers_may_give_several_results_and_sign_nothing() {
    let config = accept(&provider("").replace(
        "result = { header = 'sign' }",
        "export = 'f'
            arguments = ['sid', 'url']
            results = { a = { header = 'A' }, b = { query = 'b' } }
            config = { key = { secret = 'env::CLIENT_KEY' } }",
    ));
    let signer = &config.signers["s"];
    let places = [("a".to_owned(), header("a")), ("b".to_owned(), Place::Query("b".to_owned()))];
    assert_eq!(signer.results, Results::Named(places.into()));
    assert_eq!((signer.export.as_deref(), signer.arguments.len()), (Some("f"), 2));
    assert_eq!(signer.config, json!({ "key": "client-secret-0123456789" }));
    let config = accept(&provider("").replace("signer = 's'", "signer = 'none'"));
    assert_eq!(dev_api(&config).signer, None);
    assert!(config.signers.is_empty());
    assert!(config.notices[0].to_string().ends_with("signers.s: no provider uses this signer"));
}

#[test]
fn missing_variables_are_named_with_the_cure() {
    let problems = parse(
        "[models.m]
        routing = ['p']
        [models.m.providers.p]
        type = 'dev-api'
        endpoint = 'env::API_ENDPOINT'
        device_id = ['dynamic::x-device-id', 'env::DEVICE_ID']
        os_type = ['env::OS_TYPE', '3']
        sid = 'env::SID'",
    );
    let missing = |key: &str, name: &str| {
        let fix = format!("provide it, or a default: [\"env::{name}\", \"…\"]");
        let cause = format!("the environment variable {name} is not set");
        format!("models.m.providers.p{key}: Failed to create DevApiClient: {cause}; {fix}")
    };
    let fix = "write signer = \"NAME\" for [signers.NAME], or \"none\"";
    assert_eq!(
        problems.expect_err("is refused").to_string(),
        format!(
            "c.toml:3:9: models.m.providers.p: Failed to create DevApiClient: `signer` is missing; {fix}
c.toml:5:20: {}
c.toml:6:21: {}
c.toml:8:15: {}
4 problems; nothing was started",
            missing(".endpoint", "API_ENDPOINT"),
            missing(".device_id", "DEVICE_ID"),
            missing(".sid", "SID"),
        )
    );
}

#[test]
fn mistakes_of_a_provider_are_refused() {
    check_line("requests = {}", ".requests", "unknown key; did you mean `request`?");
    for (line, key, expect) in [
        (
            "nonce = 'nonce'",
            ".nonce",
            "expected a place, found a string; write { header = \"NAME\" }, { query = \"NAME\" } or { body = \"/POINTER\" }",
        ),
        (
            "nonce = { header = 'a', body = '/b' }",
            ".nonce",
            "a value has one place; write { header = \"NAME\" }, { query = \"NAME\" } or { body = \"/POINTER\" }",
        ),
        (
            "nonce = { header = 'Host' }",
            ".nonce.header",
            "\"Host\": a header of the transport, which is not for use; name another header",
        ),
        (
            "nonce = { header = 'a b' }",
            ".nonce.header",
            "\"a b\": not the name of a header; name another header",
        ),
        (
            "nonce = { body = 'a' }",
            ".nonce.body",
            "\"a\": not a JSON pointer: it begins with `/`, `~` is written `~0` and a `/` in a name `~1`; write it like \"/data/text\"",
        ),
        (
            "nonce = { header = 'SID' }",
            "",
            "the header `sid`: two values would have one place; give each its own",
        ),
        (
            "nonce = { body = '/messages/0' }",
            "",
            "the body's `/messages/0` and the body's `/messages`: two values would have one place; give each its own",
        ),
        (
            "nonce = { header = 'Sign' }",
            "SIGNER",
            "its result would take the place of the header `sign`; give it another place",
        ),
        (
            "timestamp_type = 'string'",
            ".timestamp_type",
            "headers and the query have text only; remove it, or put `timestamp` into the body",
        ),
        ("path = 'chat?x'", ".path", "not the path of a URL; write it like \"/chat\""),
        (
            "messages = 'none'",
            "",
            "what the user says would not be sent; write messages = \"/POINTER\" or user_text = \"/POINTER\"",
        ),
        ("content = 'text'", ".content", "\"text\" is not a text to sign; known here: body, user_text"),
        (
            "sid = 'none'",
            "SID",
            "no place in a request and no signer wants it; remove it, or give it a place: request = { sid = { header = \"…\" } }",
        ),
    ] {
        let key = match key {
            "SIGNER" => ".signer".to_owned(),
            "SID" => ".sid".to_owned(),
            key => format!(".request{key}"),
        };
        check_line(&format!("[models.m.providers.p.request]\n{line}"), &key, expect);
    }
    check_line(
        "[models.m.providers.p.response]\ntext = 'x'",
        ".response.text",
        "\"x\": not a JSON pointer: it begins with `/`, `~` is written `~0` and a `/` in a name `~1`; write it like \"/data/text\"",
    );
}

#[test]
fn mistakes_of_references_and_signers_are_refused() {
    let problem = |from: &str, to: &str| {
        let problems = parse(&provider("").replace(from, to)).expect_err("is refused");
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        problems.join("\n")
    };
    let device = "'dynamic::X-Device-Id'";
    for (to, expect) in [
        (
            "'dynamic::Authorization'",
            "this header is between the client and the gateway; write \"dynamic::x-…\"",
        ),
        ("'dynamic::'", "what follows dynamic:: is not the name of a header; write \"dynamic::x-…\""),
    ] {
        assert!(problem(device, to).ends_with(expect), "{to}");
    }
    let prefix = "Failed to create DevApiClient: Failed to get WasmSigner instance: ";
    for (from, to, expect) in [
        ("signer = 's'", "signer = 't'", format!("{prefix}there is no signer \"t\"; did you mean `s`?")),
        (
            "'sign.wasm'",
            "'gone.wasm'",
            "c.toml:2:8: signers.s.file: Failed to get WasmSigner instance: folder/gone.wasm is not there; put it there, or name another file".to_owned(),
        ),
        (
            "result = { header = 'sign' }",
            "",
            "c.toml:1:1: signers.s: `result` is missing; write result = { header = \"sign\" }, or results = { NAME = { … } } for several".to_owned(),
        ),
        (
            "result = { header = 'sign' }",
            "results = { a = { query = 'x' }, b = { query = 'x' } }",
            "signers.s.results.b: the query's `x` is the place of \"a\" already; give each its own".to_owned(),
        ),
        (
            "result = { header = 'sign' }",
            "result = { header = 'sign' }\narguments = ['nonse']",
            "signers.s.arguments[0]: \"nonse\" is not an argument; did you mean `nonce`?".to_owned(),
        ),
        ("http://", "http://u:p@", "a user or password in the URL; use request.headers for a key".to_owned()),
    ] {
        let problem = problem(from, to);
        assert!(problem.ends_with(&expect), "{problem}\n{expect}");
        assert_eq!(problem.lines().count(), 1, "{problem}");
    }
}

#[test]
fn the_model_of_chat_must_be_there() {
    let two = BASE.replace("[models.m]", "[models.n]").replace("[models.m.", "[models.n.") + BASE;
    assert_eq!(accept(&two).server.chat_model, None);
    let config = accept(&format!("[server]\nchat_model = 'n'\n{two}"));
    assert_eq!(config.server.chat_model.as_deref(), Some("n"));
    check(
        &format!("[server]\nchat_model = 'nn'\n{two}"),
        "2:14: server.chat_model: there is no model \"nn\"; did you mean `n`?",
    );
}
