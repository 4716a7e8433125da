# A script that talks to hello.py, without asyncio: what is typed is sent, what others say is printed.
#
#   madang serve hello:app --app-dir examples      # in one terminal
#   python examples/client_blocking.py             # in another one; an empty line ends it

import sys

from madang import BlockingClient

URL = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"

if __name__ == "__main__":
    with BlockingClient(URL) as client:

        @client.on("chat message")
        def chat_message(text: str) -> None:  # runs in the client's own thread
            print("somebody says:", text, flush=True)

        for line in sys.stdin:
            if not line.strip():
                break
            print(client.call("chat message", line.strip(), timeout=5), flush=True)
