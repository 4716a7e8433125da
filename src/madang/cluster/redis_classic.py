"""Redis's publish/subscribe of all versions, as `createAdapter` of `@socket.io/redis-adapter` uses it.

Members in Node.js and ours understand each other. Its messages are others than those of all later adapters, and are
turned into them here. `redis-classic://host:6379?publish_on_specific_response_channel=true`: answers to members in
Node.js go to the one that has asked, and not to all; theirs is called `publishOnSpecificResponseChannel`.
`socket_timeout=2.5`: after so many seconds without a word the engine counts as gone.

Whatever is written here, a member in Node.js must be able to read: on the channel of broadcasts it doesn't survive a
message that it can't. Members of ours tell each other that they live on a channel of their own.

Source: @socket.io/redis-adapter 8.3, `lib/index.ts`.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from madang.cluster._redis import Link, yes_no
from madang.cluster._redis_pubsub import PubSubBus
from madang.cluster.link import Outgoing
from madang.cluster.messages import (
    AnswerData,
    Broadcast,
    BroadcastAck,
    BroadcastClientCount,
    BroadcastData,
    Content,
    CountData,
    DisconnectData,
    DisconnectSockets,
    EventPacket,
    FetchData,
    FetchSockets,
    FetchSocketsResponse,
    Flags,
    Message,
    Options,
    RemoteDetails,
    RoomsData,
    ServerEventData,
    ServerSideEmit,
    ServerSideEmitResponse,
    SocketsData,
    SocketsJoin,
    SocketsLeave,
    body,
    from_json,
    holds_bytes,
    read_packed,
    sent_again,
    to_json,
    unpacked,
)
from madang.config import Cluster
from madang.errors import EncodeError, RemoteProtocolError

__all__ = ["BUS", "RedisClassicBus"]

_RULE: Final = "cluster messages"
#: The types of requests and responses.
_SOCKETS: Final = 0
_ALL_ROOMS: Final = 1
_JOIN: Final = 2
_LEAVE: Final = 3
_DISCONNECT: Final = 4
_FETCH: Final = 5
_EVENT: Final = 6
_BROADCAST: Final = 7
_CLIENT_COUNT: Final = 8
_ACK: Final = 9
#: What stands before the id of a request that is answered from the details of sockets.
_IDS: Final = "ids of sockets "
_ROOMS: Final = "rooms of sockets "
#: An id of a socket is so long.
_ID_LENGTH: Final = 20
#: An id of a member of ours is so long; one of Node.js has six characters.
_UID_LENGTH: Final = 16


class _Options(msgspec.Struct):
    """To whom a broadcast goes, and beside that what members of ours tell each other."""

    rooms: list[str | float | int] | None = msgspec.field(default_factory=list)
    except_: list[str | float | int] | None = msgspec.field(name="except", default_factory=list)
    flags: Flags | None = msgspec.field(default_factory=Flags)
    seq: int | UnsetType = UNSET
    again: bool | UnsetType = UNSET


class _Broadcast(msgspec.Struct, array_like=True):
    """What is published for clients: three things in a row."""

    uid: str
    packet: EventPacket
    opts: _Options


class _Request(msgspec.Struct, kw_only=True):
    """What is asked of all others: the fields of all types."""

    type: int
    uid: str | UnsetType = UNSET
    requestId: str | UnsetType = UNSET  # noqa: N815
    opts: Options | UnsetType = UNSET
    rooms: list[str | float | int] | UnsetType = UNSET
    close: bool | UnsetType = UNSET
    data: Content = UNSET
    packet: EventPacket | UnsetType = UNSET
    # Of versions before 6
    sid: str | UnsetType = UNSET
    room: str | float | int | UnsetType = UNSET
    # Of ours
    seq: int | UnsetType = UNSET
    again: bool | UnsetType = UNSET


class _Response(msgspec.Struct, kw_only=True):
    """What is answered: the fields of all types."""

    requestId: str | UnsetType = UNSET  # noqa: N815
    type: int | UnsetType = UNSET
    sockets: list[RemoteDetails | str] | UnsetType = UNSET
    rooms: list[str | float | int] | UnsetType = UNSET
    data: Content = UNSET
    packet: Content = UNSET
    clientCount: int | UnsetType = UNSET  # noqa: N815
    # Of ours
    uid: str | UnsetType = UNSET
    seq: int | UnsetType = UNSET
    again: bool | UnsetType = UNSET


# From Node.js's forms


def _content(content: Any) -> Any:
    """What came in MessagePack, as messages carry it."""
    return content if content is UNSET else body(read_packed(content))


def read_broadcast(data: bytes, own: str = "") -> Broadcast | None:
    """A broadcast, out of its three parts; None if this `uid` has said it.

    Raises:
        RemoteProtocolError: it is none.
    """
    try:
        found = _BROADCASTS.decode(data)
        if found.uid == own:
            return None
        packet = EventPacket(_content(found.packet.data), found.packet.type, found.packet.nsp)
    except _WRONG as error:
        raise _not_understood(error, data) from None
    if packet.nsp is UNSET:
        packet.nsp = "/"
    opts = found.opts
    return Broadcast(
        uid=found.uid,
        nsp=packet.nsp,
        seq=opts.seq,
        again=opts.again,
        data=BroadcastData(packet, Options(opts.rooms, opts.except_, opts.flags)),
    )


def read_request(namespace: str, data: bytes) -> Message | None:
    """A request, or None if it is of a type that nobody knows.

    Raises:
        RemoteProtocolError: it is none.
    """
    try:
        if data.startswith(b"{"):
            found = _JSON_REQUESTS.decode(data if data.isascii() else data.decode())
        else:
            found = _REQUESTS.decode(data)
            found.data = _content(found.data)
            if found.packet is not UNSET:
                found.packet.data = _content(found.packet.data)
    except _WRONG as error:
        raise _not_understood(error, data) from None
    read = _READ.get(found.type)
    if read is None:
        return None
    message = read(found)
    if message is None:
        raise _not_understood("it has not all that its type needs", data)
    message.uid = found.uid if found.uid is not UNSET else ""
    message.nsp, message.seq, message.again = namespace, found.seq, found.again
    return message


def read_response(namespace: str, data: bytes) -> Message | None:
    """A response, or None if it answers what we don't ask.

    Raises:
        RemoteProtocolError: it is none.
    """
    try:
        if data.startswith(b"{"):
            found = _JSON_RESPONSES.decode(data if data.isascii() else data.decode())
        else:
            found = _RESPONSES.decode(data)
            found.data, found.packet = _content(found.data), _content(found.packet)
            for one in () if found.sockets is UNSET else found.sockets:
                if isinstance(one, RemoteDetails):
                    one.handshake, one.data = _content(one.handshake), _content(one.data)
    except _WRONG as error:
        raise _not_understood(error, data) from None
    id_ = found.requestId
    if id_ is UNSET:
        return None
    message: Message
    if found.type == _EVENT:
        message = ServerSideEmitResponse(data=AnswerData(id_, found.data))
    elif found.type == _ACK:
        message = BroadcastAck(data=AnswerData(id_, found.packet))
    elif found.type == _CLIENT_COUNT and found.clientCount is not UNSET:
        message = BroadcastClientCount(data=CountData(id_, found.clientCount))
    elif found.type is UNSET and found.sockets is not UNSET:
        sockets = [one for one in found.sockets if isinstance(one, RemoteDetails)]
        if len(sockets) < len(found.sockets):
            return None  # mere ids
        message = FetchSocketsResponse(data=SocketsData(id_, sockets))
    else:
        return None
    message.uid = found.uid if found.uid is not UNSET else ""
    message.nsp, message.seq, message.again = namespace, found.seq, found.again
    return message


def _not_understood(error: object, data: bytes) -> RemoteProtocolError:
    return RemoteProtocolError(f"this is no message of the classic adapter: {error}: {data[:200]!r}", rule=_RULE)


def _sockets(request: _Request) -> Message | None:
    rooms = [] if request.rooms is UNSET else request.rooms
    return None if request.requestId is UNSET else _fetch(Options(rooms), _IDS + request.requestId)


def _all_rooms(request: _Request) -> Message | None:
    return None if request.requestId is UNSET else _fetch(Options(), _ROOMS + request.requestId)


def _fetch(options: Options, id_: str) -> Message:
    return FetchSockets(data=FetchData(options, id_))


def _details(request: _Request) -> Message | None:
    if request.opts is UNSET or request.requestId is UNSET:
        return None
    return _fetch(request.opts, request.requestId)


def _chosen(request: _Request) -> Options | None:
    """Whom a request is about; older versions name one socket."""
    if request.opts is not UNSET:
        return request.opts
    return None if request.sid is UNSET else Options([request.sid])


def _rooms_of(request: _Request) -> RoomsData | None:
    options = _chosen(request)
    if options is None:
        return None
    if request.rooms is not UNSET:
        return RoomsData(options, request.rooms)
    return None if request.room is UNSET else RoomsData(options, [request.room])


def _join(request: _Request) -> Message | None:
    data = _rooms_of(request)
    return None if data is None else SocketsJoin(data=data)


def _leave(request: _Request) -> Message | None:
    data = _rooms_of(request)
    return None if data is None else SocketsLeave(data=data)


def _disconnect(request: _Request) -> Message | None:
    options = _chosen(request)
    return None if options is None else DisconnectSockets(data=DisconnectData(options, request.close is True))


def _event(request: _Request) -> Message | None:
    if request.data is UNSET:
        return None
    return ServerSideEmit(data=ServerEventData(request.data, request.requestId))


def _broadcast(request: _Request) -> Message | None:
    if request.packet is UNSET or request.opts is UNSET or request.requestId is UNSET:
        return None
    return Broadcast(data=BroadcastData(request.packet, request.opts, request.requestId))


_READ: Final = {
    _SOCKETS: _sockets,
    _ALL_ROOMS: _all_rooms,
    _JOIN: _join,
    _LEAVE: _leave,
    _DISCONNECT: _disconnect,
    _FETCH: _details,
    _EVENT: _event,
    _BROADCAST: _broadcast,
}
_WRONG: Final = (msgspec.MsgspecError, UnicodeError, RecursionError, EncodeError)
_BROADCASTS: Final = msgspec.msgpack.Decoder(_Broadcast)
_REQUESTS: Final = msgspec.msgpack.Decoder(_Request)
_JSON_REQUESTS: Final = msgspec.json.Decoder(_Request)
_RESPONSES: Final = msgspec.msgpack.Decoder(_Response)
_JSON_RESPONSES: Final = msgspec.json.Decoder(_Response)


# To Node.js's forms


def write_broadcast(message: Broadcast) -> bytes:
    """A broadcast in its three parts.

    Raises:
        EncodeError: it can't be written.
    """
    data = message.data
    opts = data.opts
    options = _Options(opts.rooms, opts.except_, opts.flags, message.seq, message.again)
    return _packed(_Broadcast(message.uid, EventPacket(unpacked(data.packet.data), 2, message.nsp), options))


def broadcast_again(data: bytes) -> bytes:
    """The same, with the mark that it may have been sent before."""
    found = _BROADCASTS.decode(data)
    found.opts.again = True
    return msgspec.msgpack.encode(found)


def write_request(message: Message) -> bytes | None:
    """A request; None if the message is none.

    Raises:
        EncodeError: it can't be written.
    """
    request = _Request(type=_JOIN, uid=message.uid, seq=message.seq, again=message.again)
    if isinstance(message, SocketsJoin | SocketsLeave):
        request.type = _JOIN if isinstance(message, SocketsJoin) else _LEAVE
        request.opts, request.rooms = message.data.opts, message.data.rooms
    elif isinstance(message, DisconnectSockets):
        request.type = _DISCONNECT
        request.opts, request.close = message.data.opts, message.data.close
    elif isinstance(message, FetchSockets):
        request.type = _FETCH
        request.opts, request.requestId = message.data.opts, message.data.requestId
    elif isinstance(message, ServerSideEmit):
        request.type = _EVENT
        request.data, request.requestId = message.data.packet, message.data.requestId
    elif isinstance(message, Broadcast):
        request.type = _BROADCAST
        request.packet = EventPacket(message.data.packet.data, 2, message.nsp)
        request.opts, request.requestId = message.data.opts, message.data.requestId
    else:
        return None
    if not holds_bytes(message):
        return _json(request)
    request.data = unpacked(request.data)
    if request.packet is not UNSET:
        request.packet.data = unpacked(request.packet.data)
    return _packed(request)


def write_response(message: Message) -> bytes | None:
    """A response; None if the message is none.

    Raises:
        EncodeError: it can't be written.
    """
    response = _Response(uid=message.uid, seq=message.seq, again=message.again)
    if isinstance(message, FetchSocketsResponse):
        id_ = message.data.requestId
        if id_.startswith(_IDS):
            response.requestId = id_.removeprefix(_IDS)
            response.sockets = [one.id for one in message.data.sockets]
            return _json(response)
        if id_.startswith(_ROOMS):
            response.requestId = id_.removeprefix(_ROOMS)
            response.rooms = list(dict.fromkeys(room for one in message.data.sockets for room in one.rooms))
            return _json(response)
        response.requestId, response.sockets = id_, list(message.data.sockets)
    elif isinstance(message, ServerSideEmitResponse):
        response.type = _EVENT
        response.requestId, response.data = message.data.requestId, message.data.packet
    elif isinstance(message, BroadcastClientCount):
        response.type = _CLIENT_COUNT
        response.requestId, response.clientCount = message.data.requestId, message.data.clientCount
    elif isinstance(message, BroadcastAck):
        response.type = _ACK
        response.requestId, response.packet = message.data.requestId, message.data.packet
    else:
        return None
    if not holds_bytes(message):
        return _json(response)
    response.data, response.packet = unpacked(response.data), unpacked(response.packet)
    if isinstance(message, FetchSocketsResponse):
        response.sockets = [
            RemoteDetails(one.id, unpacked(one.handshake), one.rooms, unpacked(one.data))
            for one in message.data.sockets
        ]
    return _packed(response)


def _json(written: msgspec.Struct) -> bytes:
    try:
        return msgspec.json.encode(written)
    except UnicodeEncodeError as error:
        raise EncodeError(f"this can't be sent: {error}") from None


def _packed(written: msgspec.Struct) -> bytes:
    try:
        return msgspec.msgpack.encode(written)
    except (OverflowError, UnicodeEncodeError) as error:
        raise EncodeError(f"this can't be sent: {error}") from None


class RedisClassicBus(PubSubBus):
    """Moves messages over channels of a Redis that all of its servers carry."""

    SUBSCRIBE = "SUBSCRIBE"
    PUBLISH = "PUBLISH"
    COUNT = "NUMSUB"
    BY_SLOT = False
    OPTIONS = {"publish_on_specific_response_channel": yes_no}  # noqa: RUF012  # of the base

    def __init__(self, settings: Cluster) -> None:
        super().__init__(settings)
        self._specific: bool = self.engine.options.get("publish_on_specific_response_channel", False)
        self._rooms: set[tuple[str, str]] = set()
        #: By channel or pattern: the namespace, and what reads what comes.
        self._ways: dict[str, tuple[str, Callable[[str, bytes], Message | None]]] = {}
        self._main: Link

    def _channel(self, namespace: str, kind: str = "") -> str:
        return f"{self.settings.prefix}{kind}#{namespace}#"

    # The link

    async def find(self) -> None:  # noqa: D102
        if self.engine.kind != "cluster":
            self._main = await self.primary()
            return
        # All servers carry what is published on one of them; but listeners are counted where they are.
        ranges, links = await self.members()
        primaries = await self.primaries(ranges, links)
        others = {address for _, _, *members in ranges for address in members} - self._primaries - set(links)
        # One that is down without being in charge of anything keeps nobody from talking.
        await asyncio.gather(*map(self.link_to, others), return_exceptions=True)
        self._main = random.choice(list(primaries.values()))  # noqa: S311  # no secret

    def link_of(self, channel: str) -> Link:  # noqa: D102
        return self._main

    # What is heard

    def channels(self, namespace: str) -> Iterable[tuple[str, str]]:  # noqa: D102
        broadcasts = re.sub(r"([*?\[\]\\])", r"\\\1", self._channel(namespace)) + "*"
        requests, responses = self._channel(namespace, "-request"), self._channel(namespace, "-response")
        answers, ours = f"{responses}{self.uid}#", f"madang:{self._channel(namespace)}"
        self._ways |= {
            broadcasts: (namespace, self._read_broadcast),
            requests: (namespace, read_request),
            responses: (namespace, read_response),
            answers: (namespace, read_response),
            ours: (namespace, self._read_ours),
        }
        if self.guest:
            return (self.SUBSCRIBE, responses), (self.SUBSCRIBE, answers)
        return ("PSUBSCRIBE", broadcasts), *((self.SUBSCRIBE, name) for name in (requests, responses, answers, ours))

    def shut(self, namespace: str) -> None:  # noqa: D102
        super().shut(namespace)
        self._ways = {name: way for name, way in self._ways.items() if way[0] != namespace}

    def open_room(self, namespace: str, room: str) -> None:  # noqa: D102
        self._rooms.add((namespace, room))

    def shut_room(self, namespace: str, room: str) -> None:  # noqa: D102
        self._rooms.discard((namespace, room))

    def heard(self, channel: bytes, data: bytes, pattern: bytes) -> None:  # noqa: D102
        if channel == self.box:
            self.listener.posted(data)
            return
        way = self._ways.get((pattern or channel).decode(errors="surrogatepass"))
        if way is None:
            return  # it was on its way while we left
        namespace, read = way
        if pattern:
            room = channel.decode(errors="surrogatepass")[len(self._channel(namespace)) : -1]
            # A client's own room is none that we are told of.
            if room and len(room) != _ID_LENGTH and (namespace, room) not in self._rooms:
                return
        message = read(namespace, data)
        if message is not None and message.uid != self.uid and message.nsp == namespace:
            self.listener.received(message)

    def _read_broadcast(self, namespace: str, data: bytes) -> Message | None:
        return read_broadcast(data, self.uid)

    def _read_ours(self, namespace: str, data: bytes) -> Message:
        return from_json(data)

    # What is said

    def publish(self, message: Message, to: str | None = None) -> None:  # noqa: D102
        again: Callable[[bytes], bytes] = sent_again
        namespace = message.nsp
        if isinstance(message, Broadcast) and message.data.requestId is UNSET:
            channel, data, again = self._channel(namespace), write_broadcast(message), broadcast_again
            rooms = message.data.opts.rooms
            if rooms and len(rooms) == 1:
                channel += f"{rooms[0]}#"
        elif (request := write_request(message)) is not None:
            channel, data = self._channel(namespace, "-request"), request
        elif (response := write_response(message)) is not None:
            channel, data = self._channel(namespace, "-response"), response
            # Ours hear it wherever it is said; Node.js answers events of servers for all to hear.
            ours = to is not None and len(to) == _UID_LENGTH
            if to and (ours or (self._specific and not isinstance(message, ServerSideEmitResponse))):
                channel += f"{to}#"
        else:
            channel, data = f"madang:{self._channel(namespace)}", to_json(message)
        self.queue(Outgoing(channel, data, None if message.seq is UNSET else again))

    def counted(self, namespace: str) -> tuple[str, Iterable[Link]]:  # noqa: D102
        return self._channel(namespace, "-request"), self._links


BUS = RedisClassicBus
