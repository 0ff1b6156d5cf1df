"""TensorZero, from its wheel, in a process of its own: the wheel can crash Python at its end.

Serves the configuration that is its argument: over HTTP at the URL that it prints first, and embedded for the
lines on its input, each the arguments of an `inference`. What that gives is printed line by line as it comes,
as `{KIND: VALUE}`, and an empty line at its end.
"""

import asyncio
import json
import os
import sys
import traceback

from tensorzero import AsyncTensorZeroGateway, TensorZeroError, _start_http_gateway

# TensorZero writes its log to standard output.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def say(kind, value):
    if value:
        print(json.dumps({kind: value}), file=answers, flush=True)


def show(part):
    for block in part.content:
        if block.type == "tool_call":
            say("tool", [block.id, block.raw_name, block.raw_arguments])
        else:
            say("text", block.text)
    say("finish", part.finish_reason and part.finish_reason.value)
    if part.usage and part.usage.input_tokens:
        say("usage", [part.usage.input_tokens, part.usage.output_tokens])


async def infer(client, request):
    answer = await client.inference(**request)
    if not request["stream"]:
        return show(answer)
    # An error is one item of a stream: it can be followed by others.
    while True:
        try:
            show(await anext(answer))
        except StopAsyncIteration:
            return
        except TensorZeroError as error:
            say("error", str(error))


async def main(config):
    databases = {"clickhouse_url": None, "postgres_url": None, "valkey_url": None}
    async with await AsyncTensorZeroGateway.build_embedded(config_file=config) as client:
        server = await _start_http_gateway(config_file=config, **databases, async_setup=True)
        print(server.base_url, file=answers, flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            try:
                await infer(client, json.loads(line))
            except TensorZeroError as error:
                say("error", str(error))
            print(file=answers, flush=True)


try:
    asyncio.run(main(sys.argv[1]))
    status = 0
except BaseException:
    traceback.print_exc()
    status = 1
os._exit(status)
