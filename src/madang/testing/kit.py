"""A whole server without event loop and sockets, with clients that speak raw frames."""
# ruff: noqa: S101 (assertions are what this module is for)

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from madang import transports
from madang.core.engine import Engine
from madang.core.hub import Hub
from madang.core.session import Session
from madang.core.socket import Socket
from madang.errors import RemoteProtocolError, RequestRefused
from madang.packet import CONNECT, Frame, Packet
from madang.server import Server
from madang.testing.doubles import FakeClock, RecordingDuplex, RecordingExchange, Waiter
from madang.transports import LinkTransport, Request

__all__ = ["EngineKit", "LinkClient", "PollingClient", "RawClient"]


class EngineKit:
    """A server without sockets: requests, links and time come from the test.

    Args:
        io: the server; without it, one is made of `settings`. Made while an event loop runs, handlers may be
            `async def`; else only what has no colour works, and waiting is done by `Waiting`.
        query: what a client of the generation puts into the query.
        settings: of the server.

    Attributes:
        io: the server.
        engine: its engine.
        hub: its hub.
        clock: the clock; `advance` moves it.
        violations: each protocol error of a client that the engine told of.
        refusals: each request that was answered with an error.
    """

    def __init__(self, io: Server | None = None, *, query: str = "EIO=4", **settings: Any) -> None:
        self.io = io if io is not None else Server(**settings)
        self.engine: Engine = self.io.engine
        self.hub: Hub = self.io.hub
        self.clock = FakeClock()
        self.violations: list[RemoteProtocolError] = []
        self.refusals: list[RequestRefused] = []
        self._query = query
        self._soon: list[Callable[[], None]] = []
        self._ids = 0
        if asyncio._get_running_loop() is not None:
            self.io.bind()
        else:
            self.hub.new_future = Waiter
            self.hub.shield = lambda waiter: waiter
        engine = self.engine
        engine.clock = self.clock
        engine.call_soon = self._soon.append
        engine.new_id = self._new_id
        engine.wheel.wake = lambda when: None
        engine.on_violation = lambda session, error: self.violations.append(error)
        engine.on_refused = lambda request, refusal: self.refusals.append(refusal)
        self.clock.drive(engine.wheel)

    def _new_id(self) -> str:
        self._ids += 1
        return f"{self._ids:020d}"

    def turn(self) -> None:
        """End the turn of the event loop: what was put off to its end happens."""
        while self._soon:
            self._soon.pop(0)()

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(seconds)
        self.turn()

    # HTTP

    def request(
        self, method: str, query: str, headers: Mapping[str, str] | None = None, *, below: str = "", **more: Any
    ) -> Request:
        """A request to the server's path, or below it."""
        pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in (headers or {}).items()]
        return Request(method, self.io.config.path + below, query, pairs, **more)

    def http(
        self,
        method: str,
        query: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        below: str = "",
    ) -> RecordingExchange:
        """Make a request, with its body if it is wanted."""
        exchange = RecordingExchange()
        request = self.request(method, query, headers, below=below)
        if self.engine.begin(request, exchange):
            assert exchange.waits, "a body was wanted of a request that was answered"
            self.engine.finish(request, exchange, body or b"")
        return exchange

    # Clients

    def polling(
        self, headers: Mapping[str, str] | None = None, transport: str = "polling", **query: str
    ) -> PollingClient:
        """Open a session over HTTP."""
        fields = f"{self._query}&{urlencode({'transport': transport, **query})}"
        known = set(self.engine.sessions)
        exchange = self.http("GET", fields, headers=headers)
        assert exchange.status == 200, exchange.text
        [sid] = set(self.engine.sessions) - known
        return PollingClient(self, self.engine.sessions[sid], exchange, fields, headers)

    def websocket(
        self,
        headers: Mapping[str, str] | None = None,
        duplex: RecordingDuplex | None = None,
        transport: str = "websocket",
        **query: str,
    ) -> LinkClient:
        """Open a session over a link."""
        link = duplex if duplex is not None else RecordingDuplex()
        known = set(self.engine.sessions)
        if _knocks(transport):
            request = self.request("CONNECT", "", headers)
            self.engine.admit_knock(request)
            self.engine.greet(request, transport, link)
            link.say(self.engine.routes.generations[0].knock())
        else:
            request = self.request("GET", f"{self._query}&{urlencode({'transport': transport, **query})}", headers)
            self.engine.admit(request)
            self.engine.link(request, link)
        [sid] = set(self.engine.sessions) - known
        return LinkClient(self, self.engine.sessions[sid], link)

    def upgrade(self, client: RawClient, transport: str = "websocket") -> RecordingDuplex:
        """Open a link beside a session, as clients do to move to it; what is said over it is up to the caller."""
        duplex = RecordingDuplex()
        if _knocks(transport):
            request = self.request("CONNECT", "")
            self.engine.admit_knock(request)
            self.engine.greet(request, transport, duplex)
            duplex.say(client.session.wire.knock(client.session.id))
            return duplex
        query = f"{self._query}&{urlencode({'transport': transport, 'sid': client.session.id})}"
        request = self.request("GET", query)
        self.engine.admit(request)
        self.engine.link(request, duplex)
        return duplex


def _knocks(transport: str) -> bool:
    """Whether a client says in its first packet who it is."""
    loaded = transports.load(transport)
    return isinstance(loaded, LinkTransport) and loaded.knocks


class RawClient(ABC):
    """Somebody who speaks raw frames to an `EngineKit`.

    Attributes:
        session: the session at the server.
        hello: the first frame that was heard.
    """

    def __init__(self, kit: EngineKit, session: Session, hello: Frame) -> None:
        self.kit = kit
        self.session = session
        self.hello = hello

    @abstractmethod
    def say(self, *frames: Frame) -> None:
        """Send frames."""

    @abstractmethod
    def heard(self) -> list[Frame]:
        """The frames that came since the last time, at the end of the turn."""

    def join(self, namespace: str = "/", auth: dict[str, Any] | None = None) -> Socket:
        """Join a namespace, and hear the answer; what else came before it stays unheard for good."""
        session = self.session
        packet = Packet(CONNECT, auth or {}, namespace)
        self.say(*session.wire.encode(packet, session.parser))
        self.heard()
        socket: Socket | None = session.sockets.get(namespace)
        assert socket is not None, f"the client was refused in {namespace}"
        return socket


class PollingClient(RawClient):
    """A client over HTTP.

    Attributes:
        handshake: the response to its first request.
        query: what its requests have in their query.
    """

    def __init__(
        self,
        kit: EngineKit,
        session: Session,
        handshake: RecordingExchange,
        query: str,
        headers: Mapping[str, str] | None,
    ) -> None:
        self.handshake = handshake
        self.query = f"{query}&sid={session.id}"
        self.headers = headers
        self._poll: RecordingExchange | None = None
        super().__init__(kit, session, session.wire.split(handshake.payload, kit.io.config)[0])

    def poll(self) -> RecordingExchange:
        """Ask for what there is; the answer may wait."""
        return self.kit.http("GET", self.query, headers=self.headers)

    def post(self, *frames: Frame) -> RecordingExchange:
        """Send frames in one payload."""
        return self.kit.http("POST", self.query, self.session.wire.join(frames).encode(), self.headers)

    def say(self, *frames: Frame) -> None:  # noqa: D102
        exchange = self.post(*frames)
        assert exchange.status == 200, exchange.text

    def heard(self) -> list[Frame]:
        """Poll once, or look at the poll that waits. Nothing heard means that the poll waits."""
        if self._poll is None:
            self._poll = self.poll()
        self.kit.turn()
        if self._poll.waits:
            return []
        answered, self._poll = self._poll, None
        return self.session.wire.split(answered.payload, self.kit.io.config)


class LinkClient(RawClient):
    """A client over a link.

    Attributes:
        duplex: the link.
    """

    def __init__(self, kit: EngineKit, session: Session, duplex: RecordingDuplex) -> None:
        self.duplex = duplex
        hello, *self._begun = duplex.take()
        super().__init__(kit, session, hello)

    def say(self, *frames: Frame) -> None:  # noqa: D102
        self.duplex.say(*frames)

    def heard(self) -> list[Frame]:  # noqa: D102
        self.kit.turn()
        begun, self._begun = self._begun, []
        return begun + self.duplex.take()
