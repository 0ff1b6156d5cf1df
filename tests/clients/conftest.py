"""The programs under test, and a model that does what a test says."""

import json
import os
import re
import subprocess
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from openai import OpenAI

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "target/debug/rust-proxy"
# Compiled code of the plugins, not in the home of whoever runs the tests.
CACHES = {"XDG_CACHE_HOME": str(ROOT / "target/test-caches")}
CLIENT_KEY = "a-client-key-0123456789"
OTHER_KEY = "another-key-0123456789"
# Far longer than anything here takes: what did not come by then never will.
PATIENCE = 60

CONFIG = """
[server]
listen = "127.0.0.1:0"
{server}
[plugins]
folder = "{plugins}"
[plugins.sensitive-word]
config = {{ words = ["banana", "classified"] }}
[pipelines.default]
process = ["sensitive-word"]
modify = ["sensitive-word"]
[plugins.block]
file = "sensitive-word.wasm"
config = {{ words = ["forbidden"], action = "block" }}
[pipelines.block]
process = ["block"]
modify = ["block"]
[models.demo]
pipeline = "default"
routing = ["main"]
[models.demo.providers.main]
type = "openai"
api_base = "env::DEMO"
api_key_location = "none"
[models.scripted]
pipeline = "default"
routing = ["main"]
[models.scripted.providers.main]
type = "openai"
api_base = "env::SCRIPTED"
api_key_location = "none"
[models.blocked]
pipeline = "block"
routing = ["main"]
[models.blocked.providers.main]
type = "openai"
api_base = "env::SCRIPTED"
api_key_location = "none"
[models.impatient]
pipeline = "default"
routing = ["main"]
[models.impatient.providers.main]
type = "openai"
api_base = "env::SCRIPTED"
api_key_location = "none"
timeouts = {{ first_byte_ms = 500, idle_ms = 500 }}
"""
KEYS = '[[server.keys]]\nname = "test"\nkey = "env::CLIENT_KEY"'


@contextmanager
def running(log, *arguments, **variables):
    """The URL that a command prints when it is ready; the command ends with the block."""
    with started(log, *arguments, **variables) as (url, _):
        yield url


@contextmanager
def started(log, *arguments, **variables):
    """As `running`, with what it prints after its URL."""
    with open(log, "w") as errors:
        command = subprocess.Popen(
            [PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=errors, text=True, env=os.environ | CACHES | variables
        )
    # One that never gets ready is ended, so that the line below is an empty one.
    too_late = threading.Timer(PATIENCE, command.kill)
    too_late.start()
    try:
        ready = command.stdout.readline()
        too_late.cancel()
        url = re.search(r"http://[\d.:]+", ready)
        assert url, f"{arguments} is not ready: {ready}{log.read_text()}"
        yield url[0], command.stdout
    finally:
        too_late.cancel()
        command.terminate()
        try:
            command.wait(PATIENCE)
        finally:
            command.kill()
            command.stdout.close()
    assert command.returncode == 0, log.read_text()


class Model(BaseHTTPRequestHandler):
    """Answers with the server's `script`, a function of this handler and the request."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.close_connection = True
        self.server.script(self, request)

    def begin(self, status=200, kind="text/event-stream", **headers):
        self.send_response(status)
        for name, value in {"content-type": kind, "connection": "close", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def event(self, data):
        self.wfile.write(f"data: {data}\n\n".encode())

    def delta(self, text, finish=None):
        choice = {"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish}
        self.event(json.dumps({"id": "c", "object": "chat.completion.chunk", "created": 0, "choices": [choice]}))

    def whole(self, text, finish="stop"):
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
        self.wfile.write(json.dumps({"id": "c", "object": "chat.completion", "created": 0, "choices": [choice]}).encode())

    def says(self, request, pieces):
        """Answers in the form that was asked for."""
        if not request.get("stream"):
            self.begin(200, "application/json")
            return self.whole("".join(pieces))
        self.begin()
        for piece in pieces:
            self.delta(piece)
        self.delta("", finish="stop")
        self.event("[DONE]")

    def wait_until_left(self):
        """Returns once the other side has closed the connection."""
        self.connection.settimeout(PATIENCE)
        assert self.connection.recv(1) == b""

    def log_message(self, *_):
        pass


@pytest.fixture(scope="session")
def logs(tmp_path_factory):
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="session")
def model():
    """A model that plays `model.script`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="session")
def dev_api(logs):
    if not PROGRAM.is_file():
        pytest.exit(f"{PROGRAM} is not there: run `cargo build`", 1)
    if not (ROOT / "config/plugins/sensitive-word.wasm").is_file():
        pytest.exit("the plugins are not built: run `cargo xtask build-plugins`", 1)
    with running(logs / "dev-api", "dev-api", "--listen", "127.0.0.1:0", "--delay", "1ms") as url:
        yield url


@contextmanager
def serving(logs, name, server, dev_api, model, more=""):
    """The URL of a gateway; its log is `logs / name`. `server` and `more` are lines for its configuration."""
    config = logs / f"{name}.toml"
    config.write_text(CONFIG.format(server=server, plugins=ROOT / "config/plugins") + more)
    variables = {
        "DEMO": f"{dev_api}/v1/",
        "SCRIPTED": f"http://127.0.0.1:{model.server_port}/v1/",
        "CLIENT_KEY": CLIENT_KEY,
    }
    with running(logs / name, "serve", "--config", config, **variables) as url:
        yield url


@pytest.fixture(scope="session")
def gateway(logs, dev_api, model):
    """The URL of a gateway that lets everybody in."""
    with serving(logs, "gateway", "", dev_api, model) as url:
        yield url


@pytest.fixture(scope="session")
def gateway_with_keys(logs, dev_api, model):
    """The URL of a gateway that asks for `CLIENT_KEY`."""
    with serving(logs, "gateway-with-keys", KEYS, dev_api, model) as url:
        yield url


@pytest.fixture(scope="session")
def client(gateway):
    """A client of the gateway that asks once."""
    with OpenAI(base_url=f"{gateway}/v1", api_key="unused", max_retries=0, timeout=PATIENCE) as client:
        yield client


@contextmanager
def shipped(logs, name, file, dev_api, *changes):
    """The URL of a gateway with a shipped configuration that asks `dev_api`, and with changes (old, new)."""
    address = dev_api.removeprefix("http://")
    text = (ROOT / "config" / file).read_text()
    text = text.replace("127.0.0.1:3000", "127.0.0.1:0").replace("127.0.0.1:8787", address)
    for place in ("plugins", "words.txt", "signer/sign_bg.wasm"):
        text = text.replace(f'"{place}"', f'"{ROOT / "config" / place}"')
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    config = logs / f"{name}.toml"
    config.write_text(text)
    with running(logs / name, "serve", "--config", config) as url:
        yield url


@pytest.fixture(scope="session")
def signed(logs, dev_api):
    """A gateway as `cargo xtask run` starts it."""
    with shipped(logs, "signed", "demo.toml", dev_api) as url:
        yield url


@pytest.fixture(scope="session")
def forging(logs):
    """A gateway whose signer has another key than the one who verifies."""
    key = {"SIGNER_KEY": OTHER_KEY}
    with running(logs / "dev-api-2", "dev-api", "--listen", "127.0.0.1:0", "--delay", "1ms", **key) as dev_api:
        with shipped(logs, "forging", "demo.toml", dev_api) as url:
            yield url
