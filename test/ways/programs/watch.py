"""Prints each value of a key as a line of JSON, by the package websockets: watch.py URL KEY."""

import asyncio
import json
import sys

import websockets


async def values(url, key):
    since = ""
    while True:
        wait = 100
        try:
            async with websockets.connect(
                url.replace("http", "ws", 1) + "/status/socket", subprotocols=["tagwait.1"]
            ) as socket:
                await socket.send(json.dumps({"watch": key, "since": since}))
                async for text in socket:
                    answer = json.loads(text)
                    since = answer["cursor"]
                    for value in [*answer.get("earlier", []), answer["data"]]:
                        yield value
                    if answer.get("final"):
                        return
        except websockets.ConnectionClosed as closed:
            if closed.rcvd and closed.rcvd.code == 1012:
                wait = json.loads(closed.rcvd.reason)["retry"]
        except (OSError, websockets.InvalidHandshake):
            pass
        await asyncio.sleep(wait / 1000)


async def main():
    async for value in values(sys.argv[1], sys.argv[2]):
        print(json.dumps(value), flush=True)


asyncio.run(main())
