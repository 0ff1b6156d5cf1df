//! What a plugin may fetch: origins, and the addresses among them that are not public.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use reqwest::Url;

/// The HTTP that one plugin was granted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grant {
    /// Where its requests may go.
    pub http: Vec<Target>,
    /// Addresses that are not public and may be reached nevertheless.
    pub private: Vec<SocketAddr>,
}

/// An origin, or all origins below a domain: `https://example.org`, `https://*.example.org:8443`.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    scheme: &'static str,
    host: Host,
    port: u16,
}

#[derive(Clone, PartialEq, Eq)]
enum Host {
    /// A name or address, as URLs write it.
    Exact(String),
    /// Every name that ends with this, which begins with a dot.
    Below(String),
}

/// Why a text is not a [`Target`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// It has no scheme that can be fetched.
    #[error("does not begin with http:// or https://")]
    Scheme,
    /// It says more than an origin, which would be ignored.
    #[error("has more than scheme, host and port")]
    More,
    /// There is a `*` which is not all of the first label.
    #[error("has a `*` that does not stand for the first labels of a name, as in *.example.org")]
    Wildcard,
    /// Host or port are not valid.
    #[error("has no valid host and port")]
    Host,
    /// It can be written in another way, so that it may mislead who reads it.
    #[error("is another way to write {0}")]
    Spelling(String),
}

impl Target {
    /// Reads a target.
    ///
    /// # Errors
    /// [`TargetError`] for everything that is not exactly scheme, host and perhaps a port.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        let lower = text.to_ascii_lowercase();
        let (scheme, rest) = match lower.split_once("://") {
            Some(("http", rest)) => ("http", rest),
            Some(("https", rest)) => ("https", rest),
            _ => return Err(TargetError::Scheme),
        };
        if rest.contains(['/', '?', '#', '@', '\\']) {
            return Err(TargetError::More);
        }
        let (below, name) = match rest.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, rest),
        };
        if name.contains('*') {
            return Err(TargetError::Wildcard);
        }
        let url = Url::parse(&format!("{scheme}://{name}")).map_err(|_| TargetError::Host)?;
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return Err(TargetError::Host);
        };
        // The parser takes numbers for addresses, leaves out default ports and encodes other letters.
        let written = name.strip_suffix(&format!(":{port}")).unwrap_or(name);
        if port == 0 || host.ends_with('.') {
            return Err(TargetError::Host);
        }
        if written != host {
            let stars = if below { "*." } else { "" };
            return Err(TargetError::Spelling(origin(scheme, &format!("{stars}{host}"), port)));
        }
        if below && address(&url).is_some() {
            return Err(TargetError::Wildcard);
        }
        let host = if below { Host::Below(format!(".{host}")) } else { Host::Exact(host.to_owned()) };
        Ok(Self { scheme, host, port })
    }

    /// The port, which every target has.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address, where the target is one and not a name.
    pub fn address(&self) -> Option<SocketAddr> {
        let Host::Exact(host) = &self.host else { return None };
        let address: IpAddr = host.trim_matches(['[', ']']).parse().ok()?;
        Some(SocketAddr::new(address, self.port))
    }

    /// Whether a URL leads there.
    pub(crate) fn covers(&self, url: &Url) -> bool {
        let Some(host) = url.host_str() else { return false };
        let host_fits = match &self.host {
            Host::Exact(name) => host == name,
            // `.example.org` alone is no name below it.
            Host::Below(end) => host.len() > end.len() && host.ends_with(end.as_str()),
        };
        host_fits && url.scheme() == self.scheme && url.port_or_known_default() == Some(self.port)
    }
}

impl Grant {
    pub(crate) fn covers(&self, url: &Url) -> bool {
        self.http.iter().any(|target| target.covers(url))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = match &self.host {
            Host::Exact(name) => name.clone(),
            Host::Below(end) => format!("*{end}"),
        };
        f.write_str(&origin(self.scheme, &host, self.port))
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The address in a URL, if it has one in place of a name.
pub(crate) fn address(url: &Url) -> Option<IpAddr> {
    url.host_str()?.trim_matches(['[', ']']).parse().ok()
}

/// An origin as it is written: without the port that goes without saying.
pub(crate) fn origin(scheme: &str, host: &str, port: u16) -> String {
    match (scheme, port) {
        ("http", 80) | ("https", 443) => format!("{scheme}://{host}"),
        _ => format!("{scheme}://{host}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_scheme_host_and_perhaps_a_port() {
        for (text, shown) in [
            ("https://example.org", "https://example.org"),
            ("HTTPS://Example.ORG", "https://example.org"),
            ("https://example.org:443", "https://example.org"),
            ("https://example.org:80", "https://example.org:80"),
            ("http://127.0.0.1:8787", "http://127.0.0.1:8787"),
            ("http://[::1]:8787", "http://[::1]:8787"),
            ("https://*.wikipedia.org", "https://*.wikipedia.org"),
            ("https://*.example.org:8443", "https://*.example.org:8443"),
            ("http://localhost:1", "http://localhost:1"),
        ] {
            assert_eq!(Target::parse(text).map(|target| target.to_string()), Ok(shown.to_owned()), "{text}");
        }
    }

    #[test]
    fn all_else_is_refused() {
        let spelling = |text: &str| TargetError::Spelling(text.to_owned());
        for (text, error) in [
            ("example.org", TargetError::Scheme),
            ("ftp://example.org", TargetError::Scheme),
            ("*://example.org", TargetError::Scheme),
            ("", TargetError::Scheme),
            ("https://example.org/", TargetError::More),
            ("https://example.org/path", TargetError::More),
            ("https://example.org?q", TargetError::More),
            ("https://example.org#f", TargetError::More),
            ("https://user@example.org", TargetError::More),
            ("https://user:password@example.org", TargetError::More),
            ("https://example.org\\@evil.example", TargetError::More),
            ("https://*", TargetError::Wildcard),
            ("https://*wikipedia.org", TargetError::Wildcard),
            ("https://en.*.org", TargetError::Wildcard),
            ("https://*.*.org", TargetError::Wildcard),
            ("https://*.127.0.0.1", TargetError::Wildcard),
            ("https://", TargetError::Host),
            ("https://*.", TargetError::Host),
            ("https://example.org:", spelling("https://example.org")),
            ("https://example.org:0", TargetError::Host),
            ("https://example.org:65536", TargetError::Host),
            ("https://example.org.", TargetError::Host),
            ("https://exa mple.org", TargetError::Host),
            ("http://0x7f000001", spelling("http://127.0.0.1")),
            ("http://2130706433:81", spelling("http://127.0.0.1:81")),
            ("http://127.1", spelling("http://127.0.0.1")),
            ("http://[0:0::1]", spelling("http://[::1]")),
            ("http://%65xample.org", spelling("http://example.org")),
            ("http://bücher.example", spelling("http://xn--bcher-kva.example")),
        ] {
            assert_eq!(Target::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_url_is_covered_by_scheme_host_and_port() {
        for (target, url, covered) in [
            ("https://example.org", "https://example.org/any?thing", true),
            ("https://example.org", "https://EXAMPLE.org:443/", true),
            ("https://example.org", "http://example.org/", false),
            ("https://example.org", "https://example.org:8443/", false),
            ("https://example.org", "https://sub.example.org/", false),
            ("https://example.org", "https://example.org.evil.example/", false),
            ("https://example.org", "https://example.org./", false),
            ("https://*.example.org", "https://a.example.org/", true),
            ("https://*.example.org", "https://a.b.example.org/", true),
            ("https://*.example.org", "https://example.org/", false),
            ("https://*.example.org", "https://evilexample.org/", false),
            ("https://*.example.org", "https://.example.org/", false),
            ("https://*.example.org", "https://a.example.org.evil.example/", false),
            ("https://*.example.org", "https://a.example.org@evil.example/", false),
            ("http://127.0.0.1:81", "http://2130706433:81/", true),
            ("http://127.0.0.1:81", "http://[::ffff:127.0.0.1]:81/", false),
        ] {
            let (target, url) = (Target::parse(target).unwrap(), Url::parse(url).unwrap());
            assert_eq!(target.covers(&url), covered, "{target} {url}");
        }
    }
}
