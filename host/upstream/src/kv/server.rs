//! One Redis: its connection, and what becomes of calls while there is none.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, RedisResult};
use rust_proxy_stream::chain::printable;
use tokio::time::{Instant, timeout};

/// How long a Redis that failed is left alone: short enough that nobody looks at the clock when it is back, long
/// enough that waiting for it is rare. Also how often the log is told.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Server {
    client: Client,
    timeout: Duration,
    health: Mutex<Health>,
    /// Held by the call that connects; others wait for what comes of it.
    connecting: tokio::sync::Mutex<()>,
}

struct Health {
    state: State,
    /// How many connections there were: tells one from another.
    connections: u64,
    /// When the log was told of a failure.
    told: Option<Instant>,
    /// Whether it has been told of one since the last connection.
    ill: bool,
}

enum State {
    /// The next call connects.
    Idle,
    Connected(MultiplexedConnection),
    /// It could not be reached, or did not answer in time; the next call that tries is after this moment.
    Down(Instant),
}

/// Why a call failed.
pub(super) enum Failure {
    /// Another one did a moment ago.
    Paused,
    Late,
    Connecting(RedisError),
    /// A call on the connection with this number.
    Call(RedisError, u64),
}

impl Server {
    pub(super) fn new(client: Client, timeout: Duration) -> Self {
        let health = Health { state: State::Idle, connections: 0, told: None, ill: false };
        Self { client, timeout, health: Mutex::new(health), connecting: tokio::sync::Mutex::default() }
    }

    /// Calls it.
    ///
    /// # Errors
    /// What is wrong, for people. The log has been told, if it was not a moment ago.
    ///
    /// # Cancellation
    /// A call that is dropped may have been carried out.
    pub(super) async fn call<T>(
        &self,
        run: impl AsyncFnOnce(&mut MultiplexedConnection) -> RedisResult<T>,
    ) -> Result<T, String> {
        let work = async {
            let (mut connection, number) = self.connection().await?;
            run(&mut connection).await.map_err(|error| Failure::Call(error, number))
        };
        let answer = timeout(self.timeout, work).await.unwrap_or(Err(Failure::Late));
        answer.map_err(|failure| self.failed(&failure))
    }

    async fn connection(&self) -> Result<(MultiplexedConnection, u64), Failure> {
        if let Some(connected) = self.connected()? {
            return Ok(connected);
        }
        let _connecting = self.connecting.lock().await;
        if let Some(connected) = self.connected()? {
            return Ok(connected);
        }
        // `call` has the time limit.
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let connection = self.client.get_multiplexed_async_connection_with_config(&config).await;
        let connection = connection.map_err(Failure::Connecting)?;
        let mut health = self.health();
        if std::mem::take(&mut health.ill) {
            tracing::info!("kv: Redis at {} is back", self.address());
        }
        health.connections += 1;
        health.state = State::Connected(connection.clone());
        Ok((connection, health.connections))
    }

    fn connected(&self) -> Result<Option<(MultiplexedConnection, u64)>, Failure> {
        let health = self.health();
        match &health.state {
            State::Connected(connection) => Ok(Some((connection.clone(), health.connections))),
            State::Down(until) if Instant::now() < *until => Err(Failure::Paused),
            State::Idle | State::Down(_) => Ok(None),
        }
    }

    /// Draws the consequences, and says what is wrong.
    fn failed(&self, failure: &Failure) -> String {
        let now = Instant::now();
        let mut health = self.health();
        let text = match failure {
            Failure::Paused => return "it failed a moment ago".to_owned(),
            Failure::Late | Failure::Connecting(_) => {
                health.state = State::Down(now + PAUSE);
                match failure {
                    Failure::Connecting(error) => printable(&error.to_string()),
                    _ => format!("no answer within {:?}", self.timeout),
                }
            }
            Failure::Call(error, number) => {
                // Where the connection is fine the answer was an error: out of memory, no permission, …
                let lost = error.is_io_error() || error.is_unrecoverable_error();
                // Others on the same connection may have seen to it already.
                if lost && *number == health.connections && matches!(health.state, State::Connected(_)) {
                    health.state = State::Idle;
                }
                printable(&error.to_string())
            }
        };
        health.ill = true;
        if health.told.is_none_or(|told| now.saturating_duration_since(told) >= PAUSE) {
            health.told = Some(now);
            tracing::warn!("kv: Redis at {}: {text}; plugins are told `unavailable`", self.address());
        }
        text
    }

    /// Without credentials.
    pub(super) fn address(&self) -> String {
        self.client.get_connection_info().addr().to_string()
    }

    pub(super) fn has_password(&self) -> bool {
        self.client.get_connection_info().redis_settings().password().is_some()
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        // Nothing in it depends on the rest.
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
