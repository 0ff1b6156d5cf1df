"""TensorZero in front of the gateway, as config/tensorzero-rustproxy.toml puts it there."""

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections import defaultdict
from pathlib import Path
from urllib.parse import urlsplit

import openai
import pytest
from conftest import CLIENT_KEY, PATIENCE, ROOT, Model, serving
from openai import OpenAI

SHIPPED = ROOT / "config/tensorzero-rustproxy.toml"
PROCESS = Path(__file__).with_name("tensorzero_process.py")
LOG = "behind-tensorzero"
STREAM = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
SAID = [{"role": "user", "content": "A banana, please"}]
# The Dev API quotes what it was sent, and says listed words of its own.
ANSWER = 'You said: "A ******, please". ****** bread is **********.'

# More models of the gateway: one whose upstream is not there, one that never answers.
MORE = """
[models.refused]
routing = ["main"]
[models.refused.providers.main]
type = "openai"
api_base = "{nobody}/v1/"
api_key_location = "none"
[models.silent]
routing = ["main"]
[models.silent.providers.main]
type = "openai"
api_base = "{silent}/v1/"
api_key_location = "none"
"""
OURS = "http://127.0.0.1:3000"
NO_KEY = 'api_key_location = "none"'
# For TensorZero: whom to ask when the first provider fails.
SECOND = f"""
[models.fallback.providers.second]
type = "openai"
api_base = "{OURS}/v1/"
model_name = "demo"
{NO_KEY}
"""


@pytest.fixture(scope="module")
def nobody():
    """A URL that refuses connections."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture(scope="module")
def gateway(logs, dev_api, model, nobody):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        more = MORE.format(nobody=nobody, silent=f"http://127.0.0.1:{silent.getsockname()[1]}")
        with serving(logs, LOG, 'heartbeat = "50ms"', dev_api, model, more) as url:
            yield url


@pytest.fixture(scope="module")
def config(logs, gateway, gateway_with_keys, signed, forging, nobody):
    """The shipped file, and its model again for what else a gateway can be or have."""
    shipped = SHIPPED.read_text()
    entry = shipped[shipped.index("[models.rust-proxy]") :]

    def another(name, asks="demo", url=gateway):
        model = entry.replace("[models.rust-proxy", f"[models.{name}").replace('"demo"', f'"{asks}"')
        return model.replace(OURS, url)

    file = logs / "tensorzero.toml"
    parts = [
        shipped,
        *(another(name, asks=name) for name in ["scripted", "blocked", "impatient", "refused", "nowhere"]),
        another("fallback", asks="scripted").replace('["rust_proxy"]', '["rust_proxy", "second"]'),
        SECOND,
        another("signed", asks="rust-proxy", url=signed),
        another("forged", asks="rust-proxy", url=forging),
        another("absent", url=nobody),
        another("without-key", url=gateway_with_keys),
        another("with-key", url=gateway_with_keys).replace(NO_KEY, 'api_key_location = "env::CLIENT_KEY"'),
    ]
    file.write_text("\n".join(parts).replace(OURS, gateway))
    return file


class Embedded:
    """TensorZero's own client, with the gateway in it."""

    def __init__(self, process):
        self.process = process

    def ask(self, name, stream, messages=SAID, **more):
        request = {"model_name": name, "stream": stream, "input": {"messages": messages}, **more}
        print(json.dumps(request), file=self.process.stdin, flush=True)
        while line := self.process.stdout.readline().strip():
            yield from json.loads(line).items()
        assert self.process.poll() is None


class OverHttp:
    """OpenAI's client of TensorZero's HTTP gateway."""

    def __init__(self, client):
        self.client = client

    def ask(self, name, stream, messages=SAID):
        more = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
        try:
            model = f"tensorzero::model_name::{name}"
            answer = self.client.chat.completions.create(model=model, messages=messages, **more)
            for part in answer if stream else [answer]:
                for choice in part.choices:
                    if text := (choice.delta if stream else choice.message).content:
                        yield "text", text
                    if choice.finish_reason:
                        yield "finish", choice.finish_reason
                if part.usage and part.usage.prompt_tokens:
                    yield "usage", [part.usage.prompt_tokens, part.usage.completion_tokens]
        except openai.APIError as error:
            yield "error", str(error)


@pytest.fixture(scope="module")
def tensorzero(logs, config):
    variables = {"TENSORZERO_DISABLE_PSEUDONYMOUS_USAGE_ANALYTICS": "1", "CLIENT_KEY": CLIENT_KEY}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with open(logs / "tensorzero", "w") as log:
        command = [sys.executable, PROCESS, config]
        process = subprocess.Popen(command, **pipes, stderr=log, env=os.environ | variables)
    # One that hangs is ended, so that the next line is an empty one.
    too_late = threading.Timer(2 * PATIENCE, process.kill)
    too_late.start()
    try:
        url = process.stdout.readline().strip()
        assert url, (logs / "tensorzero").read_text()
        with OpenAI(base_url=url, api_key="unused", max_retries=0, timeout=PATIENCE) as client:
            yield {"embedded": Embedded(process), "http": OverHttp(client)}
        process.stdin.close()
        assert process.wait(PATIENCE) == 0, (logs / "tensorzero").read_text()
    finally:
        too_late.cancel()
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(params=["embedded", "http"])
def client(request, tensorzero):
    return tensorzero[request.param]


def gather(parts):
    gathered = defaultdict(list)
    for kind, value in parts:
        gathered[kind].append(value)
    return gathered


def check_told(error, logs, message):
    """The client reads the gateway's message, and the id under which the gateway's log has the rest."""
    assert message in error
    [request] = re.findall(r"\[request_id: ([\w-]+)\]", error)
    assert request in (logs / LOG).read_text()


@STREAM
def test_an_answer_is_masked_in_both_directions(client, stream):
    said = gather(client.ask("rust-proxy", stream))
    assert "".join(said["text"]) == ANSWER
    assert (len(said["text"]) > 5) == stream
    assert said["finish"] == ["stop"]
    [[asked, given]] = said["usage"]
    assert asked > 0 and given > 0
    assert not said["error"]


@STREAM
def test_the_whole_way_through_the_signed_dev_api(client, stream, dev_api):
    page = f"{dev_api}/pages/streams.html"
    said = gather(client.ask("signed", stream, [{"role": "user", "content": f"A banana? {page}"}]))
    text = "".join(said["text"])
    assert "quoted-page-" in text and "A ******?" in text
    assert text.endswith("****** bread is **********. 😊")
    assert said["finish"] == ["stop"] and not said["error"]


@STREAM
def test_a_key_that_differs_is_told(client, stream):
    [error] = gather(client.ask("forged", stream))["error"]
    assert "the upstream refused the gateway's own credentials with 401" in error


def test_pieces_arrive_while_the_model_still_speaks(client, model):
    has_arrived = threading.Semaphore(0)

    def script(answer, _):
        answer.begin()
        for piece in ["One", " ba", "nana", " and"]:
            answer.delta(piece)
            assert has_arrived.acquire(timeout=PATIENCE)
        answer.delta(" more", finish="stop")
        answer.event("[DONE]")

    model.script = script
    texts = []
    for kind, value in client.ask("scripted", stream=True):
        if kind == "text":
            texts.append(value)
            has_arrived.release()
    # A piece that may still become a listed word is held back, but for the space in front of it.
    assert texts == ["One", " ", "******", " and", " more"]


def test_tool_calls_arrive(tensorzero, model):
    calls = [
        {"index": 0, "id": "t", "type": "function", "function": {"name": "look_up", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"q":'}},
        {"index": 0, "function": {"arguments": '"x"}'}},
    ]

    def script(answer, request):
        assert request["tools"][0]["strict"] is True
        answer.begin()
        for call in calls:
            answer.event(json.dumps({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}))
        answer.delta("", finish="tool_calls")
        answer.event("[DONE]")

    model.script = script
    tool = {"name": "look_up", "description": "Looks up", "parameters": {"type": "object"}, "strict": True}
    said = gather(tensorzero["embedded"].ask("scripted", stream=True, additional_tools=[tool]))
    ids, names, arguments = zip(*said["tool"], strict=True)
    assert set(ids) == {"t"}
    assert "".join(name or "" for name in names) == "look_up"
    assert "".join(arguments) == '{"q":"x"}'
    assert said["finish"] == ["tool_call"]


def answers(status, message):
    def script(answer, _):
        answer.begin(status, "application/json")
        answer.wfile.write(json.dumps({"error": {"message": message}}).encode())

    return script


def stalls(answer, _):
    answer.wait_until_left()


def reports(answer, _):
    answer.begin(200, "application/json")
    answer.wfile.write(json.dumps({"error": {"message": "out of memory"}}).encode())


def breaks_off(answer, request):
    if request.get("stream"):
        answer.begin()
    else:
        answer.begin(200, "application/json", content_length="500")
        answer.wfile.write(b'{"choices"')


@STREAM
@pytest.mark.parametrize(
    ("name", "script", "status", "message"),
    [
        ("nowhere", None, "404", "the model `nowhere` does not exist here (HTTP 404)"),
        ("refused", None, "502", "the upstream cannot be reached; the gateway's log says why (HTTP 502)"),
        ("scripted", answers(400, "too long"), "400", "too long"),
        ("scripted", answers(401, "Incorrect key"), "401", "the upstream refused the gateway's own credentials"),
        ("scripted", answers(429, "slow down"), "429", "slow down"),
        ("scripted", answers(500, "no memory"), "502", "the upstream answered 500: no memory (HTTP 502)"),
        ("scripted", reports, "502", "the upstream failed: out of memory (HTTP 502)"),
        ("scripted", breaks_off, "502", "the upstream's answer broke off"),
        ("impatient", stalls, "504", "the upstream took longer than `first_byte` (HTTP 504)"),
    ],
    ids=["unknown model", "refused", "400", "401", "429", "500", "reported", "cut", "stalled"],
)
def test_a_failure_before_the_first_piece_is_told(client, model, logs, stream, name, script, status, message):
    model.script = script
    said = gather(client.ask(name, stream))
    [error] = said.pop("error")
    assert not said
    check_told(error, logs, message)
    assert f"{name}: All model providers failed to infer with errors: rust_proxy: " in error
    # Of whole answers TensorZero shows these alone, so that the gateway's own text has the others. A stream that
    # stalls was opened by a heartbeat, so its reason comes as an event.
    if stream and name != "impatient" or status in ["400", "401", "429"]:
        assert re.search(rf"(Error|status code:) {status} ", error)


@STREAM
def test_a_request_that_a_plugin_rejects_is_told(client, logs, stream):
    said = gather(client.ask("blocked", stream, [{"role": "user", "content": "A forbidden word"}]))
    [error] = said.pop("error")
    assert not said
    check_told(error, logs, "The request contains a word that is not allowed here. Rephrase it.")


@STREAM
def test_an_answer_that_a_plugin_blocks_ends_as_filtered(client, model, stream):
    model.script = lambda answer, request: answer.says(request, ["One for", "bidden", " word"])
    assert gather(client.ask("blocked", stream)) == {"text": ["One "], "finish": ["content_filter"]}


@pytest.mark.parametrize(
    ("name", "last", "message"),
    [
        ("scripted", None, "the upstream's answer broke off: choice 0 has no finish reason (HTTP 502)"),
        ("scripted", lambda answer: answer.event('{"error": {"message": "out of memory"}}'),
         "the upstream failed: out of memory (HTTP 502)"),
        ("impatient", Model.wait_until_left, "the upstream took longer than `idle` (HTTP 504)"),
    ],
    ids=["cut", "reported", "stalled"],
)
def test_a_failure_after_the_first_piece_is_told(client, model, logs, name, last, message):
    def script(answer, _):
        answer.begin()
        answer.delta("One")
        answer.delta(" bana")
        if last:
            last(answer)

    model.script = script
    said = gather(client.ask(name, stream=True))
    [error] = said["error"]
    # What may still become a word never leaves.
    assert "".join(said["text"]) == "One "
    assert not said["finish"]
    check_told(error, logs, message)


def hear_heartbeats(gateway):
    """Returns after some heartbeats, so that a stream which was silent all the while has got them too."""
    body = json.dumps({"model": "silent", "stream": True, "messages": SAID})
    connection = http.client.HTTPConnection(urlsplit(gateway).netloc, timeout=PATIENCE)
    connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
    heartbeats = (line for line in connection.getresponse() if line == b": ping\n")
    for _ in range(3):
        next(heartbeats)
    connection.close()


def test_heartbeats_do_not_disturb(client, model, gateway):
    def script(answer, _):
        answer.begin()
        hear_heartbeats(gateway)
        answer.delta("One")
        hear_heartbeats(gateway)
        answer.delta(" more", finish="stop")
        answer.event("[DONE]")

    model.script = script
    assert gather(client.ask("scripted", stream=True)) == {"text": ["One", " more"], "finish": ["stop"]}


@STREAM
def test_a_second_provider_answers_when_nothing_came_but_heartbeats(client, model, gateway, stream):
    def script(answer, _):
        answer.begin()
        hear_heartbeats(gateway)

    model.script = script
    said = gather(client.ask("fallback", stream))
    assert "".join(said["text"]) == ANSWER
    assert said["finish"] == ["stop"]
    assert not said["error"]


def test_a_key_is_asked_for_and_sent(client):
    [error] = gather(client.ask("without-key", stream=True))["error"]
    assert "401 Unauthorized" in error and "invalid_api_key" in error
    assert "".join(gather(client.ask("with-key", stream=True))["text"]) == ANSWER


@STREAM
def test_a_gateway_that_is_not_there_is_told(client, stream):
    [error] = gather(client.ask("absent", stream))["error"]
    assert "rust_proxy: " in error
    assert "error sending request for url" in error
