"""How what the server says comes over HTTP: by polls, or in a response that stays open.

Each is a `Source`: it makes the first request, which opens the session, then one request after the other for as long as
it is asked to. What it reads it gives to its owner, the connection; that it can't go on, it raises.
"""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from typing import Any, Final, Generic, Protocol, TypeVar

from madang.client.config import ClientConfig
from madang.client.dial import Dialer, Incoming, Reply, words_of
from madang.config import Config
from madang.errors import ConnectError, Disconnected, Reason
from madang.packet import NOOP, Frame, Packet
from madang.parsers import Parser
from madang.transports import HttpTransport, PollTransport, StreamDecoder, StreamTransport
from madang.wire import Wire

__all__ = ["Owner", "Source", "refusal", "source_of"]

T = TypeVar("T", bound=HttpTransport)

#: While a better transport is tried, the server lets go of each request at once. So long we wait before the next one.
_PROBING_SECONDS: Final = 0.1
#: How much of an answer that is an error is read, to tell what it says.
_SAID_BYTES: Final = 200


class Owner(Protocol):
    """Whose source it is: the connection."""

    @property
    def asking(self) -> bool:
        """Whether the next request may be made."""

    @property
    def listening(self) -> bool:
        """Whether what comes still matters."""

    @property
    def probing(self) -> bool:
        """Whether a better transport is being tried."""

    @property
    def patience_seconds(self) -> float:
        """How long the server waits for the answer to its ping."""

    def target(self, transport: str) -> str:
        """Path and query of the next request."""

    def receive(self, frame: Frame) -> None:
        """A frame came."""


class Source(ABC, Generic[T]):
    """Asks the server over HTTP for what it has to say.

    Args:
        transport: how.
        owner: who takes it.
        dialer: how requests are made.
        config: the settings.
        limits: the same, in the form that wires take.
        wire: the protocol generation.
        parser: how packets are written.
    """

    def __init__(
        self,
        transport: T,
        owner: Owner,
        dialer: Dialer,
        config: ClientConfig,
        limits: Config,
        wire: Wire,
        parser: Parser,
    ) -> None:
        self._transport = transport
        self._owner = owner
        self._dialer = dialer
        self._config = config
        self._limits = limits
        self._wire = wire
        self._noop = wire.encode(Packet(NOOP), parser)[0]
        self._nap: asyncio.Future[None] | None = None

    @abstractmethod
    async def open(self) -> list[Frame]:
        """Make the first request.

        Returns:
            The first frame, which opens the session, and what came with it.

        Raises:
            ConnectError: there is no answer, or one that is none.
            RemoteProtocolError: the answer is nothing that the transport brings.
        """

    @abstractmethod
    async def run(self) -> None:
        """Make the next requests, until the owner wants no more; it may then run again.

        Raises:
            ConnectError: a request has failed.
            RemoteProtocolError: an answer is nothing that the transport brings.
            Disconnected: the server has let go of the session.
        """

    async def close(self) -> None:
        """Let go of a response that is still open."""

    def wake(self) -> None:
        """Look again whether to go on: the owner has changed its mind."""
        if self._nap is not None and not self._nap.done():
            self._nap.set_result(None)

    async def _rest(self, seconds: float) -> None:
        """Wait, unless there is a reason to look again."""
        self._nap = asyncio.get_running_loop().create_future()
        await asyncio.wait([self._nap], timeout=seconds)
        self._nap = None

    async def _rest_while_probing(self, last: Frame) -> None:
        if last == self._noop and self._owner.probing and self._owner.asking:
            await self._rest(_PROBING_SECONDS)


class _Polls(Source[PollTransport]):
    """One GET after the other, each of which the server answers when it has something to say."""

    async def open(self) -> list[Frame]:
        return self._unpack(await self._get())

    async def _get(self) -> Reply:
        return await self._dialer.get(self._owner.target(self._transport.name), self._config.headers)

    def _unpack(self, reply: Reply) -> list[Frame]:
        if reply.status != 200:
            raise refusal(reply.status, reply.body)
        return self._wire.split(self._transport.read(reply.body), self._limits)

    async def run(self) -> None:
        while self._owner.asking:
            frames = self._unpack(await self._get())
            for frame in frames:
                self._owner.receive(frame)
            await self._rest_while_probing(frames[-1])


class _ShortPolls(_Polls):
    """A GET from time to time, which the server answers at once."""

    async def run(self) -> None:
        pause = interval = min(self._config.short_poll_interval_seconds, self._owner.patience_seconds / 2)
        while True:
            if self._owner.asking:
                await self._rest(pause)
            if not self._owner.asking:
                return
            reply = await self._get()
            too_soon = _retry_after(reply)
            pause = interval if too_soon is None else max(interval, too_soon)
            if too_soon is None:
                for frame in self._unpack(reply):
                    self._owner.receive(frame)


class _Streams(Source[StreamTransport]):
    """A GET whose response stays open. When it ends in good order, the next one goes on."""

    _response: Incoming | None = None
    _decoder: StreamDecoder | None = None
    _last: Frame = ""

    async def open(self) -> list[Frame]:
        try:
            await self._ask()
            frames = await self._frames()
        except BaseException:
            await self.close()
            raise
        if not frames:
            raise ConnectError("the server ended the stream before it had said hello")
        return frames

    async def run(self) -> None:
        try:
            while True:
                if self._response is None:
                    if not self._owner.asking:
                        return
                    await self._ask()
                while frames := await self._frames():
                    for frame in frames:
                        self._owner.receive(frame)
                if not self._owner.listening:
                    return
                await self.close()
                if self._last != self._noop:
                    raise Disconnected(Reason.TRANSPORT_CLOSE)
                await self._rest_while_probing(self._last)
        finally:
            await self.close()

    async def close(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            await response.close()

    async def _ask(self) -> None:
        response = await self._dialer.stream(self._owner.target(self._transport.name), self._config.headers)
        self._response = response
        if response.status != 200:
            raise refusal(response.status, await _beginning(response))
        self._decoder = self._transport.decoder(response.content_type, self._config.max_payload_bytes)
        self._last = ""

    async def _frames(self) -> list[Frame]:
        """The next frames, or none at the end of the response."""
        assert self._response is not None  # we have asked  # noqa: S101
        assert self._decoder is not None  # it comes with the response  # noqa: S101
        while self._owner.listening and (data := await self._response.read()):
            frames = self._decoder.feed(data)
            if not self._transport.binary:
                frames = [one for payload in frames for one in self._wire.split(str(payload), self._limits)]
            if frames:
                self._last = frames[-1]
                return frames
        return []


def source_of(
    transport: HttpTransport,
    owner: Owner,
    dialer: Dialer,
    config: ClientConfig,
    limits: Config,
    wire: Wire,
    parser: Parser,
) -> Source[Any]:
    """What asks the server over this transport. See `Source` for the arguments."""
    given = (owner, dialer, config, limits, wire, parser)
    if isinstance(transport, StreamTransport):
        return _Streams(transport, *given)
    assert isinstance(transport, PollTransport)  # there are no others  # noqa: S101
    return _Polls(transport, *given) if transport.waits else _ShortPolls(transport, *given)


def refusal(status: int, body: bytes) -> ConnectError:
    """What to raise for an answer that is an error."""
    return ConnectError(f"the server answered with status {status} {words_of(body)}".rstrip())


async def _beginning(response: Incoming) -> bytes:
    said = bytearray()
    while len(said) < _SAID_BYTES and (data := await response.read()):
        said += data
    return bytes(said[:_SAID_BYTES])


def _retry_after(reply: Reply) -> float | None:
    """How many seconds to wait before the next poll, if the last one came too soon for the server."""
    if reply.status != 429:
        return None
    try:
        milliseconds = json.loads(reply.body)["retryAfterMs"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return milliseconds / 1000 if type(milliseconds) in (int, float) and 0 <= milliseconds < 1e9 else None
