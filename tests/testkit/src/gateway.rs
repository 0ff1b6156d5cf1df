//! A gateway in this process.
#![expect(clippy::disallowed_methods, reason = "tests write a configuration folder")]

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use rust_proxy::Gateway;
use rust_proxy_core::config::Config;
use rust_proxy_core::{Account, Engine};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::response::Response;
use crate::upstream::ScriptedUpstream;
use crate::wire::{SOCKET_BUFFER, within};

/// Where `cargo xtask build-plugins` puts components.
const COMPONENTS: [&str; 2] = ["config/plugins", "target/guests"];

/// A configuration: one model `m`, which its provider calls `upstream-m`, and all components in its plugin
/// folder.
///
/// Any text of it may name `env::UPSTREAM_KEY` and `env::CLIENT_KEY`, which are set to their own names with
/// `-0123456789` behind.
#[derive(Debug)]
pub struct Setup {
    server: String,
    provider: String,
    pipeline: Option<String>,
    more: String,
    variables: BTreeMap<String, String>,
    files: Vec<(String, Vec<u8>)>,
}

impl Setup {
    /// Without plugins, and with an upstream that cannot be reached.
    #[expect(clippy::new_without_default, reason = "the beginning of a chain of calls")]
    pub fn new() -> Self {
        let empty = String::new;
        let keys = ["UPSTREAM_KEY", "CLIENT_KEY"].map(|name| (name.to_owned(), format!("{name}-0123456789")));
        let (server, provider, more) = (empty(), empty(), empty());
        let setup =
            Self { server, provider, pipeline: None, more, variables: keys.into(), files: Vec::new() };
        setup.variable("UPSTREAM", "http://127.0.0.1:1/v1/")
    }

    /// What the model `m` asks; other providers can name it as `env::UPSTREAM`.
    #[must_use]
    pub fn upstream(self, upstream: &ScriptedUpstream) -> Self {
        self.variable("UPSTREAM", &upstream.url())
    }

    /// Lines of `[server]`.
    #[must_use]
    pub fn server(mut self, lines: &str) -> Self {
        self.server.push_str(lines);
        self
    }

    /// Lines of the provider of `m`.
    #[must_use]
    pub fn provider(mut self, lines: &str) -> Self {
        self.provider.push_str(lines);
        self
    }

    /// The plugins of `m`, in both directions.
    #[must_use]
    pub fn plugins(mut self, names: &[&str]) -> Self {
        self.pipeline = Some(format!("process = {names:?}\nmodify = {names:?}"));
        self
    }

    /// More tables.
    #[must_use]
    pub fn toml(mut self, tables: &str) -> Self {
        self.more.push_str(tables);
        self.more.push('\n');
        self
    }

    /// Sets a variable of the environment.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Puts a file into the folder of the configuration.
    #[must_use]
    pub fn file(mut self, path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.files.push((path.to_owned(), bytes.into()));
        self
    }

    /// Starts the gateway.
    ///
    /// # Panics
    /// Where it is refused.
    pub async fn start(self) -> TestGateway {
        self.try_start().await.unwrap_or_else(|problems| panic!("{problems}"))
    }

    /// What is said to a configuration that is refused.
    ///
    /// # Panics
    /// Where the gateway starts.
    pub async fn refusal(self) -> String {
        self.try_start().await.expect_err("a configuration that is refused")
    }

    async fn try_start(self) -> Result<TestGateway, String> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join("plugins")).expect("a new folder");
        link_components(&folder.path().join("plugins"));
        for (path, bytes) in &self.files {
            fs::write(folder.path().join(path), bytes).expect("a writable folder");
        }
        let file = folder.path().join("gateway.toml");
        fs::write(&file, self.text()).expect("a writable folder");
        let config = Config::load(&file, &self.variables).map_err(|problems| problems.to_string())?;
        let engine = Engine::start(&config).await.map_err(|error| error.to_string())?;
        let gateway = Gateway::with_engine(&config.server, engine.clone()).await;
        let gateway = gateway.map_err(|error| error.to_string())?;
        let (stop, stopped) = oneshot::channel();
        let address = gateway.address();
        let serving = tokio::spawn(gateway.serve(async {
            let _ = stopped.await;
        }));
        Ok(TestGateway { address, engine, stop: Some(stop), serving, _folder: folder })
    }

    fn text(&self) -> String {
        let Self { server, provider, pipeline, more, .. } = self;
        let (line, table) = match pipeline {
            Some(stages) => ("pipeline = 'p'", format!("[pipelines.p]\n{stages}")),
            None => ("", String::new()),
        };
        format!(
            "[server]\nlisten = '127.0.0.1:0'\n{server}\n[models.m]\nrouting = ['main']\n{line}\n\
             [models.m.providers.main]\ntype = 'openai'\napi_base = 'env::UPSTREAM'\nmodel_name = 'upstream-m'\n\
             api_key_location = 'env::UPSTREAM_KEY'\n{provider}\n{table}\n{more}"
        )
    }
}

fn link_components(plugins: &Path) {
    for folder in COMPONENTS.map(|folder| Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder)) {
        let entries = fs::read_dir(&folder).into_iter().flatten().map_while(Result::ok);
        let is_component = |path: &Path| path.extension().is_some_and(|extension| extension == "wasm");
        let components: Vec<_> =
            entries.map(|entry| entry.path()).filter(|path| is_component(path)).collect();
        assert!(!components.is_empty(), "no .wasm in {}: run `cargo xtask build-plugins`", folder.display());
        for component in components {
            let name = component.file_name().expect("a file");
            std::os::unix::fs::symlink(&component, plugins.join(name)).expect("an empty folder");
        }
    }
}

/// A gateway that serves until it is dropped.
#[derive(Debug)]
pub struct TestGateway {
    /// Where it listens.
    pub address: SocketAddr,
    engine: Engine,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
    _folder: TempDir,
}

impl TestGateway {
    /// Asks `m` for a stream.
    pub async fn ask(&self, text: &str) -> Response {
        self.chat(&chat("m", text, true)).await
    }

    /// Asks `m` for a whole answer.
    pub async fn ask_whole(&self, text: &str) -> Response {
        self.chat(&chat("m", text, false)).await
    }

    /// Asks any model for a stream.
    pub async fn ask_model(&self, model: &str, text: &str) -> Response {
        self.chat(&chat(model, text, true)).await
    }

    /// Posts a chat request.
    pub async fn chat(&self, body: &Value) -> Response {
        self.post("", &body.to_string()).await
    }

    /// Posts any JSON body with more header lines, each with its line end.
    pub async fn post(&self, headers: &str, body: &str) -> Response {
        let headers =
            format!("content-type: application/json\r\ncontent-length: {}\r\n{headers}", body.len());
        self.request(&format!("POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n{body}"))
            .await
    }

    /// Sends any bytes and waits for the head of the answer.
    pub async fn request(&self, request: &str) -> Response {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(SOCKET_BUFFER).expect("any size");
        let mut stream = socket.connect(self.address).await.expect("a listening gateway");
        stream.write_all(request.as_bytes()).await.expect("an open connection");
        Response::read(stream).await
    }

    /// What a plugin did in all exchanges that have ended.
    ///
    /// # Panics
    /// Where there is no such plugin.
    pub fn account(&self, plugin: &str) -> Account {
        self.engine.accounts().remove(plugin).expect("a plugin of the configuration")
    }

    /// Asks the gateway to end.
    pub fn stop(&mut self) {
        let stop = self.stop.take().expect("a gateway that was not stopped before");
        stop.send(()).expect("a gateway that serves");
    }

    /// Waits for its end.
    pub async fn stopped(mut self) {
        within("the end of a gateway", &mut self.serving).await.expect("no panic");
    }
}

impl Drop for TestGateway {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A chat request with one message.
fn chat(model: &str, text: &str, stream: bool) -> Value {
    json!({ "model": model, "stream": stream, "messages": [{ "role": "user", "content": text }] })
}
