//! The program as its users run it: exit codes, what it prints, and how it stops.

#![expect(clippy::expect_used, reason = "helpers of tests fail like tests")]
#![expect(clippy::disallowed_methods, reason = "writes configurations")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use tempfile::TempPath;

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rust-proxy"));
    command.args(arguments).env_remove("RUST_LOG").env_remove("OPENAI_API_KEY");
    command.env("XDG_CACHE_HOME", concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/test-caches"));
    command
}

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = program(arguments).output().expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}

/// A configuration in a file that is gone with the test.
fn configuration(text: &str) -> TempPath {
    let mut file = tempfile::Builder::new().suffix(".toml").tempfile().expect("a file");
    file.write_all(text.as_bytes()).expect("written");
    file.into_temp_path()
}

const PLAIN: &str = r#"
[server]
listen = "127.0.0.1:0"

[pipelines.unused]

[models.demo]
routing = ["local"]

[models.demo.providers.local]
type = "openai"
api_base = "http://127.0.0.1:8787/v1"
api_key_location = "none"
"#;

/// A program that serves, and the address that it printed.
struct Serving {
    child: Child,
    address: String,
    out: BufReader<ChildStdout>,
}

fn serve(arguments: &[&str]) -> Serving {
    serve_as(program(arguments).stderr(Stdio::null()))
}

fn serve_as(program: &mut Command) -> Serving {
    let mut child = program.stdout(Stdio::piped()).spawn().expect("it runs");
    let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
    let address = address_of(&mut out);
    Serving { child, address, out }
}

/// The address in the next line.
fn address_of(out: &mut impl BufRead) -> String {
    let mut line = String::new();
    out.read_line(&mut line).expect("a line");
    let (_, address) = line.split_once("http://").expect("an address");
    address.split(['/', '\n']).next().unwrap_or_default().to_owned()
}

impl Serving {
    fn get(&self, path: &str) -> String {
        let mut client = TcpStream::connect(&self.address).expect("a connection");
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        client.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("an answer");
        answer
    }

    fn post(&self, path: &str, body: &str) -> String {
        let mut client = TcpStream::connect(&self.address).expect("a connection");
        let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
        let length = body.len();
        let request =
            format!("{head}content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}");
        client.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("an answer");
        answer
    }

    fn signal(&self, name: &str) {
        let process = self.child.id().to_string();
        let killed = Command::new("kill").args(["-s", name, &process]).status().expect("kill runs");
        assert!(killed.success());
    }

    fn terminate(mut self) -> Option<i32> {
        self.signal("TERM");
        self.child.wait().expect("it ends").code()
    }
}

#[test]
fn serve_prints_its_address_and_ends_well_on_sigterm() {
    let file = configuration(&PLAIN.replace("[pipelines.unused]", ""));
    let serving = serve(&["serve", "--config", file.to_str().expect("text")]);
    assert!(serving.get("/health").ends_with(r#"{"status":"ok"}"#));
    assert!(serving.get("/v1/models").contains(r#""object":"list""#));
    assert_eq!(serving.terminate(), Some(0));
}

#[test]
fn sighup_reloads() {
    let file = configuration(&PLAIN.replace("[pipelines.unused]", ""));
    let mut program = program(&["--log-format", "json", "serve", "--config", file.to_str().expect("text")]);
    let mut serving = serve_as(program.stderr(Stdio::piped()));
    let mut log = BufReader::new(serving.child.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
    let text = PLAIN.replace("[pipelines.unused]", "").replace("demo", "other");
    std::fs::write(&file, text.replace("[server]", "[server]\nwatch = false")).expect("a writable file");
    serving.signal("HUP");
    assert!(
        log.any(|line| line.contains("not reloaded")
            && line.contains("server.watch: changes with a restart only"))
    );
    std::fs::write(&file, text).expect("a writable file");
    serving.signal("HUP");
    assert!(
        log.any(|line| line.contains(r#""message":"reloaded""#) && line.contains("models.other.routing"))
    );
    assert!(serving.get("/v1/models").contains(r#""id":"other""#));
    assert_eq!(serving.terminate(), Some(0));
}

#[test]
fn check_shows_what_a_reload_would_change() {
    let configured = |admin: &str, heartbeat: &str| {
        let server = format!("[server]\nheartbeat = '{heartbeat}'");
        let text = PLAIN.replace("[pipelines.unused]", "").replace("[server]", &server);
        configuration(&format!("{text}\n[admin]\nlisten = '{admin}'\ntoken = 'env::ADMIN_TOKEN'\n"))
    };
    let check = |file: &TempPath, token: &str| {
        let mut check = program(&["check", "--diff", "--config", file.to_str().expect("text")]);
        let Output { status, stdout, stderr } = check.env("ADMIN_TOKEN", token).output().expect("it runs");
        assert_eq!(status.success(), stderr.is_empty());
        String::from_utf8([stdout, stderr].concat()).expect("text")
    };
    const TOKEN: &str = "an-admin-token-0123456789";
    let file = configured("127.0.0.1:0", "9s");
    let mut program = program(&["serve", "--config", file.to_str().expect("text")]);
    let mut serving = serve_as(program.env("ADMIN_TOKEN", TOKEN).stderr(Stdio::null()));
    let admin = address_of(&mut serving.out);
    assert_eq!(
        check(&configured(&admin, "8s"), TOKEN),
        format!(
            "against the gateway at {admin}, generation 1:\n  \
             ~ admin.listen: refused, it changes with a restart only\n  ~ server.heartbeat\n"
        )
    );
    let refused = check(&configured(&admin, "8s"), "another-token-0123456789");
    assert_eq!(refused, format!("the gateway at {admin} (`admin.listen`): it has another `admin.token`\n"));
    assert_eq!(serving.terminate(), Some(0));
    let refused = check(&configured(&admin, "8s"), TOKEN);
    assert!(refused.contains("Connection refused"), "{refused}");
    let refused = check(&configuration(&PLAIN.replace("[pipelines.unused]", "")), TOKEN);
    assert!(refused.contains("add [admin] with listen and token"), "{refused}");
}

#[test]
fn dev_api_prints_its_address_and_ends_well_on_sigterm() {
    let serving = serve(&["dev-api", "--listen", "127.0.0.1:0", "--delay", "0ms"]);
    assert!(serving.get("/health").ends_with(r#"{"status":"ok"}"#));
    assert_eq!(serving.terminate(), Some(0));
}

#[test]
fn check_shows_what_a_configuration_describes() {
    let file = configuration(&PLAIN.replace("[pipelines.unused]", ""));
    let (code, out, errors) = run(&["check", "--config", file.to_str().expect("text")]);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let expect = "model demo\n  pipeline  none: no plugins run\n  \
                  provider  local: demo at http://127.0.0.1:8787/v1/, without a key\n";
    assert_eq!(out, expect);
}

#[test]
fn check_shows_the_rules_of_pipelines_and_the_pipelines_that_they_choose() {
    let rules = "[pipelines.first]\nwhen = [{ route = '/chat', use = 'second' }, { use = 'none' }]\n\
                 [pipelines.second]\nwhen = [{ header = { x-a = '1' }, use = 'none' }, { use = 'none' }]\n";
    let text = PLAIN.replace("[pipelines.unused]", rules).replace("routing", "pipeline = 'first'\nrouting");
    let file = configuration(&text);
    let (code, out, errors) = run(&["check", "--config", file.to_str().expect("text")]);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let expect = "model demo\n  pipeline  first\n  when      route /chat: use second\n  \
                  when      else: use none\n  pipeline  second\n  when      header x-a \"1\": use none\n  \
                  when      else: use none\n  provider  local: ";
    assert!(out.starts_with(expect), "{out}");
}

#[test]
fn check_shows_grants_and_whether_they_are_used() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().canonicalize().expect("a folder");
    let data = data.display();
    let guests = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/guests");
    let file = configuration(&format!(
        "{}[plugins]\nfolder = '{guests}'\n[pipelines.p]\nprocess = ['kv', 'files']\n\
         [plugins.kv]\ngrant = {{ kv = {{ quota = '2MiB', keys = 7 }}, http = ['https://example.org'] }}\n\
         [plugins.files]\ngrant = {{ directories = [{{ host = '{data}', guest = '/data', write = true }}] }}\n",
        PLAIN.replace("[pipelines.unused]", "").replace("routing", "pipeline = 'p'\nrouting")
    ));
    let (code, out, errors) = run(&["check", "--config", file.to_str().expect("text")]);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    for line in [
        "  granted   HTTP to https://example.org (not used)\n",
        "  granted   kv in memory: 2097152 bytes in 7 keys\n",
        &format!("  granted   directory /data, which is {data}, read and written\n"),
        "plugins.kv.grant.http: the plugin does not import wasi:http, so this does nothing\n",
    ] {
        assert!(out.contains(line), "{line}: {out}");
    }
}

#[test]
fn a_configuration_with_problems_is_refused_with_all_of_them() {
    let file = configuration(&PLAIN.replace("routing", "rooting"));
    for command in ["check", "serve"] {
        let (code, out, errors) = run(&[command, "--config", file.to_str().expect("text")]);
        assert_eq!((code, out.as_str()), (Some(78), ""), "{errors}");
        for named in ["rooting", "pipelines.unused", "nothing was started"] {
            assert!(errors.contains(named), "{errors}");
        }
    }
}

#[test]
fn an_address_in_use_is_named_with_its_setting() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let text = PLAIN.replace("[pipelines.unused]", "").replace("127.0.0.1:0", &address);
    let file = configuration(&text);
    let (code, _, errors) = run(&["serve", "--config", file.to_str().expect("text")]);
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains(&format!("cannot listen on {address} (`server.listen`)")), "{errors}");
}

#[test]
fn arguments_that_cannot_be_read_are_refused() {
    let (code, _, errors) = run(&["dev-api", "--delay", "60"]);
    assert_eq!(code, Some(2));
    assert!(errors.contains("write it like 60ms or 1s"), "{errors}");
}

/// A provider of the Dev API at `endpoint`.
fn signed(endpoint: &str, signer: &str) -> String {
    format!(
        r#"
[server]
listen = "127.0.0.1:0"

[models.m]
routing = ["dev"]

[models.m.providers.dev]
type = "dev-api"
endpoint = "{endpoint}"
device_id = ["dynamic::x-device-id", "env::DEVICE_ID", "d"]
os_type = ["env::OS_TYPE", "3"]
sid = ["env::SID", "s"]
signer = "{signer}"
"#
    )
}

#[test]
fn chat_needs_a_message_only() {
    let model = serve(&["dev-api", "--listen", "127.0.0.1:0", "--delay", "0ms"]);
    let file =
        configuration(&PLAIN.replace("[pipelines.unused]", "").replace("127.0.0.1:8787", &model.address));
    let gateway = serve(&["serve", "--config", file.to_str().expect("text")]);
    let streamed = gateway.post("/chat", r#"{"message":"hi"}"#);
    assert!(
        streamed.contains("text/event-stream") && streamed.contains("chat.completion.chunk"),
        "{streamed}"
    );
    assert!(streamed.contains("data: [DONE]"), "{streamed}");
    let whole = gateway.post("/chat", r#"{"messages":[{"role":"user","content":"hi"}],"stream":false}"#);
    assert!(whole.contains(r#"You said: \"hi\". Banana bread"#), "{whole}");
    let refused = gateway.post("/chat", "{}");
    assert!(refused.starts_with("HTTP/1.1 400") && refused.contains("`message`: missing"), "{refused}");
    assert_eq!((gateway.terminate(), model.terminate()), (Some(0), Some(0)));
}

#[test]
fn the_dev_api_refuses_what_is_not_signed() {
    let model = serve(&["dev-api", "--listen", "127.0.0.1:0", "--delay", "0ms"]);
    let file = configuration(&signed(&format!("http://{}", model.address), "none"));
    let gateway = serve(&["serve", "--config", file.to_str().expect("text")]);
    let refused = gateway.post("/chat", r#"{"message":"hi"}"#);
    assert!(refused.starts_with("HTTP/1.1 400"), "{refused}");
    assert!(refused.contains("the header `sign` is missing"), "{refused}");
    let (code, out, _) = run(&["check", "--config", file.to_str().expect("text")]);
    let expect = format!("  provider  dev: m at http://{}/, unsigned\n", model.address);
    assert!(code == Some(0) && out.contains(&expect), "{out}");
    assert_eq!((gateway.terminate(), model.terminate()), (Some(0), Some(0)));
}

#[test]
fn what_keeps_a_signed_provider_from_starting_is_named() {
    let module = tempfile::Builder::new().suffix(".wasm").tempfile().expect("a file").into_temp_path();
    let signer =
        format!("[signers.s]\nfile = {:?}\nresult = {{ header = 'sign' }}\n", module.display().to_string());
    let file = configuration(&format!("{signer}{}", signed("http://127.0.0.1:1", "s")));
    let (code, _, errors) = run(&["check", "--config", file.to_str().expect("text")]);
    assert_eq!(code, Some(78), "{errors}");
    assert!(errors.starts_with("signers.s: Failed to get WasmSigner instance: "), "{errors}");

    let file = configuration(&signed("env::API_ENDPOINT_THAT_IS_NOT_SET", "none"));
    let (code, _, errors) = run(&["check", "--config", file.to_str().expect("text")]);
    assert_eq!(code, Some(78), "{errors}");
    let cause =
        "Failed to create DevApiClient: the environment variable API_ENDPOINT_THAT_IS_NOT_SET is not set";
    assert!(errors.contains(cause), "{errors}");

    let (code, _, errors) = run(&["dev-api", "--key", "env::KEY_THAT_IS_NOT_SET"]);
    assert_eq!(code, Some(78));
    assert!(errors.contains("KEY_THAT_IS_NOT_SET (`--key`) is not set"), "{errors}");
    let (code, _, errors) = run(&["dev-api", "--key", "a-key-itself"]);
    assert!(code == Some(2) && errors.contains("write it like env::NAME"), "{errors}");
}
