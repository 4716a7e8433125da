"""Node.js servers with the official adapters, and the official emitters, as processes that tests drive.

    with NodeMember(redis.url, "sharded", options_with("sharded", prefix)) as node:
        await node.emit("news", 1, to=["room"])
        sockets = await node.of("/chat").fetch_sockets()

A process takes half a second to start, so most tests share one for all members: `NodeMember(..., host=host)`.
What crashes one crashes all in it; a test that looks for that, or kills or pauses a member, gives it its own.

Their methods have Node.js's names in Python's style; times are in milliseconds, as there. Values may hold bytes,
datetimes and `UNDEFINED`.
"""

import asyncio
import base64
import concurrent.futures
import contextlib
import itertools
import json
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cluster.support.processes import REAPER
from cluster.support.reaper import pause_family
from support.npm import installed

__all__ = [
    "ADAPTERS",
    "UNDEFINED",
    "NodeEmitter",
    "NodeError",
    "NodeMember",
    "NodeNamespace",
    "Undefined",
    "options_with",
]

FOLDER = Path(__file__).parents[1] / "node"
START_SECONDS = 30
#: All that is waited for comes within it, on a busy machine too.
DEADLINE = 20
#: What a member may have: the newest and the previous major version of each official adapter.
ADAPTERS = ("classic", "classic-7", "sharded", "streams", "streams-0.2", "postgres", "postgres-0.4")


def options_with(adapter: str, prefix: str) -> dict[str, Any]:
    """The options with which an adapter uses nothing that others use, and misses a member that is gone soon."""
    match adapter.partition("-")[0]:
        case "classic":
            return {"key": prefix}
        case "sharded":
            return {"channelPrefix": prefix}
        case "streams":
            names = {"streamName": prefix, "channelPrefix": prefix, "sessionKeyPrefix": f"{prefix}:session:"}
            return {**names, "blockTimeInMs": 200, "heartbeatInterval": 500, "heartbeatTimeout": 3000}
        case "postgres":
            return {"channelPrefix": prefix, "heartbeatInterval": 500, "heartbeatTimeout": 3000}
    raise ValueError(f"unknown adapter {adapter}")


class Undefined:
    """JavaScript's `undefined`."""

    def __repr__(self) -> str:
        return "UNDEFINED"


UNDEFINED = Undefined()


class NodeError(Exception):
    """What Node.js threw.

    Attributes:
        responses: those that had come, if it waited for responses.
    """

    def __init__(self, message: str, responses: Any = None) -> None:
        super().__init__(message)
        self.responses = responses


def _plain(value: Any) -> Any:
    match value:
        case bytes() | bytearray():
            return {"$bytes": base64.b64encode(value).decode()}
        case datetime():
            return {"$date": value.isoformat()}
        case Undefined():
            return {"$undefined": True}
        case dict():
            return {key: _plain(inner) for key, inner in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_plain(inner) for inner in value]
    return value


def _real(value: Any) -> Any:
    match value:
        case {"$bytes": str(text)}:
            return base64.b64decode(text)
        case {"$date": str(text)}:
            return datetime.fromisoformat(text)
        case {"$undefined": True}:
            return UNDEFINED
        case dict():
            return {key: _real(inner) for key, inner in value.items()}
        case list():
            return [_real(inner) for inner in value]
    return value


class NodeHost:
    """A process of Node.js with members and emitters in it. It belongs to no event loop, so that tests can share it."""

    def __init__(self) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `close`)
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._answers: dict[int, concurrent.futures.Future[Any]] = {}
        self._awaited: list[tuple[dict[str, Any], concurrent.futures.Future[Any]]] = []
        #: What has happened in the process and was not taken by `next`.
        self.events: list[dict[str, Any]] = []
        #: What it has died of: "kind", "message" and "stack".
        self.crash: dict[str, Any] | None = None
        self._killed = False
        self._process = subprocess.Popen(
            [installed(FOLDER), "host.mjs"],
            cwd=FOLDER,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,
        )
        REAPER.watch(self._process.pid)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def log(self) -> str:
        """What it has written to standard error."""
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), size, 0).decode(errors="replace")

    def order(self, order: str, **told: Any) -> concurrent.futures.Future[Any]:
        """Let it do something; the result is there when it has.

        Raises:
            NodeError: it has ended.
        """
        answer: concurrent.futures.Future[Any] = concurrent.futures.Future()
        number = next(self._numbers)
        with self._lock:
            self._answers[number] = answer
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"id": number, "do": order, **_plain(told)}).encode() + b"\n")
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):  # it has ended, by itself or with `close`
            raise NodeError(self._obituary()) from None
        return answer

    async def do(self, order: str, **told: Any) -> Any:
        """Let it do something, and wait until it has.

        Raises:
            NodeError: it could not.
        """
        return await self._await(self.order(order, **told), order)

    async def next(self, event: str, **details: Any) -> dict[str, Any]:
        """The next event in the process that is so, of those that nobody has taken.

        Args:
            event: "connection", "disconnect", "server-side", "engine" (it is away) or "crash".
            details: more of what it has to be.
        """
        return await self._await(self._expect({"event": event, **details}), f"{event} {details}")  # type: ignore[no-any-return]

    def kill(self) -> None:
        """End it at once, so that it can tell nobody."""
        self._killed = True
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        """Let it not run: its connections stay, and it answers nothing."""
        pause_family(self.pid)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Let all in it say farewell to the others, and end it.

        Raises:
            AssertionError: it had crashed, or did not end well.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended
            self._process.stdin.close()
        try:
            code = self._process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        REAPER.forget(self._process.pid)
        self._reader.join(DEADLINE)
        assert not self._reader.is_alive(), "something holds what Node.js wrote to, though it has ended"
        self._process.stdout.close()
        obituary = self._obituary()
        self._log.close()
        assert self._killed or code == 0, obituary

    def _obituary(self) -> str:
        what = f"{self.crash['kind']}: {self.crash['stack']}" if self.crash else "no word"
        return f"Node.js ended with {self._process.poll()} and {what}\n{self.log}"

    def _expect(self, wanted: dict[str, Any]) -> concurrent.futures.Future[Any]:
        found: concurrent.futures.Future[Any] = concurrent.futures.Future()
        with self._lock:
            for event in self.events:
                if _is(event, wanted):
                    self.events.remove(event)
                    found.set_result(event)
                    return found
            self._awaited.append((wanted, found))
        return found

    async def _await(self, future: concurrent.futures.Future[Any], what: str) -> Any:
        try:
            async with asyncio.timeout(DEADLINE):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise TimeoutError(f"not in {DEADLINE} s: {what}; there were {self.events}\n{self.log}") from None

    def _read(self) -> None:
        """A thread: sort what it says."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = _real(json.loads(line))
            with self._lock:
                self._sort(said)
        self._process.wait()
        with self._lock:
            for future in [*self._answers.values(), *(future for _, future in self._awaited)]:
                if future.set_running_or_notify_cancel():
                    future.set_exception(NodeError(self._obituary()))

    def _sort(self, said: dict[str, Any]) -> None:
        if "event" not in said:
            answer = self._answers.pop(said["id"])
            if not answer.set_running_or_notify_cancel():
                return
            if "error" in said:
                answer.set_exception(NodeError(said["error"], said["responses"]))
            else:
                answer.set_result(said["value"])
            return
        if said["event"] == "crash":
            self.crash = said
        for entry in [entry for entry in self._awaited if _is(said, entry[0])]:
            self._awaited.remove(entry)
            if entry[1].set_running_or_notify_cancel():
                entry[1].set_result(said)
                return
        self.events.append(said)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _is(event: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return all(event.get(name) == value for name, value in wanted.items())


class _Guest:
    """A member or an emitter in a process: its own, or one that it shares."""

    def __init__(self, host: NodeHost | None, what: str, **told: Any) -> None:
        self._owns = host is None
        self.host = host or NodeHost()
        self._start = self.host.order("start", what=what, **told)

    def wait(self) -> dict[str, Any]:
        """Wait until it is ready. Several are ready sooner when none is awaited before the last is made."""
        facts: dict[str, Any] = self._start.result(START_SECONDS)
        return facts

    @property
    def number(self) -> int:
        number: int = self.wait()["guest"]
        return number

    async def next(self, event: str, **details: Any) -> dict[str, Any]:
        """Its next event that is so, of those that nobody has taken: see `NodeHost.next`."""
        return await self.host.next(event, guest=self.number, **details)

    def kill(self) -> None:
        """End its own process at once, so that it can tell nobody."""
        assert self._owns, "others are in this process"
        self.host.kill()

    def pause(self) -> None:
        """Let its own process not run."""
        assert self._owns, "others are in this process"
        self.host.pause()

    def resume(self) -> None:
        self.host.resume()

    def close(self) -> None:
        """Let it say farewell to the others, and end it.

        Raises:
            AssertionError: its own process had crashed, or did not end well.
        """
        if self._owns:
            self.host.close()
        else:
            self.host.order("stop", guest=self.number).result(DEADLINE)

    def __enter__(self) -> Self:
        try:
            self.wait()
        except BaseException:
            if self._owns:
                self.host.kill()
                self.host.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Orders:
    """What servers and emitters can both be told, in one namespace."""

    guest: _Guest
    namespace: str

    async def _do(self, order: str, **told: Any) -> Any:
        guest = self.guest
        return await guest.host.do(order, guest=guest.number, namespace=self.namespace, **told)

    async def emit(self, *args: Any, to: Iterable[str] = (), but: Iterable[str] = (), **flags: Any) -> None:
        """Emit to all, or to rooms.

        Args:
            args: the event's name and its arguments.
            to: rooms.
            but: rooms that are left out.
            flags: `volatile`, `compress`, `local`, `timeout`.
        """
        await self._do("emit", args=args, to=list(to), **{"except": list(but)}, flags=flags)

    async def sockets_join(self, *rooms: str, to: Iterable[str] = (), but: Iterable[str] = (), **flags: Any) -> None:
        await self._do("socketsJoin", rooms=rooms, to=list(to), **{"except": list(but)}, flags=flags)

    async def sockets_leave(self, *rooms: str, to: Iterable[str] = (), but: Iterable[str] = (), **flags: Any) -> None:
        await self._do("socketsLeave", rooms=rooms, to=list(to), **{"except": list(but)}, flags=flags)

    async def disconnect_sockets(
        self, close: bool = False, *, to: Iterable[str] = (), but: Iterable[str] = (), **flags: Any
    ) -> None:
        await self._do("disconnectSockets", close=close, to=list(to), **{"except": list(but)}, flags=flags)

    async def server_side_emit(self, *args: Any) -> None:
        """Send an event to the other servers."""
        await self._do("serverSideEmit", args=args)


class NodeNamespace(_Orders):
    """A namespace of a member."""

    def __init__(self, guest: _Guest, namespace: str) -> None:
        self.guest = guest
        self.namespace = namespace

    async def open(self) -> Self:
        """Let it be there before somebody connects or speaks to it."""
        await self._do("open")
        return self

    async def emit_with_ack(
        self, *args: Any, to: Iterable[str] = (), but: Iterable[str] = (), timeout: int = 5000, **flags: Any
    ) -> list[Any]:
        """Emit, and return the answers of all clients.

        Args:
            args: the event's name and its arguments.
            to: rooms.
            but: rooms that are left out.
            timeout: milliseconds.
            flags: `volatile`, `compress`, `local`.

        Raises:
            NodeError: not all have answered; `responses` are those that have.
        """
        flags["timeout"] = timeout
        answers: list[Any] = await self._do("emitWithAck", args=args, to=list(to), **{"except": list(but)}, flags=flags)
        return answers

    async def fetch_sockets(
        self, *, to: Iterable[str] = (), but: Iterable[str] = (), **flags: Any
    ) -> dict[str, dict[str, Any]]:
        """The sockets of all servers by their ids, with `handshake`, `rooms` and `data`."""
        found = await self._do("fetchSockets", to=list(to), **{"except": list(but)}, flags=flags)
        return {socket["id"]: socket for socket in found}

    async def on(self, event: str, **answer: Any) -> None:
        """Listen to an event of other servers: `heard` awaits it.

        Args:
            event: its name.
            answer: with `answer=...` the answer to servers that ask for one.
        """
        await self._do("on", event=event, **answer)

    async def heard(self, event: str) -> list[Any]:
        """The arguments of the next such event of another server."""
        found = await self.guest.next("server-side", namespace=self.namespace, name=event)
        args: list[Any] = found["args"]
        return args

    async def server_side_emit_with_ack(self, *args: Any) -> list[Any]:
        """Ask the other servers; it waits for five seconds.

        Raises:
            NodeError: not all have answered; `responses` are those that have.
        """
        answers: list[Any] = await self._do("serverSideEmitWithAck", args=args)
        return answers

    async def server_count(self) -> int:
        """How many servers it knows of, itself included."""
        count: int = await self._do("serverCount")
        return count

    async def settled(self, count: int) -> None:
        """Wait until it knows of so many servers, itself included."""
        async with asyncio.timeout(DEADLINE):
            while await self.server_count() != count:
                await asyncio.sleep(0.02)

    async def sockets(self, *rooms: str) -> set[str]:
        """The ids that the adapter's `sockets` gives."""
        return set(await self._do("sockets", rooms=rooms))

    async def all_rooms(self) -> set[str]:
        """The rooms of all servers, of which only the classic adapter knows."""
        return set(await self._do("allRooms"))

    async def local_rooms(self) -> dict[str, list[str]]:
        """This server's own rooms, each with the ids in it."""
        rooms: dict[str, list[str]] = await self._do("local")
        return rooms

    async def remote(self, socket: str, method: str, *args: Any, timeout: int = 5000) -> Any:
        """Call a method of a socket of any server: "emit", "emitWithAck", "join", "leave", "disconnect"."""
        return await self._do("remote", socket=socket, method=method, args=args, timeout=timeout)

    async def cut(self, socket: str) -> None:
        """End the connection under one of this server's own sockets."""
        await self._do("cut", socket=socket)

    async def uid(self) -> str:
        """What the adapter calls itself."""
        uid: str = await self._do("uid")
        return uid


class NodeMember(_Guest, NodeNamespace):
    """A server with an official adapter. What it is told without a namespace is for "/".

    Any namespace is opened by the first client that wants it, or by the first order for it.

    Args:
        url: of the engine.
        adapter: one of `ADAPTERS`, or "none".
        options: the adapter's, with Node.js's names.
        recovery: the server's `connectionStateRecovery`.
        server: more of the server's options.
        port: where it listens; 0 is any.
        host: the process that it is in; without it, its own.
        engine: more of how the engine is reached: `client` ("cluster" or "sentinel"), `ca`; see engines.mjs.
    """

    def __init__(
        self,
        url: str = "",
        adapter: str = "none",
        options: dict[str, Any] | None = None,
        *,
        recovery: dict[str, Any] | None = None,
        server: dict[str, Any] | None = None,
        port: int = 0,
        host: NodeHost | None = None,
        **engine: Any,
    ) -> None:
        NodeNamespace.__init__(self, self, "/")
        _Guest.__init__(
            self,
            host,
            "member",
            adapter=adapter,
            engine={"url": url, **engine},
            options=options or {},
            recovery=recovery,
            server=server or {},
            port=port,
        )

    @property
    def port(self) -> int:
        port: int = self.wait()["port"]
        return port

    @property
    def url(self) -> str:
        """Where clients connect to."""
        return f"http://127.0.0.1:{self.port}"

    def of(self, namespace: str) -> NodeNamespace:
        return NodeNamespace(self, namespace)


class NodeEmitter(_Guest, _Orders):
    """An official emitter. What it is told without a namespace is for "/".

    Args:
        url: of the engine.
        emitter: "redis" or "postgres".
        options: the emitter's, with Node.js's names.
        host: the process that it is in; without it, its own.
        engine: more of how the engine is reached; see engines.mjs.
    """

    def __init__(
        self,
        url: str,
        emitter: str,
        options: dict[str, Any] | None = None,
        *,
        host: NodeHost | None = None,
        **engine: Any,
    ) -> None:
        self.guest = self
        self.namespace = "/"
        super().__init__(host, "emitter", emitter=emitter, engine={"url": url, **engine}, options=options or {})

    def of(self, namespace: str) -> _Orders:
        found = _Orders()
        found.guest, found.namespace = self, namespace
        return found
