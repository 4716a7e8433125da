"""A connection of the fast face without a network: what is read and written happens when the test says so."""

import asyncio
from typing import Any

from uvicorn.server import ServerState

import madang
from madang.faces.connection import HttpProtocol
from madang.faces.uvicorn import make_config


class Wire(asyncio.Transport):
    """A client's connection, which it reads when the test says so."""

    def __init__(self, protocol: HttpProtocol) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.protocol: Any = protocol
        self.written = bytearray()
        self.reading = True
        self.closed = False
        protocol.connection_made(self)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return 0

    def can_write_eof(self) -> bool:
        return False

    def get_protocol(self) -> Any:
        return self.protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    @property
    def responses(self) -> int:
        return self.written.count(b"HTTP/1.1 ")


def connect(io: madang.Server) -> Wire:
    config = make_config(io, log_config=None)
    config.load()
    protocol_class = config.http_protocol_class
    assert issubclass(protocol_class, HttpProtocol)
    return Wire(protocol_class(config, ServerState(), {}))


def another(wire: Wire) -> Wire:
    """Another connection to the same server."""
    protocol = wire.protocol
    return Wire(type(protocol)(protocol.config, protocol.server_state, protocol.app_state))


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)
