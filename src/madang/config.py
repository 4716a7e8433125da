"""Every setting of a server, in one frozen and validated dataclass. Units are in the names."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, fields
from typing import TYPE_CHECKING, Any, Final, Literal

from madang.errors import ConfigError

if TYPE_CHECKING:
    from madang.parsers import Parser

__all__ = ["ALL_TRANSPORTS", "GENERATIONS", "Cluster", "Config", "Cookie", "Recovery"]


@dataclass(frozen=True, slots=True)
class Cookie:
    """The cookie that a handshake over HTTP sets, as load balancers with sticky sessions want.

    Attributes:
        name: its name; its value is the session id.
        path: the path that it is sent for.
        http_only: hidden from scripts.
        same_site: "lax", "strict" or "none"; browsers take "none" together with `secure` only.
        secure: sent over TLS only.
        max_age_seconds: how long the browser keeps it; None: as long as it is open.
    """

    name: str = "io"
    path: str = "/"
    http_only: bool = True
    same_site: Literal["lax", "strict", "none"] | None = "lax"
    secure: bool = False
    max_age_seconds: int | None = None

    def header(self, value: str) -> str:
        """The value of the `Set-Cookie` header (RFC 6265, 4.1).

        Example:
            >>> Cookie().header("abc")
            'io=abc; Path=/; HttpOnly; SameSite=Lax'
        """
        parts = [f"{self.name}={value}", f"Path={self.path}"]
        if self.max_age_seconds is not None:
            parts.append(f"Max-Age={self.max_age_seconds}")
        if self.http_only:
            parts.append("HttpOnly")
        if self.secure:
            parts.append("Secure")
        if self.same_site is not None:
            parts.append(f"SameSite={self.same_site.capitalize()}")
        return "; ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """Connection state recovery: a client that was lost and comes back gets what it has missed.

    Attributes:
        max_disconnection_seconds: how long a client may be away.
        skip_middleware: whether one that comes back in time is let in without asking the namespace's middleware.
        max_bytes: about how much memory the kept events of the whole server may take; the oldest go first.
        max_events: how many events are kept at most.
        max_absent: how many clients may be away at a time; the one that is away for longest is forgotten first.
        max_replay_events: how many kept events are looked at for one client that comes back.
        max_replay_bytes: how much one client gets when it comes back.
        max_rooms_left: how many rooms that a client has left lately are remembered, for what it had not got from them.

    Raises:
        ConfigError: a value that makes no sense; the message says which.

    Example:
        ```python
        io = Server(recovery=Recovery(max_disconnection_seconds=300))
        ```
    """

    max_disconnection_seconds: float = 120.0
    skip_middleware: bool = True
    max_bytes: int = 64_000_000
    max_events: int = 100_000
    max_absent: int = 20_000
    max_replay_events: int = 5_000
    max_replay_bytes: int = 4_000_000
    max_rooms_left: int = 1_000

    def __post_init__(self) -> None:
        _check_numbers(self, "recovery: ")


@dataclass(frozen=True, slots=True)
class Cluster:
    """Servers in many processes and machines that act as one.

    Attributes:
        url: the engine between them, and where it is: `redis://`, `redis-classic://`, `redis-streams://`,
            `postgres://`, `nats://`, each with its own options behind a "?".
        name: what people know this server by, in logs and errors; None: its host and process id.
        prefix: with what the names of channels begin. All members need the same.
        heartbeat_interval_seconds: how often this server tells the others that it lives.
        heartbeat_timeout_seconds: after so much silence a member counts as dead.
        request_timeout_seconds: how long the others may take to answer what is asked of servers, as
            `fetch_sockets`.
        relay_timeout_seconds: how long another server may take to show that it has got a request that was handed over
            to it.
        max_buffered_messages: how many messages wait while the engine can't be reached; the oldest go first.
        max_buffered_bytes: how many bytes they may have together.
        max_reconnect_delay_seconds: how long to wait at most before the engine is tried again.

    Raises:
        ConfigError: a value that makes no sense; the message says which.

    Example:
        ```python
        io = Server(cluster="redis://localhost:6379")
        io = Server(cluster=Cluster("redis://localhost:6379", name="courtyard-1"))
        ```
    """

    url: str
    _: KW_ONLY
    name: str | None = None
    prefix: str = "socket.io"
    heartbeat_interval_seconds: float = 1.0
    heartbeat_timeout_seconds: float = 4.0
    request_timeout_seconds: float = 5.0
    relay_timeout_seconds: float = 2.0
    max_buffered_messages: int = 100_000
    max_buffered_bytes: int = 64_000_000
    max_reconnect_delay_seconds: float = 5.0

    def __post_init__(self) -> None:
        _check_numbers(self, "cluster: ")
        if not isinstance(self.url, str) or "://" not in self.url:
            hidden = isinstance(self.url, str) and "@" in self.url  # its password may be in it
            given = "" if hidden else f", not {self.url!r}"
            raise ConfigError(f'cluster: write a URL, as "redis://localhost:6379"{given}')
        if self.heartbeat_timeout_seconds <= self.heartbeat_interval_seconds:
            raise ConfigError("cluster: heartbeat_timeout_seconds must be greater than heartbeat_interval_seconds")


#: The generations that clients may speak where nobody says otherwise.
GENERATIONS: Final = ("eio4",)
#: What `transports="all"` stands for.
ALL_TRANSPORTS: Final = (
    "polling",
    "shortpolling",
    "jsonp",
    "multipart",
    "iframe",
    "sse",
    "websocket",
    "flashsocket",
    "webtransport",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All settings of a `Server`. Each may be given to `Server(...)` as a keyword.

    Where to listen and to whom:

    Attributes:
        path: the path under which clients find the server; clients call it `path` too.
        transports: names of the transports that clients may use, each a module of `madang.transports`; or "all" of
            those that we have.
        allow_upgrades: whether a client may move to a better transport while it is connected.
        generations: the protocol generations that clients may speak, each a module of `madang.wire`; or "all" of those
            that we have. Clients older than 3.0 are not let in unless this says so: what they tell each other as their
            id is the key to their connection, and browsers send cookies with their requests.
        parser: how packets are written: a module of `madang.parsers` ("json", "msgpack", "raw"), or a parser of
            your own. Clients must use the same.
        origins: which web pages may connect. "same": those of our own host; "*": all; or a list such as
            `["https://example.org"]`. Requests without an `Origin` header (which is no browser) always may.
        cors_credentials: whether pages of other origins may send cookies (`withCredentials`).
        cookie: a `Cookie` to set at the handshake, or None.
        serve_client: whether pages get the official client and the transports of `madang-transports` under `path`, as
            `/socket.io/socket.io.js` and `/socket.io/transports.js`.
        clean_up_empty_namespaces: whether a namespace that a pattern has made goes when its last client does.
        allow_request: a function that is given the `Request` of each handshake and returns whether to take it.
        recovery: whether a client that was lost and comes back gets what it has missed; a `Recovery` says within
            which limits, and True means its defaults.
        cluster: the engine that connects this server with others, as a URL or a `Cluster`; None: it is alone.

    Handlers:
        ordered_handlers: whether handlers are `ordered` that don't say, and whose namespace doesn't.

    Time:
        ping_interval_seconds: how long after a pong the next ping is sent.
        ping_timeout_seconds: how long a client may take to answer it.
        upgrade_timeout_seconds: how long an upgrade may take.
        connect_timeout_seconds: how long a client may take to join its first namespace.
        ack_timeout_seconds: how long `call` waits for an acknowledgement when it isn't told.
        header_timeout_seconds: how long a client may take to send the head of a request (`madang serve`).
        request_timeout_seconds: how long it may take to send the whole of it.
        poll_timeout_seconds: how long a poll is held when there is nothing to say. Pings end it too. Proxies give up
            after 30 to 100 seconds.
        stream_timeout_seconds: how long a streaming response is kept open; then the client asks for the next one.
        min_short_poll_seconds: how soon a client may ask again whose polls don't wait.
        shutdown_timeout_seconds: how long handlers may go on when the server stops.

    Limits:
        max_payload_bytes: the size of one WebSocket message or one POST; clients are told it.
        max_packet_bytes: the size of one packet with all its binary attachments.
        max_packets_per_payload: how many packets one POST may hold.
        max_attachments: how many binary attachments one packet may have.
        max_json_depth: how deep lists and objects may be nested, in MessagePack too.
        max_event_args: how many arguments one event may have.
        max_namespaces_per_client: how many namespaces one connection may join.
        max_dynamic_namespaces: how many namespaces that patterns have made there may be at a time.
        max_namespace_length: how many characters the name of such a namespace may have.
        max_worker_threads: how many `thread=True` handlers run at once; the next ones wait, each client in its turn.
        max_threadsafe_calls: how many calls of `io.threadsafe` may wait for the event loop; the next ones raise
            `LimitError`.
        max_handlers_per_client: how many handlers of one connection may wait, or wait for their turn. Beyond that the
            client isn't read until half of them have ended.
        max_rooms_per_socket: how many rooms one socket may be in.
        max_clients_per_turn: to how many clients is written before others get their turn. A broadcast to more goes out
            in several turns of the event loop.
        max_buffered_bytes: how much may wait for a client that reads slowly; then it is disconnected with
            the reason "slow consumer".
        max_connections: how many clients this process takes; the next ones get HTTP 503.
        max_unanswered_polls: how many long polls and streams this process holds open; the next ones get HTTP 503.
        max_stream_bytes: after so much a streaming response ends, and the client asks for the next one. Browsers keep
            all that came in some of them.
        max_header_bytes: the size of the head of a request (`madang serve`).
        max_websocket_fragments: in how many frames one WebSocket message may come.
        max_flash_policy_connections: how many connections to the Flash policy port there may be at a time; one more
            ends the oldest.

    Compression:
        http_compression_threshold_bytes: responses to polls of this size or more are compressed; None: never.
        websocket_compression: whether `permessage-deflate` is offered. It costs memory and time; off, as in
            the reference server.
        websocket_compression_threshold_bytes: messages of this size or more are compressed.
        websocket_compression_level: 1 (fast) to 9 (small).

    Raises:
        ConfigError: a value that makes no sense; the message says which.

    Example:
        ```python
        io = Server(ping_interval_seconds=10, origins=["https://example.org"])
        ```
    """

    path: str = "/socket.io/"
    transports: Literal["all"] | Sequence[str] = ("polling", "websocket")
    allow_upgrades: bool = True
    generations: Literal["all"] | Sequence[str] = GENERATIONS
    parser: str | Parser = "json"
    origins: Literal["same", "*"] | Sequence[str] = "same"
    cors_credentials: bool = False
    cookie: Cookie | None = None
    serve_client: bool = True
    clean_up_empty_namespaces: bool = True
    allow_request: Callable[[Any], bool] | None = None
    recovery: Recovery | bool = False
    cluster: Cluster | str | None = None

    ordered_handlers: bool = False

    ping_interval_seconds: float = 25.0
    ping_timeout_seconds: float = 20.0
    upgrade_timeout_seconds: float = 10.0
    connect_timeout_seconds: float = 45.0
    ack_timeout_seconds: float = 30.0
    header_timeout_seconds: float = 8.0
    request_timeout_seconds: float = 15.0
    shutdown_timeout_seconds: float = 10.0
    poll_timeout_seconds: float = 30.0
    stream_timeout_seconds: float = 600.0
    min_short_poll_seconds: float = 0.1

    max_payload_bytes: int = 1_000_000
    max_packet_bytes: int = 10_000_000
    max_packets_per_payload: int = 16_384
    max_attachments: int = 32
    max_json_depth: int = 64
    max_event_args: int = 256
    max_namespaces_per_client: int = 64
    max_dynamic_namespaces: int = 10_000
    max_namespace_length: int = 200
    max_handlers_per_client: int = 256
    max_worker_threads: int = 32
    max_threadsafe_calls: int = 100_000
    max_rooms_per_socket: int = 10_000
    max_clients_per_turn: int = 500
    max_buffered_bytes: int = 8_000_000
    max_connections: int = 100_000
    max_unanswered_polls: int = 50_000
    max_stream_bytes: int = 8_000_000
    max_header_bytes: int = 65_536
    max_websocket_fragments: int = 131_072
    max_flash_policy_connections: int = 256

    http_compression_threshold_bytes: int | None = 1024
    websocket_compression: bool = False
    websocket_compression_threshold_bytes: int = 1024
    websocket_compression_level: int = 6

    def __post_init__(self) -> None:
        _check_numbers(self)
        path: Any = self.path
        if not (isinstance(path, str) and path.startswith("/") and len(path) > 1) or "?" in path:
            raise ConfigError(f'path must start with "/" and be more than that, as "/socket.io/", not {self.path!r}')
        if not self.path.endswith("/"):
            object.__setattr__(self, "path", self.path + "/")
        if self.transports == "all":
            object.__setattr__(self, "transports", ALL_TRANSPORTS)
        for name in ("transports", "generations"):
            value = getattr(self, name)
            if name == "generations" and value == "all":
                continue
            if isinstance(value, str) or not value:
                raise ConfigError(f'{name} must be "all" or a list of names, not {value!r}')
            object.__setattr__(self, name, tuple(value))
        if isinstance(self.origins, str):
            if self.origins not in ("same", "*"):
                raise ConfigError(f'origins must be "same", "*" or a list of origins, not {self.origins!r}')
        else:
            object.__setattr__(self, "origins", tuple(origin.rstrip("/").lower() for origin in self.origins))
            for origin in self.origins:
                if "://" not in origin and origin != "null":
                    raise ConfigError(f'an origin is written with its scheme, as "https://{origin}", not {origin!r}')
        if inspect.iscoroutinefunction(self.allow_request):
            # What it returns would be a coroutine, which counts as true: it would let everyone in.
            raise ConfigError("allow_request must be a plain function; to ask a database, use a middleware: io.use")
        if self.cors_credentials and self.origins == "*":
            raise ConfigError(
                'cors_credentials with origins="*" would let every page of the web act as your users; name the origins'
            )
        if self.recovery is True:
            object.__setattr__(self, "recovery", Recovery(max_replay_bytes=min(4_000_000, self.max_buffered_bytes)))
        elif not isinstance(self.recovery, Recovery | bool):
            raise ConfigError(f"recovery must be True, False or a Recovery, not {self.recovery!r}")
        elif isinstance(self.recovery, Recovery) and self.recovery.max_replay_bytes > self.max_buffered_bytes:
            raise ConfigError("recovery: max_replay_bytes must not be greater than max_buffered_bytes")
        if isinstance(self.cluster, str):
            object.__setattr__(self, "cluster", Cluster(self.cluster))
        elif not isinstance(self.cluster, Cluster | None):
            raise ConfigError(f"cluster must be a URL or a Cluster, not {self.cluster!r}")
        if self.max_packet_bytes < self.max_payload_bytes:
            raise ConfigError("max_packet_bytes must not be smaller than max_payload_bytes")
        if self.websocket_compression_level not in range(1, 10):
            raise ConfigError(f"websocket_compression_level must be 1 to 9, not {self.websocket_compression_level!r}")


def _check_numbers(settings: Any, whose: str = "") -> None:
    """Refuse numbers that make no sense, by the units and limits in their names."""
    for field in fields(settings):
        value = getattr(settings, field.name)
        if field.name.endswith("_seconds") and not (isinstance(value, int | float) and 0 < value < 1e9):
            raise ConfigError(f"{whose}{field.name} must be a positive number of seconds, not {value!r}")
        if (
            field.name.startswith("max_")
            and not field.name.endswith("_seconds")
            and (type(value) is not int or value < 1)
        ):
            raise ConfigError(f"{whose}{field.name} must be a whole number of at least 1, not {value!r}")
