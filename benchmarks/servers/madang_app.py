"""Madang itself, served by ``madang serve``: uvicorn, uvloop and Madang's own WebSocket protocol class.

Settings: all defaults; per-message deflate is off by default, access log is switched off by the harness.
"""

from madang import Server, Socket

io = Server()


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
