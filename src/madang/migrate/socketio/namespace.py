"""Namespaces that are written as classes, in python-socketio's way."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from madang.migrate.socketio.handlers import called

if TYPE_CHECKING:
    from madang.migrate.socketio.server import AsyncServer

__all__ = ["AsyncNamespace"]


class AsyncNamespace:
    """A class whose methods `on_<event>`, plain or `async def`, are the handlers of a namespace.

    Args:
        namespace: its name; "*" for all namespaces that no other class handles.

    Attributes:
        namespace: its name.
        server: the server that it was registered with.

    Example:
        ```python
        class Chat(socketio.AsyncNamespace):
            async def on_connect(self, sid, environ):
                await self.emit("joined", sid)

            async def on_message(self, sid, text):
                await self.send(text, skip_sid=sid)


        sio.register_namespace(Chat("/chat"))
        ```
    """

    def __init__(self, namespace: str | None = None) -> None:
        self.namespace = namespace or "/"
        self.server: AsyncServer

    def is_asyncio_based(self) -> bool:
        """Whether it is for an asyncio server: always."""
        return True

    async def trigger_event(self, event: str, *args: Any) -> Any:
        """Call the method of an event. Override it to deal with events in another way.

        Args:
            event: "connect", "disconnect", or what a client has sent.
            args: the sid and the event's arguments; in a class for "*" the namespace comes first.

        Returns:
            The acknowledgement; for "connect", False turns the client away.
        """
        method = getattr(self, f"on_{event}", None)
        return await called(method, args, leading=1) if method is not None else None

    async def emit(
        self,
        event: str,
        data: Any = None,
        to: Any = None,
        room: Any = None,
        skip_sid: str | Iterable[str] | None = None,
        namespace: str | None = None,
        callback: Callable[..., Any] | None = None,
        ignore_queue: bool = False,
    ) -> None:
        """Send an event to this namespace. See `AsyncServer.emit`."""
        await self.server.emit(
            event, data, to, room, skip_sid, namespace or self.namespace, callback, ignore_queue=ignore_queue
        )

    async def send(
        self,
        data: Any,
        to: Any = None,
        room: Any = None,
        skip_sid: str | Iterable[str] | None = None,
        namespace: str | None = None,
        callback: Callable[..., Any] | None = None,
        ignore_queue: bool = False,
    ) -> None:
        """Send the event "message" to this namespace. See `AsyncServer.emit`."""
        await self.server.send(
            data, to, room, skip_sid, namespace or self.namespace, callback, ignore_queue=ignore_queue
        )

    async def call(
        self,
        event: str,
        data: Any = None,
        to: str | None = None,
        sid: str | None = None,
        namespace: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  # python-socketio's signature
        ignore_queue: bool = False,
    ) -> Any:
        """Send an event to a client and wait for its answer. See `AsyncServer.call`."""
        return await self.server.call(
            event, data, to, sid, namespace or self.namespace, timeout, ignore_queue=ignore_queue
        )

    async def enter_room(self, sid: str, room: Any, namespace: str | None = None) -> None:
        """Put a client into a room. See `AsyncServer.enter_room`."""
        await self.server.enter_room(sid, room, namespace or self.namespace)

    async def leave_room(self, sid: str, room: Any, namespace: str | None = None) -> None:
        """Take a client out of a room."""
        await self.server.leave_room(sid, room, namespace or self.namespace)

    async def close_room(self, room: Any, namespace: str | None = None) -> None:
        """Take everyone out of a room. See `AsyncServer.close_room`."""
        await self.server.close_room(room, namespace or self.namespace)

    def rooms(self, sid: str, namespace: str | None = None) -> list[Any]:
        """The rooms that a client is in, its own included."""
        return self.server.rooms(sid, namespace or self.namespace)

    async def get_session(self, sid: str, namespace: str | None = None) -> Any:
        """What the program keeps with a client. See `AsyncServer.get_session`."""
        return await self.server.get_session(sid, namespace or self.namespace)

    async def save_session(self, sid: str, session: Any, namespace: str | None = None) -> None:
        """Keep something with a client. See `AsyncServer.save_session`."""
        await self.server.save_session(sid, session, namespace or self.namespace)

    def session(self, sid: str, namespace: str | None = None) -> AbstractAsyncContextManager[Any]:
        """The same as a context manager. See `AsyncServer.session`."""
        return self.server.session(sid, namespace or self.namespace)

    async def disconnect(self, sid: str, namespace: str | None = None) -> None:
        """Make a client leave the namespace. See `AsyncServer.disconnect`."""
        await self.server.disconnect(sid, namespace or self.namespace)
