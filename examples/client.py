# A client that talks to hello.py: it sends a line, waits for what others say, and survives restarts of the server.
#
#   madang serve hello:app --app-dir examples      # in one terminal
#   python examples/client.py                      # in another one; Ctrl-C ends it

import asyncio
import sys

from madang import Client

URL = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"


async def main() -> None:
    async with Client(URL) as client:

        @client.on("disconnect")
        def disconnected(reason: str) -> None:
            print("lost:", reason)

        @client.manager.on("reconnect")
        def reconnected(tries: int) -> None:
            print("back after", tries, "tries")

        answer = await client.call("chat message", "hello from Python", timeout=5)
        print(answer, "over", client.manager.transport, flush=True)
        async for event in client.events("chat message"):
            print("somebody says:", *event.args, flush=True)


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        pass
