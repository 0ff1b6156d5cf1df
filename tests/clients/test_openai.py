"""OpenAI's own client."""

import asyncio
import json

import openai
import pytest
from conftest import CLIENT_KEY, PATIENCE, Model
from openai import AsyncOpenAI, OpenAI

SAID = [{"role": "user", "content": "A banana, please"}]
# The Dev API quotes what it was sent, and says listed words of its own.
STREAM = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
ANSWER = 'You said: "A ******, please". ****** bread is **********.'


def test_a_stream_comes_in_pieces_and_masked(client):
    stream = client.chat.completions.create(
        model="demo", messages=SAID, stream=True, stream_options={"include_usage": True}
    )
    *chunks, usage = stream
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices[0].delta.content]
    assert "".join(pieces) == ANSWER
    assert len(pieces) > 5
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason] == ["stop"]
    assert usage.choices == []
    assert usage.usage.total_tokens == usage.usage.prompt_tokens + usage.usage.completion_tokens > 0


def test_a_whole_answer_is_masked(client):
    answer = client.chat.completions.create(model="demo", messages=SAID)
    assert answer.choices[0].message.content == ANSWER
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens > 0


def test_the_stream_helper_gathers_the_whole_answer(client):
    with client.chat.completions.stream(model="demo", messages=SAID) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        answer = stream.get_final_completion()
    assert "".join(deltas) == ANSWER == answer.choices[0].message.content


def test_streams_run_side_by_side(gateway):
    async def ask(client, number):
        messages = [{"role": "user", "content": f"banana {number}"}]
        stream = await client.chat.completions.create(model="demo", messages=messages, stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    async def ask_all():
        async with AsyncOpenAI(base_url=f"{gateway}/v1", api_key="unused", timeout=PATIENCE) as client:
            return await asyncio.gather(*(ask(client, number) for number in range(120)))

    for number, answer in enumerate(asyncio.run(ask_all())):
        assert answer == f'You said: "****** {number}". ****** bread is **********.'


def test_tool_calls_arrive(client, model):
    calls = [
        {"index": 0, "id": "t", "type": "function", "function": {"name": "look_up", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"q":'}},
        {"index": 0, "function": {"arguments": '"x"}'}},
    ]

    def script(answer, request):
        assert request["tools"][0]["function"]["strict"] is True
        answer.begin()
        for call in calls:
            answer.event(json.dumps({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}))
        answer.delta("", finish="tool_calls")
        answer.event("[DONE]")

    model.script = script
    tool = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}, "strict": True}}
    stream = client.chat.completions.create(model="scripted", messages=SAID, tools=[tool], stream=True)
    parts = [call for chunk in stream for call in chunk.choices[0].delta.tool_calls or []]
    assert parts[0].function.name == "look_up"
    assert "".join(part.function.arguments or "" for part in parts) == '{"q":"x"}'


def test_models_are_listed(client):
    assert [model.id for model in client.models.list()] == ["blocked", "demo", "impatient", "scripted"]


def test_an_unknown_model_is_not_found(client):
    for stream in [False, True]:
        with pytest.raises(openai.NotFoundError) as error:
            client.chat.completions.create(model="nowhere", messages=SAID, stream=stream)
        assert error.value.code == "model_not_found"
        assert error.value.param == "model"
        assert "`nowhere`" in error.value.message


def test_a_request_that_makes_no_sense_is_a_bad_request(client):
    with pytest.raises(openai.BadRequestError) as error:
        client.chat.completions.create(model="demo", messages=[])
    assert error.value.param == "messages"
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="demo", messages=[{"role": "user", "content": 1}])


def test_a_key_is_asked_for(gateway_with_keys):
    def client(key):
        return OpenAI(base_url=f"{gateway_with_keys}/v1", api_key=key, max_retries=0, timeout=PATIENCE)

    with pytest.raises(openai.AuthenticationError) as error:
        client("another-key-0123456789").chat.completions.create(model="demo", messages=SAID)
    assert error.value.code == "invalid_api_key"
    with pytest.raises(openai.AuthenticationError):
        client("another-key-0123456789").models.list()
    assert client(CLIENT_KEY).chat.completions.create(model="demo", messages=SAID).choices[0].message.content == ANSWER


def read(client, name, stream):
    """The texts and the finish reason of an answer, and what it raised."""
    texts, finish = [], None
    try:
        answer = client.chat.completions.create(model=name, messages=SAID, stream=stream)
        for part in answer if stream else [answer]:
            [choice] = part.choices
            texts.append((choice.delta if stream else choice.message).content)
            finish = choice.finish_reason or finish
    except openai.APIError as error:
        return texts, finish, error
    return texts, finish, None


def reports(answer):
    answer.event('{"error": {"message": "out of memory"}}')


@pytest.mark.parametrize(
    ("name", "last", "code", "message"),
    [
        ("scripted", None, "upstream_incomplete", "the upstream's answer broke off: choice 0 has no finish reason"),
        ("scripted", reports, "upstream_failed", "the upstream failed: out of memory"),
        ("impatient", Model.wait_until_left, "upstream_timeout", "the upstream took longer than `idle`"),
    ],
    ids=["cut", "reported", "stalled"],
)
def test_a_stream_that_fails_raises_after_what_came(client, model, name, last, code, message):
    def script(answer, _):
        answer.begin()
        answer.delta("One")
        answer.delta(" bana")
        if last:
            last(answer)

    model.script = script
    texts, finish, error = read(client, name, stream=True)
    # What may still become a word never leaves.
    assert (texts, finish) == (["One", " "], None)
    assert type(error) is openai.APIError
    assert error.code == code
    assert message in error.message


@STREAM
def test_an_upstream_that_is_silent_is_a_time_out(client, model, stream):
    model.script = lambda answer, _: answer.wait_until_left()
    texts, _, error = read(client, "impatient", stream)
    assert not texts
    assert isinstance(error, openai.InternalServerError) and error.status_code == 504
    assert error.code == "upstream_timeout"


@STREAM
def test_an_answer_that_never_begins_is_a_failure(client, model, stream):
    def script(answer, _):
        answer.begin(content_length="500") if stream else answer.begin(200, "application/json", content_length="500")

    model.script = script
    texts, _, error = read(client, "scripted", stream)
    assert not texts
    assert isinstance(error, openai.InternalServerError) and error.status_code == 502
    assert error.code == "upstream_incomplete"


@STREAM
def test_an_answer_that_a_plugin_blocks_ends_as_filtered(client, model, stream):
    model.script = lambda answer, request: answer.says(request, ["One for", "bidden", " word"])
    texts, finish, error = read(client, "blocked", stream)
    assert "".join(text or "" for text in texts) == "One "
    assert (finish, error) == ("content_filter", None)


@STREAM
def test_a_request_that_a_plugin_rejects_is_a_bad_request(client, stream):
    messages = [{"role": "user", "content": "A forbidden word"}]
    with pytest.raises(openai.BadRequestError) as error:
        client.chat.completions.create(model="blocked", messages=messages, stream=stream)
    assert error.value.code == "rejected_by_plugin"
    assert "a word that is not allowed here" in error.value.message


@STREAM
def test_an_upstream_that_limits_says_when_to_ask_again(client, model, stream):
    def script(answer, _):
        answer.begin(429, "application/json", retry_after="7")
        answer.wfile.write(b'{"error": {"message": "slow down"}}')

    model.script = script
    with pytest.raises(openai.RateLimitError) as error:
        client.chat.completions.create(model="scripted", messages=SAID, stream=stream)
    assert error.value.response.headers["retry-after"] == "7"
    assert "slow down" in error.value.message


def test_every_answer_has_a_request_id(client):
    answer = client.chat.completions.create(model="demo", messages=SAID)
    another = client.chat.completions.create(model="demo", messages=SAID)
    assert answer._request_id and another._request_id
    assert answer._request_id != another._request_id
    with pytest.raises(openai.NotFoundError) as error:
        client.chat.completions.create(model="nowhere", messages=SAID)
    assert error.value.request_id
    raw = client.chat.completions.with_raw_response.create(
        model="demo", messages=SAID, stream=True, extra_headers={"x-request-id": "mine-1"}
    )
    assert raw.headers["x-request-id"] == "mine-1"
    raw.parse().close()
