"""A WebSocket of the client: the protocol of its connection, from the first byte of the handshake."""

from __future__ import annotations

import asyncio
import re
import secrets
from typing import Final

from madang.errors import ConnectError, Reason, RemoteProtocolError
from madang.packet import Encoded
from madang.rfc import ws
from madang.transports import Duplex, Receiver

__all__ = ["Head", "Pipe", "WebSocketLink"]

#: How large the head of a response may be.
_MAX_HEAD_BYTES: Final = 65_536
#: How long we wait for the server's close frame, and for it to end the connection, before we cut it.
_CLOSE_TIMEOUT_SECONDS: Final = 2.0
#: How many joined bytes go to the transport before the turn of the event loop ends, so that it can say it is full.
_CORK_BYTES: Final = 65_536
#: How much randomness is drawn at once for masking keys.
_ENTROPY_BYTES: Final = 4096
_STATUS: Final = re.compile(r"HTTP/1\.[01] ([1-5][0-9][0-9])(?: |$)")
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


class Head:
    r"""The head of an HTTP response.

    Attributes:
        status: the HTTP status.
        headers: names in lower case; values of one that stands twice joined.
        cookies: the values of all `Set-Cookie` headers.

    Raises:
        RemoteProtocolError: it is none.

    Example:
        >>> head = Head(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket")
        >>> head.status, head.headers
        (101, {'upgrade': 'websocket'})
    """

    __slots__ = ("cookies", "headers", "status")

    def __init__(self, block: bytes) -> None:
        first, *lines = block.decode("latin-1").split("\r\n")
        found = _STATUS.match(first)
        if found is None:
            raise RemoteProtocolError(f"this is no HTTP response: {first!r:.80}", rule="RFC 9112 4")
        self.status = int(found[1])
        self.headers: dict[str, str] = {}
        self.cookies: list[str] = []
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon or _TOKEN.fullmatch(name) is None:
                raise RemoteProtocolError(f"this is no header: {line!r:.80}", rule="RFC 9112 5")
            name, value = name.lower(), value.strip(" \t")
            if name == "set-cookie":
                self.cookies.append(value)
            self.headers[name] = f"{self.headers[name]}, {value}" if name in self.headers else value


class Pipe(asyncio.Protocol):
    """A connection before it is a WebSocket: heads of responses are read from it, and what follows is kept.

    Attributes:
        transport: the connection; to be set anew when TLS begins on it.
        lost: whether it is gone.
    """

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.lost = False
        self._kept = bytearray()
        self._waiter: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # noqa: D102
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")  # noqa: S101
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:  # noqa: D102
        self._kept += data
        if len(self._kept) > _MAX_HEAD_BYTES and self.transport is not None:
            self.transport.pause_reading()  # until somebody takes it
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: D102
        self.lost = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def head(self) -> Head:
        """The head of the next response.

        Raises:
            RemoteProtocolError: it is malformed, or too large.
            ConnectError: the connection is lost before it is whole.
        """
        while (end := self._kept.find(b"\r\n\r\n")) < 0:
            if len(self._kept) > _MAX_HEAD_BYTES:
                raise RemoteProtocolError(
                    f"the head of a response has more than {_MAX_HEAD_BYTES} bytes", rule="RFC 9112 2"
                )
            if self.lost:
                raise ConnectError("the server closed the connection before it had answered")
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        block = bytes(self._kept[:end])
        del self._kept[: end + 4]
        return Head(block)

    def take(self) -> bytes:
        """What has come behind the head, which is not kept any longer."""
        kept = bytes(self._kept)
        self._kept.clear()
        return kept


class WebSocketLink(asyncio.Protocol, Duplex):
    """One WebSocket of a client, and a link of its connection.

    The first write in a turn of the event loop goes straight to the transport; later ones are joined at its end.

    Args:
        pipe: the connection, on which the handshake is done.
        loop: the running loop.
        max_message_bytes: how large a message of the server may be.
        compression: what the handshake has agreed on.
    """

    def __init__(
        self,
        pipe: Pipe,
        loop: asyncio.AbstractEventLoop,
        *,
        max_message_bytes: int,
        compression: tuple[ws.Inflater, ws.Deflater] | None = None,
    ) -> None:
        assert pipe.transport is not None  # the handshake is done  # noqa: S101
        self._pipe: Pipe | None = pipe
        self._transport = pipe.transport
        self._loop = loop
        self._receiver: Receiver | None = None
        self._corked = False
        self._buffer: list[bytes] = []
        self._buffered = 0
        self._entropy = b""
        self._drawn = 0
        self._closing = False
        self._gone = asyncio.Event()
        self._full = False  # the transport has enough for now
        self._pong: bytes | None = None  # what the last ping has held, once it can be answered
        self._timer: asyncio.TimerHandle | None = None
        self._deflater = compression[1] if compression is not None else None
        self._reader = ws.FrameReader(
            _ignore,
            self._control,
            masked=False,
            max_message_bytes=max_message_bytes,
            inflater=compression[0] if compression is not None else None,
        )

    # The port

    def bind(self, receiver: Receiver) -> None:  # noqa: D102
        self._receiver = receiver
        self._reader.on_message = receiver.receive
        pipe, self._pipe = self._pipe, None
        if pipe is None:
            return
        if pipe.lost:
            self._loop.call_soon(self.connection_lost, None)
            return
        self._transport.set_protocol(self)
        self._transport.resume_reading()
        kept = pipe.take()
        if kept:
            self.data_received(kept)

    def write(self, encoded: Encoded) -> None:  # noqa: D102
        if self._closing:
            return
        for frame in encoded.frames:
            opcode, payload = (ws.TEXT, frame.encode()) if isinstance(frame, str) else (ws.BINARY, frame)
            deflater = self._deflater
            if deflater is not None and encoded.compress and len(payload) >= deflater.threshold_bytes:
                self._send(ws.frame_masked(opcode, deflater.compress(payload), self._key(), rsv1=True))
            else:
                self._send(ws.frame_masked(opcode, payload, self._key()))

    def pause_reading(self) -> None:  # noqa: D102
        if not self._transport.is_closing() and self._transport.is_reading():
            self._transport.pause_reading()

    def resume_reading(self) -> None:  # noqa: D102
        if not self._transport.is_closing() and not self._transport.is_reading():
            self._transport.resume_reading()

    def close(self, code: int = 1000, reason: str = "") -> None:  # noqa: D102
        if self._closing:
            return
        self._closing = True
        self._reader.on_message = _ignore
        self._flush()
        if self._pipe is not None:  # nobody has ever owned it
            self._transport.abort()
        elif not self._transport.is_closing():
            self._transport.write(ws.frame_masked(ws.CLOSE, ws.close_payload(code, reason), self._key()))
            self._timer = self._loop.call_later(_CLOSE_TIMEOUT_SECONDS, self._transport.abort)

    async def cut(self) -> None:
        """Wait no longer for the server's goodbye, if we have said ours."""
        if self._closing and self._pipe is None and not self._gone.is_set():
            self._transport.abort()
            await self._gone.wait()

    # The protocol of the connection

    def data_received(self, data: bytes) -> None:  # noqa: D102
        corked, self._corked = self._corked, True
        try:
            self._reader.feed(data)
        except RemoteProtocolError as error:
            receiver, self._receiver = self._receiver, None
            self.close(error.close_code, str(error))
            if receiver is not None:
                receiver.fail(error, Reason.TRANSPORT_ERROR)
        finally:
            if not corked:
                self._corked = False
                self._flush()

    def _control(self, opcode: int, payload: bytes) -> None:
        if opcode == ws.PING:
            if self._full:
                self._pong = payload  # of several pings the last one needs an answer (RFC 6455, 5.5.3)
            elif not self._closing:
                self._send(ws.frame_masked(ws.PONG, payload, self._key()))
        elif opcode == ws.CLOSE:
            if not self._closing:
                code, _ = ws.parse_close(payload)
                self.close(1000 if code == ws.NO_STATUS else code)
            self._transport.close()
            self._lost(Reason.TRANSPORT_CLOSE)

    def pause_writing(self) -> None:  # noqa: D102
        self._full = True
        if self._receiver is not None:
            self._receiver.pause()

    def resume_writing(self) -> None:  # noqa: D102
        self._full = False
        pong, self._pong = self._pong, None
        if pong is not None and not self._closing:
            self._send(ws.frame_masked(ws.PONG, pong, self._key()))
        if self._receiver is not None:
            self._receiver.resume()

    def eof_received(self) -> None:
        """The server has ended its half; the transport closes."""

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: D102
        self._closing = True
        self._gone.set()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._reader.stop()
        self._buffer.clear()
        self._lost(Reason.TRANSPORT_CLOSE if exc is None else Reason.TRANSPORT_ERROR)

    def _lost(self, reason: str) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.lost(self, reason)

    # Writing

    def _key(self) -> bytes:
        """Four bytes that nobody can foresee (RFC 6455, 5.3)."""
        if self._drawn == len(self._entropy):
            self._entropy = secrets.token_bytes(_ENTROPY_BYTES)
            self._drawn = 0
        start = self._drawn
        self._drawn = start + 4
        return self._entropy[start : start + 4]

    def _send(self, data: bytes) -> None:
        if self._corked:
            self._buffer.append(data)
            self._buffered += len(data)
            if self._buffered > _CORK_BYTES:
                self._flush()
        else:
            self._corked = True
            self._loop.call_soon(self._uncork)
            self._transport.write(data)

    def _uncork(self) -> None:
        self._corked = False
        self._flush()

    def _flush(self) -> None:
        if self._buffer:
            data = b"".join(self._buffer)
            self._buffer.clear()
            self._buffered = 0
            self._transport.write(data)


def _ignore(message: str | bytes) -> None:
    """What comes after the end means nothing."""
