use std::collections::VecDeque;
use std::sync::Mutex;

use bytes::Bytes;
use futures_util::stream;
use rust_proxy_stream::fetch::FetchBody;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const WALL: Duration = Duration::from_secs(20);

/// Answers lookups one after another; the last answer is repeated.
struct Answers(Mutex<VecDeque<Vec<SocketAddr>>>, Mutex<u32>);

impl Answers {
    fn new<const N: usize>(answers: [&[SocketAddr]; N]) -> Arc<Self> {
        Arc::new(Self(Mutex::new(answers.map(<[_]>::to_vec).into()), Mutex::new(0)))
    }

    fn asked(&self) -> u32 {
        *self.1.lock().unwrap()
    }
}

impl Lookup for Answers {
    fn lookup(&self, _: &str, _: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        *self.1.lock().unwrap() += 1;
        let mut answers = self.0.lock().unwrap();
        let next = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        Box::pin(async { Ok(next.unwrap_or_default()) })
    }
}

fn grant(http: &[String], private: &[SocketAddr]) -> Grant {
    Grant { http: http.iter().map(|text| Target::parse(text).unwrap()).collect(), private: private.to_vec() }
}

fn request(url: &str) -> FetchRequest {
    let (method, url) = ("GET".to_owned(), url.to_owned());
    FetchRequest { method, url, headers: Vec::new(), body: None, first_byte: None, idle: None }
}

async fn text(mut body: FetchBody) -> Result<String, FetchError> {
    let mut text = Vec::new();
    while let Some(part) = body.next().await {
        text.extend(part?);
    }
    Ok(String::from_utf8(text).unwrap())
}

async fn listen(address: &str) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Reads a request up to the end of its head, answers, and closes.
async fn answer(listener: &TcpListener, answer: &str) -> (String, TcpStream) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    stream.write_all(answer.as_bytes()).await.unwrap();
    (String::from_utf8(head).unwrap(), stream)
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello";

fn denied(result: Result<FetchResponse, FetchError>) -> String {
    match result {
        Err(error @ FetchError::Denied { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_granted_is_fetched() {
    let (listener, address) = listen("127.0.0.1:0").await;
    let fetch = GuardedFetch::new(grant(&[format!("http://{address}")], &[address]), WALL).unwrap();
    let mut wanted = request(&format!("http://{address}//evil.example/path?q=1"));
    for (name, value) in
        [("authorization", "Bearer guest"), ("host", "evil.example"), ("connection", "upgrade")]
    {
        wanted.headers.push((name.to_owned(), Bytes::from_static(value.as_bytes())));
    }
    let (answered, (head, _)) = tokio::join!(fetch.fetch(wanted), answer(&listener, OK));
    let answered = answered.unwrap();
    assert_eq!((answered.status, text(answered.body).await.unwrap().as_str()), (200, "hello"));
    assert!(head.starts_with("GET //evil.example/path?q=1 HTTP/1.1\r\n"), "{head}");
    assert!(
        head.contains(&format!("host: {address}\r\n")) && head.contains("authorization: Bearer guest"),
        "{head}"
    );
    assert!(
        !head.contains("upgrade") && !head.contains("evil.example\r\n") && !head.contains("encoding"),
        "{head}"
    );
}

#[tokio::test]
async fn what_is_not_granted_is_denied_with_the_line_that_would_grant_it() {
    let (listener, address) = listen("127.0.0.1:0").await;
    let fetch = GuardedFetch::new(grant(&["https://example.org".to_owned()], &[address]), WALL).unwrap();
    for (url, line) in [
        (format!("http://{address}/"), format!("grant = {{ http = [\"http://{address}\"] }}")),
        ("http://example.org/".to_owned(), "grant = { http = [\"http://example.org\"] }".to_owned()),
        ("https://example.org:1/".to_owned(), "grant = { http = [\"https://example.org:1\"] }".to_owned()),
        (
            "https://example.org.evil/".to_owned(),
            "grant = { http = [\"https://example.org.evil\"] }".to_owned(),
        ),
    ] {
        let error = denied(fetch.fetch(request(&url)).await);
        assert!(error.ends_with(&line), "{url}: {error}");
    }
    drop(listener);
}

#[tokio::test]
async fn an_address_that_is_not_public_is_refused_in_every_spelling() {
    for host in [
        "127.0.0.1",
        "0x7f000001",
        "2130706433",
        "017700000001",
        "127.1",
        "0177.0.0.1",
        "0x7f.1",
        "%31%32%37.0.0.1",
        "[::1]",
        "[::ffff:10.0.0.1]",
        "[::ffff:a9fe:a9fe]",
        "[fd00:ec2::254]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "169.254.169.254",
        "0",
        "0.0.0.0",
        "10.0.0.1",
        "①②⑦.0.0.1",
    ] {
        let url = Url::parse(&format!("http://{host}:8787")).unwrap();
        let target = format!("http://{}:8787", url.host_str().unwrap());
        let fetch = GuardedFetch::new(grant(&[target], &[]), WALL).unwrap();
        let error = denied(fetch.fetch(request(&format!("http://{host}:8787/"))).await);
        assert!(error.contains("grant = { private = ["), "{host}: {error}");
    }
}

#[tokio::test]
async fn a_name_is_vetted_by_its_addresses() {
    let (listener, address) = listen("127.0.0.1:0").await;
    let target = [format!("http://localhost:{}", address.port())];
    let url = format!("{}/", target[0]);
    let fetch = GuardedFetch::new(grant(&target, &[]), WALL).unwrap();
    let error = denied(fetch.fetch(request(&url)).await);
    assert!(error.contains("(loopback)") && error.contains(&format!(":{}\"", address.port())), "{error}");
    // Of several addresses those that are not listed are left out.
    let lookup = Answers::new([&["10.0.0.1:1".parse().unwrap(), address]]) as Arc<dyn Lookup>;
    let fetch = GuardedFetch::with_lookup(grant(&target, &[address]), WALL, &lookup).unwrap();
    let (answered, (head, _)) = tokio::join!(fetch.fetch(request(&url)), answer(&listener, OK));
    assert_eq!(answered.unwrap().status, 200);
    assert!(head.contains("host: localhost"), "{head}");
}

#[tokio::test]
async fn a_name_whose_answer_changes_reaches_nothing_that_was_not_vetted() {
    let (listener, address) = listen("127.0.0.1:0").await;
    let (internal, forbidden) = listen(&format!("127.0.0.2:{}", address.port())).await;
    let lookup = Answers::new([&[address], &[forbidden]]);
    let target = format!("http://rebinding.example:{}", address.port());
    let grant = grant(std::slice::from_ref(&target), &[address]);
    let system = Arc::clone(&lookup) as Arc<dyn Lookup>;
    let fetch = GuardedFetch::with_lookup(grant, WALL, &system).unwrap();
    // The address that was vetted is the one that is connected to: no second question is asked.
    let (answered, _) = tokio::join!(fetch.fetch(request(&target)), answer(&listener, OK));
    assert_eq!(text(answered.unwrap().body).await.unwrap(), "hello");
    assert_eq!(lookup.asked(), 1);
    // The next connection is vetted anew.
    let error = denied(fetch.fetch(request(&target)).await);
    assert!(error.contains(&forbidden.to_string()), "{error}");
    assert_eq!(lookup.asked(), 2);
    let nobody =
        std::future::poll_fn(|cx| std::task::Poll::Ready(internal.poll_accept(cx).is_pending())).await;
    assert!(nobody, "a connection to the forbidden address");
}

#[tokio::test]
async fn a_redirect_is_an_answer() {
    let (listener, address) = listen("127.0.0.1:0").await;
    let fetch = GuardedFetch::new(grant(&[format!("http://{address}")], &[address]), WALL).unwrap();
    let redirect = "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n";
    let url = format!("http://{address}/");
    let (answered, _) = tokio::join!(fetch.fetch(request(&url)), answer(&listener, redirect));
    let answered = answered.unwrap();
    assert_eq!(answered.status, 302);
    let location = answered.headers.iter().find(|(name, _)| name == "location").unwrap();
    assert_eq!(location.1, "http://169.254.169.254/");
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_before_anything_is_sent() {
    let fetch = GuardedFetch::new(grant(&["http://example.org".to_owned()], &[]), WALL).unwrap();
    let long = format!("http://example.org/{}", "x".repeat(URL_MAX));
    for url in [
        "ftp://example.org/",
        "http://",
        "http://user@example.org/",
        "http://a:b@example.org/",
        "/path",
        &long,
    ] {
        assert_eq!(fetch.fetch(request(url)).await.unwrap_err(), FetchError::Url, "{url}");
    }
    for method in ["CONNECT", "TRACE", "", "G ET"] {
        let wanted = FetchRequest { method: method.to_owned(), ..request("http://example.org/") };
        assert_eq!(fetch.fetch(wanted).await.unwrap_err(), FetchError::Method, "{method}");
    }
    let mut wanted = request("http://example.org/");
    wanted.headers.push(("x".to_owned(), Bytes::from_static(b"a\r\nhost: evil")));
    assert_eq!(fetch.fetch(wanted).await.unwrap_err(), FetchError::Header);
}

#[tokio::test]
async fn a_silent_server_and_a_broken_body_end_as_what_they_are() {
    let (listener, address) = listen("127.0.0.1:0").await;
    let fetch = GuardedFetch::new(grant(&[format!("http://{address}")], &[address]), WALL).unwrap();
    let url = format!("http://{address}/");
    let patience = FetchRequest { first_byte: Some(Duration::from_millis(20)), ..request(&url) };
    assert_eq!(fetch.fetch(patience).await.unwrap_err(), FetchError::Timeout("first_byte"));
    drop(listener.accept().await.unwrap());

    let cut = "HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello";
    let (answered, (_, stream)) = tokio::join!(fetch.fetch(request(&url)), answer(&listener, cut));
    drop(stream);
    assert!(matches!(text(answered.unwrap().body).await, Err(FetchError::Incomplete(_))));

    let body: FetchBody = Box::pin(stream::iter([Ok(Bytes::from_static(b"x")), Err(FetchError::TooLarge)]));
    let wanted = FetchRequest { method: "POST".to_owned(), body: Some(body), ..request(&url) };
    assert_eq!(fetch.fetch(wanted).await.unwrap_err(), FetchError::TooLarge);
}

#[tokio::test]
async fn a_fetch_that_is_dropped_closes_its_connection() {
    let (listener, address) = listen("127.0.0.1:0").await;
    let fetch = GuardedFetch::new(grant(&[format!("http://{address}")], &[address]), WALL).unwrap();
    let url = format!("http://{address}/");
    let mut call = Box::pin(fetch.fetch(request(&url)));
    let (_, mut stream) = tokio::select! {
        _ = &mut call => panic!("nothing was answered"),
        asked = answer(&listener, "") => asked,
    };
    drop(call);
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
}
