//! A gateway in this process.
#![expect(clippy::disallowed_methods, reason = "tests write a configuration folder")]

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use rust_proxy::{Gateway, Reloader};
use rust_proxy_core::Account;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::response::Response;
use crate::upstream::ScriptedUpstream;
use crate::wire::{SOCKET_BUFFER, within};

/// Where `cargo xtask build-plugins` puts components.
const COMPONENTS: [&str; 2] = ["config/plugins", "target/guests"];
/// Where gateways of tests keep compiled code, so that each component is compiled once for all tests.
pub const CACHES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/test-caches");

/// What the configuration's file is called.
const CONFIGURATION: &str = "gateway.toml";

/// A configuration: one model `m`, which its provider calls `upstream-m`, and all components in its plugin
/// folder.
///
/// Any text of it may name `env::UPSTREAM_KEY` and `env::CLIENT_KEY`, which are set to their own names with
/// `-0123456789` behind. Changes of files are not watched unless it says so.
#[derive(Debug, Clone)]
pub struct Setup {
    watch: bool,
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
        let setup = Self {
            watch: false,
            server,
            provider,
            pipeline: None,
            more,
            variables: keys.into(),
            files: Vec::new(),
        };
        setup.variable("UPSTREAM", "http://127.0.0.1:1/v1/").variable("XDG_CACHE_HOME", CACHES)
    }

    /// What the model `m` asks; other providers can name it as `env::UPSTREAM`.
    #[must_use]
    pub fn upstream(self, upstream: &ScriptedUpstream) -> Self {
        self.variable("UPSTREAM", &upstream.url())
    }

    /// Watches the files.
    #[must_use]
    pub fn watch(self) -> Self {
        Self { watch: true, ..self }
    }

    /// Adds the operator's listener, whose token is `ADMIN_TOKEN-0123456789`.
    #[must_use]
    pub fn admin(self) -> Self {
        self.variable("ADMIN_TOKEN", "ADMIN_TOKEN-0123456789")
            .toml("[admin]\nlisten = '127.0.0.1:0'\ntoken = 'env::ADMIN_TOKEN'")
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
        self.write(folder.path());
        let file = folder.path().join(CONFIGURATION);
        let gateway = Gateway::load(file, self.variables).await.map_err(|error| error.to_string())?;
        let (stop, stopped) = oneshot::channel();
        let (address, admin, reloader) = (gateway.address(), gateway.admin_address(), gateway.reloader());
        let serving = tokio::spawn(gateway.serve(async {
            let _ = stopped.await;
        }));
        let reloader = reloader.expect("a gateway of a file");
        Ok(TestGateway { address, admin, reloader, stop: Some(stop), serving, folder })
    }

    /// Writes the files, each in one step, the configuration last.
    fn write(&self, folder: &Path) {
        let configuration = (CONFIGURATION.to_owned(), self.text().into_bytes());
        for (path, bytes) in self.files.iter().chain([&configuration]) {
            replace(&folder.join(path), bytes);
        }
    }

    fn text(&self) -> String {
        let Self { watch, server, provider, pipeline, more, .. } = self;
        let (line, table) = match pipeline {
            Some(stages) => ("pipeline = 'p'", format!("[pipelines.p]\n{stages}")),
            None => ("", String::new()),
        };
        // Several gateways in a process need not have the address space of a thousand streams each.
        let streams = if server.contains("streams_max") { "" } else { "streams_max = 100\n" };
        format!(
            "[server]\nlisten = '127.0.0.1:0'\nwatch = {watch}\n{streams}{server}\n[models.m]\nrouting = ['main']\n{line}\n\
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

/// Puts a file in the place of what is there.
fn replace(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().expect("a file in a folder")).expect("a writable folder");
    let part = path.with_extension("part");
    fs::write(&part, bytes).and_then(|()| fs::rename(&part, path)).expect("a writable folder");
}

/// A gateway that serves until it is dropped.
#[derive(Debug)]
pub struct TestGateway {
    /// Where it listens.
    pub address: SocketAddr,
    /// Where its operator's listener is, if it has one.
    pub admin: Option<SocketAddr>,
    /// What reloads it.
    pub reloader: Reloader,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
    folder: TempDir,
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
        self.request_to(self.address, request).await
    }

    /// As [`request`](Self::request), to the operator's listener.
    ///
    /// # Panics
    /// Without one.
    pub async fn operate(&self, request: &str) -> Response {
        self.request_to(self.admin.expect("an operator's listener"), request).await
    }

    /// Writes the files of a setup in the place of its own; the variables stay.
    pub fn rewrite(&self, setup: &Setup) {
        setup.write(self.folder.path());
    }

    /// Puts a file into its folder, or in the place of one.
    pub fn put(&self, path: &str, bytes: &[u8]) {
        replace(&self.folder.path().join(path), bytes);
    }

    /// Gives a file or folder of its folder another name.
    ///
    /// # Panics
    /// Where there is none.
    pub fn rename(&self, from: &str, to: &str) {
        let folder = self.folder.path();
        fs::rename(folder.join(from), folder.join(to)).expect("a file or folder");
    }

    /// A connection for several requests.
    pub async fn connect(&self) -> Connection {
        Connection(TcpStream::connect(self.address).await.expect("a listening gateway"))
    }

    async fn request_to(&self, address: SocketAddr, request: &str) -> Response {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(SOCKET_BUFFER).expect("any size");
        let mut stream = socket.connect(address).await.expect("a listening gateway");
        stream.write_all(request.as_bytes()).await.expect("an open connection");
        Response::read(stream).await
    }

    /// What a plugin did in all exchanges that have ended.
    ///
    /// # Panics
    /// Where there is no such plugin.
    pub fn account(&self, plugin: &str) -> Account {
        self.reloader.engine().accounts().remove(plugin).expect("a plugin of the configuration")
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

/// A connection that is kept.
#[derive(Debug)]
pub struct Connection(TcpStream);

impl Connection {
    /// Sends a request and gives the status of its answer, which has a length.
    pub async fn ask(&mut self, request: &str) -> u16 {
        self.0.write_all(request.as_bytes()).await.expect("an open connection");
        let mut answer = Vec::new();
        loop {
            let got = within("an answer", self.0.read_buf(&mut answer)).await.expect("an open connection");
            assert_ne!(got, 0, "closed after {:?}", String::from_utf8_lossy(&answer));
            let text = String::from_utf8_lossy(&answer);
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let lines = head.to_ascii_lowercase();
            let length = lines.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if length == Some(body.len()) {
                return lines.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
            }
        }
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
