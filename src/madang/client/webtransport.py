"""WebTransport of the client: a QUIC connection with one session, on which the client knocks."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import ssl
from collections.abc import Collection, Mapping
from typing import Any, Final

from madang.client.config import Address
from madang.cork import Cork
from madang.errors import ConnectError, Reason
from madang.quic import Connection, HeadersReceived, Link, configuration
from madang.transports import Receiver

__all__ = ["ClientLink", "connect"]

_IDLE_SECONDS: Final = 60.0
#: How much of the server may come in before it is taken.
_WINDOW_BYTES: Final = 1_048_576


async def connect(
    address: Address,
    path: str,
    headers: Mapping[str, str],
    trust: ssl.SSLContext | str | os.PathLike[str] | None,
    hashes: Collection[bytes],
    max_payload_bytes: int,
) -> ClientLink:
    """Open a session, with its stream.

    Args:
        address: where the server is.
        path: what is asked for.
        headers: what to add to the request's headers.
        trust: a context whose authorities are trusted, or the path of a file or folder of certificates to trust; None:
            what the system trusts.
        hashes: SHA-256 hashes of certificates that are trusted without an authority.
        max_payload_bytes: how large a frame of the server may be.

    Raises:
        ConnectError: there is no way to the server, or it opens none.
    """
    loop = asyncio.get_running_loop()
    settings = configuration(is_client=True, idle_timeout_seconds=_IDLE_SECONDS)
    settings.server_name = address.host
    if hashes:
        settings.verify_mode = ssl.CERT_NONE  # the hash tells more
    else:
        _trust(settings, trust)
    try:
        infos = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:
        raise ConnectError(f"no connection to {address.authority}: {error}") from error
    failure: ConnectError | None = None
    for family, _, _, _, target in infos:
        quic = Connection(window_bytes=_WINDOW_BYTES, configuration=settings)
        try:
            peer = str(target[0]), int(target[1])
            transport, protocol = await loop.create_datagram_endpoint(_Endpoint, family=family, remote_addr=peer)
        except OSError as error:
            failure = ConnectError(f"no connection to {address.authority}: {error}")
            continue
        request = [
            (b":method", b"CONNECT"),
            (b":protocol", b"webtransport"),
            (b":scheme", b"https"),
            (b":authority", address.authority.encode()),
            (b":path", path.encode()),
            (b"sec-webtransport-http3-draft02", b"1"),
            *((name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()),
        ]
        link = ClientLink(quic, loop, transport, request, hashes, max_payload_bytes)
        protocol.link = link
        quic.connect(target, now=loop.time())
        link.wake()
        try:
            await link.ready
        except ConnectError as error:
            failure = error
        except BaseException:
            link.cut()
            raise
        else:
            return link
    raise failure or ConnectError(f"no connection to {address.authority}: it has no address")


def _trust(settings: Any, trust: ssl.SSLContext | str | os.PathLike[str] | None) -> None:
    """Take over what connections over TCP would trust."""
    if isinstance(trust, str | os.PathLike):
        if os.path.isdir(trust):
            settings.capath = os.fspath(trust)
        else:
            settings.cafile = os.fspath(trust)
        return
    context = trust or ssl.create_default_context()
    if context.verify_mode == ssl.CERT_NONE:
        settings.verify_mode = ssl.CERT_NONE
        return
    authorities = "".join(map(ssl.DER_cert_to_PEM_cert, context.get_ca_certs(binary_form=True)))
    if authorities:
        settings.cadata = authorities.encode()
    else:  # those of a folder are only read when they are needed
        paths = ssl.get_default_verify_paths()
        settings.cafile, settings.capath = paths.cafile, paths.capath


class _Endpoint(asyncio.DatagramProtocol):
    """The socket of a link."""

    def __init__(self) -> None:
        self.link: ClientLink | None = None

    def datagram_received(self, data: bytes, address: Any) -> None:
        """A datagram came."""
        if self.link is not None:
            self.link.take(data)

    def error_received(self, exc: Exception) -> None:
        """The network says that nobody is there."""
        if self.link is not None:
            self.link.unreachable(exc)


class ClientLink(Link):
    """A session of WebTransport, as its client.

    Attributes:
        ready: done when the session and its stream are open; raises `ConnectError` where they can't be.
    """

    __slots__ = ("_closer", "_hashes", "_request", "_transport", "ready")

    def __init__(
        self,
        quic: Connection,
        loop: asyncio.AbstractEventLoop,
        transport: asyncio.DatagramTransport,
        request: list[tuple[bytes, bytes]],
        hashes: Collection[bytes],
        max_payload_bytes: int,
    ) -> None:
        super().__init__(quic, loop, Cork(loop.call_soon), self._send_to_peer, max_payload_bytes)
        self._transport = transport
        self._request = request
        self._hashes = hashes
        self._closer: Receiver | None = None
        self.ready: asyncio.Future[None] = loop.create_future()

    def _send_to_peer(self, data: bytes, address: Any) -> None:
        self._transport.sendto(data)

    def take(self, data: bytes) -> None:
        """A datagram came."""
        self.received(data, self._quic.get_peer_address())

    def unreachable(self, error: Exception) -> None:
        """The network says that nobody is there. That may pass, but not before there ever was somebody."""
        if not self.ready.done():
            self.ready.set_exception(ConnectError(f"no answer over UDP: {error}"))
            self._end(Reason.TRANSPORT_ERROR)

    def bind(self, receiver: Receiver) -> None:  # noqa: D102
        super().bind(receiver)
        if self._gone or self._closing:
            self._receiver = None
            self._loop.call_soon(receiver.lost, self, Reason.TRANSPORT_CLOSE)

    def close(self, code: int = 1000, reason: str = "") -> None:  # noqa: D102
        if not self._closing:
            self._closer = self._receiver
        super().close(code, reason)

    def uncork(self) -> None:  # noqa: D102
        super().uncork()
        if self._quic.is_over:
            self._end(Reason.TRANSPORT_CLOSE)  # nobody else waits for late datagrams here

    def _vanished(self) -> None:
        self._transport.close()
        closer, self._closer = self._closer, None
        if closer is not None:
            closer.lost(self, Reason.TRANSPORT_CLOSE)
        if not self.ready.done():
            event = self._quic._close_event
            why = (event.reason_phrase or f"error {event.error_code:#x}") if event is not None else "it was closed"
            self.ready.set_exception(ConnectError(f"no connection by QUIC: {why}"))

    # HTTP/3

    def _shaken(self) -> None:
        assert self._h3 is not None  # what it speaks comes before the certificate  # noqa: S101
        if self._hashes and _hash(self._quic.certificate) not in self._hashes:
            self._fail("the server's certificate has none of the hashes in certificate_hashes")
            return
        self.session_id = self._quic.get_next_available_stream_id()
        self._h3.send_headers(self.session_id, self._request)

    def _headers(self, event: HeadersReceived) -> None:
        if event.stream_id != self.session_id or self._stream_id is not None or self._h3 is None:
            return
        status = dict(event.headers).get(b":status", b"").decode("latin-1")
        if not status.startswith("2") or event.stream_ended:
            self._fail(f"the server answered with status {status}")
            return
        self._open_stream(self._h3.create_webtransport_stream(self.session_id))
        if not self.ready.done():
            self.ready.set_result(None)

    def _fail(self, why: str) -> None:
        if not self.ready.done():
            self.ready.set_exception(ConnectError(why))
        self.cut()


def _hash(certificate: Any) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    der: bytes = certificate.public_bytes(Encoding.DER)
    return hashlib.sha256(der).digest()
