"""Two servers in one process, one beside the other."""

from madang import Server, Socket

first = Server()
second = Server(path="/second/")


def gone(socket: Socket, reason: str) -> None:
    print(f"gone {socket.id} {reason}", flush=True)


for io, name in ((first, "first"), (second, "second")):
    io.on("disconnect", gone)
    io.on("name", lambda socket, name=name: name)

app = first.asgi(second.asgi())
