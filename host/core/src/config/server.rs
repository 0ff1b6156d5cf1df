//! `[server]`: how clients reach the gateway, and how much of it they may use.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use http::Uri;
use http::uri::Authority;

use super::models::Model;
use super::problems::suggest;
use super::reader::{Node, Table};
use super::reference::SECRET_FIX;
use super::secret::Secret;

/// Not reachable from other machines, and the port that TensorZero uses too.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 3000);
/// Well below the 30 to 60 s after which proxies and load balancers close a silent connection.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// At the budget of 600 KiB each they take 0.6 GiB.
const STREAMS_MAX: u64 = 1000;
/// A tenth of the streams: longer waits are better spent at another gateway.
const QUEUE_MAX: u64 = 100;
/// Address space for twice as many is kept: enough for a dozen plugins, or six and two signers.
const READY_MAX: u64 = 64;
/// TensorZero's own limit.
const BODY_MAX: u64 = 100 << 20;
/// More of anything is a mistake.
const COUNT_MAX: u64 = 1_000_000;
/// Five of the largest requests, or a thousand of half a megabyte.
const BODIES_MAX: u64 = 512 << 20;
/// Most connections are idle: clients keep some for later. At four for each of [`STREAMS_MAX`] nobody waits, and
/// what is left of a process's file descriptors is its upstreams'.
const CONNECTIONS_MAX: u64 = 4 * STREAMS_MAX;
/// TensorZero's own deadline for an exchange.
const EXCHANGE_MAX: Duration = Duration::from_secs(15 * 60);
/// What container platforms grant between the request to stop and the kill.
const SHUTDOWN: Duration = Duration::from_secs(30);
/// Sixteen characters of hexadecimal are 64 bits, out of reach of guessing over a network.
pub(super) const KEY_MIN: usize = 16;

/// How clients reach the gateway.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Server {
    /// The address to listen at. On a loopback address without `keys` everybody on this machine is let in.
    pub listen: SocketAddr,
    /// How long a stream may be silent before a heartbeat is sent.
    pub heartbeat: Duration,
    /// Exchanges at once, at least one.
    pub streams_max: usize,
    /// Exchanges that may wait for one of `streams_max`; 0 refuses them at once.
    pub queue_max: usize,
    /// Plugins of one exchange for which there is room after a reload; those of the first configuration fit anyway.
    /// `None` stands for one more than these.
    pub links_max: Option<usize>,
    /// Instances of plugins and signers that are kept ready for which there is room after a reload, likewise.
    pub ready_max: usize,
    /// Whether a change of the configuration's files, or of the plugins', is taken as soon as it is seen.
    pub watch: bool,
    /// Connections at once, at least `streams_max`; past it a client waits to be accepted.
    pub connections_max: usize,
    /// Bytes of a request body.
    pub body_max: usize,
    /// Bytes of all request bodies that are in memory, at least `body_max`.
    pub bodies_max: usize,
    /// How long an exchange may take from its request to its last byte.
    pub exchange_max: Duration,
    /// How long streams may go on after a request to stop.
    pub shutdown: Duration,
    /// `Host` names that are served besides those of the loopback; lower case, without ports.
    pub hosts: Vec<String>,
    /// Browser origins that may call, as `scheme://host[:port]`; lower case.
    pub origins: Vec<String>,
    /// The model of a request to `POST /chat` that names none; `None` where there are several models and none is
    /// set.
    pub chat_model: Option<String>,
    /// Who may call. Empty lets everybody in, on a loopback address only.
    pub keys: Vec<ClientKey>,
}

/// A key that lets a client in.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientKey {
    /// Whose it is, for logs; different for each key.
    pub name: String,
    /// At least 16 visible ASCII characters; different for each name.
    pub key: Secret,
}

pub(super) fn read(t: &mut Table<'_>) -> Server {
    let keys = t.get("keys").map(|node| node.items()).unwrap_or_default();
    let listen = match t.get("listen") {
        Some(node) => listen(&node, keys.is_empty()).unwrap_or(LISTEN),
        None => LISTEN,
    };
    let streams_max = t.count("streams_max", 1..=COUNT_MAX, STREAMS_MAX);
    let connections_max = CONNECTIONS_MAX.max(4 * streams_max).min(COUNT_MAX);
    let body_max = t.size("body_max", 1..=4 << 30, BODY_MAX);
    Server {
        listen,
        heartbeat: t.duration("heartbeat", HEARTBEAT),
        streams_max: streams_max as usize,
        queue_max: t.count("queue_max", 0..=COUNT_MAX, QUEUE_MAX) as usize,
        links_max: match t.count("links_max", 1..=COUNT_MAX, 0) as usize {
            0 => None,
            links => Some(links),
        },
        ready_max: t.count("ready_max", 1..=COUNT_MAX, READY_MAX) as usize,
        watch: t.flag("watch", true),
        connections_max: t.count("connections_max", streams_max..=COUNT_MAX, connections_max) as usize,
        body_max: body_max as usize,
        bodies_max: t.size("bodies_max", body_max..=1 << 40, BODIES_MAX.max(body_max)) as usize,
        exchange_max: t.duration("exchange_max", EXCHANGE_MAX),
        shutdown: t.duration("shutdown", SHUTDOWN),
        hosts: each(t.get("hosts"), |node| {
            node.parse("a host name", "write it like \"gateway.local\", without a port", host)
        }),
        origins: each(t.get("origins"), |node| {
            node.parse("an origin", "write it like \"https://app.example.com\"", origin)
        }),
        chat_model: t.get("chat_model").and_then(|node| node.name()),
        keys: client_keys(&keys),
    }
}

/// Holds `chat_model` against the models; the only one is the default.
pub(super) fn resolve_chat_model(
    root: &mut Table<'_>,
    server: &mut Server,
    models: &BTreeMap<String, Model>,
) {
    match (&server.chat_model, models.keys().next()) {
        (Some(model), _) if !models.contains_key(model) => {
            if let Some(node) = root.section("server", Table::rest).get("chat_model") {
                let fix = suggest(model, models.keys().map(String::as_str));
                node.conflict::<()>(format!("there is no model {model:?}"), fix);
            }
        }
        (None, Some(only)) if models.len() == 1 => server.chat_model = Some(only.clone()),
        _ => {}
    }
}

fn listen(node: &Node<'_>, open: bool) -> Option<SocketAddr> {
    let address: SocketAddr =
        node.parse("an address", "write it like \"127.0.0.1:3000\"", |text| text.parse().ok())?;
    if open && !address.ip().is_loopback() {
        return node.conflict(
            "other machines can reach this address, and there are no [[server.keys]]",
            "add [[server.keys]] with name = \"…\" and key = \"env::…\", or listen on 127.0.0.1",
        );
    }
    Some(address)
}

fn each<T>(list: Option<Node<'_>>, read: impl Fn(&Node<'_>) -> Option<T>) -> Vec<T> {
    list.map(|list| list.items().iter().filter_map(read).collect()).unwrap_or_default()
}

fn host(text: &str) -> Option<String> {
    let authority: Authority = text.parse().ok()?;
    (authority.host() == text).then(|| text.to_ascii_lowercase())
}

fn origin(text: &str) -> Option<String> {
    let uri: Uri = text.parse().ok()?;
    let exact = format!("{}://{}", uri.scheme_str()?, uri.authority()?);
    (exact.eq_ignore_ascii_case(text) && !exact.contains('@')).then(|| text.to_ascii_lowercase())
}

fn client_keys(items: &[Node<'_>]) -> Vec<ClientKey> {
    let mut keys: Vec<ClientKey> = Vec::new();
    for item in items {
        let read = item.table(|t| {
            let name = t.require("name", "write name = \"…\": logs show it").and_then(|n| n.name());
            let fix = "write key = \"env::NAME\" or \"path::FILE\"";
            let token = t.require("key", fix).and_then(|node| node.token(KEY_MIN, SECRET_FIX));
            Some(ClientKey { name: name?, key: token? })
        });
        let Some(new) = read else { continue };
        if keys.iter().any(|known| known.name == new.name) {
            item.problem::<()>(format!("there is another key named {:?}", new.name), "rename one");
        }
        if let Some(twin) = keys.iter().find(|known| known.key.expose() == new.key.expose()) {
            let message = format!("{:?} and {:?} have the same key", twin.name, new.name);
            item.problem::<()>(message, "give each a key of its own");
        }
        keys.push(new);
    }
    keys
}
