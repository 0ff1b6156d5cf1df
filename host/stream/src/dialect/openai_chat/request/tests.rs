use serde_json::{Value, json};

use super::*;
use crate::item::Body;

fn parse(body: &Value) -> Request {
    Request::parse(&Bytes::from(body.to_string())).unwrap()
}

fn messages(request: &Request) -> Value {
    serde_json::from_slice::<Value>(&request.to_body("m")).unwrap()["messages"].clone()
}

fn set(item: u32, text: &str) -> Change {
    Change::SetText { item, text: text.to_owned() }
}

fn error(body: &str) -> String {
    Request::parse(&Bytes::from(body.to_owned())).unwrap_err().to_string()
}

fn conversation() -> Value {
    json!([
        {"role": "system", "content": "be nice"},
        {"role": "user", "name": "ann", "content": [
            {"type": "text", "text": "look"},
            {"type": "image_url", "image_url": {"url": "data:x"}},
        ]},
        {"role": "assistant", "content": null, "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "find", "arguments": "{\"q\": \"a\\nb\", \"n\": 1.50}"}},
        ]},
        {"role": "tool", "tool_call_id": "c1", "content": "found"},
    ])
}

#[test]
fn an_unchanged_request_leaves_byte_for_byte() {
    let body =
        r#"{ "model":"m", "x":1.50, "messages":[ {"role":"user","content":"a\/b"} ],"stream" : true }"#;
    let request = Request::parse(&Bytes::from(body)).unwrap();
    assert!(request.streaming());
    assert_eq!(request.to_body("m"), body.as_bytes());
    assert_eq!(request.to_body("other"), body.replace(r#""m""#, r#""other""#).as_bytes());
}

#[test]
fn every_text_is_an_item() {
    let request = parse(&json!({"model": "m", "messages": conversation()}));
    let items = request.items();
    let seen: Vec<_> = items.iter().map(|item| (item.id, item.message, item.body.clone())).collect();
    let call = || "c1".to_owned();
    assert_eq!(
        seen,
        [
            (0, 0, Body::Text("be nice".into())),
            (1, 1, Body::Text("look".into())),
            (2, 1, Body::Opaque("image_url".into())),
            (3, 2, Body::ToolCall { id: call(), name: "find".into() }),
            (4, 2, Body::ToolArgument { call: call(), pointer: Some("/q".into()), text: "a\nb".into() }),
            (5, 3, Body::ToolResult { call: call(), text: "found".into() }),
        ]
    );
}

#[test]
fn texts_are_written_back_where_they_stood() {
    let mut request = parse(&json!({"model": "m", "messages": conversation()}));
    request.apply(&[set(1, "l\"k"), set(4, "***"), set(5, "")]).unwrap();
    let mut expected = conversation();
    expected[1]["content"][0]["text"] = "l\"k".into();
    expected[2]["tool_calls"][0]["function"]["arguments"] = "{\"q\": \"***\", \"n\": 1.50}".into();
    expected[3]["content"] = "".into();
    assert_eq!(messages(&request), expected);
}

#[test]
fn the_input_of_a_custom_tool_is_one_text_whatever_it_looks_like() {
    for input in ["{\"secret\":[1]}", "12345", "\"a\"", "plain", "{\"a\":1,\"a\":2}"] {
        let call = json!({"id": "c", "type": "custom", "custom": {"name": "sql", "input": input}});
        let mut request =
            parse(&json!({"model": "m", "messages": [{"role": "assistant", "tool_calls": [call]}]}));
        let argument = Body::ToolArgument { call: "c".into(), pointer: None, text: input.into() };
        assert_eq!(request.items()[1..].iter().map(|item| &item.body).collect::<Vec<_>>(), [&argument]);
        request.apply(&[set(1, "{\"*\"")]).unwrap();
        assert_eq!(messages(&request)[0]["tool_calls"][0]["custom"]["input"], "{\"*\"");
    }
}

#[test]
fn what_is_emptied_is_removed_and_the_next_link_does_not_see_it() {
    let mut request = parse(&json!({"model": "m", "messages": conversation()}));
    request.apply(&[set(0, ""), set(1, "")]).unwrap();
    assert_eq!(request.items().len(), 4);
    request.apply(&[set(3, "none")]).unwrap();
    let messages = messages(&request);
    assert_eq!(messages[0]["content"], json!([{"type": "image_url", "image_url": {"url": "data:x"}}]));
    assert_eq!(messages[2]["content"], "none");
}

#[test]
fn messages_are_inserted_and_dropped() {
    let mut request = parse(&json!({"model": "m", "messages": conversation()}));
    let insert = |before, text: &str| Change::Insert { before, role: "user".into(), text: text.into() };
    request.apply(&[insert(4, "last"), Change::DropMessage(0), insert(1, "a"), insert(1, "b")]).unwrap();
    let texts: Vec<_> =
        request.items().iter().filter_map(|item| item.body.text().map(str::to_owned)).collect();
    assert_eq!(texts, ["a", "b", "look", "a\nb", "found", "last"]);
}

#[test]
fn a_call_is_not_parted_from_its_result() {
    let request = parse(&json!({"model": "m", "messages": conversation()}));
    let insert = Change::Insert { before: 3, role: "user".into(), text: "x".into() };
    for change in [Change::DropMessage(2), Change::DropMessage(3), insert] {
        let mut request = request.clone();
        let fault = request.apply(std::slice::from_ref(&change)).unwrap_err();
        assert!(fault.detail.contains("part the call `c1`"), "{change:?}: {fault}");
        assert_eq!(messages(&request), conversation());
    }
    let mut both = request;
    both.apply(&[Change::DropMessage(2), Change::DropMessage(3)]).unwrap();
    assert_eq!(both.items().len(), 3);
}

#[test]
fn changes_that_break_the_contract_are_faults() {
    let insert = |before, role: &str| Change::Insert { before, role: role.into(), text: "x".into() };
    for changes in [
        vec![set(3, "x")],
        vec![set(2, "x")],
        vec![set(99, "x")],
        vec![set(0, "x"), set(0, "y")],
        vec![Change::DropMessage(4)],
        vec![insert(5, "user")],
        vec![insert(0, "tool")],
    ] {
        let mut request = parse(&json!({"model": "m", "messages": conversation()}));
        assert!(request.apply(&changes).is_err(), "{changes:?}");
    }
    let mut request = parse(&json!({"model": "m", "messages": [{"role": "user", "content": "x"}]}));
    assert!(request.apply(&[set(0, "")]).unwrap_err().detail.contains("no message is left"));
}

#[test]
fn errors_name_the_culprit() {
    for (body, expected) in [
        ("{", "not a JSON object"),
        ("[1]", "not a JSON object"),
        (r#"{"messages":[]}"#, "`model`: missing"),
        (r#"{"model":1,"messages":[]}"#, "`model`: must be a string"),
        (r#"{"model":"m"}"#, "`messages`: missing"),
        (r#"{"model":"m","messages":[]}"#, "`messages`: empty"),
        (r#"{"model":"m","messages":"hi"}"#, "`messages`: must be a list"),
        (r#"{"model":"m","stream":"yes","messages":[]}"#, "`stream`: must be true or false"),
        (r#"{"model":"m","messages":[{"content":"x"}]}"#, "`messages[0].role`: missing"),
        (r#"{"model":"m","messages":[{"role":"user","content":7}]}"#, "`messages[0].content`: must be"),
        (
            r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text"}]}]}"#,
            "`messages[0].content[0].text`",
        ),
        (
            r#"{"model":"m","messages":[{"role":"user","content":"a","content":"b"}]}"#,
            "a key that stands twice",
        ),
        (r#"{"model":"m","model":"n","messages":[]}"#, "a key that stands twice"),
        (
            r#"{"model":"m","messages":[{"role":"user","content":{"type":"text","text":"x"}}]}"#,
            "must be a list",
        ),
        (
            r#"{"model":"m","messages":[{"role":["user"],"content":"x"}]}"#,
            "`messages[0].role`: must be a string",
        ),
        (r#"{"model":"m","messages":["hi"]}"#, "`messages[0]`: must be an object"),
        (
            r#"{"model":"m","stream_options":[],"messages":[{"role":"user"}]}"#,
            "`stream_options`: must be an object",
        ),
        ("\u{feff}{}", "not a JSON object"),
        (r#"{"model":"m","messages":[]} {}"#, "not a JSON object"),
    ] {
        assert!(error(body).contains(expected), "{body}: {}", error(body));
    }
}

fn user(message: &str) -> String {
    format!(r#"{{"model":"m","messages":[{message}]}}"#)
}

#[test]
fn no_text_hides_from_a_filter() {
    let call = |call: &str| user(&format!(r#"{{"role":"assistant","tool_calls":[{call}]}}"#));
    for (body, expected) in [
        (user(r#"{"role":"user","content":"safe","\u0063ontent":"hidden"}"#), "a key that stands twice"),
        (
            user(r#"{"role":"user","content":[{"type":"text","text":"safe","text":"hidden"}]}"#),
            "a key that stands twice",
        ),
        (
            user(r#"{"role":"user","content":[{"type":"text","type":"x","text":"hidden"}]}"#),
            "a key that stands twice",
        ),
        (user(r#"{"role":"user","content":[{"text":"hidden"}]}"#), "`messages[0].content[0].type`: missing"),
        (user(r#"{"role":"user","content":[["hidden"]]}"#), "must be an object"),
        (user(r#"{"role":"user","content":["hidden"]}"#), "must be an object"),
        (call(r#"{"id":"c","function":{"name":"f","arguments":"{}","arguments":"hidden"}}"#), "stands twice"),
        (call(r#"{"id":"c","function":{"name":"f"},"function":{"arguments":"hidden"}}"#), "stands twice"),
        (
            call(r#"{"id":"c","function":{"name":"f","arguments":{"a":"hidden"}}}"#),
            "arguments`: must be a string",
        ),
        (call(r#"{"id":"c","function":{"name":"f"},"custom":{"input":"hidden"}}"#), "not both"),
        (call(r#"{"id":"c","custom":{"input":["hidden"]}}"#), "input`: must be a string"),
    ] {
        assert!(error(&body).contains(expected), "{body}: {}", error(&body));
    }
    // Arguments that readers could take in two ways, or that cannot be shown value by value.
    for arguments in [r#"{"a":"safe","a":"hidden"}"#.to_owned(), "[".repeat(1 << 16) + &"]".repeat(1 << 16)] {
        let body = call(&json!({"id": "c", "function": {"name": "f", "arguments": arguments}}).to_string());
        assert!(error(&body).contains("nested deeper than 64, with a key twice"), "{}", error(&body));
    }
}

#[test]
fn long_names_on_many_small_parts_do_not_multiply() {
    let long = "k".repeat(100_000);
    let values = vec![""; 10_000];
    let keyed = json!({ &long: values }).to_string();
    let listed = json!(values).to_string();
    let call = |id: &str, arguments: &str| {
        let call = json!({"id": id, "function": {"name": "f", "arguments": arguments}});
        user(&json!({"role": "assistant", "tool_calls": [call]}).to_string())
    };
    assert!(error(&call("c", &keyed)).contains("too many values under long keys"));
    assert!(error(&call(&long, &listed)).contains("too many parts"));
    let parts: Vec<_> = values.iter().map(|_| json!({"type": "text", "text": ""})).collect();
    assert!(error(&user(&json!({"role": long, "content": parts}).to_string())).contains("too many parts"));
    assert!(Request::parse(&Bytes::from(call("c", &listed))).is_ok());
}

#[test]
fn errors_hold_no_text_of_the_request() {
    for body in
        [r#"{"model":"m","messages":["private"]}"#, r#"{"model":"m","messages":"private"}"#, "[\"private\"]"]
    {
        assert!(!error(body).contains("private"), "{}", error(body));
    }
}

#[test]
fn odd_messages_pass_as_they_came() {
    for message in [
        r#"{"role":"assistant","content":null}"#,
        r#"{"role":"user","content":[]}"#,
        r#"{"role":"user","content":""}"#,
        r#"{"role":"wizard","content":"x","x":123456789012345678901234567890}"#,
        r#"{"role":"user","content":[{"type":"strange","text":"x"},{"type":"file","file":{"a":1,"a":2}}]}"#,
        r#"{"role":"assistant","tool_calls":[{"id":null,"function":{"name":null,"arguments":null}}]}"#,
        r#"{"role":"tool","content":"no call id"}"#,
        r#"{"role":"user","content":"\ud83d"}"#,
    ] {
        let body = user(message);
        let mut request = Request::parse(&Bytes::from(body.clone())).unwrap();
        assert_eq!(request.to_body("m"), body.as_bytes());
        request.items();
        let added = Change::Insert { before: 0, role: "user".into(), text: "hi".into() };
        request.apply(&[added]).unwrap();
        let added = user(&format!(r#"{{"role":"user","content":"hi"}},{message}"#));
        assert_eq!(request.to_body("m"), added.as_bytes());
    }
    let parts =
        parse(&json!({"model": "m", "messages": [{"role": "user", "content": [{"type": "strange"}]}]}));
    assert_eq!(parts.items()[0].body, Body::Opaque("strange".into()));
}

#[test]
fn nesting_of_any_depth_is_no_danger() {
    let deep = "[".repeat(1 << 20) + &"]".repeat(1 << 20);
    let body = format!(r#"{{"x":{deep},{}"#, &user(r#"{"role":"user","content":"x"}"#)[1..]);
    assert_eq!(Request::parse(&Bytes::from(body.clone())).unwrap().to_body("m"), body.as_bytes());
    assert!(error(&user(&deep)).contains("must be an object"));
}

#[test]
fn a_lone_half_is_shown_and_not_lost() {
    let mut request = Request::parse(&Bytes::from(user(r#"{"role":"user","content":"a\ud83d"}"#))).unwrap();
    assert_eq!(request.items()[0].body, Body::Text("a\u{fffd}".into()));
    request.apply(&[set(0, "b")]).unwrap();
    assert_eq!(messages(&request)[0]["content"], "b");
}
