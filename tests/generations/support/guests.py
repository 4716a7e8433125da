"""Who comes to the meeting of all generations: each client over each of its transports."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from madang import registry
from support.npm import NODE

__all__ = ["GUESTS", "STEPS", "VERSIONS", "Guest", "invited"]

#: What a guest does, in this order, and what the generated page calls it.
STEPS = {
    "connect": "connects; the server tells its generation and transport",
    "query": "the handshake's query",
    "auth": "the `auth` payload",
    "text": "text both ways",
    "unicode": "é, €, 😀, U+2028, newlines, and what looks like UTF-8 encoded twice",
    "message": "`send`",
    "objects": "JSON values, several and none",
    "order": "bursts both ways, in order",
    "binary": "binary both ways",
    "ask the server": "the server acknowledges",
    "ask the client": "the client acknowledges",
    "namespace": "a namespace",
    "refusal": "a namespace that refuses",
    "broadcast": "hears all others in one room, and is heard",
    "binary broadcast": "binary that another one sends to the room",
    "reconnect": "comes back after a restart of the server",
    "client disconnects": "leaves",
    "server disconnects": "is sent away",
}

#: Which clients can't do what, and why.
NO_AUTH = {"auth": "protocol 4 and older have no `auth`; the query takes its place"}
NO_BINARY = {"binary": "protocol 1 has no binary", **NO_AUTH}


@dataclass(frozen=True)
class Guest:
    """One client over one transport.

    Attributes:
        package: the name of the library.
        version: of the library.
        runtime: what it runs in: "Node.js", "Chromium" or "Python".
        transport: "polling", "base64" (polling by a client that takes no binary), "jsonp", "htmlfile", "websocket",
            "upgrade" (polling, then WebSocket) or "flashsocket".
        generation: what the server should tell.
        lacks: the steps that this client can't do, with the reason.
        chosen: whether it comes to the small meeting too, which every run of the tests holds.
        source: the folder of the package, or the file of its bundle, in `node_modules`; or the name of the Python
            environment.
    """

    package: str
    version: str
    runtime: str
    transport: str
    generation: str
    source: str
    lacks: dict[str, str] = field(default_factory=dict)
    chosen: bool = False

    @property
    def name(self) -> str:
        return f"{self.package} {self.version}, {self.runtime}, {self.transport}"

    @property
    def carrier(self) -> str:
        """The transport that the server should tell."""
        return {"upgrade": "websocket", "base64": "polling", "htmlfile": "iframe"}.get(self.transport, self.transport)

    @property
    def refusal(self) -> str:
        """What it is told by a namespace that refuses."""
        return "unauthorized" if self.generation == "sio1" else "not you"

    def told(self) -> dict[str, Any]:
        """What its program is told of it."""
        return {
            "name": self.name,
            "package": self.source,
            "version": self.version,
            "transport": self.transport,
            "expected": {"generation": self.generation, "transport": self.carrier, "refusal": self.refusal},
            "lacks": list(self.lacks),
        }


OFFICIAL = "socket.io-client"
#: version: (package in node_modules, its bundle for browsers, generation)
OFFICIAL_VERSIONS = {
    "0.7.11": ("socket.io-client-0.7.11", "dist/socket.io.js", "sio1"),
    "0.8.7": ("socket.io-client-0.8.7", "dist/socket.io.js", "sio1"),
    "0.9.17": ("socket.io-client-0.9", "dist/socket.io.js", "sio1"),
    "1.0.6": ("socket.io-client-1.0.6", "socket.io.js", "eio3"),
    "1.7.4": ("socket.io-client-1.7.4", "dist/socket.io.js", "eio3"),
    "2.0.4": ("socket.io-client-2.0.4", "dist/socket.io.js", "eio3"),
    "2.5.0": ("socket.io-client-2.5.0", "dist/socket.io.js", "eio3"),
    "3.1.3": ("socket.io-client-3.1.3", "dist/socket.io.js", "eio4"),
    "4.2.0": ("socket.io-client-4.2.0", "dist/socket.io.js", "eio4"),
    "4.8.4": ("socket.io-client", "dist/socket.io.js", "eio4"),
}
LACKS = {"sio1": NO_BINARY, "eio3": NO_AUTH, "eio4": {}}

NODE_OLD = ("polling", "websocket")
NODE_EIO3 = ("polling", "websocket", "upgrade")  # its polling takes no binary under Node.js
NODE_EIO4 = ("polling", "websocket", "upgrade")
PAGE_OLD = ("polling", "jsonp", "htmlfile", "websocket", "flashsocket")
PAGE_EIO3 = ("polling", "base64", "jsonp", "websocket", "upgrade")
#: In Node.js. 1.0.6 needs what the registry does not have: only its bundle is played.
IN_NODE: dict[str, Sequence[str]] = {
    "0.7.11": NODE_OLD, "0.8.7": NODE_OLD, "0.9.17": NODE_OLD,
    "1.7.4": NODE_EIO3, "2.0.4": NODE_EIO3, "2.5.0": NODE_EIO3,
    "3.1.3": NODE_EIO4, "4.2.0": NODE_EIO4, "4.8.4": NODE_EIO4,
}  # fmt: skip
#: The last with JSONP is 4.2.
IN_PAGES: dict[str, Sequence[str]] = {
    "0.7.11": PAGE_OLD, "0.8.7": PAGE_OLD, "0.9.17": PAGE_OLD,
    "1.0.6": ("polling", "base64", "jsonp", "websocket", "upgrade"),
    "1.7.4": PAGE_EIO3, "2.0.4": PAGE_EIO3, "2.5.0": PAGE_EIO3,
    "3.1.3": ("polling", "base64", "jsonp", "websocket", "upgrade"),
    "4.2.0": ("polling", "base64", "jsonp", "websocket", "upgrade"),
    "4.8.4": ("polling", "base64", "websocket", "upgrade"),
}  # fmt: skip
ALL_OF_PYTHON = ("polling", "websocket", "upgrade")
NO_ATTACHMENTS = {**NO_AUTH, "binary": "it knows no binary packets", "binary broadcast": "it knows no binary packets"}
IN_PYTHON: list[tuple[str, str, str, Sequence[str], dict[str, str]]] = [
    ("socketIO-client", "0.5.7.4", "sio1", ("polling", "jsonp", "websocket"), NO_BINARY),
    ("socketIO-client", "0.7.2", "eio3", ("polling", "upgrade"), NO_ATTACHMENTS),
    ("python-socketio", "4.6.1", "eio3", ALL_OF_PYTHON, NO_AUTH),
    ("python-socketio", "5", "eio4", ALL_OF_PYTHON, {}),
]
#: Those of Chromium that come to the small meeting: each transport of each generation with a client that differs.
CHOSEN_PAGES = {
    ("0.7.11", "jsonp"), ("0.9.17", "polling"), ("0.8.7", "htmlfile"),
    ("1.0.6", "base64"), ("1.7.4", "upgrade"), ("2.5.0", "jsonp"), ("4.2.0", "jsonp"), ("4.8.4", "upgrade"),
}  # fmt: skip


def _guests() -> list[Guest]:
    found = []
    for version, (folder, bundle, generation) in OFFICIAL_VERSIONS.items():
        lacks = LACKS[generation]
        for transport in IN_NODE.get(version, ()):
            chosen = (version, transport) != ("0.7.11", "websocket")  # it comes back after a long time only
            found.append(Guest(OFFICIAL, version, "Node.js", transport, generation, folder, lacks, chosen))
        for transport in IN_PAGES.get(version, ()):
            source = str(NODE / "node_modules" / folder / bundle)
            chosen = (version, transport) in CHOSEN_PAGES
            found.append(Guest(OFFICIAL, version, "Chromium", transport, generation, source, lacks, chosen))
    for package, version, generation, transports, lacks in IN_PYTHON:
        for transport in transports:
            chosen = transport == transports[-1] and package == "python-socketio"
            source = (
                f"{package}-{version.partition('.')[0]}" if package == "python-socketio" else f"{package}-{version}"
            )
            found.append(Guest(package, version, "Python", transport, generation, source, lacks, chosen))
    return found


GUESTS = _guests()
VERSIONS = list(dict.fromkeys(f"{guest.package} {guest.version}" for guest in GUESTS))
NEWEST = "socket.io-client 4.8.4, Node.js, websocket"


def invited(version: str | None) -> list[Guest]:
    """Those who come to a meeting: all of one version, with one of the newest; or, for None, those chosen of all.

    Of these only the ones whose names `MADANG_TEST_CLIENTS` matches, a regular expression.
    """
    pattern = re.compile(os.environ.get("MADANG_TEST_CLIENTS", ""))
    spoken = registry.names("wire")

    def comes(guest: Guest) -> bool:
        if version is None:
            return guest.chosen
        return f"{guest.package} {guest.version}" == version or guest.name == NEWEST

    return [guest for guest in GUESTS if comes(guest) and guest.generation in spoken and pattern.search(guest.name)]
