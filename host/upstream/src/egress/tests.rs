use std::pin::pin;
use std::task::Poll;

use futures_util::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

const EVENT: &str = "data: 12\n\n";

/// The parts of an answer that comes by these writes of so many events each, which it ends behind, or breaks off.
async fn parts(writes: &[usize], ends: bool) -> Vec<Result<usize, UpstreamError>> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let mut answer = vec!["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned()];
    answer.extend(writes.iter().map(|events| format!("a\r\n{EVENT}\r\n").repeat(*events)));
    answer.extend(ends.then(|| "0\r\n\r\n".to_owned()));
    let model = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await.unwrap();
        for write in answer {
            stream.write_all(write.as_bytes()).await.unwrap();
        }
    });
    let limit = Duration::from_secs(60);
    let client =
        Client::new(Timeouts { connect: limit, first_byte: limit, idle: limit, total: limit }).unwrap();
    let answer = client.post(&url, HeaderMap::new(), Bytes::new()).await.unwrap();
    // All of it is on this machine before the first part is read.
    model.await.unwrap();
    let mut stream = pin!(answer.into_stream());
    // As hyper does, which looks a second time before it gives up its turn.
    let mut twice = std::future::poll_fn(|cx| match stream.as_mut().poll_next(cx) {
        Poll::Pending => stream.as_mut().poll_next(cx),
        ready => ready,
    });
    let mut parts = Vec::new();
    while let Some(part) = (&mut twice).await {
        parts.push(part.map(|part| part.len() / EVENT.len()));
    }
    parts
}

#[tokio::test]
async fn what_is_there_already_comes_as_one_part() {
    let read = parts(&[10, 10, 10], true).await;
    assert_eq!(read, [Ok(30)]);
    let read = parts(&[1; 1000], true).await;
    let events: usize = read.iter().map(|part| part.clone().unwrap()).sum();
    assert_eq!(events, 1000);
    // Bounded, and the bound is used.
    assert!(read.iter().all(|part| part.clone().unwrap() <= JOINED_MAX / EVENT.len() + 1), "{read:?}");
    assert!(read.len() < 10, "{read:?}");
}

#[tokio::test]
async fn what_came_before_an_error_is_not_lost() {
    let read = parts(&[2, 1], false).await;
    assert!(matches!(read[..], [Ok(3), Err(UpstreamError::Incomplete(_))]), "{read:?}");
}
