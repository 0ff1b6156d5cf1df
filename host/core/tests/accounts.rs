//! Accounts of sandboxed plugins, from an exchange to the engine's totals.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has to fail")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use rust_proxy_core::Engine;
use rust_proxy_core::config::{Config, Folder};
use rust_proxy_stream::account::{Account, Traffic};
use rust_proxy_stream::exchange::Reply;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// An upstream that answers every request with "no sec", and with "ret here" once the client has read that.
async fn upstream(read: Arc<Semaphore>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let delta = |text: &str| format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
    let finish = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/event-stream\r\n\r\n";
    let (first, last) = (head.to_owned() + &delta("no sec"), delta("ret here") + finish);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"}") {
                stream.read_buf(&mut request).await.unwrap();
            }
            stream.write_all(first.as_bytes()).await.unwrap();
            read.acquire().await.unwrap().forget();
            stream.write_all(last.as_bytes()).await.unwrap();
        }
    });
    format!("http://{address}/v1")
}

/// An engine whose model `m` has the plugin `sensitive-word`, and `broken` one that traps at once.
async fn engine(read: &Arc<Semaphore>) -> Engine {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let upstream = upstream(Arc::clone(read)).await;
    let provider = format!(
        "routing = ['p']\nproviders.p = {{ type = 'openai', api_base = '{upstream}', api_key_location = 'none' }}"
    );
    let text = format!(
        "[plugins.mask]\nfile = '{root}/config/plugins/sensitive-word.wasm'\nconfig = {{ words = ['secret'] }}\n\
         [plugins.broken]\nfile = '{root}/target/guests/fault.wasm'\non_error = 'fail_open'\n\
         config = {{ in = 'process', do = 'trap' }}\n\
         [pipelines]\na = {{ process = ['mask'], modify = ['mask'] }}\n\
         b = {{ process = ['broken'], modify = ['broken'] }}\n\
         [models.m]\npipeline = 'a'\n{provider}\n[models.broken]\npipeline = 'b'\n{provider}\n"
    );
    let config = Config::parse(&text, "test.toml", &Folder::new(""), &BTreeMap::new());
    Engine::start(&config.unwrap_or_else(|problems| panic!("{problems}"))).await.unwrap()
}

async fn ask(engine: &Engine, read: &Semaphore, model: &str, text: &str) {
    let body =
        format!(r#"{{"model":"{model}","stream":true,"messages":[{{"role":"user","content":"{text}"}}]}}"#);
    let Reply::Stream(mut events) = engine.chat("r".to_owned(), body.into()).await.unwrap() else {
        panic!("a stream was asked for")
    };
    events.next().await;
    read.add_permits(1);
    events.collect::<Vec<_>>().await;
}

fn traffic(events: u64, bytes_in: u64, bytes_out: u64, edits: u64, unscanned: u64) -> Traffic {
    let edited = Traffic { events, bytes_in, bytes_out, edits, unscanned, ..Traffic::default() };
    Traffic { findings: edits, ..edited }
}

#[tokio::test]
async fn accounts_of_exchanges_are_added_up_by_plugin() {
    let read = Arc::new(Semaphore::new(0));
    let engine = engine(&read).await;
    assert_eq!(engine.accounts()["mask"], Account::default());
    for text in ["a secret", "hi"] {
        ask(&engine, &read, "m", text).await;
    }
    let mask = &engine.accounts()["mask"];
    assert_eq!((mask.exchanges, mask.held, mask.dropped), (2, "sec".len() as u64, 0));
    assert_eq!(mask.request, traffic(2, 10, 10, 1, 0));
    assert_eq!(mask.answer, traffic(4, 28, 28, 2, 0));
    assert!(mask.usage.cpu > Duration::ZERO && mask.usage.cpu <= mask.usage.wall, "{mask:?}");

    ask(&engine, &read, "broken", "hello").await;
    let broken = &engine.accounts()["broken"];
    assert_eq!((broken.exchanges, broken.calls), (1, 1));
    assert_eq!(broken.failures, BTreeMap::from([("trap", 1)]));
    assert_eq!((broken.request, broken.answer), (traffic(1, 5, 5, 0, 5), traffic(2, 14, 14, 0, 14)));
}
