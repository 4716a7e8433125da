"""What the members of a cluster say to each other: the thirteen messages of Socket.IO's own cluster adapter.

Each is a `type`, the `uid` of who says it, the namespace `nsp`, and `data`. A field that isn't known is left out, and
never null: Node.js tells "absent" and "null" apart. An event's data stays the JSON text that it came as until somebody
needs its values; to hand it on to clients nobody does.

Messages are trees that live for a moment, so the garbage collector need not look at them (`gc=False`).

Source: socket.io-adapter 2.5, `lib/cluster-adapter.ts`.
"""

from __future__ import annotations

import base64
import datetime
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from madang.config import Config
from madang.errors import EncodeError, RemoteProtocolError
from madang.parsers.json import dump, load
from madang.values import TOO_DEEP, fields_of, simple, text_of

__all__ = [
    "EMITTER",
    "AdapterClose",
    "AnswerData",
    "Broadcast",
    "BroadcastAck",
    "BroadcastClientCount",
    "BroadcastData",
    "Content",
    "CountData",
    "DisconnectData",
    "DisconnectSockets",
    "EventPacket",
    "FetchData",
    "FetchSockets",
    "FetchSocketsResponse",
    "Flags",
    "Heartbeat",
    "InitialHeartbeat",
    "Member",
    "Message",
    "Options",
    "RemoteDetails",
    "RoomsData",
    "ServerEventData",
    "ServerSideEmit",
    "ServerSideEmitResponse",
    "SessionRecord",
    "SocketsData",
    "SocketsJoin",
    "SocketsLeave",
    "body",
    "body_and_text",
    "decode",
    "encode",
    "from_json",
    "from_msgpack",
    "holds_bytes",
    "is_response",
    "pack_session",
    "read_packed",
    "sent_again",
    "to_json",
    "to_msgpack",
    "unpack_session",
    "unpacked",
    "values_of",
]

#: The `uid` of those who emit from outside and hear nothing.
EMITTER: Final = "emitter"
_RULE: Final = "cluster messages"

if TYPE_CHECKING:
    Content = Any
else:
    #: What a program has said: `Raw` JSON, or values. Decoders leave it as it came.
    Content = Raw


class Flags(msgspec.Struct, omit_defaults=True, gc=False):
    """How a broadcast is to be sent.

    Attributes:
        volatile: whether it is dropped for clients that can't take it at once.
        compress: whether compression is worth trying.
        timeout: how long answers are waited for, in milliseconds.
        expectSingleResponse: whether it is for one client alone.
    """

    volatile: bool | UnsetType = UNSET
    compress: bool | UnsetType = UNSET
    timeout: float | UnsetType = UNSET
    expectSingleResponse: bool | UnsetType = UNSET  # noqa: N815


class Options(msgspec.Struct, gc=False):
    """Whom a message is about.

    Attributes:
        rooms: in at least one of these; empty or None: everyone in the namespace.
        except_: in none of these.
        flags: how to send it.
    """

    # Node.js programs may have numbers for rooms.
    rooms: list[Any] | None = msgspec.field(default_factory=list)
    except_: list[Any] | None = msgspec.field(name="except", default_factory=list)
    flags: Flags | None = msgspec.field(default_factory=Flags)

    @property
    def chosen(self) -> tuple[str, ...]:
        """The names of the rooms."""
        return tuple(map(str, self.rooms)) if self.rooms else ()

    @property
    def excluded(self) -> tuple[str, ...]:
        """The names of the rooms that are left out."""
        return tuple(map(str, self.except_)) if self.except_ else ()


class EventPacket(msgspec.Struct, gc=False):
    """The packet of a broadcast.

    Attributes:
        data: `[event, *arguments]`: `Raw` JSON, or the values where there are bytes among them.
        type: 2, an event.
        nsp: its namespace, where that is told.
    """

    data: Content
    type: int = 2
    nsp: str | UnsetType = UNSET


class BroadcastData(msgspec.Struct, gc=False):
    """What is broadcast, and to whom.

    Attributes:
        packet: the event.
        opts: to whom, and how.
        requestId: set if acknowledgements are asked for.
    """

    packet: EventPacket
    opts: Options = msgspec.field(default_factory=Options)
    requestId: str | UnsetType = UNSET  # noqa: N815


class RoomsData(msgspec.Struct, gc=False):
    """Rooms to join or to leave, and who is to."""

    opts: Options
    rooms: list[Any]


class DisconnectData(msgspec.Struct, gc=False):
    """Who is to leave, and whether with the whole connection.

    Attributes:
        moved: the client has come back to another server, which speaks for it from now on: for the how manieth time;
            ours alone.
    """

    opts: Options
    close: bool = False
    moved: int | UnsetType = UNSET


class FetchData(msgspec.Struct, gc=False):
    """Whose details are asked for."""

    opts: Options
    requestId: str  # noqa: N815


class RemoteDetails(msgspec.Struct, gc=False):
    """What one member tells of a client of its own.

    Attributes:
        id: the socket's id.
        handshake: how it came, with Node.js's names.
        rooms: the rooms that it is in, its id among them.
        data: what the program keeps with it.
    """

    id: str
    handshake: Content = Raw(b"{}")
    rooms: list[Any] = msgspec.field(default_factory=list)
    data: Content = Raw(b"{}")


class SocketsData(msgspec.Struct, gc=False):
    """The clients that were asked for."""

    requestId: str  # noqa: N815
    sockets: list[RemoteDetails]


class ServerEventData(msgspec.Struct, gc=False):
    """An event between servers: `[event, *arguments]`."""

    packet: Content
    requestId: str | UnsetType = UNSET  # noqa: N815


class AnswerData(msgspec.Struct, gc=False):
    """One answer, of a server or a client; unset: nothing."""

    requestId: str  # noqa: N815
    packet: Content = UNSET


class CountData(msgspec.Struct, gc=False):
    """How many clients were asked."""

    requestId: str  # noqa: N815
    clientCount: int  # noqa: N815


class Member(msgspec.Struct, gc=False):
    """What a member of ours tells of itself, which Node.js does not look at.

    Attributes:
        name: what people know it by, as "host-1:4711".
        node: with what the ids of its sessions begin.
        interval: how often it tells that it lives, in seconds.
    """

    name: str
    node: str
    interval: float


class Message(msgspec.Struct, tag_field="type", kw_only=True, gc=False):
    """What all messages have.

    Attributes:
        uid: who says it.
        nsp: the namespace; empty where it is not told.
        seq: the number of the message among those of its sender, by which one that is sent twice is known; ours alone.
        again: whether it may have been sent before.
    """

    uid: str = ""
    nsp: str = ""
    seq: int | UnsetType = UNSET
    again: bool | UnsetType = UNSET


class InitialHeartbeat(Message, tag=1):
    """A member is new: all others answer with a heartbeat."""

    data: Member | UnsetType | None = UNSET


class Heartbeat(Message, tag=2):
    """A member lives."""

    data: Member | UnsetType | None = UNSET


class Broadcast(Message, tag=3):
    """An event for clients."""

    data: BroadcastData


class SocketsJoin(Message, tag=4):
    """Clients are to enter rooms."""

    data: RoomsData


class SocketsLeave(Message, tag=5):
    """Clients are to leave rooms."""

    data: RoomsData


class DisconnectSockets(Message, tag=6):
    """Clients are to go."""

    data: DisconnectData


class FetchSockets(Message, tag=7):
    """Clients are to be told of."""

    data: FetchData


class FetchSocketsResponse(Message, tag=8):
    """These clients are there."""

    data: SocketsData


class ServerSideEmit(Message, tag=9):
    """An event for servers."""

    data: ServerEventData


class ServerSideEmitResponse(Message, tag=10):
    """A server's answer to one."""

    data: AnswerData


class BroadcastClientCount(Message, tag=11):
    """So many clients were asked for an acknowledgement."""

    data: CountData


class BroadcastAck(Message, tag=12):
    """One of them has given it: its first argument."""

    data: AnswerData


class AdapterClose(Message, tag=13):
    """A member is about to go."""


_ANY = (
    InitialHeartbeat
    | Heartbeat
    | Broadcast
    | SocketsJoin
    | SocketsLeave
    | DisconnectSockets
    | FetchSockets
    | FetchSocketsResponse
    | ServerSideEmit
    | ServerSideEmitResponse
    | BroadcastClientCount
    | BroadcastAck
    | AdapterClose
)
_RESPONSES: Final = (FetchSocketsResponse, ServerSideEmitResponse, BroadcastClientCount, BroadcastAck)


def is_response(message: Message) -> bool:
    """Whether a message is for the one member that has asked."""
    return isinstance(message, _RESPONSES)


def body(value: Any) -> Any:
    """A value of a program as messages carry it: JSON text, or the value in simple types where there are bytes in it.

    Raises:
        EncodeError: it can't be sent.

    Example:
        >>> bytes(body(["tick", 1]))
        b'["tick",1]'
        >>> body(["photo", b"png"])
        ['photo', b'png']
    """
    return body_and_text(value)[0]


def body_and_text(value: Any) -> tuple[Any, str | None]:
    """The same as `body`, and the JSON text, if it is that."""
    found: list[bytes] = []
    text = dump(value, found.append)
    if not found:
        return Raw(text.encode()), text
    try:
        return simple(value, _leaf), None
    except RecursionError:
        raise EncodeError(TOO_DEEP) from None


def _leaf(value: Any) -> Any:
    if isinstance(value, str | int | float | bytes):
        return value
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    if isinstance(value, datetime.date | datetime.time | uuid.UUID):
        return text_of(value)
    return simple(fields_of(value), _leaf)


def values_of(content: Any, limits: Config) -> Any:
    """The values of what a message carries; None where it carries nothing.

    Raises:
        RemoteProtocolError: it is not JSON, or nested too deeply.
    """
    if content is UNSET:
        return None
    if not isinstance(content, Raw):
        return content
    try:
        return load(bytes(content).decode(), limits, _RULE)
    except UnicodeDecodeError:
        raise RemoteProtocolError("what another server says is not UTF-8", rule=_RULE) from None


def holds_bytes(message: Message) -> bool:
    """Whether a message can't be JSON."""
    if type(message) is Broadcast:  # as most are
        return type(message.data.packet.data) is not Raw
    found: list[Any] = []

    def look(content: Any) -> Any:
        if content is not UNSET and not isinstance(content, Raw):
            found.append(content)
        return content

    _convert(message, look)
    return bool(found)


def _convert(message: Message, convert: Callable[[Any], Any]) -> None:
    """Put other content in place of what a message carries."""
    if isinstance(message, Broadcast):
        message.data.packet.data = convert(message.data.packet.data)
    elif isinstance(message, ServerSideEmit | ServerSideEmitResponse | BroadcastAck):
        message.data.packet = convert(message.data.packet)
    elif isinstance(message, FetchSocketsResponse):
        for one in message.data.sockets:
            one.handshake = convert(one.handshake)
            one.data = convert(one.data)


def encode(message: Message) -> bytes:
    """A message as members read it: JSON, or MessagePack if there are bytes in it.

    Raises:
        EncodeError: a name in it is no Unicode text, or an integer beside bytes is too large.
    """
    return to_msgpack(message) if holds_bytes(message) else to_json(message)


def decode(data: bytes) -> Message:
    """Read a message, as JSON or MessagePack: the first byte tells which.

    Raises:
        RemoteProtocolError: it is none that is known.
    """
    return from_json(data) if data.startswith(b"{") else from_msgpack(data)


def to_json(message: Message) -> bytes:
    """A message without bytes as JSON.

    Raises:
        EncodeError: a name in it is no Unicode text.

    Example:
        >>> to_json(ServerSideEmit(uid="a", nsp="/", data=ServerEventData(body(["hi"]))))
        b'{"type":9,"data":{"packet":["hi"]},"uid":"a","nsp":"/"}'
    """
    try:
        return msgspec.json.encode(message)
    except UnicodeEncodeError as error:
        raise EncodeError(f"this can't be sent: {error}") from None


def from_json(data: bytes | str) -> Message:
    """Read a message.

    Raises:
        RemoteProtocolError: it is none that is known.
    """
    try:
        if isinstance(data, bytes) and not data.isascii():
            data.decode()  # what is carried as it came is looked at by nobody else
        message: Message = _JSON.decode(data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise RemoteProtocolError(f"this is no message: {error}: {data[:200]!r}", rule=_RULE) from None
    return message


def to_msgpack(message: Message) -> bytes:
    """A message as MessagePack: what it carries as JSON text, as values.

    Raises:
        EncodeError: an integer in it is too large.
    """
    carried: list[Any] = []

    def unpack(content: Any) -> Any:
        carried.append(content)
        return unpacked(content)

    _convert(message, unpack)
    try:
        return msgspec.msgpack.encode(message)
    except (OverflowError, UnicodeEncodeError) as error:
        raise EncodeError(f"this can't be sent beside bytes: {error}") from None
    finally:
        before = iter(carried)
        _convert(message, lambda _: next(before))


class SessionRecord(msgspec.Struct):
    """What is kept of a client that was lost, until it comes back.

    Attributes:
        sid: its id, which it gets again.
        pid: the secret by which it is known.
        rooms: the rooms that it was in, that of its id among them.
        data: what the program kept with it.
        nsp: the namespace; ours alone.
        offset: the newest entry of the ledger when it came, for one that has never got an offset; ours alone.
        moves: how often it has come back; ours alone.
    """

    sid: str
    pid: str
    rooms: list[Any]
    data: Any = None
    nsp: str | UnsetType = UNSET
    offset: str | UnsetType = UNSET
    moves: int | UnsetType = UNSET


def pack_session(record: SessionRecord) -> bytes:
    """The record of a client as Node.js keeps it: MessagePack in base64.

    Raises:
        EncodeError: what the program keeps with the client can't be sent.

    Example:
        >>> pack_session(SessionRecord("a", "b", ["a"], {}))
        b'hKNzaWShYaNwaWShYqVyb29tc5GhYaRkYXRhgA=='
    """
    try:
        # Node.js programs count on an object there.
        data = {} if record.data is None else simple(record.data, _leaf)
        return base64.b64encode(msgspec.msgpack.encode(msgspec.structs.replace(record, data=data)))
    except RecursionError:
        raise EncodeError(TOO_DEEP) from None
    except (TypeError, ValueError, OverflowError) as error:
        raise EncodeError(f"what is kept with a client can't be saved: {error}") from None


def unpack_session(data: bytes) -> SessionRecord:
    """Read the record of a client.

    Raises:
        RemoteProtocolError: it is none.
    """
    try:
        record = _SESSION.decode(base64.b64decode(data, validate=True))
        record.data = _plain(record.data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise RemoteProtocolError(f"this is no record of a client: {error}: {data[:200]!r}", rule=_RULE) from None
    return record


def from_msgpack(data: bytes) -> Message:
    """Read a message.

    Raises:
        RemoteProtocolError: it is none that is known.
    """
    try:
        message: Message = _MSGPACK.decode(data)
        _convert(message, read_packed)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise RemoteProtocolError(f"this is no message: {error}: {data[:200]!r}", rule=_RULE) from None
    return message


def sent_again(data: bytes) -> bytes:
    """A written message with the mark that it may have been sent before.

    Example:
        >>> sent_again(to_json(AdapterClose(uid="a", nsp="/")))
        b'{"type":13,"uid":"a","nsp":"/","again":true}'
    """
    if data.startswith(b"{"):
        return data[:-1] + b',"again":true}'
    # A map of few fields: their number is in the first byte.
    return bytes((data[0] + 1,)) + data[1:] + b"\xa5again\xc3"


def unpacked(content: Any) -> Any:
    """What a message carries, as values that MessagePack can have."""
    return load(bytes(content).decode(), _NO_LIMITS, _RULE) if isinstance(content, Raw) else content


def read_packed(content: Any) -> Any:
    """What a MessagePack message carries, in the types that JSON has, and bytes."""
    if not isinstance(content, Raw):
        return content
    return _plain(_VALUES.decode(content))


def _plain(value: Any) -> Any:
    return simple(value, _readable, str)


def _readable(value: Any) -> Any:
    if isinstance(value, datetime.datetime):
        return _javascript_date(value)
    return value


def _javascript_date(value: datetime.datetime) -> str:
    """A date as JavaScript writes it into JSON."""
    value = value.astimezone(datetime.UTC)
    return f"{value:%Y-%m-%dT%H:%M:%S}.{value.microsecond // 1000:03d}Z"


def _extension(code: int, data: memoryview) -> Any:
    """What notepack and @msgpack/msgpack have beside the standard's types: `undefined`, dates, binary data."""
    content = bytes(data)
    if code != 0:
        return content
    if content == b"\x00":
        return None
    if len(content) == 8:
        try:
            moment = datetime.timedelta(milliseconds=int.from_bytes(content, "big", signed=True))
            return _javascript_date(datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC) + moment)
        except OverflowError:
            return None  # as JSON has it for a date that there isn't
    return content


_NO_LIMITS: Final = Config(max_json_depth=10_000)
_JSON: Final = msgspec.json.Decoder(_ANY)
_MSGPACK: Final = msgspec.msgpack.Decoder(_ANY)
_VALUES: Final = msgspec.msgpack.Decoder(ext_hook=_extension)
_SESSION: Final = msgspec.msgpack.Decoder(SessionRecord, ext_hook=_extension)
