"""curl, as a person would use it."""

import json
import subprocess
import threading
import time

from conftest import PATIENCE

PIECES = ["One", " ba", "nana", " and", " more"]
# A piece that may still become a listed word is held back, but for the space in front of it.
ARRIVES = ["One", " ", "******", " and", " more"]


def asks(gateway, request, *more):
    """A curl that posts a request and shows what arrives as it arrives."""
    url, limit = f"{gateway}/v1/chat/completions", str(PATIENCE)
    body = ["-H", "Content-Type: application/json", "-d", json.dumps(request)]
    return ["curl", "-sN", "--max-time", limit, *body, *more, url]


def test_lines_arrive_while_the_model_still_speaks(gateway, model):
    has_arrived = threading.Semaphore(0)
    sent = []

    def script(answer, _):
        answer.begin()
        for piece in PIECES:
            sent.append(time.monotonic())
            answer.delta(piece)
            assert has_arrived.acquire(timeout=PATIENCE)
        answer.delta("", finish="stop")
        answer.event("[DONE]")

    model.script = script
    request = {"model": "scripted", "stream": True, "messages": [{"role": "user", "content": "Speak"}]}
    curl = subprocess.Popen(asks(gateway, request), stdout=subprocess.PIPE, text=True)
    arrived = []
    texts = []
    last = ""
    for line in curl.stdout:
        if line.startswith("data: {") and (text := json.loads(line[6:])["choices"][0]["delta"].get("content")):
            arrived.append(time.monotonic())
            texts.append(text)
            has_arrived.release()
        last = line if line.strip() else last
    assert curl.wait(PATIENCE) == 0
    assert texts == ARRIVES
    assert last == "data: [DONE]\n"
    # Each piece arrived before the next one was sent.
    moments = [moment for pair in zip(sent, arrived, strict=True) for moment in pair]
    assert moments == sorted(moments)


def test_a_blocked_stream_ends_properly_behind_its_safe_part(gateway, model):
    model.script = lambda answer, request: answer.says(request, ["One for", "bidden", " word"])
    request = {"model": "blocked", "stream": True, "messages": [{"role": "user", "content": "Speak"}]}
    shown = subprocess.run(asks(gateway, request), stdout=subprocess.PIPE, text=True, check=True).stdout
    print(shown)
    *chunks, end, rest = shown.split("\n\n")
    assert (end, rest) == ("data: [DONE]", "")
    choices = [json.loads(chunk.removeprefix("data: "))["choices"][0] for chunk in chunks]
    assert "".join(choice["delta"].get("content") or "" for choice in choices) == "One "
    assert [choice["finish_reason"] for choice in choices if choice["finish_reason"]] == ["content_filter"]


def test_a_connection_serves_one_request_after_another(gateway):
    request = {"model": "demo", "stream": True, "messages": [{"role": "user", "content": "Speak"}]}
    once = asks(gateway, request, "-o", "/dev/null", "-w", "%{http_code} %{num_connects}\\n")
    shown = subprocess.run([*once, "--next", *once[1:]], stdout=subprocess.PIPE, text=True, check=True).stdout
    assert shown == "200 1\n200 0\n"
