"""The hub: all namespaces, and what clients say to them.

A packet of a client is given to the socket that it is for, a client that joins goes to its namespace, which a pattern
may make. What the program has registered is run by whoever fills the slots.

Source: Socket.IO protocol 5.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from madang.core.listeners import Handler
from madang.core.log import Log
from madang.core.namespace import Namespace
from madang.core.patterns import Predicate, is_pattern
from madang.core.presence import Recollecting
from madang.core.recovery import Memory
from madang.core.relay import Peers, Relay
from madang.core.session import OPEN_STATE, Session
from madang.core.socket import Socket
from madang.errors import (
    FORBIDDEN,
    ConnectionRefused,
    LocalProtocolError,
    Reason,
    RemoteProtocolError,
    RequestRefused,
)
from madang.packet import ACK, CONNECT, CONNECT_ERROR, DISCONNECT, EVENT, Packet
from madang.parsers import Shape

if TYPE_CHECKING:
    from madang.core.engine import Engine

__all__ = ["INVALID_NAMESPACE", "Hub"]

#: What the reference tells a client that asks for a namespace that there isn't.
INVALID_NAMESPACE: Final = "Invalid namespace"


class Hub:
    """All namespaces of one server; the sink of its sessions.

    Attributes:
        namespaces: by name.
        parents: those that stand for a pattern, in the order in which they are tried.
        shapes: what the arguments of events are decoded into, by namespace and event.
        owner: slot: what handlers get that ask for `io`.
        engine: slot: the engine whose sessions these are.
        appeared: slot: is told of each new namespace.
        choose: slot: asks the patterns that have to be asked, then calls `enter` or `socket.refuse()`.
        admit: slot: runs a namespace's middleware for a socket, then calls `socket.accept()` or `.refuse()`.
        dispatch: slot: runs the handlers of an event.
        life: slot: runs the handlers of "connection", "disconnecting" or "disconnect".
        outgoing: slot: runs the listeners of outgoing events.
        housed: slot: runs the handlers of what happens to a room.
        answer: slot: runs the handler of what another server says, and gives what it returns to a function.
        relay: slot: carries what this server says to the others; None while there are none.
        peers: slot: the servers whose clients are as good as ours; None while there are none.
        guard: slot: raises `WrongThreadError` unless called where the server runs.
        memory: what this server keeps for clients that may come back; None: nothing.
        recollection: slot: what the cluster keeps for them, in place of that; None: nothing.
        new_future: slot: makes something to wait on, with `set_result` and `__await__`.
        shield: slot: lets several wait on one such thing, and each be cancelled alone.
    """

    def __init__(self, ordered_handlers: bool = False) -> None:
        self._ordered = ordered_handlers
        self.engine: Engine
        self.memory: Memory | None = None
        self.recollection: Recollecting | None = None
        self.owner: Any = None
        self.namespaces: dict[str, Namespace] = {}
        self.parents: list[Namespace] = []
        # Children that nobody is in. Whoever still holds one, talks through it to those who come later.
        self._resting: weakref.WeakValueDictionary[str, Namespace] = weakref.WeakValueDictionary()
        self._children = 0
        # What impatient clients have said in namespaces that they are to be let into.
        self._early: dict[Socket, list[Packet]] = {}
        self.appeared: Callable[[Namespace], None] = lambda namespace: None
        self.choose: Callable[[Socket, list[Namespace]], None]
        self.shapes: dict[str, dict[str, Shape]] = {}
        self.admit: Callable[[Socket], None]
        self.dispatch: Callable[[Socket, Packet], None]
        self.life: Callable[[Socket, str, tuple[Any, ...]], None]
        self.outgoing: Callable[[Socket, list[Handler], list[Any]], None]
        self.housed: Callable[[Socket, list[Handler], str, str], None]
        self.answer: Callable[[Handler, Sequence[Any], Callable[[Any], None] | None], None]
        self.relay: Relay | None = None
        self.peers: Peers | None = None
        self.guard: Callable[[], None]
        self.new_future: Callable[[], Any]
        self.shield: Callable[[Any], Any]

    def of(self, name: str | re.Pattern[str] | Predicate) -> Namespace:
        """The namespace of this name, made if there is none yet; or the one that stands for this pattern."""
        if isinstance(name, str) and not name.startswith("/"):
            name = "/" + name
        if is_pattern(name):
            for parent in self.parents:
                if parent._pattern is not None and parent._pattern.source == name:
                    return parent
            namespace = Namespace(name)
            self.add(namespace)
            return namespace
        assert isinstance(name, str)  # or it were a pattern  # noqa: S101
        known = self.namespaces.get(name) or self._resting.get(name)
        if known is not None:
            return known
        for parent in self.parents:
            params = parent._pattern.match(name) if parent._pattern is not None else None
            if params is not None:
                return self._child(parent, name, params)  # it rests until a client comes
        namespace = Namespace(name)
        self.add(namespace)
        return namespace

    def add(self, namespace: Namespace) -> None:
        """Take in a namespace.

        Raises:
            LocalProtocolError: there is one of this name already.
        """
        if namespace._pattern is not None:
            if any(one._pattern and one._pattern.source == namespace._pattern.source for one in self.parents):
                raise LocalProtocolError(f"there is a namespace for the pattern {namespace.name!r} already")
            self._take_in(namespace)
            self.parents.append(namespace)
            return
        if namespace.name in self.namespaces:
            raise LocalProtocolError(f"there is a namespace {namespace.name!r} already; use io.of({namespace.name!r})")
        self._resting.pop(namespace.name, None)
        self._take_in(namespace)
        if self.memory is not None:
            namespace._log = Log(self.memory, namespace.name)
        self.namespaces[namespace.name] = namespace
        self.shapes[namespace.name] = namespace.listeners.shapes
        if self.peers is not None:
            self.peers.open(namespace.name)
        self.appeared(namespace)

    def _take_in(self, namespace: Namespace) -> None:
        namespace._hub = self
        if not namespace._ordered_is_set:
            namespace.listeners.order(self._ordered)

    # Namespaces that patterns make

    def _child(self, parent: Namespace, name: str, params: Mapping[str, Any]) -> Namespace:
        """A namespace of this name, at rest."""
        child = self._resting.get(name)
        if child is None or child.parent is not parent:
            child = Namespace(name)
            child._hub = self
            child._parent = parent
            child._listeners = parent._listeners  # shared: what is registered later holds for all of them
            self._resting[name] = child
        child._params = dict(params)
        return child

    def _wake(self, child: Namespace) -> None:
        """A client comes into a namespace that rested."""
        name, parent = child.name, child._parent
        assert parent is not None  # noqa: S101
        assert parent._children is not None  # noqa: S101
        self._resting.pop(name, None)
        self._children += 1
        self.namespaces[name] = parent._children[name] = child
        self.shapes[name] = child._listeners.shapes
        child._eavesdroppers = min(1, len(child._listeners.outgoing))
        if self.memory is not None:
            child._log = Log(self.memory, name, child._check_empty)
        if self.peers is not None:
            self.peers.open(name)
        self.appeared(child)

    def _rest(self, child: Namespace) -> None:
        """The last client has left a namespace that a pattern has made."""
        name, parent = child.name, child._parent
        if parent is not None and parent._children is not None and self.namespaces.get(name) is child:
            self._children -= 1
            del self.namespaces[name], parent._children[name], self.shapes[name]
            child._log = None
            self._resting[name] = child
            if self.peers is not None:
                self.peers.shut(name)

    def enter(self, socket: Socket, parent: Namespace, params: Mapping[str, Any]) -> None:
        """A pattern takes the name that a client asks for."""
        if socket._ended is not None:
            return
        name = socket.namespace.name
        namespace = self.namespaces.get(name)
        if namespace is None:
            limit = self.engine.config.max_dynamic_namespaces
            if self._children >= limit:
                detail = f"namespace {name!r}: max_dynamic_namespaces is {limit}"
                self.engine.on_refused(socket.request, RequestRefused(*FORBIDDEN, detail))
                socket.refuse(ConnectionRefused("Too many namespaces"))
                return
            namespace = self._child(parent, name, params)
            self._wake(namespace)
        socket.namespace = namespace
        self._examine(socket, namespace)

    def _find_pattern(self, socket: Socket) -> None:
        """Find the pattern for a name that no namespace has, and enter or refuse the socket."""
        name = socket.namespace.name
        for index, parent in enumerate(self.parents):
            assert parent._pattern is not None  # noqa: S101
            if parent._pattern.predicate is not None:
                self.choose(socket, self.parents[index:])
                return
            params = parent._pattern.match(name)
            if params is not None:
                self.enter(socket, parent, params)
                return
        socket.session.sockets.pop(name, None)  # it leaves no trace
        self.let_speak(socket)
        socket.session.answer(Packet(CONNECT_ERROR, {"message": INVALID_NAMESPACE}, name))

    def settle(self) -> None:
        """Resolve the annotations that could not be resolved when their handlers were registered.

        Raises:
            LocalProtocolError: they can't be resolved; the message tells what to do.
        """
        for namespace in (*self.namespaces.values(), *self.parents):
            namespace.listeners.settle()

    def reset(self) -> None:
        """Forget all sockets without a word: their event loop is gone, and their connections with it."""
        if self.memory is not None:
            self.memory.reset()
        self._early.clear()
        for namespace in list(self.namespaces.values()):
            if namespace._parent is not None:
                self._rest(namespace)
            elif self.memory is not None:
                namespace._log = Log(self.memory, namespace.name)
            namespace._sockets.clear()
            namespace._rooms.clear()
            namespace._eavesdroppers = min(1, len(namespace.listeners.outgoing))

    # Other servers

    def heard(self, name: str, data: Sequence[Any], answer: Callable[[Any], None] | None) -> None:
        """Another server has said something.

        Args:
            name: of the namespace.
            data: the event and its arguments.
            answer: takes the answer, if one is wanted. Who has no handler gives none.
        """
        namespace = self.namespaces.get(name)
        if namespace is None:
            namespace = next((one for one in self.parents if one._stands_for(name)), None)
        if namespace is not None:
            handler = (namespace._listeners.server_side or {}).get(data[0])
            if handler is not None:
                self.answer(handler, data, answer)

    # The sink of the sessions

    def opened(self, session: Session) -> None:
        """A session has begun; the client asks for its namespaces itself, but perhaps for the main one."""
        if session.wire.implicit_root:
            self._connect(session, Packet(CONNECT, {}))

    def received(self, session: Session, packet: Packet) -> None:
        """A packet came from a client."""
        socket: Socket | None = session.sockets.get(packet.namespace)
        kind = packet.kind
        if socket is not None and socket.connected:
            if kind == EVENT:
                try:
                    self.dispatch(socket, packet)
                except RemoteProtocolError as error:  # of plain values that could not be had; handlers raise nothing
                    session.fail(error)
            elif kind == ACK:
                socket._answered(packet)
            elif kind == DISCONNECT and packet.namespace == "/" and session.wire.root_is_all:
                session.leave(Reason.CLIENT_DISCONNECT)
            elif kind == DISCONNECT:
                socket._leave(Reason.CLIENT_DISCONNECT)
            elif kind != CONNECT or not session.wire.impatient:
                session.fail(RemoteProtocolError("CONNECT to a namespace that was joined", rule="Socket.IO protocol 5"))
        elif kind == CONNECT and socket is None:
            self._connect(session, packet)
        elif session.wire.impatient:
            # To ask for it again means something to those only who have left in between.
            if socket is not None and (kind != CONNECT or self._has_left(socket)):
                self._early.setdefault(socket, []).append(packet)
                session.occupy()
        elif packet.namespace not in session.sockets or socket is not None:
            session.fail(RemoteProtocolError("the namespace was not joined", rule="Socket.IO protocol 5, connection"))
        # Else the server has disconnected the client, and this was on its way.

    def let_speak(self, socket: Socket) -> None:
        """A client may speak in a namespace now, or won't be let in: take what it has said already."""
        session = socket.session
        again = False
        for packet in self._early.pop(socket, ()):
            session.vacate()
            again = again or packet.kind == CONNECT
            if (socket.connected or again) and session.state == OPEN_STATE:
                self.received(session, packet)

    def _has_left(self, socket: Socket) -> bool:
        """Whether a client has left again that is still to be let in."""
        return any(packet.kind == DISCONNECT for packet in self._early.get(socket, ()))

    def _connect(self, session: Session, packet: Packet) -> None:
        name = packet.namespace
        namespace = self.namespaces.get(name)
        if namespace is None and not (
            # Patterns see no name that is long, or that would make a mess of a log.
            self.parents and len(name) <= self.engine.config.max_namespace_length and name.isprintable()
        ):
            session.answer(Packet(CONNECT_ERROR, {"message": INVALID_NAMESPACE}, name))
            return
        limit = session._engine.config.max_namespaces_per_client
        if packet.namespace not in session.sockets and not session.make_room(limit):
            detail = f"namespace {packet.namespace[:200]!r}: max_namespaces_per_client is {limit}"
            self.engine.on_refused(session.request, RequestRefused(*FORBIDDEN, detail))
            body = {"message": f"Too many namespaces; {limit} are allowed"}
            session.answer(Packet(CONNECT_ERROR, body, packet.namespace))
            return
        auth = packet.data
        if not auth and name == "/":
            auth = session.wire.auth(session.request)
        # Where there is none yet, one that nobody else knows stands in until a pattern is found.
        socket = Socket(self, namespace or Namespace(name), session, auth)
        session.sockets[name] = socket
        if namespace is not None:
            self._examine(socket, namespace)
        else:
            self._find_pattern(socket)

    def _examine(self, socket: Socket, namespace: Namespace) -> None:
        memory, log, pid = self.memory, namespace._log, socket._auth.get("pid")
        if (memory is None and self.recollection is None) or type(pid) is not str or not socket.session.wire.recovers:
            self.admit(socket)
            return
        offset = socket._auth.get("offset")
        # Both are the protocol's: handlers may want auth to be just what the client's program has given.
        socket._auth = {key: value for key, value in socket._auth.items() if key not in ("pid", "offset")}
        if self.recollection is not None:
            self.recollection.claim(socket, pid, offset)
        elif memory is not None and log is not None:
            claim = memory.claim(log, socket.session, pid, offset)
            if claim is not None:
                socket._claims(claim)
                if memory.settings.skip_middleware:
                    socket.accept()
                    return
            self.admit(socket)

    def closed(self, session: Session, reason: str) -> None:
        """A session has ended, and with it all its sockets."""
        for socket in list(session.sockets.values()):
            if socket is not None:
                socket._leave(reason)
