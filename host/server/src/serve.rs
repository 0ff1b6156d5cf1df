//! The listener and its connections, from the first accept to an orderly end.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rust_proxy_core::config::{Config, Environment, Problems, Server};
use rust_proxy_core::{Engine, StartError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::admin;
use crate::app::{self, Chat};
use crate::ingress::Bodies;
use crate::metrics::Counters;
use crate::reload::{Origin, Reloader};
use crate::watch::watch as watch_files;

mod patience;

use patience::Patience;

/// [`Limits::head_within`] for clients: nginx's keep-alive, and longer than the pause between two requests of a
/// busy one.
pub(crate) const HEAD_WITHIN: Duration = Duration::from_secs(75);

/// The buffer of a connection, in each direction: room for any head that is meant well, and as much as may
/// wait for a client that reads slowly before its exchange is slowed down.
const BUFFER_MAX: usize = 64 * 1024;

/// The pause after a failed accept (no file descriptor left, mostly): time for a connection to end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The bounds of the operator's listener: some tools of his, and a scraper. Whoever only holds connections does
/// not keep him out for long. It ends with the gateway.
const ADMIN: Limits =
    Limits { connections_max: 100, head_within: Duration::from_secs(10), grace: Duration::ZERO };

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
    app: Live,
    limits: Limits,
    operation: Option<Operation>,
}

/// What a gateway that was started from a file has besides.
#[derive(Debug)]
struct Operation {
    reloader: Reloader,
    admin: Option<(TcpListener, SocketAddr, Router)>,
    watch: bool,
}

/// The application of a listener, which a reload replaces: each request gets the present one.
#[derive(Debug, Clone)]
pub(crate) struct Live(Arc<ArcSwap<Router>>);

impl Live {
    pub(crate) fn new(app: Router) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(app)))
    }

    pub(crate) fn replace(&self, app: Router) {
        self.0.store(Arc::new(app));
    }

    fn service(&self) -> TowerToHyperService<Router> {
        TowerToHyperService::new(Router::clone(&self.0.load()))
    }
}

/// Bounds of a server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Connections at once; past it no more are accepted until one ends.
    pub(crate) connections_max: usize,
    /// How long a client may take for the head of a request, and how long a connection may lie idle between two
    /// (one timer in hyper).
    pub(crate) head_within: Duration,
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
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] Problems),
    /// The address cannot be listened on; the operator can choose another.
    #[error("cannot listen on {listen} (`{setting}`): {error}")]
    Bind {
        /// The address of the setting.
        listen: SocketAddr,
        /// `server.listen` or `admin.listen`.
        setting: &'static str,
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
        let engine = start(config).await?;
        Self::bind_engine(config, engine).await
    }

    /// As [`bind`](Self::bind), with an engine of this configuration that runs already.
    ///
    /// # Errors
    /// [`GatewayError::Bind`].
    pub async fn bind_engine(config: &Config, engine: Engine) -> Result<Self, GatewayError> {
        Self::open(&config.server, engine).await
    }

    /// As [`bind`](Self::bind) with the configuration in a file, which can be read again: it has a
    /// [`reloader`](Self::reloader), watches its files unless `server.watch` is false, and has the operator's
    /// listener of `[admin]`.
    ///
    /// # Errors
    /// [`GatewayError`]; nothing stays behind.
    ///
    /// # Cancellation
    /// Nothing stays behind.
    pub async fn load(
        file: impl Into<PathBuf>,
        environment: impl Environment + Send + Sync + 'static,
    ) -> Result<Self, GatewayError> {
        let origin = Arc::new(Origin { file: file.into(), environment: Box::new(environment) });
        let config = origin.load().await?;
        let engine = start(&config).await?;
        let (bodies, counters) = (Bodies::new(&config.server), Counters::default());
        let app =
            Live::new(app::router_with(&config.server, engine.pinned(), bodies.clone(), counters.clone()));
        let reloader = Reloader::new(origin, engine, app.clone(), bodies, counters);
        let admin = match &config.admin {
            Some(admin) => {
                let (listener, address) = listen("admin.listen", admin.listen).await?;
                Some((listener, address, admin::router(admin, reloader.clone())))
            }
            None => None,
        };
        let operation = Operation { reloader, admin, watch: config.server.watch };
        Ok(Self { operation: Some(operation), ..Self::around(&config.server, app).await? })
    }

    pub(crate) async fn open<C: Chat>(server: &Server, chat: C) -> Result<Self, GatewayError> {
        Self::around(server, Live::new(app::router(server, chat))).await
    }

    async fn around(server: &Server, app: Live) -> Result<Self, GatewayError> {
        let (listener, address) = listen("server.listen", server.listen).await?;
        let limits = Limits {
            connections_max: server.connections_max,
            head_within: HEAD_WITHIN,
            grace: server.shutdown,
        };
        Ok(Self { listener, address, app, limits, operation: None })
    }

    /// The address that it listens on, with the actual port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of the operator's listener, if it has one.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.operation.as_ref()?.admin.as_ref().map(|(_, address, _)| *address)
    }

    /// What reloads it, if it was started from a file.
    pub fn reloader(&self) -> Option<Reloader> {
        self.operation.as_ref().map(|operation| operation.reloader.clone())
    }

    /// Serves until `shutdown` is ready, then accepts nothing more, gives what is under way `server.shutdown`
    /// to finish, and cuts what is left.
    ///
    /// # Cancellation
    /// Cuts everything at once.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send) {
        // Ends with this call, dropped or not.
        let mut beside = JoinSet::new();
        if let Some(Operation { reloader, admin, watch }) = self.operation {
            if watch {
                beside.spawn(watch_files(reloader));
            }
            if let Some((listener, _, app)) = admin {
                beside.spawn(serve(listener, Live::new(app), ADMIN, std::future::pending()));
            }
        }
        serve(self.listener, self.app, self.limits, shutdown).await;
    }
}

async fn start(config: &Config) -> Result<Engine, GatewayError> {
    let engine = Engine::start(config).await?;
    for notice in engine.notices() {
        tracing::warn!(%notice, "the configuration may not be meant like this");
    }
    Ok(engine)
}

async fn listen(
    setting: &'static str,
    listen: SocketAddr,
) -> Result<(TcpListener, SocketAddr), GatewayError> {
    let refused = |error| GatewayError::Bind { listen, setting, error };
    let listener = TcpListener::bind(listen).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    Ok((listener, address))
}

/// Serves an application on a listener: see [`Gateway::serve`].
pub(crate) async fn serve(
    listener: TcpListener,
    app: Live,
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
                    connections.spawn(connection(stream, app.clone(), limits.head_within, stopped.clone()));
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
async fn connection<S>(stream: S, app: Live, head_within: Duration, mut stopped: watch::Receiver<()>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut builder = http1::Builder::new();
    // `half_close` stays off: whoever closes one half has left, which is how most clients leave.
    builder.timer(TokioTimer::new()).header_read_timeout(head_within).max_buf_size(BUFFER_MAX);
    let service = service_fn(move |request| app.service().call(request));
    let connection = builder.serve_connection(TokioIo::new(Patience::new(stream)), service);
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
