"""A server as a member of a cluster: all that servers say to each other, whatever carries it.

    Membership   one server's part in the cluster
     ├ Bus          moves the messages
     ├ Peer         another member, as far as it is known
     └ Request      what was asked of the others, until they have answered or time is up

Our own clients get a broadcast at once; the others' get it when the bus has carried it. Nothing here waits.

Source: socket.io-adapter 2.5, `lib/cluster-adapter.ts`; socket.io 4.8, `lib/broadcast-operator.ts`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, overload

from msgspec import UNSET

from madang.cluster import Bus, Listener
from madang.cluster.messages import (
    EMITTER,
    AdapterClose,
    AnswerData,
    Broadcast,
    BroadcastAck,
    BroadcastClientCount,
    BroadcastData,
    CountData,
    DisconnectData,
    DisconnectSockets,
    EventPacket,
    FetchData,
    FetchSockets,
    FetchSocketsResponse,
    Flags,
    Heartbeat,
    InitialHeartbeat,
    Member,
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
    body_and_text,
    values_of,
)
from madang.cluster.peers import Health, Peer
from madang.cluster.questions import Fetch, Forwarding, Question, Request, ServerCall
from madang.cluster.recollection import Recollection, Visit
from madang.cluster.remote import Heard, RemoteMember, details
from madang.cluster.requests import Requests
from madang.core.ack import Ack
from madang.core.events import Events
from madang.core.listeners import AnyFunction
from madang.core.relay import Peers
from madang.core.target import Target
from madang.core.wheel import Alarm
from madang.errors import EncodeError, LimitError, MadangError, Reason, RemoteProtocolError

if TYPE_CHECKING:
    from madang.config import Cluster
    from madang.core.hub import Hub
    from madang.core.prepared import Prepared

__all__ = ["CLUSTER_EVENTS", "GONE", "Membership"]

#: What happens to a cluster, and what the functions that want to hear of it receive.
CLUSTER_EVENTS: Final = {
    "up": (),
    "down": ("error",),
    "gap": ("count", "why"),
    "joined": ("peer",),
    "left": ("peer", "why"),
    "malformed": ("error",),
}
#: Why a member has left that has said so.
GONE: Final = "it has gone"
_CUT: Final = "its connection has ended"
#: How many members are remembered that are not heard any more, with the numbers of what they have said.
_SILENT_REMEMBERED: Final = 256
_SILENT: Final = "it has been silent for too long"


class Membership(Peers, Listener):
    """The part that a server has in a cluster: `io.cluster`.

    Args:
        hub: the server's namespaces.
        settings: those of the cluster.
        bus: what carries the messages.
        uid: who we are: 16 hexadecimal digits.
        node: with what the ids of our sessions begin.
        name: what people know us by.

    Attributes:
        settings: as given.
        bus: as given.
        uid: as given.
        node: as given.
        name: as given.
        connected: whether the engine can be reached.
        peers: the other members that are known to live, by uid.
        events: who wants to hear of the cluster.
        on_failed: slot: is told what was raised while a message was dealt with.
        on_answer_failed: slot: is told of an answer or of a client's data that can't be told to others.

    Example:
        ```python
        @io.cluster.on("gap")
        def gap(count: int | None, why: str) -> None:
            log.warning("messages may be lost: %s", why)


        print(io.cluster.health)
        ```
    """

    def __init__(self, hub: Hub, settings: Cluster, bus: Bus, uid: str, node: str, name: str) -> None:
        self._hub = hub
        self.settings = settings
        self.bus = bus
        self.uid = uid
        self.node = node
        self.name = name
        self.connected = False
        self.peers: dict[str, Peer] = {}
        self.events = Events("the cluster's", CLUSTER_EVENTS)
        self.on_failed: Callable[[Exception], None] = lambda error: None
        self.on_answer_failed: Callable[[Exception], None] = lambda error: None
        #: What the cluster keeps for clients that may come back; None: nothing.
        self.recollection: Recollection | None = None
        #: The requests for sessions of other servers, both ways; None while we are in no cluster.
        self.requests: Requests | None = None
        self._nodes: dict[str, Peer] = {}  # the members of ours, by what the ids of their sessions begin with
        # Members that are not heard any more. What they have said before may come yet, even a second time.
        self._silent: dict[str, Peer] = {}
        self._acquainted_at = 0.0  # by when we know the others
        self._requests: dict[str, Request] = {}
        self._heart = Alarm(self._beat)
        self._sequence = 0
        self._last_request = 0
        self._last_parcel = 0  # the number of the last one of an earlier life, which the others may remember
        self._published = self._received = self._duplicates = 0
        self._malformed = self._lost = self._gaps = self._timeouts = 0
        self._leaving = False
        self._handlers: dict[type[Message], Callable[[Any], None]] = {
            InitialHeartbeat: self._arrived,
            Heartbeat: self._lives,
            AdapterClose: self._closes,
            Broadcast: self._broadcast,
            SocketsJoin: self._join,
            SocketsLeave: self._leave,
            DisconnectSockets: self._disconnect,
            FetchSockets: self._fetch,
            FetchSocketsResponse: self._fetched,
            ServerSideEmit: self._server_side,
            ServerSideEmitResponse: self._answered,
            BroadcastClientCount: self._counted,
            BroadcastAck: self._acknowledged,
        }

    @overload
    def on(self, event: str) -> Callable[[AnyFunction], AnyFunction]: ...
    @overload
    def on(self, event: str, function: AnyFunction) -> AnyFunction: ...
    def on(self, event: str, function: Any = None) -> Any:
        """Hear of what happens to the cluster: a plain function, registered directly or as a decorator.

        "up" (): the engine is reached; "down" (error): it is reached no more. "gap" (count, why): messages are lost;
        `count` of ours, or None where it can't be known how many of the others' were. "joined" (peer), "left" (peer,
        why): other members. "malformed" (error): something came that could not be read.

        Raises:
            LocalProtocolError: there is no such event, or the function can't take the arguments, or is `async def`.
        """
        return self.events.on(event) if function is None else self.events.on(event, function)

    def off(self, event: str, function: Callable[..., Any] | None = None) -> None:
        """Remove a function of `on`, or all of an event.

        Raises:
            LocalProtocolError: there is no such event.
        """
        self.events.off(event, function)

    @property
    def health(self) -> Health:
        """How the cluster is now."""
        messages, size = self.bus.buffered
        return Health(
            self.connected,
            messages,
            size,
            len(self.peers),
            self._published,
            self._received,
            self._duplicates,
            self._malformed,
            self._lost,
            self._gaps,
            self._timeouts,
        )

    # Its life

    async def start(self) -> None:
        """Join the cluster.

        Raises:
            ConfigError: the bus never can work.
        """
        self._leaving = False
        if self.recollection is not None:
            self.recollection.reset()
        await self.bus.start(self.uid, self.node, self)
        hub = self._hub
        for name, namespace in hub.namespaces.items():
            self.bus.open(name)
            for room in (*namespace._rooms, *(namespace._sockets if self.own_rooms else ())):
                self.bus.open_room(name, room)
        hub.relay = hub.peers = self
        settings, now = self.settings, hub.engine.clock()
        self._acquainted_at = now + 2 * settings.heartbeat_interval_seconds
        if self.requests is not None:
            self._last_parcel = self.requests.last_number
        requests = Requests(
            hub.engine,
            self.node,
            self.bus.post,
            timeout_seconds=settings.relay_timeout_seconds,
            last_number=self._last_parcel,
        )
        requests.knows = self._knows
        requests.on_malformed = self.malformed
        requests.on_failed = self.on_failed
        requests.on_gap = self._missed
        self.requests = requests
        self._greet()
        self._rearm(now)

    async def close(self) -> None:
        """Leave the cluster: tell the others, and disconnect."""
        self._leaving = True
        hub = self._hub
        if self.recollection is not None:
            self.recollection.release()
        if hub.peers is self:
            hub.relay = hub.peers = None
            for name in self._beating():
                self._say(AdapterClose(nsp=name))
        self._heart.due = 0.0
        for request in list(self._requests.values()):
            request.expire()
        if self.requests is not None:
            self._last_parcel = self.requests.last_number
        hub.engine.elsewhere = self.requests = None
        await self.bus.close()
        self.connected = False
        self.peers.clear()
        self._nodes.clear()

    def _knows(self, node: str) -> bool:
        """Whether a member of ours is there; of one that we can't have heard yet, it may be."""
        return node in self._nodes or self._hub.engine.clock() < self._acquainted_at

    def _missed(self, node: str) -> None:
        peer = self._nodes.get(node)
        self.lost(None, f"something is missing of what {peer.name if peer is not None else node} has posted")

    def _greet(self) -> None:
        for name in self._beating():
            self._say(InitialHeartbeat(nsp=name, data=self._about))

    @property
    def _about(self) -> Member:
        return Member(self.name, self.node, self.settings.heartbeat_interval_seconds)

    def _beating(self) -> list[str]:
        """The namespaces in which the others have to hear that we live."""
        return list(self._hub.namespaces) if self.bus.heartbeats_by_namespace else ["/"]

    def _rearm(self, now: float) -> None:
        self._heart.due = now + self.settings.heartbeat_interval_seconds
        self._hub.engine.wheel.add(self._heart)

    def _beat(self) -> None:
        """Tell the others that we live, and look who of them does."""
        now = self._hub.engine.clock()
        for name in self._beating():
            self._say(Heartbeat(nsp=name, data=self._about))
        if self.connected:
            for peer in list(self.peers.values()):
                if now - peer.seen > peer.patience:
                    self._forget(peer, _SILENT)
                elif self.bus.heartbeats_by_namespace:
                    peer.prune(now)
        self._rearm(now)

    def _forget(self, peer: Peer, why: str) -> None:
        del self.peers[peer.uid]
        if peer.node is not None and self._nodes.pop(peer.node, None) is not None and self.requests is not None:
            self.requests.lost(peer.node)
        for request in list(self._requests.values()):
            request.left(peer.uid)
        if why != GONE:
            while len(self._silent) >= _SILENT_REMEMBERED:
                del self._silent[next(iter(self._silent))]
            self._silent[peer.uid] = peer
        self.events.tell("left", peer, why)

    # What the bus tells

    def up(self) -> None:  # noqa: D102
        self.connected = True
        now = self._hub.engine.clock()
        for peer in self.peers.values():
            peer.seen = now  # while we heard nobody, it was our link that was silent
        if self._hub.peers is self:
            self._greet()
        self.events.tell("up")

    def down(self, error: BaseException) -> None:  # noqa: D102
        self.connected = False
        if self.recollection is not None:
            self.recollection.release()
        self.events.tell("down", error)

    def lost(self, count: int | None, why: str) -> None:  # noqa: D102
        self._gaps += 1
        self._lost += count or 0
        self.events.tell("gap", count, why)

    def gone(self, uid: str) -> None:  # noqa: D102
        peer = self.peers.get(uid)
        if peer is not None:
            self._forget(peer, _CUT)

    def malformed(self, error: Exception) -> None:  # noqa: D102
        self._malformed += 1
        self.events.tell("malformed", error)

    def posted(self, data: bytes) -> None:  # noqa: D102
        if self.requests is not None:
            self.requests.posted(data)

    def received(self, message: Message, offset: str | None = None) -> None:  # noqa: D102
        uid = message.uid
        if self._leaving:
            return
        if uid == self.uid:
            if self.recollection is not None and isinstance(message, Broadcast):
                self.recollection.returned(message, offset)
            return
        self._received += 1
        peer = self.peers.get(uid)
        if peer is None and self.bus.heartbeats_by_namespace and not uid.endswith(EMITTER):
            about = message.data if isinstance(message, InitialHeartbeat | Heartbeat) else None
            peer = self._meet(uid, about if isinstance(about, Member) else None)
        if peer is not None:
            peer.seen = self._hub.engine.clock()
            peer.namespaces[message.nsp] = peer.seen
        said = peer if peer is not None else self._silent.get(uid)
        if said is not None and message.seq is not UNSET:
            if message.again is True and message.seq in said.sent:
                self._duplicates += 1
                return
            said.sent.append(message.seq)
        try:
            if offset is not None and isinstance(message, Broadcast):
                self._broadcast(message, offset)
            else:
                self._handlers[type(message)](message)
        except MadangError as error:
            self.malformed(error)
        except Exception as error:  # a mistake of ours, or of the program: the bus goes on
            self.on_failed(error)

    def _meet(self, uid: str, about: Member | None) -> Peer:
        peer = self.peers[uid] = self._silent.pop(uid) if uid in self._silent else Peer(uid)
        peer.namespaces.clear()
        peer.seen = self._hub.engine.clock()
        if about is not None:
            self._introduce(peer, about)
        elif peer.node is not None:
            self._nodes[peer.node] = peer
        self.events.tell("joined", peer)
        return peer

    def _introduce(self, peer: Peer, about: Member) -> None:
        peer.introduce(about, self.settings)
        self._nodes[about.node] = peer

    def _arrived(self, message: InitialHeartbeat) -> None:
        self._lives(message)
        # A guest, which doesn't tell who it is, may hear nothing but what is for it alone.
        to = None if isinstance(message.data, Member) else message.uid
        self._say(Heartbeat(nsp=message.nsp, data=self._about), to)

    def _lives(self, message: InitialHeartbeat | Heartbeat) -> None:
        about = message.data
        if not isinstance(about, Member):
            return  # of Node.js: where its heartbeats count, it is known by now
        peer = self.peers.get(message.uid)
        if peer is None:
            peer = self._meet(message.uid, about)
        elif peer.node is None:
            self._introduce(peer, about)

    def _closes(self, message: AdapterClose) -> None:
        peer = self.peers.get(message.uid)
        self._silent.pop(message.uid, None)
        if peer is None:
            return
        peer.namespaces.pop(message.nsp, None)
        if message.nsp == "/" or not peer.namespaces:
            self._forget(peer, GONE)
            return
        for request in list(self._requests.values()):  # it has only this namespace no more
            if request.namespace == message.nsp:
                request.left(peer.uid)

    # Saying

    def _say(self, message: Message, to: str | None = None) -> None:
        message.uid = self.uid
        self._sequence += 1
        message.seq = self._sequence
        self._published += 1
        self.bus.publish(message, to)

    @staticmethod
    def _options(target: Target) -> Options:
        sender = target._sender
        rooms, excluded = list(target._rooms), list(target._except)
        if sender is not None:
            excluded.append(sender.id)
        if len(rooms) > 1:
            rooms = list(dict.fromkeys(rooms))
        flags = Flags()
        if target._volatile:
            flags.volatile = True
        if not target._compress:
            flags.compress = False
        return Options(rooms, excluded, flags)

    def _packet(self, prepared: Prepared) -> EventPacket:
        content, prepared.text = body_and_text(prepared.packet.data)
        return EventPacket(content)

    def broadcast(self, target: Target, prepared: Prepared) -> bool:  # noqa: D102
        data = BroadcastData(self._packet(prepared), self._options(target))
        self._say(Broadcast(nsp=target._namespace.name, data=data))
        recollection = self.recollection
        return recollection is not None and recollection.sent(self._sequence, target, prepared, self.connected)

    def moved(self, namespace: str, id_: str, moves: int) -> None:
        """Tell the others that a client has come back to us, for the how manieth time."""
        data = DisconnectData(Options([id_]), close=True, moved=moves)
        self._say(DisconnectSockets(nsp=namespace, data=data))

    def join(self, target: Target, rooms: tuple[str, ...]) -> None:  # noqa: D102
        self._say(SocketsJoin(nsp=target._namespace.name, data=RoomsData(self._options(target), list(rooms))))

    def leave(self, target: Target, rooms: tuple[str, ...]) -> None:  # noqa: D102
        self._say(SocketsLeave(nsp=target._namespace.name, data=RoomsData(self._options(target), list(rooms))))

    def disconnect(self, target: Target, close: bool) -> None:  # noqa: D102
        self._say(DisconnectSockets(nsp=target._namespace.name, data=DisconnectData(self._options(target), close)))

    def open(self, namespace: str) -> None:  # noqa: D102
        self.bus.open(namespace)
        if self.bus.heartbeats_by_namespace:
            self._say(InitialHeartbeat(nsp=namespace, data=self._about))

    def shut(self, namespace: str) -> None:  # noqa: D102
        if self.bus.heartbeats_by_namespace and namespace != "/":
            self._say(AdapterClose(nsp=namespace))
        self.bus.shut(namespace)

    @property
    def own_rooms(self) -> bool:  # noqa: D102
        return self.bus.own_rooms

    def open_room(self, namespace: str, room: str) -> None:  # noqa: D102
        self.bus.open_room(namespace, room)

    def shut_room(self, namespace: str, room: str) -> None:  # noqa: D102
        self.bus.shut_room(namespace, room)

    # Asking

    def _asking(self, namespace: str) -> tuple[str, dict[str, Peer]]:
        """A number for a request, and the members that are known now to hear it."""
        self._last_request += 1
        id_ = f"{self.uid[:8]}{self._last_request & 0xFFFFFFFF:08x}"
        return id_, self._known(namespace)

    def _known(self, namespace: str) -> dict[str, Peer]:
        """The members that are known to hear a namespace."""
        if not self.bus.heartbeats_by_namespace:
            return dict(self.peers)
        return {uid: peer for uid, peer in self.peers.items() if namespace in peer.namespaces}

    def _wait(self, request: Request, namespace: str, seconds: float) -> None:
        self._requests[request.id] = request
        request.namespace = namespace
        request.arm(self._hub.engine.wheel, self._hub.engine.clock() + seconds)
        self._count(request, namespace, seconds)

    def _count(self, request: Request, namespace: str, seconds: float) -> None:
        """Find out how many have to answer."""
        if self.bus.heartbeats_by_namespace:
            request.expect(None, [])  # who is there, tells
            return

        def counted(count: int | None) -> None:
            if count is not None and not self.bus.shared:
                # All members are ours: we know who lives, and the bus how many of them hear the namespace.
                count = min(count, len(request._known))
            request.expect(count, [peer.name for peer in self._silent.values()])

        self.bus.count(namespace, counted)

    def _over(self, request: Request) -> None:
        if self._requests.pop(request.id, None) is not None and request.is_late and request.missing:
            self._timeouts += 1

    def ask(self, target: Target, prepared: Prepared, ack: Ack, seconds: float) -> None:  # noqa: D102
        namespace = target._namespace.name
        id_, known = self._asking(namespace)
        options = self._options(target)
        assert options.flags is not None  # made just now  # noqa: S101
        options.flags.timeout = round(seconds * 1000)
        if target._single:
            options.flags.expectSingleResponse = True
        message = Broadcast(nsp=namespace, data=BroadcastData(self._packet(prepared), options, id_))
        self._say(message)
        self._wait(Question(id_, known, self._over, ack), namespace, seconds)

    def fetch(self, target: Target) -> Fetch:  # noqa: D102
        namespace = target._namespace.name
        id_, known = self._asking(namespace)
        seconds = target._timeout or self.settings.request_timeout_seconds
        fetch = Fetch(id_, known, self._over, self._hub, seconds)
        self._say(FetchSockets(nsp=namespace, data=FetchData(self._options(target), id_)))
        self._wait(fetch, namespace, seconds)
        return fetch

    def publish(self, namespace: str, data: Sequence[Any], ack: Ack | None) -> None:  # noqa: D102
        content = body(list(data))
        if ack is None:
            self._say(ServerSideEmit(nsp=namespace, data=ServerEventData(content)))
            return
        id_, known = self._asking(namespace)
        self._say(ServerSideEmit(nsp=namespace, data=ServerEventData(content, id_)))
        ack.wait()
        self._wait(ServerCall(id_, known, self._over, ack), namespace, ack.seconds)

    # Being asked

    def _target(self, message: Message, options: Options) -> Target | None:
        namespace = self._hub.namespaces.get(message.nsp)
        if namespace is None:
            return None
        target = Target(namespace)
        target._rooms = options.chosen
        target._except = options.excluded
        flags = options.flags
        if flags is not None:
            target._volatile = flags.volatile is True
            target._compress = flags.compress is not False
        target._local = True
        return target

    def _broadcast(self, message: Broadcast, offset: str | None = None) -> None:
        data = message.data
        target = self._target(message, data.opts)
        if data.requestId is not UNSET:
            self._ask_clients(message, data.requestId, target)
            return
        if target is None:
            return
        heard = self._heard(message, target)
        if offset is not None and self.recollection is not None:
            self.recollection.heard(message, heard, target, offset)
        target._give(None, None, heard)

    def _heard(self, message: Broadcast, target: Target) -> Heard:
        return Heard.of(message, target._compress, self._hub.engine.config)

    def _ask_clients(self, message: Broadcast, id_: str, target: Target | None) -> None:
        members = list(target._members()) if target is not None else []
        self._say(BroadcastClientCount(nsp=message.nsp, data=CountData(id_, len(members))), message.uid)
        if target is None or not members:
            return
        heard = self._heard(message, target)
        flags = message.data.opts.flags
        told = flags.timeout if flags is not None else UNSET
        seconds = told / 1000 if isinstance(told, int | float) and told > 0 else self.settings.request_timeout_seconds
        send = partial(self._reply, BroadcastAck, message.uid, message.nsp, id_)
        target._give(list(heard.packet.data), Forwarding(self._hub, min(seconds, 1e6), len(members), send), None)

    def _reply(
        self, kind: type[BroadcastAck | ServerSideEmitResponse], uid: str, nsp: str, id_: str, value: Any
    ) -> None:
        try:
            self._say(kind(nsp=nsp, data=AnswerData(id_, UNSET if value is None else body(value))), uid)
        except EncodeError as error:
            self.on_answer_failed(error)

    def _change(self, message: Message, options: Options, change: Callable[[Any], None]) -> None:
        """Do something to all clients that are meant, those that are away and may come back among them."""
        target = self._target(message, options)
        if target is None:
            return
        for one in [*target._members(), *target._absent()]:
            try:
                change(one)
            except LimitError as error:  # it is in too many rooms; the others are not
                self.on_answer_failed(error)

    def _join(self, message: SocketsJoin) -> None:
        rooms = tuple(map(str, message.data.rooms))
        self._change(message, message.data.opts, lambda one: one.join(*rooms))

    def _leave(self, message: SocketsLeave) -> None:
        rooms = tuple(map(str, message.data.rooms))
        self._change(message, message.data.opts, lambda one: one.leave(*rooms))

    def _disconnect(self, message: DisconnectSockets) -> None:
        target = self._target(message, message.data.opts)
        if target is None:
            return
        moves = message.data.moved
        if moves is UNSET:
            target.disconnect_sockets(message.data.close)
            return
        for socket in list(target._members()):
            # It may have come back to us since.
            if isinstance(socket._stay, Visit) and socket._stay.moves < moves:
                socket._stay.give_up()
                socket.session.close(Reason.TRANSPORT_CLOSE, discard=True)

    def _fetch(self, message: FetchSockets) -> None:
        target = self._target(message, message.data.opts)
        told: list[RemoteDetails] = []
        for socket in target._members() if target is not None else ():
            try:
                told.append(details(socket))
            except EncodeError as error:
                self.on_answer_failed(error)
        response = FetchSocketsResponse(nsp=message.nsp, data=SocketsData(message.data.requestId, told))
        self._say(response, message.uid)

    def _server_side(self, message: ServerSideEmit) -> None:
        values = values_of(message.data.packet, self._hub.engine.config)
        if not (type(values) is list and values and isinstance(values[0], str)):
            raise RemoteProtocolError("an event between servers has no name", rule="cluster messages")
        id_ = message.data.requestId
        answer = None if id_ is UNSET else partial(self._reply, ServerSideEmitResponse, message.uid, message.nsp, id_)
        self._hub.heard(message.nsp, values, answer)

    # Being answered

    def _fetched(self, message: FetchSocketsResponse) -> None:
        request = self._requests.get(message.data.requestId)
        namespace = self._hub.namespaces.get(message.nsp)
        if isinstance(request, Fetch) and namespace is not None and message.uid not in request.answered:
            limits = self._hub.engine.config
            request.found += [RemoteMember(namespace, one, limits) for one in message.data.sockets]
            request.heard(message.uid)

    def _answered(self, message: ServerSideEmitResponse) -> None:
        request = self._requests.get(message.data.requestId)
        if isinstance(request, ServerCall) and message.uid not in request.answered:
            request.ack.received([values_of(message.data.packet, self._hub.engine.config)])
            request.heard(message.uid)

    def _counted(self, message: BroadcastClientCount) -> None:
        request = self._requests.get(message.data.requestId)
        if isinstance(request, Question) and message.uid not in request.answered:
            request.ack.expect_more(max(0, message.data.clientCount))
            request.heard(message.uid)

    def _acknowledged(self, message: BroadcastAck) -> None:
        request = self._requests.get(message.data.requestId)
        if isinstance(request, Question):
            packet = message.data.packet
            arguments = [] if packet is UNSET else [values_of(packet, self._hub.engine.config)]
            request.ack.received(arguments)
