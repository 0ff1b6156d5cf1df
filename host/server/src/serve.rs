//! The listener and its connections, from the first accept to an orderly end.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rust_proxy_core::config::{Config, Server};
use rust_proxy_core::{Engine, StartError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::app::{self, Chat};

mod patience;

use patience::Patience;

/// How long a client may take for the head of a request, and how long a connection may lie idle between two
/// (one timer in hyper): nginx's keep-alive, and longer than the pause between two requests of a busy client.
const HEAD_WITHIN: Duration = Duration::from_secs(75);

/// The buffer of a connection, in each direction: room for any head that is meant well, and as much as may
/// wait for a client that reads slowly before its exchange is slowed down.
const BUFFER_MAX: usize = 64 * 1024;

/// The pause after a failed accept (no file descriptor left, mostly): time for a connection to end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A gateway, bound to its address: its models are ready, and it serves once [`serve`](Self::serve) is
/// polled.
///
/// # Examples
/// ```no_run
/// # async fn example(config: rust_proxy_core::config::Config) -> Result<(), rust_proxy::GatewayError> {
/// let gateway = rust_proxy::Gateway::bind(&config).await?;
/// println!("listening on http://{}", gateway.address());
/// gateway.serve(async { let _ = tokio::signal::ctrl_c().await; }).await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Gateway {
    listener: TcpListener,
    address: SocketAddr,
    app: Router,
    limits: Limits,
}

/// Bounds of a server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Connections at once; past it no more are accepted until one ends.
    pub(crate) connections_max: usize,
    /// How long what is under way may go on after a request to stop.
    pub(crate) grace: Duration,
}

/// Why a gateway could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GatewayError {
    /// The engine could not be started: a block per problem, for the operator.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The address cannot be listened on; the operator can choose another.
    #[error("cannot listen on {listen} (`server.listen`): {error}")]
    Bind {
        /// The address of the setting.
        listen: SocketAddr,
        /// Why not.
        #[source]
        error: std::io::Error,
    },
}

impl Gateway {
    /// Starts the engine of a configuration, then listens on its `server.listen`; port 0 takes any free one.
    ///
    /// # Errors
    /// [`GatewayError`]; nothing stays behind.
    ///
    /// # Cancellation
    /// Nothing stays behind.
    pub async fn bind(config: &Config) -> Result<Self, GatewayError> {
        let engine = Engine::start(config).await?;
        Self::with_engine(&config.server, engine).await
    }

    /// Listens for an engine that is there, of which the caller may keep a clone.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    ///
    /// # Cancellation
    /// Nothing stays behind.
    pub async fn with_engine(server: &Server, engine: Engine) -> Result<Self, GatewayError> {
        for notice in engine.notices() {
            tracing::warn!(%notice, "the configuration may not be meant like this");
        }
        Self::open(server, engine).await
    }

    pub(crate) async fn open<C: Chat>(server: &Server, chat: C) -> Result<Self, GatewayError> {
        let listen = server.listen;
        let refused = |error| GatewayError::Bind { listen, error };
        let listener = TcpListener::bind(listen).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let limits = Limits { connections_max: server.connections_max, grace: server.shutdown };
        Ok(Self { listener, address, app: app::router(server, chat), limits })
    }

    /// The address that it listens on, with the actual port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` is ready, then accepts nothing more, gives what is under way `server.shutdown`
    /// to finish, and cuts what is left.
    ///
    /// # Cancellation
    /// Cuts everything at once.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send) {
        serve(self.listener, self.app, self.limits, shutdown).await;
    }
}

/// Serves an application on a listener: see [`Gateway::serve`].
pub(crate) async fn serve(
    listener: TcpListener,
    app: Router,
    limits: Limits,
    shutdown: impl Future<Output = ()> + Send,
) {
    let mut shutdown = pin!(shutdown);
    let mut connections = JoinSet::new();
    let (stop, stopped) = watch::channel(());
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(ended) = connections.join_next() => log_panic(ended),
            accepted = listener.accept(), if connections.len() < limits.connections_max => match accepted {
                Ok((stream, _)) => {
                    // Each event is to leave at once, however small.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "TCP_NODELAY could not be set");
                    }
                    connections.spawn(connection(stream, app.clone(), stopped.clone()));
                    if connections.len() == limits.connections_max {
                        tracing::warn!("`server.connections_max` is reached: new connections wait");
                    }
                }
                // The client was gone before its turn.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop((listener, stop));
    tracing::info!(open = connections.len(), "no longer accepting connections");
    let drained = async {
        while let Some(ended) = connections.join_next().await {
            log_panic(ended);
        }
    };
    if tokio::time::timeout(limits.grace, drained).await.is_err() {
        tracing::warn!(open = connections.len(), "`server.shutdown` is over: the open connections are cut");
        connections.shutdown().await;
    }
}

/// One connection, until it ends by itself, or, once `stopped` is closed, until its request is answered.
async fn connection<S>(stream: S, app: Router, mut stopped: watch::Receiver<()>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN).max_buf_size(BUFFER_MAX);
    let connection =
        builder.serve_connection(TokioIo::new(Patience::new(stream)), TowerToHyperService::new(app));
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended early");
    }
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection's task failed");
    }
}

#[cfg(test)]
mod tests;
