"""The whole way: masked, researched, formatted, signed by `sign_bg.wasm`, modified, streamed."""

import re

import pytest
from conftest import ROOT, running
from openai import APIStatusError, OpenAI

SHIPPED = ROOT / "config/knowledge-retrieval.toml"


def gateway_config(logs, name, dev_api):
    """The shipped file with free ports, in a folder of its own."""
    address = dev_api.removeprefix("http://")
    text = SHIPPED.read_text().replace("127.0.0.1:3000", "127.0.0.1:0").replace("127.0.0.1:8787", address)
    for place in ("plugins", "words.txt", "signer/sign_bg.wasm"):
        text = text.replace(f'"{place}"', f'"{ROOT / "config" / place}"')
    config = logs / f"{name}.toml"
    config.write_text(text)
    return config


@pytest.fixture(scope="module")
def client(logs, dev_api):
    with running(logs / "signed", "serve", "--config", gateway_config(logs, "signed", dev_api)) as url:
        yield OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0)


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


def test_another_key_is_refused_and_nothing_is_told_of_either(logs, monkeypatch):
    key = "another-key-0123456789"
    monkeypatch.setenv("SIGNER_KEY", key)
    with running(logs / "dev-api-2", "dev-api", "--listen", "127.0.0.1:0", "--delay", "1ms") as dev_api:
        config = gateway_config(logs, "wrong", dev_api)
        with running(logs / "wrong", "serve", "--config", config) as url:
            client = OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0)
            for stream in (False, True):
                with pytest.raises(APIStatusError) as refused:
                    ask(client, "hello", stream=stream)
                assert refused.value.status_code in (401, 403, 502)
    for name in ("dev-api-2", "wrong"):
        log = (logs / name).read_text()
        assert key not in log and "demonstration-key" not in log
