use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rust_proxy_stream::exchange::{End, StreamEvent};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::*;
use crate::app::Answer;
use crate::egress::JOINED_MAX;
use crate::fake::{Fake, end, endless, frame, server};

/// A gateway that serves until told to stop.
struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

async fn run(lines: &str, fake: Fake) -> Running {
    let gateway =
        Gateway::open(&server(&format!("listen = '127.0.0.1:0'\n{lines}")), fake).await.expect("a gateway");
    let (stop, stopped) = oneshot::channel();
    let address = gateway.address();
    let served = tokio::spawn(gateway.serve(async {
        let _ = stopped.await;
    }));
    Running { address, stop, served }
}

/// A gateway that answers one request with these events.
async fn run_once(lines: &str, events: crate::fake::Events) -> Running {
    let events = std::sync::Mutex::new(Some(events));
    let fake = Fake::new(move |_| Ok(Answer::Events(events.lock().unwrap().take().expect("one request"))));
    run(lines, fake).await
}

const CHAT: &str = concat!(
    "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n",
    "content-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
);
const HEALTH: &str = "GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n";

async fn connect(address: SocketAddr, request: &str) -> TcpStream {
    let mut client = TcpStream::connect(address).await.expect("a connection");
    client.write_all(request.as_bytes()).await.expect("sent");
    client
}

/// Reads until the text that came ends like this.
async fn read_until(client: &mut TcpStream, ending: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(ending.as_bytes()) {
        let got = client.read_buf(&mut text).await.expect("an open connection");
        assert_ne!(got, 0, "closed after {:?}", String::from_utf8_lossy(&text));
    }
    String::from_utf8(text).expect("text")
}

/// Events as they are sent into the channel.
fn fed() -> (mpsc::Sender<StreamEvent>, crate::fake::Events) {
    let (feed, mut events) = mpsc::channel(8);
    (feed, Box::pin(futures_util::stream::poll_fn(move |cx| events.poll_recv(cx))))
}

#[tokio::test]
async fn each_event_leaves_at_once_and_the_body_ends_properly() {
    let (feed, events) = fed();
    let gateway = run_once("", events).await;
    let mut client = connect(gateway.address, CHAT).await;
    for text in ["data: 1\n\n", "data: 2\n\n"] {
        feed.send(frame(text)).await.expect("a client");
        let got = read_until(&mut client, &format!("{text}\r\n")).await;
        assert_eq!(got.starts_with("HTTP/1.1 200 OK\r\n"), text.contains('1'), "{got}");
    }
    feed.send(end(End::Complete)).await.expect("a client");
    assert_eq!(read_until(&mut client, "0\r\n\r\n").await, "E\r\ndata: [DONE]\n\n\r\n0\r\n\r\n");
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_request() {
    let gateway = run("", Fake::echo()).await;
    let mut client = connect(gateway.address, HEALTH).await;
    read_until(&mut client, "}").await;
    client.write_all(HEALTH.as_bytes()).await.expect("an open connection");
    assert!(read_until(&mut client, "}").await.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test]
async fn a_client_that_leaves_before_the_head_frees_its_exchange() {
    let (events, dropped) = endless(Vec::new());
    let (asked, mut was_asked) = mpsc::channel(1);
    let events = std::sync::Mutex::new(Some(events));
    let fake = Fake::new(move |_| {
        asked.try_send(()).expect("one request");
        Ok(Answer::Events(events.lock().unwrap().take().expect("one request")))
    });
    let gateway = run("", fake).await;
    let client = connect(gateway.address, CHAT).await;
    was_asked.recv().await.expect("a request");
    drop(client);
    assert!(dropped.await.is_err());
}

#[tokio::test]
async fn a_client_that_leaves_within_a_stream_frees_its_exchange() {
    let (events, dropped) = endless(vec![frame("data: 1\n\n")]);
    let gateway = run_once("", events).await;
    let mut client = connect(gateway.address, CHAT).await;
    read_until(&mut client, "data: 1\n\n\r\n").await;
    drop(client);
    assert!(dropped.await.is_err());
}

#[tokio::test]
async fn a_shutdown_lets_streams_finish_and_takes_no_new_ones() {
    let (feed, events) = fed();
    let gateway = run_once("", events).await;
    let mut idle = connect(gateway.address, HEALTH).await;
    read_until(&mut idle, "}").await;
    let mut client = connect(gateway.address, CHAT).await;
    feed.send(frame("data: 1\n\n")).await.expect("a client");
    read_until(&mut client, "data: 1\n\n\r\n").await;

    gateway.stop.send(()).expect("a running gateway");
    assert_eq!(idle.read(&mut [0]).await.expect("an orderly end"), 0);
    assert!(TcpStream::connect(gateway.address).await.is_err());
    feed.send(end(End::Complete)).await.expect("a client");
    read_until(&mut client, "data: [DONE]\n\n\r\n0\r\n\r\n").await;
    gateway.served.await.expect("no panic");
}

#[tokio::test]
async fn a_stream_that_outlasts_the_shutdown_is_cut_and_does_not_look_complete() {
    let (events, dropped) = endless(vec![frame("data: 1\n\n")]);
    let gateway = run_once("shutdown = '1ms'", events).await;
    let mut client = connect(gateway.address, CHAT).await;
    read_until(&mut client, "data: 1\n\n\r\n").await;
    gateway.stop.send(()).expect("a running gateway");
    gateway.served.await.expect("no panic");
    assert!(dropped.await.is_err());
    let mut rest = Vec::new();
    // A reset and an end without the last chunk are the same to a client: incomplete.
    let _ = client.read_to_end(&mut rest).await;
    assert_eq!(rest, b"");
}

/// The head of a request, or none of it, leads to the end of the connection after this long.
async fn check_given_up(head: &str, within: Duration) {
    let (mut client, stream) = tokio::io::duplex(1024);
    let (_stop, stopped) = watch::channel(());
    let app = Live::new(app::router(&server(""), Fake::echo()));
    let served = tokio::spawn(connection(stream, app, within, stopped));
    client.write_all(head.as_bytes()).await.expect("sent");
    let start = tokio::time::Instant::now();
    served.await.expect("no panic");
    assert_eq!(start.elapsed().as_secs(), within.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_arrive_is_given_up() {
    for within in [HEAD_WITHIN, ADMIN.head_within] {
        check_given_up("", within).await;
        check_given_up("GET /health HTTP/1.1\r\nhost: local", within).await;
    }
    assert!(ADMIN.head_within < HEAD_WITHIN);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_loses_its_exchange() {
    let (frames, dropped) = endless((0..100).map(|_| frame(&"x".repeat(4096))).collect());
    let events = std::sync::Mutex::new(Some(frames));
    let fake = Fake::new(move |_| Ok(Answer::Events(events.lock().unwrap().take().expect("one request"))));
    let (mut client, stream) = tokio::io::duplex(1024);
    let (_stop, stopped) = watch::channel(());
    let app = Live::new(app::router(&server(""), fake));
    let served = tokio::spawn(connection(stream, app, HEAD_WITHIN, stopped));
    client.write_all(CHAT.as_bytes()).await.expect("sent");
    served.await.expect("no panic");
    assert!(dropped.await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_not_read_for() {
    const FRAME: usize = 4096;
    const PIPE: usize = 1024;
    let pulled = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&pulled);
    let frames = std::iter::repeat_with(move || {
        count.fetch_add(1, Ordering::Relaxed);
        frame(&"x".repeat(FRAME))
    });
    let frames: crate::fake::Events = Box::pin(futures_util::stream::iter(frames));
    let frames = std::sync::Mutex::new(Some(frames));
    let fake = Fake::new(move |_| Ok(Answer::Events(frames.lock().unwrap().take().expect("one request"))));
    let (mut client, stream) = tokio::io::duplex(PIPE);
    let (_stop, stopped) = watch::channel(());
    let app = Live::new(app::router(&server(""), fake));
    let served = tokio::spawn(connection(stream, app, HEAD_WITHIN, stopped));
    client.write_all(CHAT.as_bytes()).await.expect("sent");
    let mut read = 0;
    for _ in 0..10 {
        // Paused time goes on once nobody has anything to do.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let waiting = pulled.load(Ordering::Relaxed) * FRAME - read;
        assert!(waiting <= BUFFER_MAX + JOINED_MAX + PIPE + 2 * FRAME, "{waiting} bytes wait");
        let mut bytes = vec![0; 10 * FRAME];
        read += client.read_exact(&mut bytes).await.expect("bytes");
    }
    served.abort();
}

#[tokio::test]
async fn past_connections_max_a_client_waits_to_be_accepted() {
    let gateway = run("streams_max = 1\nconnections_max = 1", Fake::echo()).await;
    let mut first = connect(gateway.address, HEALTH).await;
    read_until(&mut first, "}").await;
    let mut second = connect(gateway.address, HEALTH).await;
    // Served in their order: while the first can still ask, the second has no answer.
    for _ in 0..10 {
        first.write_all(HEALTH.as_bytes()).await.expect("sent");
        read_until(&mut first, "}").await;
        let early = second.try_read(&mut [0]).expect_err("no answer");
        assert_eq!(early.kind(), ErrorKind::WouldBlock);
    }
    drop(first);
    read_until(&mut second, "}").await;
}

#[tokio::test]
async fn an_address_in_use_is_named_with_its_setting() {
    let gateway = run("", Fake::echo()).await;
    let server = server(&format!("listen = '{}'", gateway.address));
    let error = Gateway::open(&server, Fake::echo()).await.expect_err("is in use").to_string();
    assert!(
        error.starts_with(&format!("cannot listen on {} (`server.listen`): ", gateway.address)),
        "{error}"
    );
}
