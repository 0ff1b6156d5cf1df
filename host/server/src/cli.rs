//! The command line.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use rust_proxy_core::Engine;
use rust_proxy_core::config::{Config, Environment, ProcessEnvironment};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;

use crate::dev_api::{Answers, Settings};
use crate::logging::{self, LogFormat};
use crate::serve::Live;
use crate::{Gateway, GatewayError, Reloader, dev_api, serve};

mod diff;
mod summary;

/// `EX_CONFIG` of sysexits.h: supervisors can tell a configuration that needs a person from a crash that
/// needs a restart.
const CONFIGURATION_ERROR: u8 = 78;

/// The bounds of `dev-api`, which serves its user's own tries.
const DEV_API: serve::Limits =
    serve::Limits { connections_max: 1000, head_within: serve::HEAD_WITHIN, grace: Duration::from_secs(2) };

/// A streaming gateway for LLMs with sandboxed WebAssembly plugins.
#[derive(Debug, Parser)]
#[command(name = "rust-proxy", version)]
struct Cli {
    /// The form of the log, which goes to standard error; RUST_LOG filters it.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve what a configuration describes, until SIGINT or SIGTERM; a second one cuts what is still open. SIGHUP
    /// reloads it.
    Serve {
        /// The configuration.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Load a configuration and its plugins as `serve` would, and show what it describes.
    Check {
        /// The configuration.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Show what a reload would change instead, by asking the gateway that has its `[admin]` listener.
        #[arg(long)]
        diff: bool,
    },
    /// Serve a model for demonstrations, answering with a quote of what it was sent: OpenAI's API, and the Dev
    /// API (`POST /chat`), every signature of which is verified.
    DevApi {
        /// Where to listen.
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8787")]
        listen: SocketAddr,
        /// The pause between two pieces of an answer, such as 60ms or 1s.
        #[arg(long, value_name = "TIME", default_value = "60ms", value_parser = duration)]
        delay: Duration,
        /// Where the key of signatures is: env::NAME. Without it SIGNER_KEY is asked, then the key is the
        /// documented "demonstration-key-not-a-secret".
        #[arg(long, value_name = "env::NAME", value_parser = variable)]
        key: Option<String>,
        /// The form of the Dev API's answers; a request's `stream_format` says otherwise.
        #[arg(long, value_enum, default_value_t = Answers::Own)]
        answers: Answers,
    },
}

/// Runs the program with its arguments, the first of which is its name, until it is done.
///
/// The exit code is 0, 2 for arguments that cannot be read, 78 for a configuration that cannot be started,
/// and 1 for anything else.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Where the help cannot be printed there is nobody to tell.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1));
        }
    };
    logging::init(cli.log_format);
    let done = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(execute(cli.command)),
        Err(error) => Err(Failure::other(format!("the runtime could not be started: {error}"))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { text, code }) => {
            print(std::io::stderr(), &text);
            ExitCode::from(code)
        }
    }
}

/// What a person is told at the end of a command that failed.
struct Failure {
    text: String,
    code: u8,
}

impl Failure {
    fn configuration(text: String) -> Self {
        Self { text, code: CONFIGURATION_ERROR }
    }

    fn other(text: String) -> Self {
        Self { text, code: 1 }
    }
}

async fn execute(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve { config } => serve_gateway(&config).await,
        Command::Check { config, diff } => check(&config, diff).await,
        Command::DevApi { listen, delay, key, answers } => {
            serve_dev_api(listen, Settings { delay, key: signer_key(key.as_deref())?, answers }).await
        }
    }
}

fn load(file: &Path) -> Result<Config, Failure> {
    Config::load(file, &ProcessEnvironment).map_err(|error| Failure::configuration(error.to_string()))
}

async fn serve_gateway(file: &Path) -> Result<(), Failure> {
    let gateway = Gateway::load(file, ProcessEnvironment).await.map_err(|error| match error {
        GatewayError::Bind { .. } => Failure::other(error.to_string()),
        _ => Failure::configuration(error.to_string()),
    })?;
    let mut ready = format!("listening on http://{}", gateway.address());
    if let Some(address) = gateway.admin_address() {
        // Writing to a String cannot fail.
        let _ = write!(ready, "\noperator's listener on http://{address}");
    }
    // Ends with this call.
    let mut beside = JoinSet::new();
    if let Some(reloader) = gateway.reloader() {
        beside.spawn(reload_on_hangup(signal_of(SignalKind::hangup())?, reloader));
    }
    until_signalled(&ready, |first| gateway.serve(first)).await
}

/// Without this a hangup would end the program.
async fn reload_on_hangup(mut hangups: Signal, reloader: Reloader) {
    while hangups.recv().await.is_some() {
        // Logged where it happens.
        let _ = reloader.reload("SIGHUP").await;
    }
}

async fn check(file: &Path, diff: bool) -> Result<(), Failure> {
    let config = load(file)?;
    let engine = Engine::start(&config).await.map_err(|error| Failure::configuration(error.to_string()))?;
    if !diff {
        say(&summary::of(&config, &engine));
        return Ok(());
    }
    let Some(admin) = &config.admin else {
        let file = file.display();
        return Err(Failure::other(format!(
            "{file}: `--diff` asks the gateway that runs by its [admin] listener, and there is none; add [admin] with \
             listen and token"
        )));
    };
    say(&diff::against(admin, &engine.sources()).await.map_err(Failure::other)?);
    Ok(())
}

/// The key that signatures are verified with.
fn signer_key(variable: Option<&str>) -> Result<String, Failure> {
    let value = ProcessEnvironment.var(variable.unwrap_or("SIGNER_KEY")).filter(|value| !value.is_empty());
    match (value, variable) {
        (Some(key), _) => Ok(key),
        (None, None) => Ok(dev_api::DEMONSTRATION_KEY.to_owned()),
        (None, Some(name)) => Err(Failure::configuration(format!(
            "the environment variable {name} (`--key`) is not set; provide it, or leave `--key` out"
        ))),
    }
}

async fn serve_dev_api(listen: SocketAddr, settings: Settings) -> Result<(), Failure> {
    let refused = |error| Failure::other(format!("cannot listen on {listen} (`--listen`): {error}"));
    let listener = TcpListener::bind(listen).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    let ready = format!(
        "demonstration model on http://{address}/v1, Dev API on http://{address}/chat; it logs what it is sent"
    );
    until_signalled(&ready, |first| {
        serve::serve(listener, Live::new(dev_api::router(settings)), DEV_API, first)
    })
    .await
}

/// Serves with the first signal as the request to stop; the second one stops at once.
async fn until_signalled<F: Future<Output = ()>>(
    ready: &str,
    serve: impl FnOnce(Signals) -> F,
) -> Result<(), Failure> {
    let first = signals(1)?;
    let second = signals(2)?;
    // After this line a signal is a request to stop.
    say(ready);
    tokio::select! {
        () = serve(first) => {}
        () = second => tracing::warn!("second signal: open connections are cut"),
    }
    Ok(())
}

type Signals = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// Ready once SIGINT and SIGTERM came `count` times from now on.
fn signals(count: usize) -> Result<Signals, Failure> {
    let mut interrupt = signal_of(SignalKind::interrupt())?;
    let mut terminate = signal_of(SignalKind::terminate())?;
    Ok(Box::pin(async move {
        for _ in 0..count {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
    }))
}

fn signal_of(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::other(format!("signals cannot be received: {error}")))
}

/// The variable that `env::NAME` names: the key itself would show in the list of processes.
fn variable(text: &str) -> Result<String, String> {
    let name = text.strip_prefix("env::").filter(|name| !name.is_empty());
    name.map(str::to_owned).ok_or_else(|| "write it like env::NAME".to_owned())
}

/// A whole number of `ms` or `s`.
fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 1),
        None => (text.strip_suffix('s').unwrap_or_default(), 1000),
    };
    let millis = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    millis.map(Duration::from_millis).ok_or_else(|| "write it like 60ms or 1s".to_owned())
}

fn say(text: &str) {
    print(std::io::stdout(), text);
}

fn print(mut to: impl Write, text: &str) {
    // Nobody reads: no reason to stop serving.
    let _ = writeln!(to, "{}", text.trim_end());
    let _ = to.flush();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn a_delay_is_a_number_and_a_unit() {
        assert_eq!(duration("60ms"), Ok(Duration::from_millis(60)));
        assert_eq!(duration("0ms"), Ok(Duration::ZERO));
        assert_eq!(duration("2s"), Ok(Duration::from_secs(2)));
        for wrong in ["", "60", "ms", "s", "-1s", "1 s", "1m", "99999999999999999999s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
