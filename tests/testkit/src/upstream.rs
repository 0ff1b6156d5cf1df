//! A model that plays scripts.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::script::{After, Gate, Script};
use crate::wire::{Reader, SOCKET_BUFFER, Seen};

/// Bytes that are taken at all are taken more often than this.
const PAUSE: Duration = Duration::from_millis(300);

/// A server on a port of its own that records each request and plays a script for it. Ends when dropped.
#[derive(Debug)]
pub struct ScriptedUpstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    scripts: Mutex<VecDeque<Script>>,
    seen: Mutex<Vec<Seen>>,
    asked: Gate,
    abandoned: Gate,
    sent: AtomicUsize,
}

impl ScriptedUpstream {
    /// Starts a server with a script for each request to come; the last one is played again for any after it.
    pub async fn start(scripts: impl IntoIterator<Item = Script>) -> Self {
        let listener = listen().expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let shared = Arc::new(Shared {
            scripts: Mutex::new(scripts.into_iter().collect()),
            seen: Mutex::default(),
            asked: Gate::new(),
            abandoned: Gate::new(),
            sent: AtomicUsize::new(0),
        });
        let serving = tokio::spawn(serve(listener, Arc::clone(&shared)));
        Self { address, shared, serving }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The `api_base` for it.
    pub fn url(&self) -> String {
        format!("http://{}/v1/", self.address)
    }

    /// Plays this script from now on.
    pub fn play(&self, script: Script) {
        *self.shared.scripts.lock().expect("no panic under the lock") = [script].into();
    }

    /// How many bytes of bodies could be sent, once nothing more is taken. On a machine that is too busy to take
    /// anything for a while it may be fewer.
    pub async fn sent(&self) -> usize {
        let sent = || self.shared.sent.load(Ordering::Relaxed);
        loop {
            let before = sent();
            tokio::time::sleep(PAUSE).await;
            if sent() == before {
                return before;
            }
        }
    }

    /// The requests that came, in order.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().expect("no panic under the lock").clone()
    }

    /// The one request that came.
    pub fn only_request(&self) -> Seen {
        let mut seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen.remove(0)
    }

    /// Waits for the next request that nobody has waited for.
    pub async fn asked(&self) {
        self.shared.asked.pass().await;
    }

    /// Waits until the other side has closed a connection before its answer was at its end.
    pub async fn abandoned(&self) {
        self.shared.abandoned.pass().await;
    }
}

impl Drop for ScriptedUpstream {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Shared {
    fn next_script(&self) -> Script {
        let mut scripts = self.scripts.lock().expect("no panic under the lock");
        let next = if scripts.len() > 1 { scripts.pop_front() } else { scripts.front().cloned() };
        next.unwrap_or_else(Script::hang_up)
    }
}

fn listen() -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_send_buffer_size(SOCKET_BUFFER)?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    socket.listen(1024)
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(connection(stream, Arc::clone(&shared)));
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (read, mut write) = stream.into_split();
    let mut reader = Reader::new(read);
    while let Some(request) = reader.request().await? {
        shared.seen.lock().expect("no panic under the lock").push(request);
        shared.asked.open();
        let played = tokio::select! {
            played = shared.next_script().play(&mut write, &shared.sent) => played,
            () = reader.closed() => Err(io::ErrorKind::ConnectionAborted.into()),
        };
        match played {
            Ok(After::Keep) => {}
            Ok(After::Close) => break,
            Ok(After::Reset) => {
                write.forget();
                break;
            }
            Err(_) => {
                shared.abandoned.open();
                break;
            }
        }
    }
    Ok(())
}

/// An `api_base` at which nobody listens.
pub async fn unreachable_url() -> String {
    // Its port is free again when this returns.
    ScriptedUpstream::start([]).await.url()
}
