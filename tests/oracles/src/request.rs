//! A chat request: its items, and what changes make of its body.

use bytes::Bytes;
use rust_proxy_stream::dialect::openai_chat::Request;
use rust_proxy_stream::item::{Body, Change, Item};

use crate::source::{Source, split};

/// Any bytes as a request.
///
/// # Panics
/// If the request, changed or not, says anything else than it should.
pub fn check(input: &[u8]) {
    let (body, choices) = split(input);
    if let Ok(request) = Request::parse(&Bytes::copy_from_slice(body)) {
        check_request(body, &request, choices);
    }
}

/// Checks what changes make of a request.
///
/// # Panics
/// If a body without changes is not the client's; if texts that are set to themselves or to something else are
/// not the texts that are read again, or anything else is; if a dropped or inserted message is more than that.
pub(crate) fn check_request(body: &[u8], request: &Request, mut choices: Source<'_>) {
    assert_eq!(request.to_body(request.model()), body, "untouched");
    let items = request.items();
    assert!(items.iter().zip(0..).all(|(item, id)| item.id == id), "items are counted");

    let renamed = parse(&request.to_body("another/\"model\""));
    assert_eq!((renamed.model(), renamed.items()), ("another/\"model\"", items.clone()));

    let text = |item: &Item| item.body.text().map(str::to_owned);
    // An empty text that is set removes its part.
    let same = items.iter().filter_map(|item| Some((item.id, text(item).filter(|text| !text.is_empty())?)));
    check_set(request, &items, same);
    let marked =
        items.iter().filter_map(|item| text(item).map(|_| (item.id, format!("\"\\\n<{}>😀", item.id))));
    check_set(request, &items, marked);
    let some = items.iter().filter_map(|item| text(item).map(|_| (item.id, "x".to_owned())));
    check_set(request, &items, some.filter(|_| choices.one_in(2)));

    check_drop(request, &items, choices.below(256) as u32);
    check_insert(request, &items, choices.below(256) as u32);
}

fn parse(body: &Bytes) -> Request {
    Request::parse(body).unwrap_or_else(|error| panic!("{error}: {body:?}"))
}

fn check_set(request: &Request, items: &[Item], texts: impl Iterator<Item = (u32, String)>) {
    let (mut expected, mut changes) = (items.to_vec(), Vec::new());
    for (item, new) in texts {
        match &mut expected[item as usize].body {
            Body::Text(text) | Body::ToolArgument { text, .. } | Body::ToolResult { text, .. } => {
                text.clone_from(&new)
            }
            body => panic!("{body:?} has no text"),
        }
        changes.push(Change::SetText { item, text: new });
    }
    let mut changed = request.clone();
    changed.apply(&changes).expect("texts can be set");
    // What was not JSON may have become JSON.
    let settled = |item: &&Item| !matches!(item.body, Body::ToolArgument { pointer: None, .. });
    if expected.iter().all(|item| settled(&item)) {
        assert_eq!(parse(&changed.to_body(request.model())).items(), expected);
    }
}

/// The messages of items.
fn bodies(items: &[Item], of: impl Fn(u32) -> Option<u32>) -> Vec<(u32, &str, &Body)> {
    items.iter().filter_map(|item| Some((of(item.message)?, item.role.as_str(), &item.body))).collect()
}

fn check_drop(request: &Request, items: &[Item], message: u32) {
    let mut changed = request.clone();
    if changed.apply(&[Change::DropMessage(message)]).is_err() {
        assert_eq!(changed.to_body(request.model()), request.to_body(request.model()), "all or nothing");
        return;
    }
    let left = parse(&changed.to_body(request.model())).items();
    let expected = bodies(items, |at| (at != message).then(|| at - u32::from(at > message)));
    assert_eq!(bodies(&left, Some), expected);
}

fn check_insert(request: &Request, items: &[Item], before: u32) {
    let mut changed = request.clone();
    let text = "inserted \"\\\n".to_owned();
    if changed.apply(&[Change::Insert { before, role: "system".to_owned(), text: text.clone() }]).is_err() {
        assert_eq!(changed.to_body(request.model()), request.to_body(request.model()), "all or nothing");
        return;
    }
    let now = parse(&changed.to_body(request.model())).items();
    let expected = bodies(items, |at| Some(at + u32::from(at >= before)));
    assert_eq!(bodies(&now, |at| (at != before).then_some(at)), expected);
    let inserted: Vec<_> = now.iter().filter(|item| item.message == before).map(|item| &item.body).collect();
    assert_eq!(inserted, [&Body::Text(text)]);
}
