"""Madang itself, served by ``madang serve``: uvicorn, uvloop and Madang's own WebSocket protocol class.

Settings: all defaults; per-message deflate is off by default, access log is switched off by the harness.
"""

from typing import Any

from msgspec import Struct

from madang import Server, Socket

io = Server()


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
