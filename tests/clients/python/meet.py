"""Clients in Python: the guests of `tests/clients/node/meeting.mjs`, told and answering as there.

    python meet.py '{"url": "http://127.0.0.1:8000", "guests": [{"name": "...", "version": "4.6.1", ...}, ...]}'

The library is on `PYTHONPATH`, where `tests/support/pypi.py` has put it.
"""

import base64
import importlib
import json
import queue
import sys
import threading
import time
import traceback
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

DEADLINE = 30
PATIENCE = 90
MANY = 30
BYTES = bytes(range(256))
# As in meeting.mjs
WORDS = [
    "é", "€", "안녕 😀", "𝕄𠮷🎪", "a\u2028b\u2029c", "two\nlines\r\n", "\"quotes\" 'single' \\ back", "</script>", "Ã©",
    "\ufffd", "",
]  # fmt: skip
OBJECTS = [
    None, True, 0, -1.5, 12345678901, "", [], {}, {"열쇠": ["값", {"deep": [[None]]}], "": 1}, [1, "é", [{"a": None}]],
]  # fmt: skip
SAID = '어서 오세요, everybody é€😀\u2028\n"Ã©"'
TOKEN = "a é token"


def equal(actual: Any, expected: Any, what: str = "what came") -> None:
    if actual != expected:
        raise AssertionError(f"{what}: {actual!r} instead of {expected!r}")


class Client(ABC):
    """One connection. Events that come are kept, by namespace and name, for `next`."""

    #: Whether it has an event for the end that its own program makes.
    tells_own_end = True
    #: Whether its handlers are called in the order in which events came.
    keeps_order = True

    def __init__(self) -> None:
        self.heard: dict[tuple[str, str], list[list[Any]]] = defaultdict(list)

    def keep(self, namespace: str, event: str) -> Callable[..., None]:
        def kept(*args: Any) -> None:
            self.heard[namespace, event].append([arg for arg in args if not callable(arg)])

        return kept

    @abstractmethod
    def listen(self, event: str, namespace: str = "/", answer: Callable[..., Any] | None = None) -> None:
        """Keep what comes, or answer it."""

    @abstractmethod
    def connect(self) -> None: ...

    @abstractmethod
    def emit(self, event: str, *args: Any, namespace: str = "/") -> None: ...

    @abstractmethod
    def ask(self, event: str, *args: Any, namespace: str = "/") -> list[Any]: ...

    @abstractmethod
    def send(self, text: str) -> None: ...

    @abstractmethod
    def join(self, joined: Callable[..., None], *args: Any) -> None: ...

    @abstractmethod
    def refusal(self) -> Any: ...

    @abstractmethod
    def close(self) -> None: ...

    def settle(self) -> None:
        """Let the library work for a moment."""
        time.sleep(0.01)

    def until(self, holds: Callable[[], Any], what: str, seconds: float = DEADLINE) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not in {seconds} s: {what}")
            self.settle()

    def next(self, event: str, namespace: str = "/") -> list[Any]:
        kept = self.heard[namespace, event]
        self.until(lambda: kept, f"event {event!r}")
        return kept.pop(0)


class PythonSocketIO(Client):
    """python-socketio 4 and 5 with threads, one for each message that comes."""

    keeps_order = False

    def __init__(self, told: dict[str, Any]) -> None:
        super().__init__()
        self.modern = self.tells_own_end = told["version"].startswith("5")
        self.library: Any = importlib.import_module("socketio" if self.modern else "socketio_v4")
        # With its default of 16 it hangs up on any server that puts more into one poll.
        payload: Any = importlib.import_module("engineio.payload" if self.modern else "engineio_v3.payload")
        payload.Payload.max_decode_packets = 10_000
        self.url = told["url"]
        self.transports = {"upgrade": ["polling", "websocket"]}.get(told["transport"], [told["transport"]])
        self.io = self.library.Client(reconnection_delay=0.1, reconnection_delay_max=0.5)
        self.more = {"auth": {"token": "열려라"}, "wait": False} if self.modern else {}
        for name in ("connect", "disconnect", "connect_error"):
            for namespace in ("/", "/room"):
                self.listen(name, namespace)

    def listen(self, event: str, namespace: str = "/", answer: Callable[..., Any] | None = None) -> None:
        self.io.on(event, answer or self.keep(namespace, event), namespace=namespace)

    def connect(self) -> None:
        url = f"{self.url}?token=a%20%C3%A9%20token"
        self.io.connect(url, transports=self.transports, namespaces=["/", "/room"], **self.more)
        self.next("connect")

    def emit(self, event: str, *args: Any, namespace: str = "/") -> None:
        self.io.emit(event, args, namespace=namespace)

    def ask(self, event: str, *args: Any, namespace: str = "/") -> list[Any]:
        answered: list[list[Any]] = []
        self.io.emit(event, args, namespace=namespace, callback=lambda *reply: answered.append(list(reply)))
        self.until(lambda: answered, f"the answer to {[event, *args]!r:.100}")
        return answered[0]

    def send(self, text: str) -> None:
        self.io.send(text)

    def join(self, joined: Callable[..., None], *args: Any) -> None:
        self.io.emit("join", args, namespace="/room", callback=joined)

    def refusal(self) -> Any:
        # with a client of its own: one whose namespaces aren't all let in does not come back
        refused = self.library.Client(reconnection=False)
        refused.on("connect_error", self.keep("/closed", "connect_error"), namespace="/closed")
        refused.connect(self.url, transports=self.transports, namespaces=["/closed"], **self.more)
        (why,) = self.next("connect_error", "/closed")
        refused.disconnect()
        return why["message"] if self.modern else why

    def close(self) -> None:
        self.io.disconnect()


class SocketIOClient(Client):
    """socketIO-client, of which one thread waits, as its documentation shows."""

    def __init__(self, told: dict[str, Any]) -> None:
        super().__init__()
        self.library: Any = importlib.import_module("socketIO_client")
        self.address = urlsplit(told["url"])
        self.transport = {"polling": "xhr-polling", "jsonp": "jsonp-polling"}.get(told["transport"], told["transport"])
        self.io: Any = None
        self.closed = False

    def connect(self) -> None:
        transports = ["xhr-polling", "websocket"] if self.transport == "upgrade" else [self.transport]
        self.io = self.library.SocketIO(
            self.address.hostname, self.address.port, self.library.BaseNamespace, transports=transports,
            params={"token": TOKEN},
        )  # fmt: skip
        for event in ("connect", "disconnect"):
            self.listen(event)
        self.thread = threading.Thread(target=self.wait, daemon=True)
        self.thread.start()

    def wait(self) -> None:
        while not self.closed:
            self.io.wait(seconds=1)

    def define(self, path: str) -> None:
        """Join a namespace; from 0.6 on the library would wait itself, beside our thread."""
        if hasattr(self.io, "connect"):
            self.io._namespace_by_path[path] = self.library.BaseNamespace(self.io, path)
            self.io.connect(path)
        else:
            self.io.define(self.library.BaseNamespace, path)

    def path(self, namespace: str) -> str:
        return "" if namespace == "/" else namespace

    def listen(self, event: str, namespace: str = "/", answer: Callable[..., Any] | None = None) -> None:
        path = self.path(namespace)
        if path not in self.io._namespace_by_path:
            self.define(path)
        if answer is None or namespace == "/room":
            self.io.on(event, answer or self.keep(namespace, event), path=path)
        else:

            def answering(*args: Any) -> None:
                *given, reply = args
                told = answer(*given)
                reply(*told)

            self.io.on(event, answering, path=path)

    def emit(self, event: str, *args: Any, namespace: str = "/") -> None:
        self.io.emit(event, *args, path=self.path(namespace))

    def ask(self, event: str, *args: Any, namespace: str = "/") -> list[Any]:
        answered: list[list[Any]] = []
        self.io.emit(event, *args, lambda *reply: answered.append(list(reply)), path=self.path(namespace))
        self.until(lambda: answered, f"the answer to {[event, *args]!r:.100}")
        return answered[0]

    def send(self, text: str) -> None:
        (self.io.send if hasattr(self.io, "send") else self.io.message)(text)

    def join(self, joined: Callable[..., None], *args: Any) -> None:
        self.io.emit("join", *args, joined, path="/room")

    def refusal(self) -> Any:
        self.listen("error", "/closed")
        return self.next("error", "/closed")[0]

    def close(self) -> None:
        self.closed = True
        self.io.disconnect()


class Guest:
    def __init__(self, told: dict[str, Any]) -> None:
        self.told = told
        self.steps: list[dict[str, Any]] = []
        self.failed = False
        self.rounds: dict[int, dict[str, str]] = defaultdict(dict)
        self.shown: list[list[Any]] = []
        self.entered = 0
        self.client: Client

    def make(self) -> Client:
        return PythonSocketIO(self.told) if "socketio" in self.told["package"] else SocketIOClient(self.told)

    def play(self, phase: str, given: dict[str, Any]) -> list[dict[str, Any]]:
        self.steps = []
        if self.failed:
            return [{"step": phase, "ok": False, "error": "did not get as far"}]
        try:
            getattr(self, phase)(**given)
        except Exception:
            if not self.failed:
                self.steps.append({"step": phase, "ok": False, "error": traceback.format_exc()[-2000:]})
        return self.steps

    def step(self, name: str, play: Callable[[], Any], vital: bool = False) -> None:
        if name in self.told["lacks"]:
            self.steps.append({"step": name, "lacks": True})
            return
        try:
            note = play()
        except Exception:
            self.steps.append({"step": name, "ok": False, "error": traceback.format_exc()[-2000:]})
            if vital:
                self.failed = True
                raise
            return
        self.steps.append({"step": name, "ok": True} if note is None else {"step": name, "ok": True, "note": note})

    def meet(self) -> None:
        client = self.client = self.make()
        ask, emit, next_ = client.ask, client.emit, client.next
        expected = self.told["expected"]

        def connect() -> None:
            client.connect()
            told: list[Any] = []

            def settled() -> bool:
                told[:] = ask("whoami")
                return told[0][1] == expected["transport"]

            client.until(settled, "the upgrade")
            equal(told[0], [expected["generation"], expected["transport"]], "generation and transport")

        def text() -> None:
            equal(ask("echo", "text"), ["text"])
            emit("echo back", "there and back")
            equal(next_("echo back"), ["there and back"])

        def unicode() -> None:
            for word in WORDS:
                equal(ask("echo", word), [word])
            emit("echo back", *WORDS)
            equal(next_("echo back"), WORDS)

        def message() -> None:
            client.send("é€😀 Ã©")
            equal(next_("message"), ["é€😀 Ã©"])

        def objects() -> None:
            equal(ask("echo", *OBJECTS), OBJECTS)
            equal(ask("echo"), [])
            emit("echo back", *OBJECTS)
            equal(next_("echo back"), OBJECTS)

        def order() -> None:
            for number in range(MANY):
                emit("count", number, "é😀")
            equal(ask("counted"), [list(range(MANY))], "what the server counted")
            emit("burst", MANY)
            next_("last")
            came = client.heard["/", "number"]
            if not client.keeps_order:
                client.until(lambda: len(came) >= MANY, "all numbers")
                came = sorted(came)
            equal(came, [[number, "é😀"] for number in range(MANY)], "what the client counted")

        def binary() -> None:
            equal(ask("echo", BYTES, "é", {"two": BYTES}), [BYTES, "é", {"two": BYTES}])
            emit("echo back", {"data": BYTES, "list": [1, BYTES]})
            equal(next_("echo back"), [{"data": BYTES, "list": [1, BYTES]}])

        def question() -> None:
            emit("question me", "둘", {"n": 1})
            equal(next_("answered"), [[{"n": 1}, "둘 é😀\u2028"]])

        def namespace() -> None:
            already = len(client.heard["/room", "connect"])
            client.listen("connect", "/room", self.join)
            client.listen("said", "/room", self.said)
            client.listen("shown", "/room", lambda *args: self.shown.append(list(args)))
            client.listen("echo back", "/room")
            if already:
                self.join()
            client.until(lambda: self.entered, "the room")
            emit("echo back", "in the room", namespace="/room")
            equal(client.next("echo back", "/room"), ["in the room"])
            equal(ask("where", namespace="/room"), ["/room"])
            equal(ask("where"), ["/"])

        self.step("connect", connect, vital=True)
        for event in ("echo back", "message", "number", "last", "answered"):
            client.listen(event)
        client.listen("question", answer=lambda a, b: (b, f"{a} é😀\u2028"))
        self.step("query", lambda: equal(ask("query", "token"), [TOKEN]))
        self.step("auth", lambda: equal(ask("auth"), [{"token": "열려라"}]))
        self.step("text", text)
        self.step("unicode", unicode)
        self.step("message", message)
        self.step("objects", objects)
        self.step("order", order)
        self.step("binary", binary)
        self.step("ask the server", lambda: equal(ask("sum", 1, 2.5), [3.5, "é"]))
        self.step("ask the client", question)
        self.step("namespace", namespace, vital=True)
        self.step("refusal", lambda: equal(client.refusal(), expected["refusal"]))

    def join(self, *_: Any) -> None:
        def joined(*_: Any) -> None:
            self.entered += 1

        self.client.join(joined, self.told["name"], "binary broadcast" not in self.told["lacks"])

    def said(self, number: int, name: str, words: str) -> None:
        self.rounds[number][name] = words

    def talk(self, *, round: int, names: list[str], show: str | None = None, **_: Any) -> None:  # noqa: A002
        def broadcast() -> None:
            self.client.emit("say", round, self.told["name"], SAID, namespace="/room")
            heard = self.rounds[round]
            try:
                self.client.until(lambda: set(names) <= set(heard), "what all say")
            except TimeoutError as error:
                raise TimeoutError(f"{error}; nothing came from {set(names) - set(heard)}") from None
            for name, words in dict(heard).items():
                equal(words, SAID, f"what {name} said")

        def binary() -> str | None:
            if not show:
                return "nobody has shown any"
            if show == self.told["name"]:
                self.client.emit("show", BYTES, namespace="/room")
            self.client.until(lambda: self.shown, "what is shown")
            name, value = self.shown[0]
            equal(name, "bytes")
            if isinstance(value, bytes | bytearray):
                equal(bytes(value), BYTES)
                return None
            equal(value, base64.b64encode(BYTES).decode())
            return "as base64"

        self.step("broadcast", broadcast)
        if show is not None:
            self.step("binary broadcast", binary)

    def comeback(self) -> None:
        def reconnect() -> None:
            self.client.until(lambda: self.entered > 1, "being in the room again", PATIENCE)
            equal(self.client.ask("echo", "back again é"), ["back again é"])

        self.step("reconnect", reconnect)

    def part(self) -> None:
        def leaves() -> None:
            self.client.heard["/", "disconnect"].clear()
            self.client.close()
            if self.client.tells_own_end:
                self.client.next("disconnect")

        def sent_away() -> str:
            again.connect()
            (reason,) = again.ask("departed", self.told["name"])
            if not isinstance(reason, str):
                raise AssertionError("the server has not seen the client leave")
            again.emit("leave me")
            again.next("disconnect")
            return reason

        self.step("client disconnects", leaves)
        again = self.make()
        self.step("server disconnects", sent_away)
        again.close()


def main() -> None:
    told = json.loads(sys.argv[1])
    printing = threading.Lock()

    def live(guest: Guest, phases: "queue.Queue[dict[str, Any]]") -> None:
        while True:
            given = dict(phases.get())
            phase = given.pop("phase")
            line = json.dumps({"guest": guest.told["name"], "phase": phase, "steps": guest.play(phase, given)})
            with printing:
                print(line, flush=True)

    lines: list[queue.Queue[dict[str, Any]]] = []
    for guest in told["guests"]:
        lines.append(queue.Queue())
        threading.Thread(target=live, args=(Guest({**guest, "url": told["url"]}), lines[-1]), daemon=True).start()
    for line in sys.stdin:
        for phases in lines:
            phases.put(json.loads(line))


if __name__ == "__main__":
    main()
