"""The client for asyncio: what a program is written with."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from madang.client.config import Address, ClientConfig
from madang.client.dial import Dialer
from madang.client.manager import Manager
from madang.client.socket import Auth, ClientSocket
from madang.errors import ConnectError

__all__ = ["Client"]


class Client(ClientSocket):
    """A Socket.IO client.

    It belongs to the event loop in which it connects. Without a connection, what is emitted waits; a connection that is
    lost is made again, with growing delays.

    Args:
        url: where the server is, as "https://example.org". A path names the namespace to join, as for the JavaScript
            client: "https://example.org/admin".
        auth: what the server's middleware finds in `handshake.auth`: a dict, or a function, `def` or `async def`,
            that is asked for one each time that the namespace is joined.
        config: the settings; without it, the defaults.
        dialer: how connections are made; without it, over the network.
        settings: single settings by name, in place of `config`. See `ClientConfig`.

    Raises:
        ConfigError: the URL or a setting makes no sense.

    Example:
        ```python
        async with Client("https://example.org", auth={"token": "secret"}) as client:

            @client.on("news")
            def news(text: str) -> None:
                print(text)

            client.emit("chat message", "hi")
            print(await client.call("question", 42, timeout=5))
            async for event in client.events():
                print(event.name, event.args)
        ```

    Source: socket.io-client 4.8.
    """

    def __init__(
        self,
        url: str,
        auth: Auth = None,
        *,
        config: ClientConfig | None = None,
        dialer: Dialer | None = None,
        **settings: Any,
    ) -> None:
        address = Address.of(url)
        super().__init__(Manager(address, ClientConfig.given(config, settings), dialer), address.namespace, auth)

    def of(self, name: str, auth: Auth = None) -> ClientSocket:
        """The socket of another namespace, over the same connection. It joins as soon as there is one.

        Args:
            name: the namespace, as "/admin".
            auth: as for the client.

        Example:
            ```python
            admin = client.of("/admin", auth={"token": "secret"})
            await admin.connect()  # to know that it has joined, or why not
            ```
        """
        self.manager.guard()
        socket = self.manager.sockets.get(name)
        if socket is None:
            socket = ClientSocket(self.manager, name, auth)
            socket._wanted = True
            if self.active:
                socket.start()
        elif auth is not None:
            socket.auth = auth
        return socket

    async def connect(self, *, retry: bool = False) -> None:  # noqa: D102
        self.manager.bind()
        for socket in self.manager.sockets.values():
            if socket is not self and socket._wanted:
                socket.start()
        try:
            await super().connect(retry=retry)
        except ConnectError:
            if not self.manager.connected:
                for socket in tuple(self.manager.sockets.values()):
                    socket.disconnect()
            raise

    async def close(self) -> None:
        """Leave all namespaces, send what waits, close the connection, let handlers end."""
        for socket in tuple(self.manager.sockets.values()):
            socket.disconnect()
        await self.manager.close()

    async def __aenter__(self) -> Self:
        try:
            await self.connect()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
