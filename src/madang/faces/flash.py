"""What Flash films need of a server: the handshake of an old draft, and the policy file.

A Flash film may open a connection only after it has fetched a *socket policy*: it connects, sends the 23 bytes of
`POLICY_REQUEST`, and reads until the server closes. It asks port 843 first, then the port that the page has told it,
then the one that it wants to connect to; a server may answer at any of them.

Source: Adobe, "Policy file changes in Flash Player 9"; draft-ietf-hybi-thewebsocketprotocol-00.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal
from urllib.parse import urlsplit
from xml.sax.saxutils import quoteattr

from madang.config import Config
from madang.rfc import hixie

__all__ = ["POLICY_REQUEST", "HixieOpening", "PolicyExchange", "PolicyServer", "policy"]

logger = logging.getLogger("madang")

#: What a film sends to be told the policy.
POLICY_REQUEST: Final = b"<policy-file-request/>\0"
_HEAD: Final = (
    '<?xml version="1.0"?>'
    '<!DOCTYPE cross-domain-policy SYSTEM "http://www.macromedia.com/xml/dtds/cross-domain-policy.dtd">'
)


def policy(origins: Literal["same", "*"] | Sequence[str], port: int) -> bytes:
    """The policy file for those who may connect to a port.

    With "same" every film may ask, as with "*": the film doesn't say which host it has asked, so we can't tell its own
    host from others. What keeps others out is the check of the `Origin` in the handshake, as for all clients. The port
    is ours alone: the policy opens nothing else on this machine.

    Args:
        origins: the setting of this name.
        port: the port that films may connect to.

    Example:
        >>> b'<allow-access-from domain="example.org" to-ports="8000"/>' in policy(["https://example.org"], 8000)
        True
    """
    domains = ["*"] if isinstance(origins, str) else [urlsplit(origin).hostname for origin in origins]
    allowed = [f'<allow-access-from domain={quoteattr(domain)} to-ports="{port}"/>' for domain in domains if domain]
    return f"{_HEAD}<cross-domain-policy>{''.join(dict.fromkeys(allowed))}</cross-domain-policy>".encode()


class PolicyExchange(asyncio.Protocol):
    """A connection that asks for the policy file: exactly `POLICY_REQUEST`, in any pieces, is answered; then it ends.

    Args:
        content: makes the file.
        seconds: how long the request may take.
        connections: where it is noted while it lasts.
    """

    __slots__ = ("_connections", "_content", "_got", "_seconds", "_timer", "_transport", "since")

    def __init__(self, content: Callable[[], bytes], seconds: float, connections: set[Any]) -> None:
        self._content = content
        self._seconds = seconds
        self._connections = connections
        self._got = b""
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection came, or was handed over."""
        loop = asyncio.get_running_loop()
        self._transport = transport
        self.since = loop.time()
        self._timer = loop.call_later(self._seconds, transport.abort)
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        """A piece of the request."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self._got += data
        if self._got == POLICY_REQUEST:
            transport.write(self._content())
            transport.close()
        elif not POLICY_REQUEST.startswith(self._got):
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def shutdown(self) -> None:
        """End it now."""
        self._connections.discard(self)
        if self._transport is not None:
            self._transport.abort()


class PolicyServer:
    """The policy file at a port of its own, as Flash films ask for it before anything else.

    Args:
        config: the settings of the server that films want to connect to.
        port_of: tells that server's port.
    """

    def __init__(self, config: Config, port_of: Callable[[], int]) -> None:
        self._config = config
        self._port_of = port_of
        self._connections: set[PolicyExchange] = set()
        self._server: asyncio.Server | None = None

    async def bind(self, host: str, port: int) -> None:
        """Take a port, without serving yet.

        Args:
            host: the address to listen at.
            port: the TCP port; 0 for a free one.

        Raises:
            OSError: it can't be had; those below 1024 mostly belong to the system's administrator.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._arrive, host, port, start_serving=False)

    async def start(self) -> int:
        """Serve at the port that was taken; gives it."""
        assert self._server is not None, "bind comes first"  # noqa: S101
        await self._server.start_serving()
        port: int = self._server.sockets[0].getsockname()[1]
        logger.info("the Flash policy file is served at port %d", port)
        return port

    def stop(self) -> None:
        """Serve no more, and end what still asks."""
        if self._server is not None:
            self._server.close()
        for one in list(self._connections):
            one.shutdown()

    def _arrive(self) -> PolicyExchange:
        if len(self._connections) >= self._config.max_flash_policy_connections:
            # Those who mean it ask at once.
            min(self._connections, key=lambda one: one.since).shutdown()
        return PolicyExchange(self._content, self._config.header_timeout_seconds, self._connections)

    def _content(self) -> bytes:
        return policy(self._config.origins, self._port_of())


class HixieOpening(asyncio.Protocol):
    """A connection whose handshake was answered, but for the proof: it waits for the eight bytes of which that is made.

    Args:
        transport: the connection.
        handshake: what was answered.
        seconds: how long the bytes may take.
        connections: where it is noted while it waits.
        opened: is called with what came behind the eight bytes, once the proof is sent; takes the connection over.
    """

    __slots__ = ("_connections", "_got", "_handshake", "_opened", "_timer", "_transport")

    def __init__(
        self,
        transport: asyncio.Transport,
        handshake: hixie.Handshake,
        seconds: float,
        connections: set[Any],
        opened: Callable[[bytes], None],
    ) -> None:
        self._transport = transport
        self._handshake = handshake
        self._connections = connections
        self._opened = opened
        self._got = b""
        self._timer = asyncio.get_running_loop().call_later(seconds, transport.abort)
        connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        self._got += data
        if len(self._got) < hixie.CHALLENGE_BYTES or self._transport.is_closing():
            return
        self._leave()
        challenge, rest = self._got[: hixie.CHALLENGE_BYTES], self._got[hixie.CHALLENGE_BYTES :]
        self._transport.write(self._handshake.proof(challenge))
        self._opened(rest)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._leave()

    def shutdown(self) -> None:
        """uvicorn ends."""
        self._transport.close()

    def _leave(self) -> None:
        self._connections.discard(self)
        self._timer.cancel()
