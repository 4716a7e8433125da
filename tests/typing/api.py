"""Public types, as a program sees them: checked by mypy, never run."""

from typing import assert_type

from madang import Ack, ConnectionRefused, Namespace, Server, Socket, Target

io = Server(ping_interval_seconds=10)


@io.on("chat message")
async def chat_message(socket: Socket, text: str) -> dict[str, bool]:
    socket.broadcast.emit("chat message", text)
    assert_type(socket.id, str)
    assert_type(socket.rooms, frozenset[str])
    assert_type(socket.to("a").volatile, Target)
    assert_type(socket.call("x"), Ack)
    await socket.drain()
    return {"ok": True}


@io.use
def authenticate(socket: Socket) -> None:
    raise ConnectionRefused("no", {"code": 401})


class Admin(Namespace):
    def on_kick(self, socket: Socket, who: str) -> None:
        self.to(who).emit("kicked")


io.register(Admin("/admin"))
assert_type(io.of("/admin").sockets["x"], Socket)
# Decorators keep the function's own type.
authenticate(io.of("/").sockets["x"])
