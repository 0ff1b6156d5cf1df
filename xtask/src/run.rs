//! `cargo xtask run`: the gateway in front of a local Dev API, ready to be asked.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::command::{self, cargo, command};
use crate::plugins;

const UPSTREAM: &str = "127.0.0.1:8787";
const GATEWAY: &str = "127.0.0.1:3000";
const PROGRAM: &str = "target/debug/rust-proxy";
const CONFIG: &str = "config/demo.toml";

/// It has words of config/words.txt.
const QUESTION: &str = "Is a banana classified as a berry?";

/// Long enough for a machine that compiles every plugin at start.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Longer than open streams are given to end.
const END_WITHIN: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(100);

pub(crate) fn run() -> Result<()> {
    check_free(UPSTREAM)?;
    check_free(GATEWAY)?;
    plugins::build()?;
    command::run(&mut cargo(&["build", "--package", "rust-proxy"]))?;

    let mut servers = [
        Server::start("Dev API", UPSTREAM, &["dev-api", "--listen", UPSTREAM])?,
        Server::start("gateway", GATEWAY, &["serve", "--config", CONFIG])?,
    ];
    for server in &mut servers {
        server.wait_until_ready()?;
    }
    println!("{}", requests());
    let ended = wait_for_an_end(&mut servers)?;
    bail!("{ended}, so the other one is ended too")
}

fn check_free(address: &str) -> Result<()> {
    match TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            bail!(
                "{address} is taken: end the program that listens there (`ss -ltnp` names it) and try again"
            )
        }
        Err(error) => Err(error).with_context(|| format!("cannot listen on {address}")),
    }
}

fn requests() -> String {
    let researched = format!("{QUESTION} See http://{UPSTREAM}/pages/berries.html");
    format!(
        "\nThe gateway is ready. It masks the words of config/words.txt, in requests and in answers.\n\n\
         A stream:\n  {}\n\nA whole answer:\n  {}\n\n\
         With a page fetched, a template, a signed request and an emoji:\n  {}\n\n\
         The same through POST /chat:\n  {}\n\nCtrl-C ends both servers.\n",
        request("curl -N", "demo", true, QUESTION),
        request("curl", "demo", false, QUESTION),
        request("curl -N", "rust-proxy", true, &researched),
        post("curl -N", "/chat", &format!(r#"{{"message": "{researched}"}}"#)),
    )
}

fn request(curl: &str, model: &str, stream: bool, question: &str) -> String {
    let message = format!(r#"{{"role": "user", "content": "{question}"}}"#);
    let body = format!(r#"{{"model": "{model}", "stream": {stream}, "messages": [{message}]}}"#);
    post(curl, "/v1/chat/completions", &body)
}

fn post(curl: &str, path: &str, body: &str) -> String {
    format!("{curl} http://{GATEWAY}{path} -H 'content-type: application/json' -d '{body}'")
}

fn wait_for_an_end(servers: &mut [Server]) -> Result<String> {
    loop {
        for server in &mut *servers {
            if let Some(end) = server.end()? {
                return Ok(end);
            }
        }
        sleep(POLL);
    }
}

/// A child process that does not outlive us, whatever ends us.
struct Server {
    name: &'static str,
    address: &'static str,
    child: Child,
    /// Ends the child when its standard input ends: on drop, and when this process is no more.
    watchdog: Child,
    lifeline: Option<ChildStdin>,
}

impl Server {
    fn start(name: &'static str, address: &'static str, arguments: &[&str]) -> Result<Self> {
        let child = command(PROGRAM, arguments).stdin(Stdio::null()).spawn();
        Self::guard(name, address, child.with_context(|| format!("cannot start the {name}"))?)
    }

    fn guard(name: &'static str, address: &'static str, mut child: Child) -> Result<Self> {
        match watch(&child) {
            Ok((watchdog, lifeline)) => Ok(Self { name, address, child, watchdog, lifeline }),
            Err(error) => {
                child.kill()?;
                Err(error)
            }
        }
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let start = Instant::now();
        while !is_healthy(self.address) {
            if let Some(end) = self.end()? {
                bail!("{end} before it was ready: its last lines say why");
            }
            if start.elapsed() > READY_WITHIN {
                bail!(
                    "the {} did not answer http://{}/health within {READY_WITHIN:?}",
                    self.name,
                    self.address
                );
            }
            sleep(POLL);
        }
        Ok(())
    }

    fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    fn end(&mut self) -> Result<Option<String>> {
        Ok(self.child.try_wait()?.map(|status| format!("the {} has ended ({status})", self.name)))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // What cannot be done here cannot be mended by anybody, so errors are left.
        if self.has_ended() {
            // Its process id may be another's by now.
            let _ = self.watchdog.kill();
        }
        drop(self.lifeline.take());
        let start = Instant::now();
        while !self.has_ended() && start.elapsed() < END_WITHIN {
            sleep(POLL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = self.watchdog.wait();
    }
}

/// Starts a shell that waits for the end of its standard input, and then ends the child by its process id.
/// Ctrl-C reaches the whole foreground group; the shell stays until its work is done.
fn watch(child: &Child) -> Result<(Child, Option<ChildStdin>)> {
    let script = format!("trap '' INT; read -r _; kill {} 2>/dev/null", child.id());
    let mut watchdog = Command::new("sh")
        .args(["-c", &script])
        .stdin(Stdio::piped())
        .spawn()
        .context("cannot start `sh`, which ends the servers when this task ends")?;
    let lifeline = watchdog.stdin.take();
    Ok((watchdog, lifeline))
}

fn is_healthy(address: &str) -> bool {
    health(address).is_ok_and(|answer| answer.starts_with(b"HTTP/1.1 200"))
}

fn health(address: &str) -> Result<Vec<u8>> {
    let timeout = Duration::from_secs(1);
    let address: SocketAddr = address.parse()?;
    let mut stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.write_all(
        format!("GET /health HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut answer = Vec::new();
    stream.take(1024).read_to_end(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(script: &str) -> Server {
        let child = Command::new("sh").args(["-c", script]).spawn().unwrap();
        Server::guard("test", "127.0.0.1:1", child).unwrap()
    }

    #[test]
    fn a_dropped_server_is_ended_well_before_it_would_be_killed() {
        let server = server("exec sleep 60");
        let start = Instant::now();
        drop(server);
        assert!(start.elapsed() < END_WITHIN);
    }

    #[test]
    fn a_server_that_ends_before_it_is_ready_is_an_error() {
        let error = server("exit 3").wait_until_ready().unwrap_err();
        assert!(error.to_string().starts_with("the test has ended (exit status: 3) before it was ready"));
    }

    #[test]
    fn a_taken_port_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let error = check_free(&address).unwrap_err();
        assert!(error.to_string().starts_with(&format!("{address} is taken")));
    }
}
