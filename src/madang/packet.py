"""The packet: what one side says to the other, after decoding and before encoding. Imports nothing of ours.

Socket.IO's packets and Engine.IO's share one class and one set of kinds, because "one frame in, at most one
packet out" is what a session sees, whatever the generation of the client.

Source: Socket.IO protocol 5 (packet types), Engine.IO protocol 4 (packet types).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from madang.compiling import mypyc_attr
from madang.errors import RemoteProtocolError

__all__ = [
    "ACK",
    "CLOSE",
    "CONNECT",
    "CONNECT_ERROR",
    "DISCONNECT",
    "EVENT",
    "MESSAGE",
    "NOOP",
    "NOTHING",
    "OPEN",
    "PING",
    "PONG",
    "RESERVED_EVENTS",
    "UPGRADE",
    "Encoded",
    "Frame",
    "Packet",
    "restore_attachments",
]

T = TypeVar("T")

#: One encoded Engine.IO packet: text or bytes.
Frame = str | bytes

# Socket.IO's kinds carry the numbers of its protocol. BINARY_EVENT (5) and BINARY_ACK (6) exist on the wire only:
# here they are an EVENT or an ACK whose data contains bytes.
CONNECT: Final = 0
DISCONNECT: Final = 1
EVENT: Final = 2
ACK: Final = 3
CONNECT_ERROR: Final = 4

# Engine.IO's kinds, put out of the way of the numbers above.
OPEN: Final = 10
CLOSE: Final = 11
PING: Final = 12
PONG: Final = 13
MESSAGE: Final = 14
UPGRADE: Final = 15
NOOP: Final = 16


#: Names that the libraries of both sides use for themselves, so that no program can send them.
RESERVED_EVENTS: Final = frozenset(
    {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}
)


class _Nothing:
    """The type of `NOTHING`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "NOTHING"

    def __reduce__(self) -> str:
        return "NOTHING"  # a copy is the same object


#: A packet without a body, which differs from one whose body is `null`.
NOTHING: Final = _Nothing()


@mypyc_attr(allow_interpreted_subclasses=True)
class Packet:
    """One packet of Socket.IO or Engine.IO.

    Attributes:
        kind: one of this module's constants.
        namespace: "/" or the name of another one; Engine.IO's packets leave it at "/".
        data: the body: for EVENT `[name, *arguments]`, for ACK the arguments, for CONNECT and CONNECT_ERROR
            a dict, `NOTHING` where there is none.
        id: the number under which an acknowledgement is asked for or given.
        missing: how many binary attachments are still to come in frames of their own.
        shape: what its arguments were decoded as, None for plain values. A parser that decodes them has a class for it.
    """

    __slots__ = ("data", "id", "kind", "missing", "namespace", "shape")

    def __init__(
        self,
        kind: int,
        data: Any = NOTHING,
        namespace: str = "/",
        id: int | None = None,  # noqa: A002  # the protocol's own word
        missing: int = 0,
    ) -> None:
        self.kind = kind
        self.data = data
        self.namespace = namespace
        self.id = id
        self.missing = missing
        self.shape: object = None

    def plain(self) -> Sequence[Any]:
        """The data of an event in plain values, as it came, whatever it was decoded as.

        Raises:
            RemoteProtocolError: there is something in it that only the shape did not mind.
        """
        plain: Sequence[Any] = self.data
        return plain

    def __repr__(self) -> str:
        return f"Packet(kind={self.kind}, namespace={self.namespace!r}, id={self.id}, data={self.data!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Packet):
            return NotImplemented
        return (self.kind, self.namespace, self.id, self.data) == (other.kind, other.namespace, other.id, other.data)

    __hash__ = None  # type: ignore[assignment]  # a packet can hold lists and dicts


class Encoded:
    """A packet as frames, ready to be written to any number of clients of one generation and parser.

    Attributes:
        frames: itself, then its attachments.
        size: about how many bytes it takes, for the limits.
        compress: whether compression is worth trying.
        link_bytes: what a face keeps here when its links all send the same bytes for these frames.
    """

    __slots__ = ("_forms", "compress", "frames", "link_bytes", "size")

    def __init__(self, frames: tuple[Frame, ...], compress: bool = True) -> None:
        self.frames = frames
        self.size = len(frames[0]) if len(frames) == 1 else sum(map(len, frames))
        self.compress = compress
        self.link_bytes: bytes | None = None
        self._forms: dict[object, Any] | None = None

    def form(self, key: object, make: Callable[[Encoded], T]) -> T:
        """The packet in another form, which is made once for all clients that take it.

        Args:
            key: what the form depends on, the same for all who share it.
            make: makes it of this packet.
        """
        forms = self._forms
        if forms is None:
            forms = self._forms = {}
        form: T | None = forms.get(key)
        if form is None:
            form = forms[key] = make(self)
        return form


def restore_attachments(data: Any, buffers: list[bytes]) -> Any:
    """Put binary attachments back where placeholders stand, in place.

    Args:
        data: the decoded JSON, in which `{"_placeholder": true, "num": n}` marks attachment `n`.
        buffers: the attachments in the order of their frames.

    Returns:
        The data with bytes in it.

    Raises:
        RemoteProtocolError: a placeholder names an attachment that isn't there.

    Example:
        >>> restore_attachments(["photo", {"_placeholder": True, "num": 0}], [b"png"])
        ['photo', b'png']

    Source: Socket.IO protocol 5, "binary attachments".
    """
    if isinstance(data, list):
        for index, item in enumerate(data):
            if isinstance(item, dict | list):
                data[index] = restore_attachments(item, buffers)
    elif isinstance(data, dict):
        if data.get("_placeholder") is True:
            number = data.get("num")
            if type(number) is not int or not 0 <= number < len(buffers):
                raise RemoteProtocolError(
                    f"a placeholder names attachment {number!r:.80}, but {len(buffers)} came",
                    rule="Socket.IO protocol 5, binary attachments",
                )
            return buffers[number]
        for key, item in data.items():
            if isinstance(item, dict | list):
                data[key] = restore_attachments(item, buffers)
    return data
