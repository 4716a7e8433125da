"""A stage on which one and the same program plays, on python-socketio's server or on ours, and what its clients saw."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from types import ModuleType
from typing import Any

import socketio as original
import uvicorn

from madang.faces.uvicorn import serve_async
from madang.migrate import socketio as ours

QUIET_SECONDS = 0.12
Line = tuple[Any, ...]


class PlainServer(uvicorn.Server):
    """uvicorn without a hold on the signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


@contextlib.asynccontextmanager
async def plain(app: Any) -> AsyncIterator[int]:
    """Serve as `uvicorn module:app` does."""
    server = PlainServer(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", lifespan="on"))
    task = asyncio.create_task(server.serve())
    while not server.started:
        if task.done():
            task.result()
            raise RuntimeError("the server ended before it had started")
        await asyncio.sleep(0.005)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await task


#: The stages: the module that programs import as `socketio`, and how the application is served.
STAGES: dict[str, tuple[ModuleType, Callable[[Any], Any]]] = {
    "python-socketio": (original, plain),
    "madang serve": (ours, serve_async),
    "uvicorn": (ours, plain),
}
OURS = [name for name in STAGES if name != "python-socketio"]


async def leave(client: original.AsyncClient) -> None:
    """Disconnect a client, and let go of what it keeps after a connection that was cut."""
    await client.disconnect()
    if client.eio.http is not None and not client.eio.http.closed:
        await client.eio.http.close()


class Stage:
    """One performance.

    Attributes:
        socketio: what the program imports.
        said: what the server's program has noted.
        heard: what each client has noted, by the client's name.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.socketio, self._serve = STAGES[name]
        self.said: list[Line] = []
        self.heard: dict[str, list[Line]] = {}
        self.clients: dict[str, original.AsyncClient] = {}
        self.sids: dict[str, str] = {}
        self.url = ""
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> "Stage":
        return self

    async def __aexit__(self, *error: object) -> None:
        for client in self.clients.values():
            await leave(client)
        await self._stack.aclose()

    def server(self, **settings: Any) -> Any:
        """The program's server."""
        return self.socketio.AsyncServer(async_mode="asgi", **settings)

    def say(self, *line: Any) -> None:
        """Note something in the server's program."""
        self.said.append(line)

    async def serve(self, sio: Any, *args: Any, **options: Any) -> str:
        """Serve it, and give the URL."""
        app = self.socketio.ASGIApp(sio, *args, **options)
        return await self.serve_app(app)

    async def serve_app(self, app: Any) -> str:
        port = await self._stack.enter_async_context(self._serve(app))
        self.url = f"http://127.0.0.1:{port}"
        return self.url

    async def client(self, name: str, namespace: str = "/", **options: Any) -> original.AsyncClient:
        """A client that notes all that it hears: in the namespaces "/", "/chat" and the one that it joins."""
        logging.getLogger("socketio.client").setLevel(logging.CRITICAL)
        settings = {key: options.pop(key) for key in ("serializer",) if key in options}
        client = original.AsyncClient(reconnection=False, **settings)
        heard = self.heard[name] = []

        for one in {"/", "/chat", namespace}:

            def listen(one: str) -> None:
                async def everything(event: str, *args: Any) -> Any:
                    heard.append((one, event, *args))
                    if event == "question":
                        return ("answer", *args) if len(args) > 1 else args[0] if args else None
                    return None

                client.on("*", everything, namespace=one)
                client.on("connect", lambda: heard.append((one, "connect")), namespace=one)
                client.on("connect_error", lambda data: heard.append((one, "connect_error", data)), namespace=one)
                client.on("disconnect", lambda reason: heard.append((one, "disconnect", reason)), namespace=one)

            listen(one)
        self.clients[name] = client
        namespaces = options.pop("namespaces", [namespace])
        try:
            await client.connect(self.url, namespaces=namespaces, wait_timeout=2, **options)
        except original.exceptions.ConnectionError as error:
            heard.append(("refused", str(error)))
        else:
            self.sids[client.get_sid(namespace)] = name
        return client

    def who(self, sid: str) -> str:
        """The name of the client with a sid."""
        return self.sids.get(sid, sid)

    async def quiet(self) -> None:
        """Wait until nothing more is under way: nothing is noted for a while in which this loop had its turns."""
        loop = asyncio.get_running_loop()
        end = loop.time() + 20
        calm = 0
        while calm < 4 and loop.time() < end:
            noted = len(self.said) + sum(map(len, self.heard.values()))
            began = loop.time()
            await asyncio.sleep(QUIET_SECONDS / 4)
            late = loop.time() - began - QUIET_SECONDS / 4
            unchanged = noted == len(self.said) + sum(map(len, self.heard.values()))
            calm = calm + 1 if unchanged and late < 0.03 else 0

    async def until(self, lines: int) -> None:
        """Wait until the server's program has noted so many lines, and what follows from the last."""
        while len(self.said) < lines:
            await asyncio.sleep(0.01)
        await self.quiet()

    def transcript(self) -> dict[str, Any]:
        """What was noted, with names in place of sids."""
        named = {"server": self.said, **self.heard}
        return {name: [self._named(line) for line in lines] for name, lines in named.items()}

    def _named(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.sids.get(value, value)
        if isinstance(value, list | tuple | set):
            return type(value)(self._named(one) for one in value)
        if isinstance(value, dict):
            return {key: self._named(one) for key, one in value.items()}
        return value
