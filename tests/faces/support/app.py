"""The application of `tests/support`, which also writes down how each client went: for what nobody can watch."""

from madang import Socket
from support.apps import app, io

__all__ = ["app", "io"]


@io.on("disconnect")
def gone(socket: Socket, reason: str) -> None:
    print(f"gone {socket.id} {reason}", flush=True)


@io.on("server close")
def server_close(socket: Socket) -> None:
    socket.session.close("forced close")


@io.on("burst")
def burst(socket: Socket, total: int) -> None:
    for number in range(total):
        socket.emit("burst", number)
