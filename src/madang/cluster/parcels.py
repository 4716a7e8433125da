"""What the servers of a cluster say to each other about requests, and how it is written.

Parcels are arrays of MessagePack: small, without base64, and read into these types in one step. Whoever changes a
message changes the version, which a parcel begins with.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from madang.errors import RemoteProtocolError
from madang.transports import Request

__all__ = [
    "NODE_LENGTH",
    "Abort",
    "Answer",
    "Ask",
    "Begin",
    "Close",
    "End",
    "Failed",
    "Frames",
    "Given",
    "Gone",
    "Head",
    "Heard",
    "Lost",
    "Open",
    "Parcel",
    "Part",
    "Read",
    "Release",
    "Said",
    "Taken",
    "read",
    "write",
]

#: With so many characters of a session's id its server is told.
NODE_LENGTH: Final = 4
_VERSION: Final = 1
_RULE: Final = "cluster requests"


class Head(msgspec.Struct, array_like=True):
    """The head of a request, as the entrance has seen it."""

    method: str
    path: str
    query: str
    block: bytes
    address: str
    secure: bool
    received: float
    root: str

    @classmethod
    def of(cls, request: Request) -> Head:
        """The head of a request."""
        return cls(
            request.method,
            request.path,
            request.query_string,
            request.block,
            request.address,
            request.secure,
            request.received,
            request.root_path,
        )

    def request(self) -> Request:
        """The request of this head."""
        return Request(
            self.method,
            self.path,
            self.query,
            self.block,
            address=self.address,
            secure=self.secure,
            received=self.received,
            root_path=self.root,
        )


class _Message(msgspec.Struct, array_like=True):
    """What all have: the number that the entrance has given to what it is about."""

    number: int


class Ask(_Message, tag=1):
    """A request, with the body of a POST."""

    head: Head
    body: bytes | None


class Open(_Message, tag=2):
    """A link is open. `knocks` is its transport, if its clients say in their first frame who they are."""

    head: Head
    text_only: bool
    knocks: str


class Abort(_Message, tag=3):
    """The connection of a POST broke before the body was whole."""

    head: Head


class Said(_Message, tag=4):
    """The client has sent these over its link."""

    frames: list[Any]  # text and bytes, which `read` looks at


class Read(_Message, tag=5):
    """The client's connection has taken so much more."""

    size: int


class Gone(_Message, tag=6):
    """The client's connection is gone."""

    reason: str


class Failed(_Message, tag=7):
    """The client broke a rule of the link."""

    text: str
    rule: str
    code: int
    status: int
    reason: str


class Release(_Message, tag=8):
    """The entrance is about to go."""


class Taken(_Message, tag=9):
    """The owner has it; its answer may take a while."""


class Answer(_Message, tag=10):
    """A whole response."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Begin(_Message, tag=11):
    """A response that stays open."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Part(msgspec.Struct, array_like=True, tag=12):
    """A part of such responses."""

    numbers: list[int]
    data: bytes


class End(_Message, tag=13):
    """The end of one."""

    cut: bool


class Frames(msgspec.Struct, array_like=True, tag=14):
    """A packet for links."""

    numbers: list[int]
    frames: tuple[Any, ...]
    compress: bool


class Close(_Message, tag=15):
    """The end of a link."""

    code: int
    reason: str


class Heard(_Message, tag=16):
    """The owner has taken so much more of what the client says."""

    size: int


class Lost(msgspec.Struct, array_like=True, tag=17):
    """Something is missing: all that is under way between the two is given up."""


class Given(msgspec.Struct, array_like=True, tag=18):
    """These answers have reached the connections of their clients."""

    numbers: list[int]


_Any = (
    Ask
    | Open
    | Abort
    | Said
    | Read
    | Gone
    | Failed
    | Release
    | Taken
    | Answer
    | Begin
    | Part
    | End
    | Frames
    | Close
    | Heard
    | Lost
    | Given
)


class Parcel(msgspec.Struct, array_like=True):
    """What is said to one server at a time."""

    version: int
    node: str
    number: int
    messages: list[_Any]


_DECODER: Final = msgspec.msgpack.Decoder(Parcel)
_ENCODER: Final = msgspec.msgpack.Encoder()


def write(node: str, number: int, messages: list[Any]) -> bytes:
    """Write a parcel.

    Args:
        node: who says it.
        number: of the parcel, among those to the same server.
        messages: what is said.
    """
    return _ENCODER.encode(Parcel(_VERSION, node, number, messages))


def read(data: bytes) -> Parcel:
    """Read a parcel.

    Raises:
        RemoteProtocolError: it is none.
    """
    try:
        parcel = _DECODER.decode(data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise RemoteProtocolError(f"this is no parcel: {error}: {data[:100]!r}", rule=_RULE) from None
    if parcel.version != _VERSION:
        raise RemoteProtocolError(f"a parcel of version {parcel.version}, and not {_VERSION}", rule=_RULE)
    if len(parcel.node) != NODE_LENGTH:
        raise RemoteProtocolError(f"a parcel from {parcel.node[:40]!r}", rule=_RULE)
    for message in parcel.messages:
        if isinstance(message, Ask | Open | Abort):
            block = message.head.block
            if not (block.startswith(b"\r\n") and block.endswith(b"\r\n")):
                raise RemoteProtocolError(f"headers that are none: {block[:100]!r}", rule=_RULE)
        elif isinstance(message, Said | Frames):
            for frame in message.frames:
                if not isinstance(frame, str | bytes):
                    raise RemoteProtocolError(f"a frame of {type(frame).__name__}", rule=_RULE)
    return parcel
