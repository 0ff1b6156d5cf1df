//! A real `redis-server` for tests.

use std::path::PathBuf;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::wire::within;

/// A Redis of a test's own, on a socket in a folder of its own; it keeps nothing. Ends when dropped.
#[derive(Debug)]
pub struct RedisServer {
    folder: TempDir,
    process: Option<Child>,
}

impl RedisServer {
    /// Starts one.
    ///
    /// # Panics
    /// Where there is no `redis-server` on this machine.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts one with further settings: `["--maxmemory", "1mb"]`.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub async fn start_with(settings: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut server = Self { folder, process: None };
        server.start_again_with(settings).await;
        server
    }

    /// Starts it again after [`stop`](Self::stop), empty, where it was before.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub async fn start_again(&mut self) {
        self.start_again_with(&[]).await;
    }

    async fn start_again_with(&mut self, settings: &[&str]) {
        let mut process = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
            .arg(self.socket())
            .args(settings)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("`redis-server` (Debian: `apt-get install redis-server`)");
        let output = process.stdout.take().expect("a pipe");
        let mut lines = BufReader::new(output).lines();
        let ready = async {
            while let Some(line) = lines.next_line().await.expect("lines of text") {
                if line.contains("eady to accept connections") {
                    return;
                }
            }
            panic!("redis-server ended before it was ready");
        };
        within("a redis-server that is ready", ready).await;
        // What it has to say later goes nowhere, but it must not wait for a reader.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        self.process = Some(process);
    }

    /// Ends it at once, and its connections with it.
    ///
    /// # Panics
    /// Where it has ended by itself.
    pub async fn stop(&mut self) {
        let mut process = self.process.take().expect("a redis-server that runs");
        process.kill().await.expect("a process that can be ended");
    }

    /// Lets it answer nothing from now on, without closing a connection, or answer again.
    ///
    /// # Panics
    /// Where it does not run.
    pub async fn freeze(&self, frozen: bool) {
        let process = self.process.as_ref().and_then(Child::id).expect("a redis-server that runs");
        let signal = if frozen { "-STOP" } else { "-CONT" };
        let kill = Command::new("kill").args([signal, &process.to_string()]).status().await;
        assert!(kill.is_ok_and(|status| status.success()), "kill {signal} {process}");
    }

    /// What `[kv] redis` names it by.
    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }
}
