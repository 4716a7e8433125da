"""A part in a cluster without being a server: who emits from outside, and hears nothing but answers.

What a guest says is said by "emitter", as Node.js's emitters do, which nobody counts as a member. What it asks, it asks
under an id of its own where answers are addressed: so nobody but it hears them, and it hears nothing else. Where all
hear all, and whoever says something under an id of its own counts as a member for some seconds, it asks as "emitter"
too, and leaves out what is no answer.

Source: @socket.io/redis-emitter 5.1 and @socket.io/postgres-emitter 0.1, `lib/index.ts`.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import UNSET, Raw

from madang.cluster.membership import Membership
from madang.cluster.messages import (
    EMITTER,
    AdapterClose,
    Broadcast,
    BroadcastData,
    EventPacket,
    FetchSockets,
    Heartbeat,
    InitialHeartbeat,
    Message,
    ServerEventData,
    ServerSideEmit,
    body,
    is_response,
)
from madang.cluster.peers import Peer
from madang.cluster.questions import Request
from madang.core.wheel import Alarm

if TYPE_CHECKING:
    from madang.core.prepared import Prepared
    from madang.core.target import Target

__all__ = ["Guest"]


class Guest(Membership):
    """The part that an emitter has in a cluster: that of a server without clients, which nobody counts.

    See `Membership`, whose arguments and attributes these are.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.bus.guest = True
        if self.bus.heartbeats_by_namespace:
            # Members would take any other for one of them: those of Node.js all but "emitter" itself, where all hear
            # all; ours all that don't end so, where answers are addressed.
            self.uid = f"{self.uid}-{EMITTER}"
        #: Where answers are heard.
        self._open: set[str] = set()
        #: When all members of a namespace have told that they live, where that is asked.
        self._rolls: dict[str, float] = {}

    # Its life

    async def start(self) -> None:  # noqa: D102
        self._leaving = False
        await self.bus.start(self.uid, self.node, self)
        self._hub.relay = self._hub.peers = self

    def _beating(self) -> list[str]:
        return []

    def up(self) -> None:  # noqa: D102
        for namespace in self._rolls:  # who came while the link was down was not heard
            self._call_roll(namespace)
        super().up()

    def _beat(self) -> None:
        """Look who lives, as long as that is of any use."""
        if self._requests and not self._all_hear:
            for namespace in self._rolls:
                self._say(InitialHeartbeat(nsp=namespace))  # we hear who lives only if we ask
        super()._beat()
        if not self.peers and not self._requests:
            self._heart.due = 0.0

    def open(self, namespace: str) -> None:
        """Left out: a guest has no clients there."""

    def shut(self, namespace: str) -> None:
        """Left out."""

    # Hearing

    def received(self, message: Message, offset: str | None = None) -> None:  # noqa: D102
        if is_response(message) or isinstance(message, Heartbeat):
            super().received(message, offset)
            peer = self.peers.get(message.uid)
            if peer is not None:
                peer.namespaces[message.nsp] = peer.seen
        elif isinstance(message, AdapterClose):
            self._closes(message)

    def _meet(self, uid: str, about: Any) -> Peer:
        peer = super()._meet(uid, about)
        if not self._heart.due:
            self._rearm(peer.seen)  # it looks who lives
        return peer

    # Saying

    @property
    def _all_hear(self) -> bool:
        """Whether all hear what is for one alone, and that they live."""
        return self.bus.shared and self.bus.heartbeats_by_namespace

    def _say(self, message: Message, to: str | None = None) -> None:
        if isinstance(message, Broadcast | ServerSideEmit):
            asks = message.data.requestId is not UNSET
        else:
            asks = isinstance(message, FetchSockets | InitialHeartbeat)
        message.uid = self.uid if asks and not self._all_hear else EMITTER
        self._published += 1
        self.bus.publish(message, to)

    @staticmethod
    def event(target: Target, data: list[Any]) -> tuple[Message, int]:
        """An event for clients, ready for `tell`. In any thread.

        Args:
            target: for whom.
            data: the event and its arguments.

        Returns:
            The message, and about how many bytes it has; a large number where that would have to be counted.

        Raises:
            EncodeError: an argument can't be sent.
        """
        content = body(data)
        message = Broadcast(
            nsp=target._namespace.name, data=BroadcastData(EventPacket(content), Membership._options(target))
        )
        return message, _size(content)

    @staticmethod
    def server_event(namespace: str, data: list[Any]) -> tuple[Message, int]:
        """An event for servers, ready for `tell`. See `event`."""
        content = body(data)
        return ServerSideEmit(nsp=namespace, data=ServerEventData(content)), _size(content)

    def tell(self, message: Message) -> None:
        """Say what `event` or `server_event` has given, once."""
        self._say(message)

    def broadcast(self, target: Target, prepared: Prepared) -> bool:  # noqa: D102
        self._say(self.event(target, prepared.packet.data)[0])
        return False

    # Asking

    def _asking(self, namespace: str) -> tuple[str, dict[str, Peer]]:
        if namespace not in self._open:
            self._open.add(namespace)
            self.bus.open(namespace)
        return super()._asking(namespace)

    def _known(self, namespace: str) -> dict[str, Peer]:
        return {uid: peer for uid, peer in self.peers.items() if namespace in peer.namespaces}

    def _count(self, request: Request, namespace: str, seconds: float) -> None:
        def counted(count: int | None) -> None:
            if count is not None:
                request.expect(count, [])
                return
            now = self._hub.engine.clock()
            called = self._rolls.get(namespace)
            forgets = not self._all_hear and self.settings.heartbeat_timeout_seconds
            if called is None or (forgets and now - called > forgets):
                self._call_roll(namespace)
            wait = min(self._rolls[namespace] - now, seconds / 2)
            if wait <= 0:
                request.expect(None, [])
                return
            self._hub.engine.wheel.add(Alarm(partial(self._called, request, namespace), now + wait))

        self.bus.count(namespace, counted)

    def _call_roll(self, namespace: str) -> None:
        # In this time ours tell that they live anyway.
        self._rolls[namespace] = self._hub.engine.clock() + self.settings.heartbeat_interval_seconds
        self._say(InitialHeartbeat(nsp=namespace))

    def _called(self, request: Request, namespace: str) -> None:
        if request.id in self._requests:
            request.meet(self._known(namespace))
            request.expect(None, [])


def _size(content: Any) -> int:
    return len(content) if isinstance(content, Raw) else sys.maxsize
