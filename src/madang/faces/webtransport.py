"""WebTransport: clients that come by QUIC, over UDP, to a listener of their own beside the HTTP server.

The server's own event loop serves them all: datagrams are given to their connections as they come, and what all of
them have to send goes at the end of the turn.

It is one long module because QUIC's connections, their streams and the listener share what aioquic wants to be told.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import socket
import ssl
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, fields
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from madang.cork import Cork
from madang.errors import ConfigError, Reason, RequestRefused
from madang.quic import (
    Buffer,
    Connection,
    HeadersReceived,
    Link,
    QuicConfiguration,
    QuicHeader,
    QuicPacketType,
    QuicRetryTokenHandler,
    WebTransportStreamDataReceived,
    configuration,
    encode_quic_retry,
    encode_quic_version_negotiation,
    pull_quic_header,
)
from madang.server import Server
from madang.transports import Receiver, Request
from madang.wire import error_body

if TYPE_CHECKING:
    from madang.faces.certificate import Certificate

__all__ = ["WebTransport", "beside", "check_transports", "network_of", "pair"]

logger = logging.getLogger("madang")

_NAME: Final = "webtransport"
_ID_BYTES: Final = 8
#: A client's first datagram is at least so large, and only such get answers (RFC 9000, 14.1).
_FIRST_BYTES: Final = 1200
#: How often it is looked at who takes too long to begin a session.
_SWEEP_SECONDS: Final = 1.0
#: How long the clients may take at the end to hear our goodbye.
_CLOSE_SECONDS: Final = 3.0
_RECEIVE_BUFFER_BYTES: Final = 4_194_304
#: Tries to find a port that is free for TCP and UDP.
_PAIR_TRIES: Final = 20


@dataclass(eq=False)
class WebTransport:
    """The listener for WebTransport: its settings, and while it runs, what pages need to reach it.

    Where to listen:

    Attributes:
        host: the address; None: the one of the HTTP server.
        port: the UDP port; None: the same number as the HTTP server's, where clients look for it that upgrade.
        certfile: a file with the certificate and those it was signed with, as PEM. Without it, the one of the HTTP
            server is used, and without that, a certificate for development is made in memory.
        keyfile: a file with its key; None: the key is in `certfile`.
        key_password: what the key is encrypted with, if it is.
        names: further host names and addresses for the certificate that is made.

    Limits:
        max_connections: how many QUIC connections there may be; those that come then get no answer.
        max_half_open: how many of these may be without a session; then the one goes that is so for longest.
        max_half_open_per_address: how many of these one IP address (of IPv6: one /64) may have. From half of that on a
            client has to prove its address first.
        max_handshakes_per_second: how many connections may begin within a second; the next ones have to try again.
        retry_half_open: from how many half-open connections on a client has to prove its address first, which takes
            it one more round trip (Retry of RFC 9000).
        window_bytes: how much of one client may come in before it is taken.
        open_timeout_seconds: how long a client may take from its first datagram to its session.
        idle_timeout_seconds: after how long of silence a connection is over, unless the client has chosen less. Where
            heartbeats are rarer than that, PINGs of QUIC keep it.

    Raises:
        ConfigError: a value that makes no sense, or a certificate that can't be read.

    Example:
        ```python
        io = Server(transports=["polling", "websocket", "webtransport"])
        madang.serve(io, webtransport=WebTransport(certfile="fullchain.pem", keyfile="privkey.pem"))
        ```
    """

    _: KW_ONLY
    host: str | None = None
    port: int | None = None
    certfile: str | os.PathLike[str] | None = None
    keyfile: str | os.PathLike[str] | None = None
    key_password: str | None = None
    names: Sequence[str] = ()

    max_connections: int = 10_000
    max_half_open: int = 512
    max_half_open_per_address: int = 64
    max_handshakes_per_second: int = 200
    retry_half_open: int = 64
    window_bytes: int = 262_144
    open_timeout_seconds: float = 10.0
    idle_timeout_seconds: float = 60.0

    def __post_init__(self) -> None:
        self._listener: _Listener | None = None
        self._made: Certificate | None = None
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name.endswith("_seconds") and not (isinstance(value, int | float) and 0 < value < 1e9):
                raise ConfigError(f"webtransport: {one.name} must be a positive number of seconds, not {value!r}")
            if (one.name.startswith(("max_", "retry_"))) and (type(value) is not int or value < 1):
                raise ConfigError(f"webtransport: {one.name} must be a whole number of at least 1, not {value!r}")
        if type(self.window_bytes) is not int or self.window_bytes < 4096:
            raise ConfigError(f"webtransport: window_bytes must be 4096 or more, not {self.window_bytes!r}")
        if isinstance(self.names, str):
            raise ConfigError(f"webtransport: names must be a list of names, not {self.names!r}")
        if self.keyfile is not None and self.certfile is None:
            raise ConfigError("webtransport: keyfile without certfile")
        if self.certfile is not None:
            self._made = self._load()

    def use_certificate(
        self,
        certfile: str | os.PathLike[str],
        keyfile: str | os.PathLike[str] | None = None,
        password: str | None = None,
    ) -> None:
        """Show a certificate from now on, to connections that are new; also after its file has changed.

        Args:
            certfile: a file with the certificate and those it was signed with, as PEM.
            keyfile: a file with its key; None: the key is in `certfile`.
            password: what the key is encrypted with, if it is.

        Raises:
            ConfigError: it can't be read. Then everything stays as it was.
        """
        before = self.certfile, self.keyfile, self.key_password
        self.certfile, self.keyfile, self.key_password = certfile, keyfile, password
        try:
            self._made = self._load()
        except ConfigError:
            self.certfile, self.keyfile, self.key_password = before
            raise

    # What pages need

    @property
    def certificate_hash(self) -> bytes:
        """The SHA-256 of the certificate that was made for development, which is what pages accept it by.

        It changes every 12 days, when the certificate is renewed: ask for it whenever a page is made.

        Raises:
            ConfigError: a certificate was given. Pages need no hash then, but its authority.
        """
        if self.certfile is not None:
            raise ConfigError("webtransport: a certificate was given; pages accept it by its authority, not by a hash")
        return self._certificate().hash

    @property
    def javascript(self) -> str:
        """The option for the official client that lets a page accept the certificate, as JavaScript."""
        value = b64encode(self.certificate_hash).decode()
        return (
            "transportOptions: {webtransport: {serverCertificateHashes: [{algorithm: 'sha-256', "
            f"value: Uint8Array.from(atob('{value}'), (c) => c.charCodeAt(0))}}]}}}}"
        )

    @property
    def listening(self) -> list[tuple[str, int]]:
        """The addresses and ports where it listens now."""
        return self._listener.addresses if self._listener is not None else []

    @property
    def connections_count(self) -> int:
        """How many QUIC connections there are."""
        return len(self._listener.links) if self._listener is not None else 0

    # Running

    @contextlib.asynccontextmanager
    async def listen(self, *servers: Server) -> AsyncIterator[WebTransport]:
        """Listen in the running event loop, beside an ASGI server that is not ours. At the end all clients have left.

        Args:
            servers: those whose clients may come, each by its `path`.

        Raises:
            ConfigError: no port was given, or a server has no transport "webtransport".
            OSError: the port can't be had.

        Example:
            ```python
            @asynccontextmanager
            async def lifespan(app: FastAPI) -> AsyncIterator[None]:
                async with WebTransport(host="0.0.0.0", port=8000).listen(io):
                    yield
            ```
        """
        if self.port is None:
            raise ConfigError("webtransport: beside another server, name the port: WebTransport(port=...)")
        infos = await asyncio.get_running_loop().getaddrinfo(
            self.host or "127.0.0.1", self.port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE
        )
        addresses = list(dict.fromkeys((info[0], info[4]) for info in infos))
        await self._start(servers, [_udp_socket(family, address) for family, address in addresses])
        try:
            yield self
        finally:
            await self._stop()

    async def _start(self, servers: Sequence[Server], sockets: Sequence[socket.socket], root_path: str = "") -> None:
        """Listen on these sockets, which are bound."""
        try:
            if self._listener is not None:
                raise ConfigError("webtransport: it listens already; make a WebTransport for each server")
            for io in servers:
                check_transports(io)
            self._certificate()
            loop = asyncio.get_running_loop()
            listener = _Listener(self, {root_path + io.config.path: io for io in servers}, loop, root_path)
            for one in sockets:
                await loop.create_datagram_endpoint(listener.endpoint, sock=one)
        except BaseException:
            for one in sockets:
                one.close()
            raise
        self._listener = listener
        for io in servers:
            io.engine.listening.add(_NAME)
        where = ", ".join(f"{host} port {port}" for host, port in listener.addresses)
        logger.info("WebTransport listens at %s (UDP)", where)
        if self.certfile is None:
            logger.info("its certificate was made for development; pages need %s", self.javascript)

    async def _stop(self) -> None:
        """Let the clients go, and listen no more."""
        listener, self._listener = self._listener, None
        if listener is not None:
            for io in listener.servers.values():
                io.engine.listening.discard(_NAME)
            await listener.close()

    # Certificates

    def _certificate(self) -> Certificate:
        from madang.faces.certificate import Certificate

        if self._made is None or (self.certfile is None and self._made.is_ageing):
            renewed = self._made is not None
            self._made = Certificate.make([*self.names, *([self.host] if self.host else [])])
            if renewed:
                logger.info("the certificate for WebTransport was renewed; pages need %s", self.javascript)
        return self._made

    def _load(self) -> Certificate:
        from madang.faces.certificate import Certificate

        loaded = QuicConfiguration(is_client=False)
        assert self.certfile is not None  # callers looked  # noqa: S101
        try:
            loaded.load_cert_chain(self.certfile, self.keyfile, self.key_password)
        except (OSError, ValueError, TypeError, IndexError, ssl.SSLError) as error:
            raise ConfigError(f"webtransport: the certificate in {self.certfile!r} can't be read: {error}") from None
        if loaded.private_key is None:
            raise ConfigError(f"webtransport: {self.certfile!r} holds no key; give keyfile")
        return Certificate(loaded.certificate, loaded.certificate_chain, loaded.private_key)


def check_transports(io: Server) -> None:
    """Refuse a server that has not WebTransport among its transports.

    Raises:
        ConfigError: it has not.
    """
    if _NAME not in io.config.transports:
        names = ", ".join(f'"{name}"' for name in (*io.config.transports, _NAME))
        raise ConfigError(f"webtransport: the server doesn't take it; make it with Server(transports=[{names}])")


def _udp_socket(family: int, address: Any) -> socket.socket:
    made = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # A burst of datagrams must not be lost while something else is at work; the system may give less.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        made.setblocking(False)
        made.bind(address)
    except BaseException:
        made.close()
        raise
    return made


def beside(listening: Sequence[socket.socket], host: str | None, port: int | None) -> list[socket.socket]:
    """UDP sockets beside TCP sockets that listen already, at the same addresses and ports if no others are given.

    Raises:
        ConfigError: the sockets are no TCP sockets, or a port is taken.
    """
    made: list[socket.socket] = []
    try:
        for one in listening:
            if one.family not in (socket.AF_INET, socket.AF_INET6):
                raise ConfigError("webtransport: the HTTP server listens at no TCP port; give WebTransport(port=...)")
            own = one.getsockname()
            address = (host or own[0], own[1] if port is None else port, *own[2:])
            try:
                made.append(_udp_socket(one.family, address))
            except OSError as error:
                raise ConfigError(
                    f"webtransport: UDP port {address[1]} at {address[0]} can't be had: {error.strerror or error}"
                ) from None
            if host is not None:
                break
    except BaseException:
        for one in made:
            one.close()
        raise
    return made


def pair(host: str, backlog: int) -> tuple[socket.socket, socket.socket]:
    """Sockets for TCP and UDP on one port that is free for both.

    Raises:
        OSError: there is none, or no such address.
    """
    family, _, _, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    for tries in range(1, _PAIR_TRIES + 1):
        tcp = socket.create_server(address[:2], family=family, backlog=backlog)
        try:
            return tcp, _udp_socket(family, tcp.getsockname())
        except OSError:
            tcp.close()
            if tries == _PAIR_TRIES:
                raise
    raise AssertionError("the loop returns or raises")


class _Endpoint(asyncio.DatagramProtocol):
    """One of the sockets of a listener."""

    def __init__(self, listener: _Listener) -> None:
        self._listener = listener
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        """It listens."""
        self.transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        """A datagram came."""
        assert self.transport is not None  # it listens  # noqa: S101
        try:
            self._listener.received(data, address, self.transport)
        except Exception:
            # Who has sent it, nobody knows. uvloop would close the socket for all.
            logger.exception("a datagram from %s could not be handled", address[0])

    def error_received(self, exc: Exception) -> None:
        """An earlier datagram could not be delivered. Its connection finds out by itself."""


class _Listener:
    """All connections, and the ways to them.

    Args:
        settings: the settings.
        servers: the servers by path.
        loop: the running event loop.
        root_path: where a proxy publishes them.
    """

    def __init__(
        self, settings: WebTransport, servers: Mapping[str, Server], loop: asyncio.AbstractEventLoop, root_path: str
    ) -> None:
        self.settings = settings
        self.servers = servers
        self.loop = loop
        self.root_path = root_path
        self.cork: Cork[_ServerLink] = Cork(
            loop.call_soon, min(io.config.max_clients_per_turn for io in servers.values())
        )
        self.links: set[_ServerLink] = set()
        self._names: dict[bytes, _ServerLink] = {}
        self._half_open: dict[_ServerLink, float] = {}  # and since when; the oldest comes first
        self._by_network: dict[str, int] = {}
        self._endpoints: list[_Endpoint] = []
        self._retry = QuicRetryTokenHandler()
        self._allowance = float(settings.max_handshakes_per_second)
        self._allowed_at = loop.time()
        self._configuration: tuple[Certificate, QuicConfiguration] | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._alone = asyncio.Event()
        self.closing = False

    def endpoint(self) -> _Endpoint:
        """The protocol for one more socket."""
        made = _Endpoint(self)
        self._endpoints.append(made)
        return made

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where it listens."""
        return [one.transport.get_extra_info("sockname")[:2] for one in self._endpoints if one.transport is not None]

    # Datagrams

    def received(self, data: bytes, address: Any, transport: asyncio.DatagramTransport) -> None:
        """A datagram came: give it to its connection, or begin a new one."""
        if not data:
            return
        if not data[0] & 0x80:
            link = self._names.get(data[1 : 1 + _ID_BYTES])
            if link is not None:
                link.received(data, address)
            return
        try:
            header = pull_quic_header(Buffer(data=data), host_cid_length=_ID_BYTES)
        except ValueError:
            return
        link = self._names.get(header.destination_cid)
        if link is not None:
            link.received(data, address)
        elif len(data) >= _FIRST_BYTES and not self.closing:
            self._first(header, data, address, transport)

    def _first(self, header: QuicHeader, data: bytes, address: Any, transport: asyncio.DatagramTransport) -> None:
        """The first datagram of a client, perhaps."""
        chosen = self._configured()
        if header.packet_type == QuicPacketType.VERSION_NEGOTIATION or header.version is None:
            return
        if header.version not in chosen.supported_versions:
            answer = encode_quic_version_negotiation(
                source_cid=header.destination_cid,
                destination_cid=header.source_cid,
                supported_versions=chosen.supported_versions,
            )
            transport.sendto(answer, address)
            return
        if header.packet_type != QuicPacketType.INITIAL or not self._has_room(network_of(address[0])):
            return
        original, retried = header.destination_cid, None
        now = self.loop.time()
        if header.token:
            try:
                original = self._retry.validate_token(
                    address=address, destination_cid=header.destination_cid, token=header.token, now=now
                )
            except ValueError:
                return
            retried = header.destination_cid
        elif self._asks_for_proof(network_of(address[0])):
            own = os.urandom(_ID_BYTES)
            token = self._retry.create_token(
                address=address,
                original_destination_connection_id=original,
                retry_source_connection_id=own,
                now=now,
            )
            transport.sendto(
                encode_quic_retry(
                    version=header.version,
                    source_cid=own,
                    destination_cid=header.source_cid,
                    original_destination_cid=original,
                    retry_token=token,
                ),
                address,
            )
            return
        if not self._may_begin(now):
            return
        if len(self._half_open) >= self.settings.max_half_open:
            next(iter(self._half_open)).drop()
        quic = Connection(
            window_bytes=self.settings.window_bytes,
            configuration=chosen,
            original_destination_connection_id=original,
            retry_source_connection_id=retried,
        )
        link = _ServerLink(self, quic, transport, address)
        link.names = {header.destination_cid, quic.host_cid}
        for name in link.names:
            self._names[name] = link
        self.links.add(link)
        self._half_open[link] = now
        self._by_network[link.network] = self._by_network.get(link.network, 0) + 1
        if self._sweeper is None:
            self._sweeper = self.loop.call_later(_SWEEP_SECONDS, self._sweep)
        link.received(data, address)

    def _has_room(self, network: str) -> bool:
        return (
            len(self.links) < self.settings.max_connections
            and self._by_network.get(network, 0) < self.settings.max_half_open_per_address
        )

    def _asks_for_proof(self, network: str) -> bool:
        """Whether a client has to show that its address is its own.

        Also where many half-open connections have the same one: else nobody at an address could come while somebody
        elsewhere sends in its name.
        """
        settings = self.settings
        return (
            len(self._half_open) >= settings.retry_half_open
            or self._by_network.get(network, 0) >= (settings.max_half_open_per_address + 1) // 2
        )

    def _may_begin(self, now: float) -> bool:
        """Whether there is time for one more handshake, which costs more than all else."""
        rate = self.settings.max_handshakes_per_second
        self._allowance = min(float(rate), self._allowance + (now - self._allowed_at) * rate)
        self._allowed_at = now
        if self._allowance < 1:
            return False
        self._allowance -= 1
        return True

    def _configured(self) -> QuicConfiguration:
        """The configuration for a new connection, with the certificate of today."""
        certificate = self.settings._certificate()
        if self._configuration is None or self._configuration[0] is not certificate:
            made = configuration(is_client=False, idle_timeout_seconds=self.settings.idle_timeout_seconds)
            made.certificate = certificate.certificate
            made.certificate_chain = certificate.chain
            made.private_key = certificate.key
            made.connection_id_length = _ID_BYTES
            self._configuration = certificate, made
        return self._configuration[1]

    # Connections

    def named(self, link: _ServerLink, name: bytes, new: bool) -> None:
        """A connection has one more name, or one less."""
        if new:
            link.names.add(name)
            self._names[name] = link
        else:
            link.names.discard(name)
            if self._names.get(name) is link:
                del self._names[name]

    def settled(self, link: _ServerLink) -> None:
        """A connection has its session, or is gone."""
        if self._half_open.pop(link, None) is not None:
            left = self._by_network[link.network] - 1
            if left:
                self._by_network[link.network] = left
            else:
                del self._by_network[link.network]

    def forget(self, link: _ServerLink) -> None:
        """A connection is gone."""
        self.settled(link)
        self.links.discard(link)
        if not self.links:
            self._alone.set()
        for name in link.names:
            if self._names.get(name) is link:
                del self._names[name]

    def _sweep(self) -> None:
        self._sweeper = None
        longest = self.loop.time() - self.settings.open_timeout_seconds
        for link, since in list(self._half_open.items()):
            if since > longest:
                break
            self.settled(link)
            link.cut()
        if self._half_open:
            self._sweeper = self.loop.call_later(_SWEEP_SECONDS, self._sweep)

    async def close(self) -> None:
        """Take nobody new, let all go, and listen no more."""
        self.closing = True
        self._alone.clear()  # it may have been set whenever there was nobody
        for link in list(self.links):
            link.dismiss()
        if self.links:
            try:
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await self._alone.wait()
            except TimeoutError:
                pass  # they are told below
        for link in list(self.links):
            link.cut()
            link.uncork()
            link.drop()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for one in self._endpoints:
            if one.transport is not None:
                one.transport.close()
        await asyncio.sleep(0)  # the transports close in the next turn


def network_of(host: str) -> str:
    """What counts as one client's address: of IPv6, where everybody has billions of them, the first 64 bits.

    Example:
        >>> network_of("192.0.2.7"), network_of("2001:db8::1:2")
        ('192.0.2.7', '2001:db8::')
    """
    if ":" not in host:
        return host
    address = ipaddress.IPv6Address(host.partition("%")[0])
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Address(int(address) >> 64 << 64))


class _ServerLink(Link):
    """A client's connection."""

    __slots__ = ("_address", "_bound", "_listener", "names", "network")

    def __init__(
        self, listener: _Listener, quic: Connection, transport: asyncio.DatagramTransport, address: Any
    ) -> None:
        # The limit for frames is that of the server whose path is asked for; until then nothing is read.
        super().__init__(quic, listener.loop, listener.cork, transport.sendto, 1)
        self._listener = listener
        self._address = address
        self._bound = 0
        self.network = network_of(address[0])
        self.names: set[bytes] = set()

    def bind(self, receiver: Receiver) -> None:
        """Give the link to whom it belongs from now on: first to whom it knocks at, then to a session."""
        self._bound += 1
        if self._bound == 2:
            self._listener.settled(self)
        super().bind(receiver)

    def uncork(self) -> None:
        """The turn of the event loop is over."""
        super().uncork()
        if self._listener.closing and self._quic.is_over:
            self.drop()  # nobody waits for late datagrams then

    def dismiss(self) -> None:
        """The listener ends: so does the session, unless it has ended by itself."""
        self._leave(Reason.TRANSPORT_CLOSE)
        self.wake()  # one that is over already needs no more than that

    def drop(self) -> None:
        """Forget the connection without a word."""
        self._end(Reason.TRANSPORT_CLOSE)

    def _named(self, connection_id: bytes, new: bool) -> None:
        self._listener.named(self, connection_id, new)

    def _vanished(self) -> None:
        self._listener.forget(self)

    def _look(self) -> None:
        super()._look()
        if self._quic.is_over:
            self._listener.settled(self)  # it only waits for late datagrams

    # HTTP/3

    def _headers(self, event: HeadersReceived) -> None:
        if event.stream_id == self.session_id:
            return
        headers = dict(event.headers)
        if headers.get(b":method") != b"CONNECT" or headers.get(b":protocol") != b"webtransport":
            self._answer(event.stream_id, 404, b"Only WebTransport is spoken here.\n")
        elif self.session_id is not None:
            self._answer(event.stream_id, 429, b"One session for each connection.\n")
        else:
            self._connect(event.stream_id, event.headers, headers)

    def _connect(self, stream_id: int, pairs: Sequence[tuple[bytes, bytes]], headers: dict[bytes, bytes]) -> None:
        path, _, query = headers.get(b":path", b"").decode("latin-1").partition("?")
        path = unquote(path)
        io = self._listener.servers.get(path if path.endswith("/") else path + "/")
        if io is None:
            self._answer(stream_id, 404, b"No server has this path.\n")
            return
        if sum(len(name) + len(value) for name, value in pairs) > io.config.max_header_bytes:
            self._answer(stream_id, 431, f"max_header_bytes is {io.config.max_header_bytes}\n".encode())
            return
        if io.loop is not self._loop:
            io.bind()
        request = Request(
            "CONNECT",
            path,
            query,
            [(b"host", headers[b":authority"]), *(pair for pair in pairs if pair[0][:1] != b":")],
            address=self._address[0],
            secure=True,
            received=time.time(),
            root_path=self._listener.root_path,
        )
        engine = io.engine
        try:
            engine.admit_knock(request)
        except RequestRefused as refusal:
            engine.refused(request, refusal)
            own = engine.responses.dress(request, [("Content-Type", "application/json")])
            self._answer(stream_id, refusal.status, error_body(refusal), own)
            return
        assert self._h3 is not None  # it has told of the request  # noqa: S101
        self.session_id = stream_id
        own = engine.responses.dress(request, [("sec-webtransport-http3-draft", "draft02")])
        self._h3.send_headers(stream_id, [(b":status", b"200"), *_encoded(own)])
        self._reader.max_payload_bytes = io.config.max_payload_bytes
        self.keep(io.config.ping_interval_seconds)
        engine.greet(request, _NAME, self)

    def _answer(self, stream_id: int, status: int, body: bytes, headers: Sequence[tuple[str, str]] = ()) -> None:
        assert self._h3 is not None  # it has told of the request  # noqa: S101
        self._h3.send_headers(stream_id, [(b":status", str(status).encode()), *_encoded(headers)])
        self._h3.send_data(stream_id, body, end_stream=True)

    def _stream(self, event: WebTransportStreamDataReceived) -> None:
        ours = event.session_id == self.session_id and not event.stream_id & 2
        if not ours or self._stream_id is not None or self._closing:
            self._refuse_stream(event.stream_id)
        else:
            self._open_stream(event.stream_id)
            self._data(event.data, event.stream_ended)


def _encoded(headers: Sequence[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
