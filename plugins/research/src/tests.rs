use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Instant;

use rust_proxy_sdk::testing::context;
use rust_proxy_sdk::{Body, Change, Decision, Item, Plugin, Processor};
use url::Url;

use crate::fetch::{Fetch, Head};
use crate::{Research, research};

/// A web of a few pages.
#[derive(Debug, Default)]
struct Web {
    answers: BTreeMap<&'static str, (Head, &'static str)>,
    asked: Vec<String>,
    bodies: usize,
}

impl Web {
    fn page(mut self, url: &'static str, body: &'static str) -> Self {
        let content_type = Some("text/html; charset=utf-8".to_owned());
        self.answers.insert(url, (Head { status: 200, content_type, location: None }, body));
        self
    }

    fn answer(mut self, url: &'static str, status: u16, content_type: &str, location: Option<&str>) -> Self {
        let content_type = Some(content_type.to_owned());
        self.answers
            .insert(url, (Head { status, content_type, location: location.map(str::to_owned) }, "no"));
        self
    }
}

impl Fetch for Web {
    type Sent = Url;

    fn send(&mut self, url: &Url) -> Result<Url, String> {
        self.asked.push(url.to_string());
        if url.host_str() == Some("denied.example") {
            Err("is not granted".to_owned())
        } else {
            Ok(url.clone())
        }
    }

    fn receive(
        &mut self,
        sent: Url,
        _: Instant,
        wants: impl FnOnce(&Head) -> bool,
    ) -> Result<(Head, Vec<u8>), String> {
        let (head, body) = self.answers.get(sent.as_str()).ok_or("cannot be had")?.clone();
        let wanted = wants(&head);
        self.bodies += usize::from(wanted);
        Ok((head, if wanted { body.as_bytes().to_vec() } else { Vec::new() }))
    }
}

fn text(id: u32, message: u32, role: &str, text: &str) -> Item {
    Item { id, message, role: role.to_owned(), body: Body::Text(text.to_owned()) }
}

/// The decision, and the log.
fn run(config: &str, web: &mut Web, items: &[Item]) -> (Decision, Vec<String>) {
    let plugin = Research::configure(config).unwrap();
    let log = RefCell::new(Vec::new());
    let decision = research(&plugin.settings, items, web, crate::http::tag, |line| {
        log.borrow_mut().push(line.to_owned())
    });
    (decision, log.into_inner())
}

const TEMPLATE: &str = r#"{"template": "[{tag}]{url}={text}[{tag}]"}"#;

/// The one change: its item, and its text with the tag replaced.
fn inserted(decision: &Decision) -> (u32, String) {
    let [Change::SetText(change)] = decision.changes.as_slice() else { panic!("{:?}", decision.changes) };
    let (_, rest) = change.text.split_once('[').unwrap();
    let (tag, _) = rest.split_once(']').unwrap();
    assert_eq!(tag.len(), 16);
    (change.item, change.text.replace(tag, "T"))
}

#[test]
fn pages_go_in_front_of_the_latest_user_message() {
    let mut web = Web::default().page("https://a.example/x", "<p>one").page("https://b.example/", "<p>two");
    let items = [
        text(0, 0, "system", "https://a.example/system"),
        text(1, 1, "user", "https://a.example/old"),
        text(2, 2, "assistant", "https://a.example/answer"),
        text(3, 3, "user", "Compare https://a.example/x#part"),
        text(4, 3, "user", "with https://b.example and https://a.example/x."),
        text(5, 4, "assistant", "."),
    ];
    let (decision, log) = run(TEMPLATE, &mut web, &items);
    let expected =
        "[T]https://a.example/x=one[T]\n\n[T]https://b.example/=two[T]\n\nCompare https://a.example/x#part";
    assert_eq!(inserted(&decision), (3, expected.to_owned()));
    let spans: Vec<_> = decision.findings.iter().map(|found| (found.lane, found.start, found.end)).collect();
    assert_eq!(spans, [(3, 8, 32), (4, 5, 22)]);
    assert_eq!(web.asked, ["https://a.example/x", "https://b.example/"]);
    assert!(log.is_empty() && decision.findings.iter().all(|found| found.rule == "research"));
}

#[test]
fn the_tag_is_another_each_time() {
    let texts = [0, 1].map(|_| {
        let mut web = Web::default().page("https://a.example/", "text");
        let (decision, _) = run("{}", &mut web, &[text(0, 0, "user", "https://a.example")]);
        let [Change::SetText(change)] = decision.changes.as_slice() else { panic!() };
        assert!(change.text.starts_with("<quoted-page-") && change.text.ends_with(">\n\nhttps://a.example"));
        change.text.clone()
    });
    assert_ne!(texts[0], texts[1]);
}

#[test]
fn the_chat_goes_on_without_a_page() {
    let mut web = Web::default()
        .answer("https://a.example/404", 404, "text/html", None)
        .answer("https://a.example/image", 200, "image/png", None)
        .page("https://a.example/empty", "<script>x</script>");
    for (url, line) in [
        ("https://a.example/404?key=secret", "a.example/404 cannot be had"),
        ("https://a.example/404", "a.example/404 answered with status 404"),
        ("https://a.example/image", "a.example/image is no text but \"image/png\""),
        ("https://a.example/empty", "a.example/empty has no text"),
        ("http://denied.example:81/x", "denied.example:81/x is not granted"),
    ] {
        let (decision, log) = run("{}", &mut web, &[text(0, 0, "user", url)]);
        assert_eq!(decision, Decision::unchanged());
        assert_eq!(log, [line]);
    }
    assert_eq!(web.bodies, 1, "only the body of a page of text is read");

    let mut web = web.page("https://b.example/", "here");
    let (decision, log) =
        run(TEMPLATE, &mut web, &[text(7, 0, "user", "https://a.example/404 https://b.example")]);
    assert!(inserted(&decision).1.starts_with("[T]https://b.example/=here[T]\n\n"));
    assert_eq!(log.len(), 1);
}

#[test]
fn redirects_are_followed_three_times() {
    let hop = |web: Web, from, to: &str| web.answer(from, 302, "", Some(to));
    let web = Web::default().page("https://b.example/end?q", "end");
    let web = hop(web, "https://a.example/1", "/2");
    let web = hop(web, "https://a.example/2", "//b.example/3");
    let web = hop(web, "https://b.example/3", "end?q#part");
    let mut web = hop(web, "https://a.example/0", "1");
    let (decision, _) = run(TEMPLATE, &mut web, &[text(0, 0, "user", "https://a.example/1")]);
    assert!(inserted(&decision).1.starts_with("[T]https://a.example/1=end[T]"));
    assert_eq!(
        web.asked,
        ["https://a.example/1", "https://a.example/2", "https://b.example/3", "https://b.example/end?q"]
    );

    for (from, location, reason) in [
        ("https://a.example/0", Some("1"), "redirects more than 3 times"),
        ("https://a.example/n", None, "redirects to nowhere"),
        ("https://a.example/f", Some("file:///etc/passwd"), "redirects to what is no page"),
        ("https://a.example/u", Some("https://user:pass@b.example/end?q"), "redirects to what is no page"),
        ("https://a.example/d", Some("http://denied.example"), "is not granted"),
    ] {
        web = web.answer(from, 301, "", location);
        let (decision, log) = run("{}", &mut web, &[text(0, 0, "user", from)]);
        assert_eq!(decision, Decision::unchanged());
        assert!(log[0].ends_with(reason), "{log:?}");
    }
}

#[test]
fn limits_hold() {
    let mut web = Web::default().page("https://a.example/1", "茶叶的分类").page("https://a.example/2", "two");
    let config = r#"{"max_pages": 1, "max_text": 2, "template": "[{tag}]{url}={text}[{tag}]"}"#;
    let items = [text(0, 0, "user", "https://a.example/1 https://a.example/1 https://a.example/2")];
    let (decision, log) = run(config, &mut web, &items);
    assert!(inserted(&decision).1.starts_with("[T]https://a.example/1=茶叶 […][T]\n\n"));
    assert_eq!(log, ["more pages are named than `max_pages` allows"]);
    assert_eq!(web.asked.len(), 1);
}

#[test]
fn a_request_without_urls_stays_as_it_is() {
    let mut web = Web::default();
    for items in [vec![], vec![text(0, 0, "user", "hello")], vec![text(0, 0, "tool", "https://a.example")]] {
        assert_eq!(run("{}", &mut web, &items), (Decision::unchanged(), Vec::new()));
    }
    assert!(web.asked.is_empty());
}

#[test]
fn off_webassembly_every_page_is_missing() {
    let items = [text(0, 0, "user", "https://a.example")];
    let decision = Research::configure("{}").unwrap().process(&context(), &items);
    assert_eq!(decision, Ok(Decision::unchanged()));
}

#[test]
fn a_configuration_that_makes_no_sense_names_the_key() {
    for (config, start) in [
        (r#"{"max_pages": 0}"#, "`max_pages` is 0: write 1 or more, or remove the key for 3"),
        (r#"{"max_page_bytes": 0}"#, "`max_page_bytes` is 0: write 1 or more"),
        (r#"{"max_text": 0}"#, "`max_text` is 0"),
        (r#"{"timeout_ms": 0}"#, "`timeout_ms` is 0"),
        (r#"{"timeout_ms": "5s"}"#, "`timeout_ms`: invalid type: string \"5s\", expected u32"),
        (r#"{"user_agent": ""}"#, "`user_agent` is no header: write visible ASCII"),
        (r#"{"user_agent": "a\r\nb"}"#, "`user_agent` is no header"),
        (r#"{"template": "{text}"}"#, "`template` does not say where the page is from"),
        (r#"{"pages": 1}"#, "`pages`: unknown field `pages`, expected one of `max_pages`"),
    ] {
        let error = Research::configure(config).unwrap_err();
        assert!(error.starts_with(start), "{config}: {error}");
    }
}
