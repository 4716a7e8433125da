"""Madang itself, served by ``madang serve``: uvicorn, uvloop and Madang's own WebSocket protocol class.

Settings: all defaults; per-message deflate is off by default, access log is switched off by the harness. Some works
change two of them, for every server alike: BENCH_PING_INTERVAL_MS and BENCH_EIO3.
"""

import os
from typing import Any

from msgspec import Struct

from madang import Server, Socket

io = Server(
    ping_interval_seconds=int(os.environ.get("BENCH_PING_INTERVAL_MS", "25000")) / 1000,
    generations=("eio4", "eio3") if "BENCH_EIO3" in os.environ else ("eio4",),
)


class Said(Struct):
    room: str
    number: int
    tags: list[str]
    text: str


@io.event
def untyped(socket: Socket, said: Any) -> str:
    text: str = said["text"]
    return text


@io.event
def typed(socket: Socket, said: Said) -> str:
    return said.text


@io.event
def echo(socket: Socket, value: str) -> str:
    return value


@io.event
def binary(socket: Socket, value: bytes) -> bytes:
    return value


@io.event
def join(socket: Socket, room: str) -> None:
    socket.join(room)


@io.event
def leave(socket: Socket, room: str) -> None:
    socket.leave(room)


@io.event
def broadcast(socket: Socket, room: str, payload: str, count: int) -> None:
    target = io.to(room)
    for index in range(count):
        target.emit("broadcast", index, payload)
