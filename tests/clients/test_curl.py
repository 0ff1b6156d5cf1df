"""curl, as a person would use it."""

import json
import subprocess
import threading
import time

from conftest import PATIENCE

PIECES = ["One", " ba", "nana", " and", " more"]
# A piece that may still become a listed word is held back, but for the space in front of it.
ARRIVES = ["One", " ", "******", " and", " more"]


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
    url, limit = f"{gateway}/v1/chat/completions", str(PATIENCE)
    body = ["-H", "Content-Type: application/json", "-d", json.dumps(request)]
    curl = subprocess.Popen(["curl", "-sN", "--max-time", limit, url, *body], stdout=subprocess.PIPE, text=True)
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
