"""Rooms for clients of all generations; it is counted how often what is said in them is encoded.

Who comes is in the room that the query names. `broadcast(room, payload)` is heard by all in there; `tally` tells how
many broadcasts there were, how many were to hear them, and how many encodings that took.
"""

from typing import Any

from madang import Server, Socket

io = Server(generations="all", ping_interval_seconds=600, ping_timeout_seconds=600)
told = {"broadcasts": 0, "deliveries": 0, "encodings": 0}


class Counted:
    """A text that counts how often it is made JSON of."""

    def __init__(self, text: str) -> None:
        self.text = text

    def model_dump(self) -> str:
        told["encodings"] += 1
        return self.text


@io.on("connection")
def come(socket: Socket) -> None:
    if "room" in socket.handshake.query:
        socket.join(socket.handshake.query["room"])


@io.event
def broadcast(socket: Socket, room: str, payload: str) -> None:
    told["broadcasts"] += 1
    told["deliveries"] += len(list(io.of("/").rooms[room]))
    io.to(room).emit("broadcast", Counted(payload))


@io.event
def tally(socket: Socket) -> dict[str, Any]:
    return told
