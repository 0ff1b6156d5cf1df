"""The whole way: masked, researched, formatted, signed by `sign_bg.wasm`, modified, streamed."""

import hashlib
import hmac
import json
import re
import subprocess
import threading
import urllib.request
from http.server import ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from conftest import OTHER_KEY, PATIENCE, PROGRAM, ROOT, Model, running, shipped
from openai import APIStatusError, OpenAI

DEMONSTRATION_KEY = "demonstration-key-not-a-secret"


@pytest.fixture(scope="module")
def client(signed):
    return OpenAI(base_url=f"{signed}/v1", api_key="unused", max_retries=0)


def ask(client, text, **more):
    return client.chat.completions.create(
        model="rust-proxy", messages=[{"role": "user", "content": text}], **more
    )


def check(text, page):
    assert re.search(r"<quoted-page-[0-9a-f]{16}>", text), text
    assert f"Fetched from {page}" in text
    assert re.search(r"Today is \d{4}-\d\d-\d\d\.", text), text
    # Of the user, of the model; and the emoji stands at the end.
    assert "Is a ****** a berry?" in text
    assert text.endswith("****** bread is **********. 😊"), text


def test_a_whole_answer_goes_the_whole_way(client, dev_api):
    page = f"{dev_api}/pages/streams.html"
    answer = ask(client, f"Is a banana a berry? {page}").choices[0]
    check(answer.message.content, page)
    assert answer.finish_reason == "stop"


def test_a_stream_goes_the_whole_way(client, dev_api):
    page = f"{dev_api}/pages/streams.html"
    choices = [chunk.choices[0] for chunk in ask(client, f"Is a banana a berry? {page}", stream=True)]
    check("".join(choice.delta.content or "" for choice in choices), page)
    assert choices[-1].finish_reason == "stop"


def test_a_page_that_cannot_be_had_is_no_reason_to_stop(client, dev_api):
    answer = ask(client, f"What is in {dev_api}/pages/none.html?").choices[0].message.content
    assert "quoted-page" not in answer


def test_the_client_hears_a_heartbeat_while_a_page_is_awaited(logs, dev_api):
    heard = threading.Event()

    class Page(Model):
        def do_GET(self):
            assert heard.wait(PATIENCE)
            self.begin(kind="text/plain")
            self.wfile.write(b"late but here")
            self.close_connection = True

    page = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=page.serve_forever)
    thread.start()
    address = f"127.0.0.1:{page.server_port}"
    more = ('listen = "127.0.0.1:0"', f'listen = "127.0.0.1:0"\nheartbeat = "50ms"')
    known = dev_api.removeprefix("http://")
    granted = (f'["http://{known}"], private = ["{known}"]', f'["http://{address}"], private = ["{address}"]')
    try:
        with shipped(logs, "slow", "demo.toml", dev_api, more, granted) as url:
            body = json.dumps({"message": f"What is at http://{address}/?"}).encode()
            request = urllib.request.Request(f"{url}/chat", body, {"content-type": "application/json"})
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                assert answer.readline() == b": ping\n"
                heard.set()
                said = answer.read().decode()
    finally:
        heard.set()
        page.shutdown()
        thread.join()
        page.server_close()
    assert said.endswith("data: [DONE]\n\n")
    data = [json.loads(line[6:]) for line in said.splitlines() if line.startswith("data: {")]
    assert "late but here" in "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in data)


def test_chat_streams_openai_chunks(signed):
    request = urllib.request.Request(
        f"{signed}/chat", json.dumps({"message": "A banana"}).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        data = [line[6:] for line in answer.read().decode().splitlines() if line.startswith("data: ")]
    assert data[-1] == "[DONE]"
    text = "".join(json.loads(chunk)["choices"][0]["delta"].get("content") or "" for chunk in data[:-1])
    assert 'You said: "A ******' in text


def test_another_key_is_refused_and_nothing_is_told_of_either(logs, forging):
    client = OpenAI(base_url=f"{forging}/v1", api_key="unused", max_retries=0)
    for stream in (False, True):
        with pytest.raises(APIStatusError) as refused:
            ask(client, "hello", stream=stream)
        assert refused.value.status_code == 401
        assert "refused the gateway's own credentials" in str(refused.value)
    checked = subprocess.run([PROGRAM, "check", "--config", logs / "forging.toml"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    logged = [(logs / name).read_text() for name in ("dev-api-2", "forging")]
    for told in [*logged, checked.stdout, str(refused.value)]:
        assert OTHER_KEY not in told and DEMONSTRATION_KEY not in told


@pytest.mark.parametrize(
    ("file", "asked", "expected"),
    [
        ("customer-support.toml", "my  parcel", r"A customer of ours writes:\s+my  parcel.*\(internal\) bread.*😊$"),
        ("knowledge-retrieval.toml", "See {page}", r"quoted-page-.*\*\*\*\*\*\* bread is \*+\.$"),
        ("multilingual-summary.toml", "{page}", r"Sum up in 中文, English and Deutsch.*quoted-page-"),
        ("content-generation.toml", "a poem", r"Write for our blog, dated \d{4}-.*a poem\"\. $"),
    ],
)
def test_an_example_pipeline_runs(logs, dev_api, file, asked, expected):
    with shipped(logs, file, file, dev_api) as url:
        client = OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0)
        text = ask(client, asked.format(page=f"{dev_api}/pages/berries.html")).choices[0].message.content
    assert re.search(expected, text, re.DOTALL), text


# A real endpoint, reached by TOML alone: other header names, the signature in the query, answers elsewhere.
ELSEWHERE = """
[server]
listen = "127.0.0.1:0"
[signers.s]
file = "{signer}"
result = {{ query = "sig" }}
[models.m]
routing = ["p"]
[models.m.providers.p]
type = "dev-api"
endpoint = "{endpoint}"
device_id = "device-1"
sid = "s"
signer = "s"
request = {{ path = "/v2/talk", query = {{ app = "7" }}, nonce = {{ query = "n" }}, timestamp = {{ header = "x-time" }}, timestamp_unit = "ms", device_id = {{ body = "/device/id" }}, os_type = "none", sid = {{ header = "x-session" }}, messages = "/input/messages", model = "none", others = "drop" }}
response = {{ format = "own", text = "/data/piece", end = "END" }}
"""


@pytest.mark.parametrize("signer", ["sign_bg.wasm", "sign.wasm"])
def test_a_real_endpoint_is_reached_by_toml_alone(logs, signer):
    seen = {}

    class Endpoint(Model):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            seen.update(url=urlsplit(self.path), headers=self.headers, body=body)
            self.begin()
            for piece in ("Hel", "lo"):
                self.event(json.dumps({"data": {"piece": piece}}))
            self.event("END")
            self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        config = logs / f"elsewhere-{signer}.toml"
        endpoint = f"http://127.0.0.1:{server.server_port}"
        config.write_text(ELSEWHERE.format(signer=ROOT / "config/signer" / signer, endpoint=endpoint))
        with running(logs / f"elsewhere-{signer}", "serve", "--config", config) as url:
            client = OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0)
            said = [{"role": "user", "content": "hi"}]
            chunks = list(client.chat.completions.create(model="m", messages=said, stream=True))
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Hello"
    query = {name: value for name, [value] in parse_qs(seen["url"].query).items()}
    assert seen["url"].path == "/v2/talk" and query["app"] == "7"
    assert seen["headers"]["x-session"] == "s"
    body = json.loads(seen["body"])
    assert body["input"]["messages"] == said and body["device"] == {"id": "device-1"}
    # The signature is that of Python's own HMAC.
    fields = [query["n"], seen["headers"]["x-time"], "device-1", seen["body"].decode()]
    signed = "rust-proxy-sign-v1\n" + "".join(f"{len(field.encode())}:{field}\n" for field in fields)
    expected = hmac.new(DEMONSTRATION_KEY.encode(), signed.encode(), hashlib.sha256).hexdigest()
    assert query["sig"] == expected
