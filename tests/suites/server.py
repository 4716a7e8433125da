"""What the protocol documents' own test suites expect to find at http://localhost:3000. See README.md beside this.

python tests/suites/server.py socket.io [--face asgi] [--port 3000]
python tests/suites/server.py engine.io [--face asgi] [--port 3000]
"""

import argparse
import asyncio

import uvicorn

import madang
from madang import Server, Socket
from madang.core.session import Session
from madang.packet import MESSAGE, Packet

SETTINGS = {
    "ping_interval_seconds": 0.3,
    "ping_timeout_seconds": 0.2,
    "max_payload_bytes": 1_000_000,
    "connect_timeout_seconds": 1.0,
    "origins": "*",
}


def socket_io() -> Server:
    """The Socket.IO echo: main namespace and `/custom`."""
    io = Server(**SETTINGS)
    for name in ("/", "/custom"):
        namespace = io.of(name)

        @namespace.on("connection")
        async def connected(socket: Socket) -> None:
            # The suite loses a message that comes in one TCP segment with the one before: it listens again too late.
            await asyncio.sleep(0.01)
            socket.emit("auth", socket.handshake.auth)

        @namespace.on("message")
        def message(socket: Socket, *args: object) -> None:
            socket.emit("message-back", *args)

        @namespace.on("message-with-ack")
        def message_with_ack(socket: Socket, *args: object) -> tuple[object, ...]:
            return args

    return io


class Echo:
    """The engine without Socket.IO above it: each message goes back as it came."""

    def opened(self, session: Session) -> None:
        session.joined()  # there is no namespace to join

    def received(self, session: Session, packet: Packet) -> None:
        session.send(Packet(MESSAGE, packet.data))

    def closed(self, session: Session, reason: str) -> None:
        pass


def engine_io() -> Server:
    """The Engine.IO echo."""
    io = Server(path="/engine.io/", parser="raw", **SETTINGS)
    io.engine.sink = Echo()
    return io


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("protocol", choices=["socket.io", "engine.io"])
    parser.add_argument("--face", choices=["uvicorn", "asgi"], default="uvicorn")
    parser.add_argument("--ws", default="auto", help="uvicorn's own WebSocket implementation under the ASGI face")
    parser.add_argument("--host", default="localhost")
    parser.add_argument("--port", type=int, default=3000)
    given = parser.parse_args()
    io = socket_io() if given.protocol == "socket.io" else engine_io()
    if given.face == "uvicorn":
        madang.serve(io, host=given.host, port=given.port)
    else:
        uvicorn.run(io.asgi(), host=given.host, port=given.port, ws=given.ws)


if __name__ == "__main__":
    main()
