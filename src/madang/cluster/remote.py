"""The clients of other servers: what is told of them, and how to reach them."""

from __future__ import annotations

import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import msgspec

from madang.cluster.messages import Broadcast, RemoteDetails, body, values_of
from madang.core.prepared import Prepared
from madang.core.target import Target
from madang.errors import EncodeError, RemoteProtocolError
from madang.packet import EVENT, Packet

if TYPE_CHECKING:
    from madang.config import Config
    from madang.core.ack import Ack
    from madang.core.namespace import Namespace
    from madang.core.socket import Socket

__all__ = ["Heard", "RemoteMember", "ToldHandshake", "details"]

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_NOTHING_KEPT: Final = msgspec.Raw(b"{}")
#: In place of a packet that nobody has asked for yet.
_UNREAD: Final = Packet(EVENT)


class Heard(Prepared):
    """An event that another server has said: its values are read only if somebody needs them.

    Args:
        content: `[event, *arguments]` as the message carries it.
        namespace: where it belongs.
        compress: whether compression is worth trying.
        limits: the bounds to keep.
    """

    __slots__ = ("_content", "_limits", "_namespace")

    def __init__(self, content: Any, namespace: str, compress: bool, limits: Config) -> None:
        self._content = content
        self._namespace = namespace
        self._limits = limits
        super().__init__(_UNREAD, compress)
        if type(content) is msgspec.Raw:
            self.text = bytes(content).decode()

    @property
    def namespace(self) -> str:  # noqa: D102
        return self._namespace

    @property
    def packet(self) -> Packet:
        """The packet.

        Raises:
            RemoteProtocolError: it can't be read.
        """
        if self._packet is _UNREAD:
            self._packet = Packet(EVENT, values_of(self._content, self._limits), self._namespace)
        return self._packet

    @classmethod
    def of(cls, message: Broadcast, compress: bool, limits: Config) -> Heard:
        """The event of a broadcast.

        Raises:
            RemoteProtocolError: there is none.
        """
        try:
            heard = cls(message.data.packet.data, message.nsp, compress, limits)
        except UnicodeDecodeError as error:
            raise RemoteProtocolError(f"a broadcast is not UTF-8: {error}", rule="cluster messages") from None
        if heard.text is None or not heard.text.startswith('["'):
            values = heard.packet.data
            if not (type(values) is list and values and isinstance(values[0], str)):
                raise RemoteProtocolError("a broadcast has no event", rule="cluster messages")
        return heard


class ToldHandshake:
    """How a client of another server came.

    Attributes:
        auth: the dict that the client gave as `auth`.
        query: the fields of the URL's query.
        headers: the request's headers, names in lower case.
        address: the client's IP address.
        secure: whether it used TLS.
        url: path and query of the request.
        time: when it came, in seconds since the epoch.
        cross_domain: whether a web page opened the connection.
    """

    __slots__ = ("address", "auth", "cross_domain", "headers", "query", "secure", "time", "url")

    def __init__(self, told: Any) -> None:
        told = _dict(told)
        self.auth: dict[str, Any] = _dict(told.get("auth"))
        self.query: dict[str, str] = _dict(told.get("query"))
        self.headers: dict[str, str] = _dict(told.get("headers"))
        self.address = str(told.get("address") or "")
        self.secure = bool(told.get("secure"))
        self.url = str(told.get("url") or "")
        issued = told.get("issued")
        self.time = issued / 1000 if isinstance(issued, int | float) else 0.0
        self.cross_domain = bool(told.get("xdomain"))


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


class RemoteMember:
    """A client of another server, as it was when it was fetched. What is done to it goes through the cluster.

    Attributes:
        id: its id.
        rooms: the rooms that it was in.
        data: a copy of what its server keeps with it.
    """

    __slots__ = ("_handshake", "_limits", "_target", "data", "id", "rooms")

    def __init__(self, namespace: Namespace, told: RemoteDetails, limits: Config) -> None:
        self._target = Target(namespace)._narrowed((told.id,))
        self._target._single = True
        self.id = told.id
        self._handshake: Any = told.handshake  # as it was told, until it is read
        self._limits = limits
        self.rooms = frozenset(map(str, told.rooms))
        self.data: dict[str, Any] = {} if told.data == _NOTHING_KEPT else _dict(values_of(told.data, limits))

    @property
    def handshake(self) -> ToldHandshake:
        """How it came. It is read when somebody asks for it: of a thousand clients, mostly nobody does.

        Raises:
            RemoteProtocolError: what its server tells of it is nested deeper than `max_json_depth`.
        """
        found = self._handshake
        if type(found) is not ToldHandshake:
            found = self._handshake = ToldHandshake(values_of(found, self._limits))
        return found

    def emit(self, event: str, *args: Any) -> None:
        """Send it an event."""
        self._target.emit(event, *args)

    def send(self, *args: Any) -> None:
        """Send it the event "message"."""
        self._target.send(*args)

    def call(self, event: str, *args: Any, timeout: float | None = None, returns: Any = None) -> Ack:
        """Ask it for an acknowledgement. See `Target.call`."""
        return self._target.call(event, *args, timeout=timeout, returns=returns)

    def join(self, *rooms: str) -> None:
        """Make it enter rooms."""
        self._target.sockets_join(*rooms)

    def leave(self, *rooms: str) -> None:
        """Make it leave rooms."""
        self._target.sockets_leave(*rooms)

    def disconnect(self, close: bool = False) -> None:
        """Make it leave the namespace, or end its connection."""
        self._target.disconnect_sockets(close)

    def __repr__(self) -> str:
        return f"RemoteMember({self.id})"


@lru_cache(maxsize=1024)
def _javascript_time(seconds: int) -> str:
    """A time as JavaScript's `Date` shows it. Many clients come in the same second."""
    came = _EPOCH + datetime.timedelta(seconds=seconds)
    return f"{came:%a %b %d %Y %H:%M:%S} GMT+0000 (Coordinated Universal Time)"


def details(socket: Socket) -> RemoteDetails:
    """What other servers are told of a client of ours.

    Raises:
        EncodeError: what the program keeps with it can't be sent.
    """
    # All but `auth`, which programs may change, stays the same: it is written once, though it is kept from then on.
    request = socket.request
    told: bytes | None = request.told
    if told is None:
        told = request.told = bytes(body(_handshake(socket)))[:-1] + b',"auth":'
    auth = body(socket.handshake.auth)
    if type(auth) is msgspec.Raw:
        handshake: Any = msgspec.Raw(b"%b%b}" % (told, bytes(auth)))
    else:  # there are bytes in it
        handshake = body(_handshake(socket) | {"auth": socket.handshake.auth})
    try:
        data = body(socket.data) if socket.data else _NOTHING_KEPT
    except EncodeError as error:
        raise EncodeError(f"the data of {socket} can't be told to other servers: {error}") from error
    return RemoteDetails(socket.id, handshake, sorted(socket.rooms), data)


def _handshake(socket: Socket) -> dict[str, Any]:
    """How a client of ours came, with Node.js's names; but for its `auth`."""
    handshake = socket.handshake
    return {
        "headers": handshake.headers,
        "time": _javascript_time(int(handshake.time)),
        "address": handshake.address,
        "xdomain": handshake.cross_domain,
        "secure": handshake.secure,
        "issued": round(handshake.time * 1000),
        "url": handshake.url,
        "query": handshake.query,
    }
