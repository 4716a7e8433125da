"""Every setting of a client, in one frozen and validated dataclass, and the address that it connects to."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from madang import parsers, transports, wire
from madang.config import Config
from madang.errors import ConfigError

__all__ = ["Address", "ClientConfig", "check_proxy"]

#: The links that a client can open; and of the other transports, it speaks all that are not for pages alone.
_LINKS: Final = ("websocket", "webtransport")
#: Fields of the query that are the protocol's own; "j" means JSONP.
_RESERVED: Final = ("EIO", "transport", "sid", "t", "j")
_SECURE: Final = {"http": False, "ws": False, "https": True, "wss": True}
_PROXIES: Final = ("http", "https")
#: RFC 9110, 5.6.2 and 5.5. The latter has bytes beyond ASCII too, but nobody agrees on what they mean.
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HEADER_VALUE: Final = re.compile(r"[\t -~]*")
#: Headers that say how a request is framed, or what a WebSocket is asked for: the protocol's own.
_OWN_HEADERS: Final = frozenset({"connection", "content-length", "content-type", "transfer-encoding", "upgrade"})


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is, and which namespace of it is meant: a URL, taken apart.

    Attributes:
        host: its name or IP address.
        port: its port.
        secure: whether TLS is used.
        namespace: the URL's path, which names the namespace, as for the JavaScript client.
        query: the fields of the URL's query.
    """

    host: str
    port: int
    secure: bool
    namespace: str
    query: Mapping[str, str]

    @classmethod
    def of(cls, url: str) -> Address:
        """Read a URL.

        Raises:
            ConfigError: it is no URL of a server; the message says what is wrong.

        Example:
            >>> Address.of("https://example.org/admin?room=7")
            Address(host='example.org', port=443, secure=True, namespace='/admin', query={'room': '7'})
        """
        if not isinstance(url, str):
            raise ConfigError(f'the URL must be a string, as "https://example.org", not {url!r}')
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise ConfigError(f"{url!r} is no URL: {error}") from None
        if parts.scheme not in _SECURE:
            raise ConfigError(
                f'a URL starts with http://, https://, ws:// or wss://, as "https://example.org": {url!r}'
            )
        if not parts.hostname:
            raise ConfigError(f"the URL {url!r} names no host")
        if parts.username is not None or parts.password is not None:
            raise ConfigError("user and password don't belong into the URL; give auth=... or headers=...")
        if not _is_visible(url):
            raise ConfigError(f"a URL has visible ASCII characters only; quote the others: {url!r}")
        secure = _SECURE[parts.scheme]
        if port is None:
            port = 443 if secure else 80
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        _check_query(query)
        return cls(parts.hostname, port, secure, parts.path or "/", query)

    @property
    def authority(self) -> str:
        """Host and port, as they stand in a `Host` header.

        Example:
            >>> Address.of("http://[::1]:8000").authority
            '[::1]:8000'
        """
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """Scheme, host and port, as of an HTTP URL."""
        return f"{'https' if self.secure else 'http'}://{self.authority}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientConfig:
    """All settings of a `Client` or a `BlockingClient`. Each may be given to these as a keyword.

    The way to the server:

    Attributes:
        path: the path that the server is found under, as in its own settings.
        query: what to add to the query of each request.
        headers: what to add to the headers of each request.
        transports: the transports to use; the first one connects. "polling", "shortpolling", "sse", "multipart",
            "websocket", "webtransport".
        upgrade: whether to move to a better transport once connected.
        remember_upgrade: whether to connect by the better transport from the start after an upgrade has worked once.
        try_all_transports: whether to try the next transport when the first one can't connect. What has worked is
            tried first at the next connection.
        parser: how packets are written, the same as on the server: "json", "msgpack", or a `Parser`.
        generation: the protocol generation to speak.
        proxy: "environment": as the environment variables say (`HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`);
            None: none; or the URL of one, as "http://user:password@proxy:3128". WebTransport can go through none, and
            isn't tried where there is one.
        ssl: how to check the server's certificate: an `ssl.SSLContext`, or the path of a file or folder of
            certificates to trust. None: as the system does.
        certificate_hashes: by WebTransport, certificates to trust without an authority: their SHA-256 hashes, of 32
            bytes each.
        certificate: a client certificate to show: the path of a file with certificate and key, or the paths of both.

    Reconnection:
        reconnection: whether to connect again when the connection is lost.
        reconnection_attempts: after how many failed tries to give up; None: never.
        reconnection_delay_seconds: how long to wait before the first try; twice as long before each next one.
        reconnection_delay_max_seconds: how long to wait at most.
        randomization_factor: by how much of itself a delay is made shorter or longer by chance, 0 to 1.

    Time:
        connect_timeout_seconds: how long a connection may take, and then how long the answer to joining a namespace.
        transport_timeout_seconds: how long one transport may take to connect while others are left to try, with
            `try_all_transports`; at most its share of `connect_timeout_seconds`.
        upgrade_timeout_seconds: how long the move to a better transport may take; then all stays as it was.
        short_poll_interval_seconds: how long to wait before each request of the transport "shortpolling"; at most half
            of the server's ping timeout.
        ack_timeout_seconds: how long `call` waits when it isn't told, and each try of `retries`.
        close_timeout_seconds: how long `close` may take to send what waits and to let handlers end.

    Delivery:
        retries: how often an event is sent again when no acknowledgement comes; events then go one after the other. 0:
            never.

    Limits:
        max_buffered_packets: how many packets may wait for a connection; more raise `LimitError`.
        max_buffered_bytes: how much may wait for a server that reads slowly; more raises `LimitError`.
        max_buffered_events: how many events may wait for who iterates over `events()`.
        max_payload_bytes: the size of one WebSocket message, one response of the server, or one payload in a stream.
        max_packet_bytes: the size of one packet with all its binary attachments.
        max_packets_per_payload: how many packets one response may hold.
        max_attachments: how many binary attachments one packet may have.
        max_json_depth: how deep lists and objects may be nested.
        max_event_args: how many arguments one event may have.

    Compression:
        websocket_compression: whether to ask for `permessage-deflate`.

    Raises:
        ConfigError: a value that makes no sense; the message says which.

    Example:
        ```python
        client = Client("https://example.org", transports=["websocket"], reconnection_attempts=10)
        ```
    """

    path: str = "/socket.io/"
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    transports: Sequence[str] = ("polling", "websocket")
    upgrade: bool = True
    remember_upgrade: bool = False
    try_all_transports: bool = False
    parser: str | parsers.Parser = "json"
    generation: str = Config().generations[0]
    proxy: str | None = "environment"
    ssl: ssl.SSLContext | str | os.PathLike[str] | None = None
    certificate_hashes: Sequence[bytes] = ()
    certificate: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None

    reconnection: bool = True
    reconnection_attempts: int | None = None
    reconnection_delay_seconds: float = 1.0
    reconnection_delay_max_seconds: float = 5.0
    randomization_factor: float = 0.5

    connect_timeout_seconds: float = 20.0
    transport_timeout_seconds: float = 5.0
    upgrade_timeout_seconds: float = 10.0
    short_poll_interval_seconds: float = 1.0
    ack_timeout_seconds: float = 30.0
    close_timeout_seconds: float = 5.0

    retries: int = 0

    max_buffered_packets: int = 10_000
    max_buffered_bytes: int = 8_000_000
    max_buffered_events: int = 10_000
    max_payload_bytes: int = 100_000_000
    max_packet_bytes: int = 100_000_000
    max_packets_per_payload: int = 1_000_000
    max_attachments: int = 1024
    max_json_depth: int = 64
    max_event_args: int = 256

    websocket_compression: bool = False

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name.endswith("_seconds") and not (_is_number(value) and 0 < value < 1e9):
                raise ConfigError(f"{one.name} must be a positive number of seconds, not {value!r}")
            if one.name.startswith("max_") and (type(value) is not int or value < 1):
                raise ConfigError(f"{one.name} must be a whole number of at least 1, not {value!r}")
            if isinstance(one.default, bool) and type(value) is not bool:
                raise ConfigError(f"{one.name} must be True or False, not {value!r}")
        path: Any = self.path
        if not (isinstance(path, str) and path.startswith("/") and len(path) > 1) or "?" in path or "#" in path:
            raise ConfigError(f'path must start with "/" and be more than that, as "/socket.io/", not {path!r}')
        if not _is_visible(path):
            raise ConfigError(f"path has visible ASCII characters only; quote the others: {path!r}")
        if not path.endswith("/"):
            object.__setattr__(self, "path", path + "/")
        for name in ("query", "headers"):
            object.__setattr__(self, name, _texts(name, getattr(self, name)))
        _check_query(self.query)
        _check_headers(self.headers)
        self._check_transports()
        self._check_tls_and_proxy()
        self._check_retrying()
        parsers.load(self.parser)
        if not wire.load(self.generation).query:
            raise ConfigError(f"generation {self.generation!r}: a server can serve its clients, but Client is none")
        if self.max_packet_bytes < self.max_payload_bytes:
            raise ConfigError("max_packet_bytes must not be smaller than max_payload_bytes")

    def _check_transports(self) -> None:
        names: Any = self.transports
        if isinstance(names, str) or not isinstance(names, Sequence) or not names:
            raise ConfigError(f'transports must be a list of names, as ["websocket"], not {names!r}')
        for name in names:
            _check_transport(name)
        if len(set(names)) < len(names):
            raise ConfigError(f"transports names one twice: {names!r}")
        object.__setattr__(self, "transports", tuple(names))

    def _check_tls_and_proxy(self) -> None:
        trust: Any = self.ssl
        if not (trust is None or isinstance(trust, ssl.SSLContext | str | os.PathLike)):
            raise ConfigError(f"ssl must be an ssl.SSLContext or the path of certificates to trust, not {trust!r}")
        if isinstance(trust, ssl.SSLContext) and self.certificate is not None:
            raise ConfigError("load the client certificate into the SSLContext that you give as ssl")
        hashes: Any = self.certificate_hashes
        if isinstance(hashes, bytes | str) or not all(isinstance(one, bytes) and len(one) == 32 for one in hashes):
            raise ConfigError(f"certificate_hashes must be a list of hashes of 32 bytes, not {hashes!r:.80}")
        object.__setattr__(self, "certificate_hashes", tuple(hashes))
        shown: Any = self.certificate
        if isinstance(shown, Sequence) and not isinstance(shown, str):
            if len(shown) != 2 or not all(isinstance(one, str | os.PathLike) for one in shown):
                raise ConfigError(f"certificate must be one path, or the paths of certificate and key, not {shown!r}")
        elif not (shown is None or isinstance(shown, str | os.PathLike)):
            raise ConfigError(f"certificate must be one path, or the paths of certificate and key, not {shown!r}")
        proxy: Any = self.proxy
        if proxy is not None and proxy != "environment":
            check_proxy(proxy)

    def _check_retrying(self) -> None:
        attempts, factor, retries = self.reconnection_attempts, self.randomization_factor, self.retries
        if attempts is not None and (type(attempts) is not int or attempts < 1):
            raise ConfigError(f"reconnection_attempts must be None or a whole number of at least 1, not {attempts!r}")
        if not (_is_number(factor) and 0 <= factor <= 1):
            raise ConfigError(f"randomization_factor must be a number from 0 to 1, not {factor!r}")
        if type(retries) is not int or retries < 0:
            raise ConfigError(f"retries must be a whole number of at least 0, not {retries!r}")
        if self.reconnection_delay_max_seconds < self.reconnection_delay_seconds:
            raise ConfigError("reconnection_delay_max_seconds must not be smaller than reconnection_delay_seconds")

    @classmethod
    def given(cls, config: ClientConfig | None, settings: dict[str, Any]) -> ClientConfig:
        """The settings of a client, given as one object or one by one.

        Raises:
            ConfigError: both are given, there is no such setting, or a value makes no sense.
        """
        if config is not None and settings:
            raise ConfigError("give either a ClientConfig or single settings, not both")
        if config is not None and not isinstance(config, cls):
            raise ConfigError(f"config must be a ClientConfig, not {config!r:.80}")
        unknown = sorted(set(settings) - {one.name for one in fields(cls)})
        if unknown:
            raise ConfigError(f"there is no setting {unknown[0]!r}; see ClientConfig")
        return config or cls(**settings)

    def limits(self) -> Config:
        """The limits, in the form that wires and parsers take."""
        return Config(
            max_payload_bytes=self.max_payload_bytes,
            max_packet_bytes=self.max_packet_bytes,
            max_packets_per_payload=self.max_packets_per_payload,
            max_attachments=self.max_attachments,
            max_json_depth=self.max_json_depth,
            max_event_args=self.max_event_args,
        )


def check_proxy(url: Any) -> None:
    """Refuse what can't be the URL of a proxy.

    Raises:
        ConfigError: it is none.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in _PROXIES and parts.hostname and (parts.port is None or parts.port > 0)
    except (ValueError, TypeError, AttributeError):
        usable = False
    if isinstance(url, str) and url.lower().startswith("socks"):
        raise ConfigError(f"SOCKS proxies are not supported ({_shown(url)}); give an HTTP proxy, or proxy=None")
    if not usable:
        raise ConfigError(f'the proxy must be "environment", None or a URL, as "http://proxy:3128", not {_shown(url)}')


def _shown(url: Any) -> str:
    """The URL of a proxy for a message, without the password that may be in it."""
    return re.sub(r"(?<=//).*@", "...@", repr(url))


def _check_transport(name: Any) -> None:
    if not isinstance(name, str):
        raise ConfigError(f'transports must be a list of names, as ["websocket"]; {name!r} is none')
    transport = transports.load(name)
    if isinstance(transport, transports.HttpTransport):
        if transport.pages_only:
            raise ConfigError(
                f"the transport {name!r} is made for pages in browsers, and of no use to a client in Python; give "
                '"polling", or "sse"'
            )
    elif name not in _LINKS:
        raise ConfigError(f"a client in Python opens links by {', '.join(_LINKS)}, not by {name!r}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _texts(name: str, given: Any) -> dict[str, str]:
    if not isinstance(given, Mapping):
        raise ConfigError(f"{name} must be a dict of strings, not {given!r}")
    for key, value in given.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise ConfigError(f"{name} must be a dict of strings; {key!r}: {value!r} is not")
    return dict(given)


def _is_visible(text: str) -> bool:
    return all("!" <= character <= "~" for character in text)


def _check_headers(headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        if _HEADER_NAME.fullmatch(name) is None:
            raise ConfigError(f"this can't be a header: {name!r} has characters that no name has")
        if _HEADER_VALUE.fullmatch(value) is None:
            # The value may be a secret: it is not shown.
            raise ConfigError(
                f"this can't be a header: the value of {name!r} has a line break, or a character that is not ASCII; "
                "encode it, as by urllib.parse.quote or in base64"
            )
        if name.lower() in _OWN_HEADERS or name.lower().startswith("sec-websocket-"):
            raise ConfigError(f"the header {name!r} is the protocol's own")


def _check_query(query: Mapping[str, str]) -> None:
    for name in _RESERVED:
        if name in query:
            raise ConfigError(f"the field {name!r} of the query is the protocol's own; choose another name")
    for name, value in query.items():
        if any("\ud800" <= character <= "\udfff" for character in name + value):
            raise ConfigError(f"the query has half of a character, which can't be sent: {name!r}: {value!r}")
