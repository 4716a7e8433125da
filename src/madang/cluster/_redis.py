"""What the buses over Redis have in common: how a URL says where it is, and a link that speaks its protocol.

redis-py connects: TLS, passwords, the greeting. What comes then is read here, and by hiredis where that is installed:
on a link that others' messages come in on, commands and their answers go at the same time, which the newer protocol
(RESP3, Redis 6) allows and redis-py's own pub/sub object doesn't.

Source: https://redis.io/docs/latest/develop/reference/protocol-spec/
"""

from __future__ import annotations

import asyncio
import binascii
import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import Connection, SSLConnection
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from madang.cluster.link import check_login
from madang.errors import ConfigError

#: Redis's own reader in C, five times as fast as ours.
hiredis: Any = import_module("hiredis") if find_spec("hiredis") is not None else None

__all__ = [
    "Address",
    "Engine",
    "Link",
    "Push",
    "Reader",
    "choice",
    "command",
    "passes",
    "seconds",
    "shuffled",
    "slot_of",
    "whole",
    "yes_no",
]

#: A host and a port.
Address = tuple[str, int]

#: The numbers of slots that a Redis Cluster spreads its keys and channels over.
_SLOTS: Final = 16384
#: Into how many steps the time is cut after which a silent engine counts as gone.
_STEPS: Final = 5


# The options of a URL


def choice(*allowed: str) -> Callable[[str], str]:
    """An option that is one of a few words."""

    def read(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"one of {', '.join(allowed)}")
        return text

    return read


def yes_no(text: str) -> bool:
    """An option that is switched on or off."""
    if text.lower() not in ("true", "false", "yes", "no", "1", "0"):
        raise ValueError("true or false")
    return text.lower() in ("true", "yes", "1")


def seconds(text: str) -> float:
    """An option that is a time in seconds."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise ValueError("a number of seconds greater than 0")
    return value


def whole(text: str) -> int:
    """An option that is a whole number greater than 0."""
    if not text.isascii() or not text.isdecimal() or int(text) == 0:
        raise ValueError("a whole number greater than 0")
    return int(text)


def _file(text: str) -> str:
    if not Path(text).is_file():
        raise ValueError(f"the path of a file, and there is none at {text!r}")
    return text


_ANYWHERE: Final[Mapping[str, Callable[[str], Any]]] = {"socket_timeout": seconds}
_WITH_TLS: Final[Mapping[str, Callable[[str], Any]]] = {
    "ssl_ca_certs": _file,
    "ssl_certfile": _file,
    "ssl_keyfile": _file,
    "ssl_cert_reqs": choice("required", "none"),
    "ssl_check_hostname": yes_no,
}
_WITH_SENTINEL: Final[Mapping[str, Callable[[str], Any]]] = {"sentinel_username": str, "sentinel_password": str}


class Engine:
    """Where a Redis is and how to get in, as a URL says.

    `redis://user:password@host:6379/0`; `redis+sentinel://host1:26379,host2:26379/mymaster/0`, where the hosts are
    those of Sentinels; `redis+cluster://host1:6379,host2:6379`. With `rediss` (or `valkeys`) in front by TLS.

    Args:
        url: the URL.
        known: the options behind its "?" that a bus has of its own, and what reads each; it raises `ValueError` that
            tells what the value has to be. All have `socket_timeout`: after how many seconds of silence the engine
            counts as gone. With TLS there are `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile` (paths),
            `ssl_cert_reqs` ("required" or "none"), `ssl_check_hostname`; with Sentinel its own `sentinel_username`
            and `sentinel_password`.

    Attributes:
        kind: "single", "sentinel" or "cluster".
        addresses: the hosts of the URL.
        service: what Sentinels call the Redis; else "".
        database: the number of the database.
        tls: whether by TLS.
        options: the bus's own options that were given, read.
        timeout: the `socket_timeout`.

    Raises:
        ConfigError: the URL makes no sense; the message tells why, without the password.

    Example:
        ```python
        engine = Engine("redis://localhost:6379?stream=chat", {"stream": str})
        client = await engine.client()
        ```
    """

    def __init__(self, url: str, known: Mapping[str, Callable[[str], Any]] | None = None) -> None:
        scheme, _, rest = url.partition("://")
        base, _, kind = scheme.partition("+")
        self.kind = kind or "single"
        if self.kind not in ("single", "sentinel", "cluster"):
            raise ConfigError(f"cluster: {base}+{kind}:// is unknown; there are {base}+sentinel and {base}+cluster")
        check_login(url)
        self.tls = base.startswith(("rediss", "valkeys"))
        rest, _, query = rest.partition("?")
        place, _, path = rest.partition("/")
        login, _, hosts = place.rpartition("@")
        name, _, password = login.partition(":")
        self._username = unquote(name) or None
        self._password = unquote(password) or None
        self.addresses = [self._address(scheme, host) for host in hosts.split(",")]
        if self.kind == "single" and len(self.addresses) > 1:
            raise ConfigError(f"cluster: {scheme}:// takes one host; for more write {base}+cluster or {base}+sentinel")
        self.service = ""
        if self.kind == "sentinel":
            self.service, _, path = path.partition("/")
            if not self.service:
                raise ConfigError(f"cluster: write what the Sentinels call it, as {scheme}://host:26379/mymaster")
        if path and not (path.isascii() and path.isdecimal()):
            raise ConfigError(f"cluster: {scheme}:// ends with the number of a database, not with {path!r}")
        self.database = int(path or 0)
        if self.database and self.kind == "cluster":
            raise ConfigError("cluster: a Redis Cluster has no other database than 0")
        self.options: dict[str, Any] = {}
        common = self._read_options(scheme, query, known or {})
        self.timeout: float = common.pop("socket_timeout", 2.5)
        self._sentinel_login = {
            "username": common.pop("sentinel_username", None),
            "password": common.pop("sentinel_password", None),
        }
        self._ssl: dict[str, Any] = common

    def _address(self, scheme: str, text: str) -> Address:
        host, separator, port = text.rpartition(":")
        if not separator or "]" in port:
            host, port = text, "26379" if self.kind == "sentinel" else "6379"
        if not port.isascii() or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ConfigError(f"cluster: {port!r} is no port; write {scheme}://host:6379")
        return host.strip("[]") or "localhost", int(port)

    def _read_options(self, scheme: str, query: str, own: Mapping[str, Callable[[str], Any]]) -> dict[str, Any]:
        common = dict(_ANYWHERE)
        if self.tls:
            common |= _WITH_TLS
        if self.kind == "sentinel":
            common |= _WITH_SENTINEL
        read: dict[str, Any] = {}
        for name, text in parse_qsl(query, keep_blank_values=True):
            reader = own.get(name) or common.get(name)
            if reader is None:
                names = ", ".join(sorted((*own, *common)))
                hint = "; it needs TLS: rediss://" if name in _WITH_TLS else ""
                raise ConfigError(f"cluster: {scheme}:// has no option {name!r}{hint}; it has {names}")
            try:
                (self.options if name in own else read)[name] = reader(text)
            except ValueError as error:
                raise ConfigError(f"cluster: {name} is {error}, not {text!r}") from None
        return read

    @property
    def _settings(self) -> dict[str, Any]:
        return {
            "username": self._username,
            "password": self._password,
            "socket_timeout": self.timeout,
            "socket_connect_timeout": self.timeout,
            "protocol": 3,
        }

    async def connection(self, address: Address, *, login: Mapping[str, Any] | None = None) -> Connection:
        """A connection of redis-py's, past the greeting.

        Args:
            address: where to.
            login: other settings than the URL's, as `username` and `password`.

        Raises:
            ConfigError: we are not let in, or it is too old.
            Exception: it can't be reached.
        """
        settings = self._settings | {"db": self.database, "client_name": "madang"} | dict(login or {})
        host, port = address
        connection: Connection
        if self.tls:
            connection = SSLConnection(host=host, port=port, **self._ssl, **settings)
        else:
            connection = Connection(host=host, port=port, **settings)
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
        except BaseException as error:
            await connection.disconnect(nowait=True)
            if isinstance(error, AuthenticationError):
                raise ConfigError(f"cluster: {host}:{port} does not let us in: {error}") from None
            if isinstance(error, ResponseError) and "unknown command" in str(error).lower():
                raise ConfigError(f"cluster: {host}:{port} is older than Redis 6, which is too old: {error}") from None
            if isinstance(error, ResponseError) and "DB index" in str(error):
                raise ConfigError(f"cluster: {host}:{port} has no database {self.database}: {error}") from None
            raise
        return connection

    async def link(self, address: Address, pushed: Callable[[list[Any]], None] | None = None) -> Link:
        """A link of ours to one Redis. As `connection`."""
        return Link(await self.connection(address), self.timeout, pushed)

    async def primary(self) -> Address:
        """Where the Redis is that is written to: the Sentinels are asked.

        Raises:
            ConnectionError: no Sentinel knows.
        """
        if self.kind != "sentinel":
            return self.addresses[0]
        errors: list[str] = []
        for address in tuple(self.addresses):
            where = f"{address[0]}:{address[1]}"
            try:
                link = Link(
                    await self.connection(address, login=self._sentinel_login | {"db": 0, "client_name": None}),
                    self.timeout,
                )
            except (OSError, RedisError) as error:
                errors.append(f"{where}: {error}")
                continue
            try:
                found = await link.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service)
            except (OSError, RedisError) as error:
                errors.append(f"{where}: {error}")
                continue
            finally:
                await link.close()
            if found:
                # The one that has answered is asked first the next time.
                self.addresses.remove(address)
                self.addresses.insert(0, address)
                return found[0].decode(), int(found[1])
            errors.append(f"{where}: knows no {self.service!r}")
        raise ConnectionError(f"no Sentinel tells where {self.service!r} is: {'; '.join(errors)}")

    async def client(self, **changes: Any) -> Redis | RedisCluster:
        """A client of redis-py's for what is no pub/sub, which connects when it is used.

        Args:
            changes: settings of redis-py's in place of ours, as `socket_timeout`.

        Raises:
            ConnectionError: no Sentinel knows where it is.
        """
        settings = self._settings | ({"ssl": True, **self._ssl} if self.tls else {}) | changes
        if self.kind == "cluster":
            return RedisCluster(startup_nodes=[ClusterNode(*address) for address in self.addresses], **settings)
        host, port = await self.primary()
        return Redis(host=host, port=port, db=self.database, **settings)


def slot_of(name: str) -> int:
    """The slot of a Redis Cluster that a key or a sharded channel belongs to.

    Example:
        >>> slot_of("socket.io#/#")
        13868
    """
    start = name.find("{")
    if start >= 0:
        end = name.find("}", start + 1)
        if end > start + 1:
            name = name[start + 1 : end]
    return binascii.crc_hqx(name.encode(), 0) % _SLOTS


# The protocol


class Push(list[Any]):
    """What comes unasked."""


class _TooShort(Exception):
    """There is more to come: at least so many bytes."""

    def __init__(self, missing: int) -> None:
        self.missing = missing


class Reader:
    """Reads what a Redis says, where hiredis isn't installed. Its functions are those of hiredis's own.

    Example:
        >>> reader = Reader()
        >>> reader.feed(b":12" + bytes([13, 10]))
        >>> reader.gets()
        12
    """

    __slots__ = ("_at", "_buffer", "_missing", "_more")

    def __init__(self) -> None:
        self._buffer = b""
        self._at = 0
        self._more: list[bytes] = []
        self._missing = 0

    def feed(self, data: bytes) -> None:
        """Take in more."""
        if self._missing > 0:
            # What is known to be too little isn't put together yet: a long text comes in many parts.
            self._more.append(data)
            self._missing -= len(data)
            if self._missing > 0:
                return
            data = b"".join(self._more)
            self._more.clear()
        self._buffer = self._buffer[self._at :] + data
        self._at = 0

    def gets(self) -> Any:
        """The next answer, or `NOTHING` while it isn't there as a whole.

        Raises:
            ValueError: this is not the protocol.
        """
        if self._missing > 0 or self._at == len(self._buffer):
            return NOTHING
        try:
            value, self._at = self._value(self._at)
        except _TooShort as short:
            self._missing = short.missing
            return NOTHING
        return value

    def _value(self, at: int) -> tuple[Any, int]:
        buffer = self._buffer
        end = buffer.find(b"\r\n", at)
        if end < 0:
            raise _TooShort(1)
        kind = buffer[at]
        line = buffer[at + 1 : end]
        at = end + 2
        if kind == 58 or kind == 40:  # : (
            return int(line), at
        if kind == 36 or kind == 33 or kind == 61:  # $ ! =
            size = int(line)
            if size < 0:
                return None, at
            end = at + size
            if len(buffer) < end + 2:
                raise _TooShort(end + 2 - len(buffer))
            content = buffer[at:end]
            if kind == 33:
                return ResponseError(content.decode(errors="replace")), end + 2
            return (content[4:] if kind == 61 else content), end + 2  # with its kind before it
        if kind == 62 or kind == 42 or kind == 126:  # > * ~
            values: list[Any] = Push() if kind == 62 else []
            for _ in range(int(line)):
                value, at = self._value(at)
                values.append(value)
            return values, at
        if kind == 43:  # +
            return line, at
        if kind == 45:  # -
            return ResponseError(line.decode(errors="replace")), at
        if kind == 37 or kind == 124:  # % |
            pairs: dict[Any, Any] = {}
            for _ in range(int(line)):
                key, at = self._value(at)
                pairs[key], at = self._value(at)
            # An attribute stands before what it is of.
            return (pairs, at) if kind == 37 else self._value(at)
        if kind == 95:  # _
            return None, at
        if kind == 35:  # #
            return line == b"t", at
        if kind == 44:  # ,
            return float(line), at
        raise ValueError(f"a Redis does not say {buffer[at - 3 - len(line) : at]!r}")


#: What a reader says while an answer isn't there as a whole.
NOTHING: Final = object()


def _reader() -> tuple[Any, type[list[Any]]]:
    pushes = getattr(hiredis, "PushNotification", None)  # of version 3.2 and later
    if pushes is None:
        return Reader(), Push
    reader = hiredis.Reader(protocolError=ValueError, replyError=ResponseError, notEnoughData=NOTHING)
    return reader, pushes


def command(*words: str | bytes) -> bytes:
    r"""A command as a Redis reads it.

    Example:
        >>> command("PING")
        b'*1\r\n$4\r\nPING\r\n'
    """
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        # Half a character of UTF-16 is no reason to fail: a room may be called so.
        content = word.encode(errors="surrogatepass") if isinstance(word, str) else word
        parts.append(b"$%d\r\n%b\r\n" % (len(content), content))
    return b"".join(parts)


#: With what Redis refuses whatever is said, for a while.
_PASSING: Final = (
    "ASK ",
    "BUSY ",
    "CLUSTERDOWN ",
    "LOADING ",
    "MASTERDOWN ",
    "MISCONF ",
    "MOVED ",
    "NOAUTH ",
    "NOREPLICAS ",
    "OOM ",
    "READONLY ",
    "TRYAGAIN ",
)


def passes(error: ResponseError) -> bool:
    """Whether a Redis may take later what it has refused; else it is this one command that it refuses."""
    return str(error).startswith(_PASSING)


class _Awaited:
    """What a link waits for, in the order of what was sent: the answers of some commands, or one subscription."""

    __slots__ = ("done", "failed", "left", "subscription", "then")

    def __init__(
        self,
        done: asyncio.Future[Any],
        left: int = 1,
        then: Callable[[Any], None] | None = None,
        subscription: tuple[bytes, bytes] | None = None,
    ) -> None:
        self.left = left
        self.done = done
        self.then = then
        self.subscription = subscription
        self.failed: ResponseError | None = None


class Link:
    """A connection to one Redis, on which commands are answered in their order while pushes come between.

    Args:
        connection: of redis-py's, past the greeting; it is used up.
        timeout: after how many seconds without a word it counts as broken.
        pushed: is called with each push. It must raise nothing.

    Attributes:
        broken: done when the link is, with what broke it.
    """

    def __init__(
        self, connection: Connection, timeout: float, pushed: Callable[[list[Any]], None] | None = None
    ) -> None:
        # There is no other way to these two, and they have had these names since redis-py has had asyncio. From here on
        # they are ours alone.
        stream, writer = connection._reader, connection._writer
        assert stream is not None  # noqa: S101  # it is connected
        assert writer is not None  # noqa: S101
        connection._reader = connection._writer = None
        self._stream: asyncio.StreamReader = stream
        self._writer: asyncio.StreamWriter = writer
        self._timeout = timeout
        self._pushed = pushed
        self._heard = False
        self._unsent: list[bytes] = []
        self._awaited: deque[_Awaited] = deque()
        self.broken: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self._tasks = [asyncio.create_task(run, name="redis link") for run in (self._read(), self._watch())]

    def ask(self, count: int, data: bytes, then: Callable[[Any], None] | None = None) -> asyncio.Future[Any]:
        """Send commands.

        Args:
            count: how many answers there will be.
            data: the commands, as `command` writes them.
            then: is called with each answer, errors among them.

        Returns:
            Done with the last answer when all are there, or failed with the first error of them, or as the link broke.
        """
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self.broken.done():
            done.set_exception(ConnectionError(f"the link is broken: {self.broken.result()}"))
            done.exception()  # whoever asked may not care
            return done
        self._put(data)
        self._awaited.append(_Awaited(done, count, then))
        return done

    async def call(self, *words: str | bytes) -> Any:
        """Send one command, and wait for its answer.

        Raises:
            ResponseError: the Redis refuses it.
            ConnectionError: the link is broken.
        """
        return await self.ask(1, command(*words))

    def subscribe(self, how: str, channels: Iterable[str]) -> asyncio.Future[Any] | None:
        """Hear channels, or hear them no more. If the Redis refuses that, the link breaks.

        Args:
            how: the command, as "SSUBSCRIBE" or "UNSUBSCRIBE".
            channels: their names, or patterns.

        Returns:
            Done when the last is heard; None if there are none.
        """
        done: asyncio.Future[Any] | None = None
        if self.broken.done():
            return self.ask(0, b"")
        kind = how.lower().encode()
        written = []
        # A command for each: those of one command would have to be of one slot in a Redis Cluster.
        for channel in channels:
            name = channel.encode(errors="surrogatepass")
            written.append(command(how, name))
            done = asyncio.get_running_loop().create_future()
            self._awaited.append(_Awaited(done, subscription=(kind, name)))
        self._put(b"".join(written))
        return done

    def _put(self, data: bytes) -> None:
        """Send something together with all else that is said in this turn of the event loop."""
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._flush)
        self._unsent.append(data)

    def _flush(self) -> None:
        unsent, self._unsent = self._unsent, []
        if not self.broken.done():
            self._writer.write(b"".join(unsent) if len(unsent) > 1 else unsent[0])

    def abort(self) -> None:
        """Give it up at once."""
        self._break(ConnectionError("it was closed"))
        for task in self._tasks:
            task.cancel()
        # An engine that takes nothing any more would never take the rest.
        self._writer.transport.abort()

    async def close(self) -> None:
        """Give it up, and wait until nothing is left of it."""
        self.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _break(self, error: BaseException) -> None:
        if self.broken.done():
            return
        self.broken.set_result(error)
        for one in self._awaited:
            if not one.done.done():
                one.done.set_exception(ConnectionError(f"the link broke: {error}"))
                one.done.exception()  # whoever asked may not care
        self._awaited.clear()

    async def _read(self) -> None:
        reader, pushes = _reader()
        stream = self._stream
        pushed = self._pushed
        try:
            while data := await stream.read(65536):
                self._heard = True
                reader.feed(data)
                while (value := reader.gets()) is not NOTHING:
                    if type(value) is not pushes:
                        self._answered(value)
                    elif not value[0].endswith(b"message"):
                        self._subscribed(value)
                    elif pushed is not None:
                        pushed(value)
            self._break(ConnectionError("the engine has ended the connection"))
        except (OSError, ValueError, ResponseError) as error:
            self._break(error)

    def _answered(self, value: Any) -> None:
        if not self._awaited:
            raise ValueError(f"the engine says {value!r}, and nobody has asked")
        one = self._awaited[0]
        if isinstance(value, ResponseError):
            if one.subscription is not None:
                raise value
            one.failed = one.failed or value
        if one.then is not None:
            one.then(value)
        one.left -= 1
        if one.left:
            return
        self._awaited.popleft()
        if one.done.done():  # nobody waits any more
            return
        if one.failed is None:
            one.done.set_result(value)
        else:
            one.done.set_exception(one.failed)
            one.done.exception()  # whoever asked may not care

    def _subscribed(self, value: list[Any]) -> None:
        one = self._awaited[0] if self._awaited else None
        if one is None or one.subscription != (value[0], value[1]):
            # So a Redis Cluster tells that a slot has gone to another of its members.
            raise ValueError(f"the engine has ended a subscription: {value!r}")
        self._awaited.popleft()
        if not one.done.done():
            one.done.set_result(None)

    async def _watch(self) -> None:
        """Notice that the engine says nothing any more: it, its host or the net may be gone without a word."""
        silent = 0
        unsent = 0
        while True:
            # Steps are counted, not time: if it was we who stood still, what was said meanwhile is read in between.
            await asyncio.sleep(self._timeout / _STEPS)
            # Something large may be on its way for longer, and has no answer before all of it is there.
            before, unsent = unsent, self._writer.transport.get_write_buffer_size()
            if self._heard or unsent < before:
                self._heard = False
                silent = 0
                continue
            silent += 1
            if silent == 1:
                self.ask(1, command("PING"))
            elif silent >= _STEPS:
                self._break(TimeoutError(f"the engine has said nothing for {self._timeout:g} s"))
                return


def shuffled(addresses: Iterable[Address]) -> list[Address]:
    """Addresses in another order each time, so that not all members ask the same."""
    found = list(addresses)
    random.shuffle(found)
    return found
