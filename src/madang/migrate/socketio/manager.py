"""What programs ask python-socketio's client manager: who is there, and in which rooms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from madang.errors import LocalProtocolError

if TYPE_CHECKING:
    from madang.migrate.socketio.server import AsyncServer

__all__ = ["AsyncManager"]


class AsyncManager:
    """A view of a server's clients. `AsyncServer` makes its own: `sio.manager`.

    Example:
        ```python
        present = [sid for sid, _ in sio.manager.get_participants("/", "lobby")]
        ```
    """

    def __init__(self) -> None:
        self._server: AsyncServer | None = None

    def set_server(self, server: AsyncServer) -> None:
        """Belong to a server."""
        self._server = server

    @property
    def server(self) -> AsyncServer:
        """The server that it belongs to.

        Raises:
            LocalProtocolError: it was given to none; nothing can be sent from a process without the clients.
        """
        if self._server is None:
            raise LocalProtocolError("this manager belongs to no server: AsyncServer(client_manager=manager)")
        return self._server

    def get_namespaces(self) -> list[str]:
        """The namespaces that somebody is in."""
        return [name for name, home in self.server.io.hub.namespaces.items() if home.sockets]

    def get_participants(self, namespace: str, room: Any) -> Iterator[tuple[str, str]]:
        """Who is in a room (None: in the namespace; a list: in one of several): pairs of sid and session id."""
        for socket in self.server.members(namespace, room):
            yield socket.id, socket.session.id

    def get_rooms(self, sid: str, namespace: str) -> list[Any]:
        """The rooms that a client is in, its own included."""
        return self.server.rooms(sid, namespace)

    def is_connected(self, sid: str, namespace: str) -> bool:
        """Whether a client was let into a namespace, and has not begun to leave."""
        return self.server.has(sid, namespace)

    @property
    def rooms(self) -> dict[str, dict[Any, dict[str, str]]]:
        """All rooms by namespace, and in each the session ids by sid. Made anew each time; changing it does nothing."""
        found: dict[str, dict[Any, dict[str, str]]] = {}
        for name in self.get_namespaces():
            rooms: dict[Any, dict[str, str]] = {None: {}}
            for sid, session in self.get_participants(name, None):
                rooms[None][sid] = session
                for room in self.get_rooms(sid, name):
                    rooms.setdefault(room, {})[sid] = session
            found[name] = rooms
        return found
