"""Routes: what a request is for. Which generation it speaks, which transport and which session it names.

Each generation reads requests in its own way; here they are asked, one after the other, and what they have read is
looked up. Sessions are not known here.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Final

from madang import transports, wire
from madang.config import Config
from madang.errors import BAD_REQUEST, UNKNOWN_TRANSPORT, UNSUPPORTED_VERSION, RequestRefused
from madang.transports import HttpTransport, LinkTransport, Request, Transport
from madang.wire import Address, Wire

__all__ = ["Routes"]

#: Those that have opened links in the drafts before RFC 6455.
_OLDER: Final = ("flashsocket", "websocket")


class Routes:
    """The generations and transports of a server, and who of them a request is for.

    Args:
        config: the settings.

    Attributes:
        generations: those that clients may speak.
        enabled: the transports that they may use, by name.
    """

    def __init__(self, config: Config) -> None:
        self._path = config.path
        self.generations: list[Wire] = [wire.load(name) for name in wire.chosen(config.generations)]
        self.enabled: dict[str, Transport] = {}
        # Transports that requests of another one belong to, where they have a certain field.
        self._variants: dict[str, list[tuple[str, HttpTransport]]] = {}
        for name in config.transports:
            transport = transports.load(name)
            self.enabled[transport.name] = transport
            if isinstance(transport, HttpTransport) and transport.variant_of is not None:
                name, field = transport.variant_of
                self._variants.setdefault(name, []).append((field, transport))
        self._known: dict[Wire, Mapping[str, Transport]] = {
            generation: generation.transports(self.enabled) for generation in self.generations
        }
        # Those that serve links, and HTTP requests, by their identity, since somebody's own may be unhashable: to ask a
        # class takes longer than to look one up.
        self._links: dict[int, LinkTransport] = {
            id(one): one
            for one in (one for known in self._known.values() for one in known.values())
            if isinstance(one, LinkTransport) and not one.knocks
        }
        everything = [*self.enabled.values(), *(one for known in self._known.values() for one in known.values())]
        self._http: dict[int, HttpTransport] = {id(one): one for one in everything if isinstance(one, HttpTransport)}

    def below(self, path: str) -> str | None:
        """What of a path stands below the server's own, without the slashes around it; None where it isn't there."""
        if path == self._path:
            return ""
        closed = path + "/"
        start = closed.find(self._path)  # it may be mounted under the path of another application
        return None if start < 0 else closed[start + len(self._path) :].strip("/")

    def owns(self, below: str) -> bool:
        """Whether clients ask for such a path below the server's own."""
        return any(generation.owns(below) for generation in self.generations)

    def read(self, request: Request) -> tuple[Wire, Address]:
        """Find the generation that a request speaks, and what it asks for.

        Raises:
            RequestRefused: it is of none, or says what makes no sense.
        """
        route: tuple[Routes, tuple[Wire, Address]] | None = request.route
        if route is not None and route[0] is self:
            return route[1]
        below = "" if request.path == self._path else self._below(request)
        for generation in self.generations:
            address = generation.address(request, below)
            if address is not None:
                request.route = (self, (generation, address))
                return generation, address
        name = request.query.get("transport", "")
        if name not in self.enabled:
            raise RequestRefused(*UNKNOWN_TRANSPORT, f"transport {name[:40]!r}", {"transport": name[:40]})
        version = request.query.get("EIO", "")[:10]
        detail = f"EIO {version!r}"
        for other in self._others:
            if other.address(request, below) is not None:
                detail += f" is {other.name} ({other.clients}), which the setting `generations` does not let in"
                break
        raise RequestRefused(*UNSUPPORTED_VERSION, detail, {"protocol": version})

    @cached_property
    def _others(self) -> list[Wire]:
        """The generations of ours that may not come."""
        let_in = {generation.name for generation in self.generations}
        return [wire.load(name) for name in wire.chosen("all") if name not in let_in]

    def _below(self, request: Request) -> str:
        below = self.below(request.path)
        if below is None:
            # A framework that we are mounted in has taken our path off, or a face takes any path for ours.
            below = request.path.removeprefix(request.root_path).strip("/")
            if not self.owns(below):
                return ""
        return below

    def sid(self, request: Request) -> str | None:
        """The id of the session that a request has named."""
        try:
            return self.read(request)[1].sid
        except RequestRefused:
            return None

    def speaker(self, request: Request) -> Wire | None:
        """The generation that a request speaks, even if it makes no sense; None where that can't be told."""
        try:
            return self.read(request)[0]
        except RequestRefused:
            below = self._below(request)
            return next((one for one in self.generations if below and one.owns(below)), None)

    def http(self, generation: Wire, name: str, request: Request) -> HttpTransport:
        """The transport of HTTP requests that a request names.

        Raises:
            RequestRefused: it names none.
        """
        transport = self._known[generation].get(name)
        for field, variant in self._variants.get(name, ()):
            if field in request.query:
                transport = variant
        served = self._http.get(id(transport))
        if served is not None:
            return served
        if isinstance(transport, LinkTransport) and not transport.knocks:
            context = {"name": "TRANSPORT_HANDSHAKE_ERROR", "transport": name}
            raise RequestRefused(*BAD_REQUEST, f"{name} needs an upgrade of the connection", context)
        raise RequestRefused(*UNKNOWN_TRANSPORT, f"transport {name[:40]!r}", {"transport": name[:40]})

    def link(self, generation: Wire, name: str) -> LinkTransport:
        """The transport of links that a request names.

        Raises:
            RequestRefused: it names none.
        """
        transport = self._links.get(id(self._known[generation].get(name)))
        if transport is not None:
            return transport
        raise RequestRefused(*UNKNOWN_TRANSPORT, f"transport {name[:40]!r}", {"transport": name[:40]})

    def of(self, generation: Wire) -> Mapping[str, Transport]:
        """The transports that clients of a generation may use, by the names that they have for them."""
        return self._known[generation]

    def takes_drafts(self, request: Request) -> bool:
        """Whether a request for a link may be in the drafts before RFC 6455."""
        try:
            generation, address = self.read(request)
            transport = self.link(generation, address.transport)
        except RequestRefused:
            return False
        return transport.name in _OLDER and (generation.older_links or "flashsocket" in self.enabled)
