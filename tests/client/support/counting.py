"""Says back each number, after the acknowledgement."""

from madang import Server, Socket

io = Server(transports="all", ping_interval_seconds=1, ping_timeout_seconds=2)


@io.on("number")
async def number(socket: Socket, value: int) -> bool:
    socket.emit("number", value)
    return True
