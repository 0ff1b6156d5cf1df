use rust_proxy_stream::dialect::Dialect;
use rust_proxy_stream::exchange::Asking;

use super::Stages;
use crate::config::Config;
use crate::config::tests::{accept, check, parse};

/// Two models with the pipeline `a`, two keys, and these tables.
fn file(tables: &str) -> String {
    let model = |name: &str| {
        format!(
            "[models.{name}]\nrouting = ['p']\npipeline = 'a'\nproviders.p = {{ type = 'openai', \
             api_base = 'http://127.0.0.1/v1', api_key_location = 'none' }}\n"
        )
    };
    format!(
        "{tables}\n[[server.keys]]\nname = 'ann'\nkey = 'env::CLIENT_KEY'\n\
         [[server.keys]]\nname = 'bob'\nkey = 'path::key.txt'\n{}{}",
        model("m"),
        model("n")
    )
}

/// A request to the model `m`.
#[derive(Clone, Copy)]
struct Sent<'a> {
    model: &'a str,
    key: Option<&'a str>,
    dialect: Dialect,
    headers: &'a [(&'a str, &'a str)],
}

const SENT: Sent<'_> = Sent { model: "m", key: Some("ann"), dialect: Dialect::OpenAiChat, headers: &[] };

/// The plugins of a request, as `process | modify`.
fn run(config: &Config, sent: Sent<'_>) -> String {
    let headers: Vec<_> =
        sent.headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let choice = config.choice(&config.models[sent.model], sent.model).unwrap();
    let asking = Asking { dialect: sent.dialect, key: sent.key, headers: &headers };
    let Stages { process, modify } = choice.choose(asking);
    format!("{} | {}", process.join(" "), modify.join(" "))
}

/// Rules of the pipeline `a`, whose own plugin is `mask`, and a pipeline `b` with `emoji`.
fn rules(rules: &str) -> Config {
    accept(&file(&format!(
        "[pipelines]\na = {{ modify = ['mask'], when = [{rules}] }}\nb = {{ modify = ['emoji'] }}"
    )))
}

#[test]
fn a_rule_chooses_by_each_property() {
    for (condition, fulfils, fails) in [
        ("model = 'n'", Sent { model: "n", ..SENT }, SENT),
        ("key = 'bob'", Sent { key: Some("bob"), ..SENT }, SENT),
        ("key = 'bob'", Sent { key: Some("bob"), ..SENT }, Sent { key: None, ..SENT }),
        ("route = '/chat'", Sent { dialect: Dialect::Chat, ..SENT }, SENT),
        ("header = { X-Tier = 'gold' }", Sent { headers: &[("x-tier", "gold")], ..SENT }, SENT),
        (
            "header = { X-Tier = 'gold' }",
            Sent { headers: &[("x-other", "1"), ("x-tier", "gold")], ..SENT },
            Sent { headers: &[("x-tier", "Gold")], ..SENT },
        ),
        ("header = { x-tier = true }", Sent { headers: &[("x-tier", "")], ..SENT }, SENT),
        (
            "header = { x-tier = ['gold', 'silver'] }",
            Sent { headers: &[("x-tier", "silver")], ..SENT },
            Sent { headers: &[("x-tier", "gold, silver")], ..SENT },
        ),
    ] {
        let config = rules(&format!("{{ {condition}, use = 'b' }}"));
        assert_eq!(run(&config, fulfils), " | emoji", "{condition}");
        assert_eq!(run(&config, fails), " | mask", "{condition}");
    }
}

#[test]
fn all_conditions_of_a_rule_must_hold() {
    let config = rules("{ key = 'bob', route = '/chat', header = { x-a = '1', x-b = true }, use = 'none' }");
    let all =
        Sent { key: Some("bob"), dialect: Dialect::Chat, headers: &[("x-a", "1"), ("x-b", "2")], ..SENT };
    assert_eq!(run(&config, all), " | ");
    for but_one in [
        Sent { key: Some("ann"), ..all },
        Sent { dialect: Dialect::OpenAiChat, ..all },
        Sent { headers: &[("x-a", "1")], ..all },
        Sent { headers: &[("x-a", "2"), ("x-b", "2")], ..all },
    ] {
        assert_eq!(run(&config, but_one), " | mask");
    }
}

#[test]
fn rules_add_until_one_chooses_and_what_they_added_stays() {
    let config = rules(
        "{ key = 'ann', process_also = ['mask'] },
         { route = '/chat', use = 'b' },
         { key = ['ann', 'bob'], process_also = ['emoji', 'mask'], modify_also = ['emoji'] },
         { header = { x-a = true }, use = 'none' },",
    );
    let chat = Sent { dialect: Dialect::Chat, ..SENT };
    let header = Sent { headers: &[("x-a", "")], ..SENT };
    assert_eq!(run(&config, chat), "mask | emoji");
    assert_eq!(run(&config, Sent { key: Some("bob"), ..chat }), " | emoji");
    assert_eq!(run(&config, SENT), "mask emoji | mask emoji");
    assert_eq!(run(&config, Sent { key: Some("bob"), ..SENT }), "emoji mask | mask emoji");
    assert_eq!(run(&config, Sent { key: None, ..SENT }), " | mask");
    assert_eq!(run(&config, header), "mask emoji | emoji");
    assert_eq!(run(&config, Sent { key: None, ..header }), " | ");
}

#[test]
fn the_rules_of_a_pipeline_that_was_chosen_are_read_too() {
    let config = accept(&file(
        "[pipelines.a]
        when = [{ key = 'ann', use = 'b' }, { use = 'c' }]
        [pipelines.b]
        process = ['emoji']
        when = [{ model = 'n', process_also = ['mask'] }, { route = '/chat', use = 'c' }]
        [pipelines.c]
        modify = ['mask']",
    ));
    assert_eq!(run(&config, SENT), "emoji | ");
    assert_eq!(run(&config, Sent { model: "n", ..SENT }), "emoji mask | ");
    assert_eq!(run(&config, Sent { dialect: Dialect::Chat, ..SENT }), " | mask");
    assert_eq!(run(&config, Sent { model: "n", dialect: Dialect::Chat, ..SENT }), "mask | mask");
    assert_eq!(run(&config, Sent { key: Some("bob"), ..SENT }), " | mask");
    assert!(config.notices.is_empty(), "{:?}", config.notices);
}

#[test]
fn what_is_asked_is_what_requests_differ_in() {
    let config = rules("{ model = 'm', use = 'b' }, { header = { x-a = true }, use = 'none' }");
    let all = |model: &str| config.choice(&config.models[model], model).unwrap().all().len();
    assert_eq!((all("m"), all("n")), (1, 2));
    assert_eq!(config.rule_headers().collect::<Vec<_>>(), ["x-a"]);
}

/// `tables` are refused with exactly this problem, given without the file's name.
#[track_caller]
fn refuse(tables: &str, expect: &str) {
    check(&file(tables), expect);
}

/// A rule of the pipeline `a` is refused with this problem, given without its column.
#[track_caller]
fn refuse_rule(rule: &str, expect: &str) {
    let lines =
        format!("[pipelines]\na = {{ modify = ['mask'], when = [{rule}] }}\nb = {{ modify = ['emoji'] }}");
    let problems = parse(&file(&lines)).expect_err("is refused").to_string();
    let (place, problem) = problems.split_once(": ").expect("a place");
    assert!(place.starts_with("c.toml:2:"), "{problems}");
    assert_eq!(problem, format!("{expect}\n1 problem; nothing was started"));
}

#[test]
fn names_that_are_not_there_are_refused() {
    refuse_rule(
        "{ model = 'o', use = 'b' }",
        "pipelines.a.when[0].model: there is no model \"o\"; did you mean `m`?",
    );
    refuse_rule(
        "{ key = ['ann', 'bo'], use = 'b' }",
        "pipelines.a.when[0].key: there is no client key \"bo\"; did you mean `bob`?",
    );
    refuse_rule(
        "{ key = 'ann', use = 'c' }",
        "pipelines.a.when[0].use: there is no pipeline \"c\"; did you mean `b`?",
    );
    refuse_rule(
        "{ route = '/v1/chat', use = 'b' }",
        "pipelines.a.when[0].route: \"/v1/chat\" takes no chat requests; \
         did you mean `/v1/chat/completions`?",
    );
    refuse_rule(
        "{ key = 'ann', modify_also = ['gone'] }",
        "pipelines.a.when[0].modify_also[0]: there is no plugin \"gone\": folder/plugins/gone.wasm is not \
         there; put it there, or write [plugins.gone] with file = \"…\"",
    );
    refuse_rule(
        "{ keys = 'ann', key = 'bob', use = 'b' }",
        "pipelines.a.when[0].keys: unknown key; did you mean `key`?",
    );
    check(
        "[pipelines.a]\nmodify = ['mask']\nwhen = [{ key = 'ann', use = 'none' }]\n[models.m]\nrouting = ['p']\n\
         pipeline = 'a'\nproviders.p = { type = 'openai', api_base = 'http://127.0.0.1/', api_key_location = 'none' }",
        "3:17: pipelines.a.when[0].key: there is no client key \"ann\"; add [[server.keys]] with this name",
    );
}

#[test]
fn conditions_that_cannot_be_read_are_refused() {
    let fix = "write header = { x-… = \"VALUE\" }, or true in place of a value where any will do";
    refuse_rule(
        "{ key = [], use = 'b' }",
        "pipelines.a.when[0].key: the list is empty, so this holds for no request; write a value, or remove it",
    );
    refuse_rule(
        "{ key = ['ann', 'ann'], use = 'b' }",
        "pipelines.a.when[0].key[1]: \"ann\" is named twice; remove one of them",
    );
    refuse_rule(
        "{ header = { x-a = false }, use = 'b' }",
        &format!(
            "pipelines.a.when[0].header.x-a: expected a header's value, or true, found a boolean; {fix}"
        ),
    );
    refuse_rule(
        "{ header = { 'x a' = true }, use = 'b' }",
        &format!("pipelines.a.when[0].header.\"x a\": this is not the name of a header; {fix}"),
    );
    refuse_rule(
        "{ header = { X-A = true, x-a = true }, use = 'b' }",
        "pipelines.a.when[0].header.x-a: this header is named twice; remove one of them",
    );
    refuse_rule(
        "{ header = { x-a = 'é' }, use = 'b' }",
        "pipelines.a.when[0].header.x-a: no header has this value; \
         write visible ASCII, without spaces around it",
    );
    refuse_rule(
        "{ header = {}, use = 'b' }",
        &format!("pipelines.a.when[0].header: no header is named; {fix}"),
    );
}

#[test]
fn credentials_are_no_condition() {
    for name in ["Authorization", "cookie", "x-api-key", "proxy-authorization"] {
        let rule = format!("{{ header = {{ {name} = true }}, use = 'b' }}");
        let expect = format!(
            "pipelines.a.when[0].header.{name}: this header is between the client and the gateway; `key` is the \
             condition for client keys"
        );
        refuse_rule(&rule, &expect);
    }
}

#[test]
fn effects_that_are_none_are_refused() {
    refuse_rule(
        "{ key = 'ann' }",
        "pipelines.a.when[0]: this rule does nothing; write use = \"PIPELINE\", or process_also = \
         [\"PLUGIN\"], modify_also = [\"PLUGIN\"]",
    );
    refuse_rule(
        "{ key = 'ann', use = 'b', process_also = ['mask'] }",
        "pipelines.a.when[0].use: a rule chooses a pipeline or adds plugins; make two rules of it",
    );
    refuse_rule(
        "{ key = 'ann', modify_also = ['emoji', 'mask'] }",
        "pipelines.a.when[0].modify_also: \"mask\" is in the pipeline's modify already, so this adds nothing; \
         remove it from one of the two",
    );
    let always = "a rule without a condition always holds; put it last, with `use`; plugins that always run belong \
                  in the pipeline's own lists";
    refuse_rule("{ process_also = ['mask'] }", &format!("pipelines.a.when[0]: {always}"));
}

/// The third of these rules is refused because nothing gets to it.
#[track_caller]
fn refuse_third(first: &str, second: &str, third: &str) {
    let rules = format!("{{ {first} }},\n{{ {second} }},\n{{ {third} }}");
    refuse(
        &format!("[pipelines]\na = {{ modify = ['mask'], when = [{rules}] }}\nb = {{ modify = ['emoji'] }}"),
        "4:1: pipelines.a.when[2]: this rule changes nothing: the rules before it take every request that it is \
         for, or add the same plugins; put it before them, or remove it",
    );
}

#[test]
fn a_rule_that_nothing_gets_to_is_refused() {
    let chat = "route = '/chat', use = 'b'";
    // The first takes more, or as much.
    refuse_third("key = 'ann', use = 'b'", chat, "key = 'ann', use = 'none'");
    refuse_third("key = ['ann', 'bob'], use = 'b'", chat, "key = 'ann', model = 'm', use = 'none'");
    refuse_third(
        "header = { x-a = true }, use = 'b'",
        chat,
        "header = { x-a = '1' }, modify_also = ['emoji']",
    );
    // The two together do.
    refuse_third(
        "header = { x-a = '1' }, use = 'b'",
        "header = { x-a = ['2', '3'] }, use = 'none'",
        "header = { x-a = ['1', '3'] }, key = 'bob', use = 'none'",
    );
    refuse_third(
        "route = '/chat', key = 'ann', use = 'b'",
        "route = '/v1/chat/completions', use = 'none'",
        "key = 'ann', header = { x-b = true }, use = 'b'",
    );
    // What it adds is there.
    refuse_third(
        "key = 'ann', modify_also = ['emoji']",
        chat,
        "key = 'ann', model = 'm', modify_also = ['emoji']",
    );
}

#[test]
fn models_and_plugins_that_nothing_gets_to_are_refused() {
    refuse(
        "[pipelines]\na = { modify = ['mask'] }\nb = { modify = ['emoji'], when = [{ model = 'm', use = 'a' }] }\n\
         [models.o]\npipeline = 'b'\nrouting = ['p']\n\
         providers.p = { type = 'openai', api_base = 'http://127.0.0.1/', api_key_location = 'none' }",
        "3:45: pipelines.b.when[0].model: the model \"m\" does not run this pipeline; \
         write pipeline = \"b\" in [models.m], or remove it here",
    );
    refuse_rule(
        "{ model = 'm', use = 'b' }, { use = 'none' }",
        "pipelines.a: its own plugins never run: its rules choose another pipeline for every request; \
         remove its `process` and `modify`, or a rule",
    );
}

#[test]
fn rules_that_lead_in_a_circle_are_refused() {
    let problems = parse(&file(
        "[pipelines]\na = { modify = ['mask'], when = [{ key = 'ann', use = 'b' }] }\n\
         b = { modify = ['mask'], when = [{ key = 'bob', use = 'a' }] }\n\
         c = { modify = ['mask'], when = [{ key = 'bob', use = 'a' }] }",
    ));
    let fix = "its rules lead back to it; let one of the rules with `use` choose another pipeline";
    assert_eq!(
        problems.expect_err("is refused").to_string(),
        format!(
            "c.toml:2:5: pipelines.a: {fix}\nc.toml:3:5: pipelines.b: {fix}\n2 problems; nothing was started"
        )
    );
}

#[test]
fn too_many_rules_are_refused_before_they_are_all_followed() {
    let rule = |n: usize| format!("{{ header = {{ x-{n} = true }}, process_also = ['p{n}'] }}");
    let rules: Vec<String> = (0..40).map(rule).collect();
    let plugins: String = (0..40).map(|n| format!("[plugins.p{n}]\nfile = 'mask.wasm'\n")).collect();
    let rules = rules.join(",");
    refuse(
        &format!("[pipelines]\na = {{ modify = ['mask'], when = [{rules}] }}\n{plugins}"),
        "2:5: pipelines.a: its rules combine in too many ways for the model \"m\"; write fewer, or choose among \
         whole pipelines with `use`",
    );
}

#[test]
fn a_pipeline_of_rules_alone_is_one_and_none_is_no_name() {
    let config = accept(&file("[pipelines]\na = { when = [{ key = 'ann', modify_also = ['mask'] }] }"));
    assert_eq!(
        (run(&config, SENT), run(&config, Sent { key: None, ..SENT })),
        (" | mask".into(), " | ".into())
    );
    refuse(
        "[pipelines]\nnone = { modify = ['mask'] }\na = { modify = ['mask'] }",
        "2:8: pipelines.none: use = \"none\" stands for no pipeline; give it another name",
    );
}

#[test]
fn a_rule_is_shown_on_one_line() {
    let config = accept(&file(
        "[pipelines.b]\nmodify = ['emoji']\n[pipelines.a]
        when = [
          { key = ['ann', 'bob'], header = { x-a = ['1', '2'], x-b = true }, use = 'b' },
          { model = 'n', route = '/chat', process_also = ['mask', 'emoji'], modify_also = ['emoji'] },
          { use = 'none' },
        ]",
    ));
    let shown: Vec<String> = config.pipelines["a"].when.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "key ann or bob, header x-a \"1\" or \"2\", header x-b: use b",
            "model n, route /chat: process also mask → emoji, modify also emoji",
            "else: use none",
        ]
    );
}
