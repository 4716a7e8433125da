# Rooms: clients join and leave, and are told who comes and goes.
#
#   npm install --prefix examples                  # once: the official browser client
#   madang serve rooms:app --app-dir examples      # or: python examples/rooms.py
#
# Then open http://127.0.0.1:8000 in two windows.

from pages import page

from madang import Server, Socket, serve

io = Server(max_rooms_per_socket=20)


def rooms_of(socket: Socket) -> list[str]:
    return sorted(socket.rooms - {socket.id})  # a socket's own id is a room too


@io.event
def join(socket: Socket, room: str) -> list[str]:
    if room not in socket.rooms:
        socket.join(room)
        socket.to(room).emit("arrived", room, socket.id)  # everyone in the room but the socket itself
    return rooms_of(socket)


@io.event
def leave(socket: Socket, room: str) -> list[str]:
    socket.leave(room)
    io.to(room).emit("left", room, socket.id)
    return rooms_of(socket)


@io.event
def say(socket: Socket, room: str, text: str) -> dict[str, object]:
    if room not in socket.rooms:
        return {"error": f"join {room} first"}
    io.to(room).emit("said", room, text)  # everyone in the room, the sender too
    return {"ok": True}


@io.on("disconnecting")
def disconnecting(socket: Socket, reason: str) -> None:
    for room in rooms_of(socket):  # they are empty when "disconnect" comes
        socket.to(room).emit("left", room, socket.id)


app = io.asgi(page("rooms"))

if __name__ == "__main__":
    serve(app)
