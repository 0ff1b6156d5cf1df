//! `grant.http` and `grant.private`: where a plugin's HTTP requests may go.

use std::net::SocketAddr;

use rust_proxy_upstream::{Grant, Target, TargetError, not_public};

use crate::config::reader::{Node, Table};

/// Reads both; `None` where there is no `http`.
pub(super) fn read<'a>(t: &mut Table<'a>) -> Option<(Grant, Node<'a>)> {
    let http = t.get("http");
    let targets = http.as_ref().map(targets).unwrap_or_default();
    let private = t.get("private").map(|node| addresses(&node, &targets)).unwrap_or_default();
    for (target, node) in &targets {
        check_reachable(target, node, &private);
    }
    Some((Grant { http: targets.into_iter().map(|(target, _)| target).collect(), private }, http?))
}

fn targets<'a>(node: &Node<'a>) -> Vec<(Target, Node<'a>)> {
    let names = node.names().into_iter();
    names.filter_map(|(text, node)| Some((target(&text, &node)?, node))).collect()
}

fn target(text: &str, node: &Node<'_>) -> Option<Target> {
    Target::parse(text).map_err(|error| refuse(text, &error, node)).ok()
}

fn refuse(text: &str, error: &TargetError, node: &Node<'_>) {
    let fix = match error {
        TargetError::Spelling(plain) => format!("write {plain:?}"),
        _ => "write it like \"https://example.org\", \"https://*.example.org\" or \"http://127.0.0.1:8787\""
            .to_owned(),
    };
    // A URL with a user may have a password too, which is not repeated.
    let shown = if text.contains('@') { "this".to_owned() } else { format!("{text:?}") };
    node.problem::<()>(format!("{shown} {error}"), fix);
}

fn addresses(node: &Node<'_>, targets: &[(Target, Node<'_>)]) -> Vec<SocketAddr> {
    let names = node.names().into_iter();
    names.filter_map(|(text, node)| address(&text, &node, targets)).collect()
}

fn address(text: &str, node: &Node<'_>, targets: &[(Target, Node<'_>)]) -> Option<SocketAddr> {
    let Ok(address) = text.parse::<SocketAddr>() else {
        let fix = "write it like \"127.0.0.1:8787\" or \"[::1]:8787\"";
        return node.problem(format!("{text:?} is not an address with its port"), fix);
    };
    if not_public(address.ip()).is_none() {
        return node
            .problem(format!("{text:?} is public, so this grants nothing"), "name it under `http` only");
    }
    if !targets.is_empty() && !targets.iter().any(|(target, _)| target.port() == address.port()) {
        let port = address.port();
        return node.problem(
            format!("no target under `http` has port {port}, so this grants nothing"),
            format!("write the target with its port, like \"http://NAME:{port}\""),
        );
    }
    Some(address)
}

/// A target that is an address must be one that is let through.
fn check_reachable(target: &Target, node: &Node<'_>, private: &[SocketAddr]) {
    let Some(address) = target.address() else { return };
    if let Some(kind) = not_public(address.ip())
        && !private.contains(&address)
    {
        let fix = format!("add private = [\"{address}\"] if that is meant");
        node.problem::<()>(format!("{target} is not public ({kind}), so it cannot be reached"), fix);
    }
}
