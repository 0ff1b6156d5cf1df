//! Clients that do not read, over real sockets: how long what waits for them may wait.

#![expect(clippy::expect_used, reason = "helpers of tests fail like tests")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use rust_proxy::Gateway;
use rust_proxy_core::config::{Config, Folder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

/// The text of one event.
const TEXT: usize = 64 << 10;
/// What the buffers at both ends are set to, so that those between count.
const SMALL: u32 = 64 << 10;

/// Far longer than anything here takes on a busy machine: what did not come by then never will.
async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(40), future).await.expect("in time")
}

/// A gateway in front of `upstream`, with these lines of `[server]`.
async fn gateway(lines: &str, upstream: SocketAddr) -> SocketAddr {
    let text = format!(
        "[server]\nlisten = '127.0.0.1:0'\n{lines}\n[models.m]\nrouting = ['p']\n[models.m.providers.p]\n\
         type = 'openai'\napi_base = 'http://{upstream}/v1/'\napi_key_location = 'none'\n"
    );
    let config = Config::parse(&text, "test.toml", &Folder::new(""), &BTreeMap::new());
    let gateway = Gateway::bind(&config.expect("a configuration")).await.expect("a gateway");
    let address = gateway.address();
    tokio::spawn(gateway.serve(std::future::pending()));
    address
}

async fn listen() -> (TcpListener, SocketAddr) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_send_buffer_size(SMALL).expect("a size");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("a port");
    let listener = socket.listen(8).expect("a listener");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// The next connection, once its request is read.
async fn asked(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().await.expect("a connection");
    let (mut request, mut whole) = (Vec::new(), usize::MAX);
    while request.len() < whole {
        assert_ne!(stream.read_buf(&mut request).await.expect("bytes"), 0);
        let text = String::from_utf8_lossy(&request).to_lowercase();
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            let length = head.split_once("content-length: ").expect("a length").1;
            let length = length.split("\r\n").next().and_then(|length| length.parse().ok());
            whole = head.len() + 4 + length.unwrap_or(0);
        }
    }
    stream
}

/// Asks, and reads the beginning of the answer only.
async fn ask(gateway: SocketAddr, stream: bool) -> (TcpStream, String) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(SMALL).expect("a size");
    let mut client = socket.connect(gateway).await.expect("a connection");
    let body = format!(r#"{{"model":"m","stream":{stream},"messages":[{{"role":"user","content":"hi"}}]}}"#);
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    client.write_all(request.as_bytes()).await.expect("sent");
    let mut head = [0; 12];
    client.read_exact(&mut head).await.expect("a status");
    (client, String::from_utf8_lossy(&head).into_owned())
}

async fn rest(mut client: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    within(client.read_to_end(&mut bytes)).await.expect("an orderly end");
    bytes
}

fn letters(body: &[u8]) -> usize {
    body.iter().filter(|byte| **byte == b'Q').count()
}

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";

fn event() -> Vec<u8> {
    let text = "Q".repeat(TEXT);
    format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n").into_bytes()
}

#[tokio::test]
async fn a_client_that_does_not_read_has_a_deadline_too() {
    let (listener, upstream) = listen().await;
    let closed = tokio::spawn(async move {
        let mut stream = asked(&listener).await;
        stream.write_all(HEAD.as_bytes()).await.expect("sent");
        let event = event();
        // Ends once the other side has closed.
        while stream.write_all(&event).await.is_ok() {}
    });
    let gateway = gateway("exchange_max = '1s'", upstream).await;
    let (client, _) = ask(gateway, true).await;
    within(closed).await.expect("no panic");
    // The connection is still there, and the end is told to who reads on.
    let body = rest(client).await;
    assert!(String::from_utf8_lossy(&body).contains("deadline_exceeded"));
    assert!(body.ends_with(b"\r\n0\r\n\r\n"));
}

#[tokio::test]
async fn a_whole_answer_has_its_slot_until_it_is_sent() {
    let (listener, upstream) = listen().await;
    tokio::spawn(async move {
        let text = "Q".repeat(12 << 20);
        let body = format!(
            r#"{{"choices":[{{"index":0,"message":{{"content":"{text}"}},"finish_reason":"stop"}}]}}"#
        );
        loop {
            let mut stream = asked(&listener).await;
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            stream.write_all((head + &body).as_bytes()).await.expect("sent");
        }
    });
    let gateway = gateway("streams_max = 1\nqueue_max = 0", upstream).await;
    let (first, status) = ask(gateway, false).await;
    assert_eq!(status, "HTTP/1.1 200");
    for stream in [false, true] {
        assert_eq!(ask(gateway, stream).await.1, "HTTP/1.1 503");
    }
    assert_eq!(letters(&rest(first).await), 12 << 20);
    let (last, status) = ask(gateway, false).await;
    assert_eq!(status, "HTTP/1.1 200");
    assert_eq!(letters(&rest(last).await), 12 << 20);
}
