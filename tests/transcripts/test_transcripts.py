"""Golden sessions, one text file each, replayed against the engine with a clock that the file moves.

The lines of a file::

    words                      an explanation
    = {"name": value}          settings of the server; first line that isn't an explanation
    > poll ...                 the client polls; the first time with the whole query, which opens a session
    > post FRAMES              the client posts a payload
    > ws ...                   the client opens a WebSocket: with a query a new session, with nothing beside its polls
    > ws FRAME                 the client sends a frame
    > ws close                 the client closes the WebSocket
    > poll 1/PATH?QUERY        the same for clients whose requests name all in the path,
    > post 1/PATH FRAMES
    > ws 1/PATH
    ! expression               the program does something: `io` is the server, `sockets` the clients in their order
    . seconds                  time passes
    < poll STATUS FRAMES       what the server answers to a poll,
    < post STATUS BODY         to a POST,
    < ws FRAME                 sends over a WebSocket,
    < ws close CODE REASON     and how it closes it

Whatever the server says must stand there, and nothing else may. Each client has a number, which is left out for the
first: `> ws2 ...`. Binary frames, and payloads of bytes, are written `b:0102ff`, the record separator of payloads as ␞,
ids as SID1 (the session of client 1) and as ID1, ID2 (the sockets, in their order).
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from madang.core.socket import Socket
from madang.errors import ConnectionRefused, RequestRefused
from madang.packet import Frame
from madang.server import Server
from madang.testing import EngineKit, RecordingDuplex, RecordingExchange
from madang.wire import error_body

HERE = Path(__file__).parent
FILES = sorted(HERE.glob("*/*.txt"))
#: The generation of each folder, as clients name it.
QUERIES = {"eio3": "EIO=3", "eio4": "EIO=4", "sio0": "", "sio1": ""}
#: What of a request stands below the server's path, and its query.
BELOW = re.compile(r"((?:1/|(?:websocket|(?:xhr|jsonp)-polling)(?=[/ ?]|$))[^ ?]*)(?:[?](\S*))?(?: (.*))?")


def program(io: Server) -> None:
    """The program that all sessions talk to."""

    @io.on("echo")
    def echo(socket: Socket, *args: Any) -> tuple[Any, ...]:
        return args

    @io.on("enter")
    def enter(socket: Socket, room: str) -> None:
        socket.join(room)

    @io.on("say")
    def say(socket: Socket, room: str, *args: Any) -> None:
        socket.to(room).emit("said", *args)

    @io.on("kick")
    def kick(socket: Socket, close: bool) -> None:
        socket.disconnect(close)

    @io.on("fail")
    def fail(socket: Socket) -> None:
        raise LookupError("on purpose")

    io.of("/chat").on("echo", echo)

    @io.of("/private").use
    def members_only(socket: Socket) -> None:
        if socket.handshake.auth.get("token") != "secret":
            raise ConnectionRefused("members only", {"code": 401})


class Person:
    """One client of a session."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.name = "" if number == 1 else str(number)
        self.query = ""
        self.below = ""
        self.waiting: list[tuple[str, RecordingExchange]] = []
        self.links: list[RecordingDuplex] = []
        self.told: set[int] = set()


class Replay:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.generation = QUERIES[path.parent.name]
        self.kit: EngineKit | None = None
        self.people: dict[int, Person] = {}
        self.sids: dict[str, str] = {}
        self.ids: dict[str, str] = {}
        self.sockets: list[Socket] = []
        self.out: list[str] = []

    def run(self) -> None:
        for number, line in enumerate(self.path.read_text().splitlines(), 1):
            where = f"{self.path.name}:{number}"
            sign, _, rest = line.partition(" ")
            if sign == "=" and self.kit is None:
                self.begin(json.loads(rest))
            elif sign in (">", "!", "."):
                assert self.out == [], f"{where}: the server also said {self.out}"
                self.begin({})
                {">": self.client, "!": self.server, ".": self.wait}[sign](rest)
                self.collect()
            elif sign == "<":
                said = self.out.pop(0) if self.out else "nothing"
                assert said == rest, f"{where}: the server said {said}"
        assert self.out == [], f"{self.path.name}: at its end the server also said {self.out}"

    def begin(self, settings: dict[str, Any]) -> None:
        if self.kit is None:
            self.kit = EngineKit(query=self.generation, **{"generations": [self.path.parent.name], **settings})
            program(self.kit.io)
            self.kit.io.on("connection", self.sockets.append)
            for name in ("/chat", "/private"):
                self.kit.io.of(name).on("connection", self.sockets.append)

    @property
    def has_bytes(self) -> bool:
        """Whether payloads may be bytes in this generation."""
        return isinstance(self.live.engine.routes.generations[0].pack([]), bytes)

    @property
    def live(self) -> EngineKit:
        assert self.kit is not None
        return self.kit

    # What is written, and what it stands for

    def name_ids(self) -> None:
        for socket in self.sockets:
            if socket.id not in self.ids:
                self.ids[socket.id] = f"ID{len(self.ids) + 1}"

    def shown(self, text: str) -> str:
        self.name_ids()
        for id_, name in {**self.sids, **self.ids}.items():
            text = text.replace(id_, name)
        return text.replace("\x1e", "␞")

    def meant(self, text: str) -> str:
        for id_, name in {**self.sids, **self.ids}.items():
            text = re.sub(rf"\b{name}\b", id_, text)
        return text.replace("␞", "\x1e")

    @staticmethod
    def frame(text: str) -> Frame:
        return bytes.fromhex(text[2:]) if text.startswith("b:") else text

    # Lines

    def client(self, line: str) -> None:
        channel, _, rest = line.partition(" ")
        kind, digits = re.fullmatch(r"(poll|post|ws)(\d*)", channel).groups()  # type: ignore[union-attr]
        number = int(digits or 1)
        person = self.people.setdefault(number, Person(number))
        known = set(self.live.engine.sessions)
        text = self.meant(rest)
        below = BELOW.fullmatch(text)
        if below is not None:
            person.below, person.query, text = below[1], below[2] or "", below[3] or ""
        getattr(self, kind)(person, text)
        for sid in set(self.live.engine.sessions) - known:
            self.sids[sid] = f"SID{number}"
            if below is None:
                more = "&b64=1" if "b64=1" in rest else ""
                person.query = f"{self.generation}{more}&transport=polling&sid={sid}"

    def poll(self, person: Person, query: str) -> None:
        person.waiting.append(("poll", self.live.http("GET", query or person.query, below=person.below)))

    def post(self, person: Person, payload: str) -> None:
        is_bytes = payload.startswith("b:")
        body = bytes.fromhex(payload[2:]) if is_bytes else payload.encode()
        headers = {"Content-Type": "application/octet-stream"} if is_bytes and self.has_bytes else {}
        person.waiting.append(("post", self.live.http("POST", person.query, body, headers, below=person.below)))

    def ws(self, person: Person, text: str) -> None:
        query = text if "transport=" in text else ""
        if query or not text:
            query = query or person.query.replace("polling", "websocket")
            request = self.live.request("GET", query, below=person.below)
            try:
                self.live.engine.admit(request)
            except RequestRefused as refusal:
                body = error_body(refusal).decode()
                self.out.append(self.shown(f"ws{person.name} {refusal.status} {body}"))
                return
            person.links.append(RecordingDuplex())
            self.live.engine.link(request, person.links[-1])
        elif text == "close":
            person.links[-1].lose()
            person.told.add(len(person.links) - 1)
        else:
            person.links[-1].say(self.frame(text))

    def server(self, expression: str) -> None:
        eval(expression, {"io": self.live.io, "sockets": self.sockets})

    def wait(self, seconds: str) -> None:
        self.live.advance(float(seconds))

    def collect(self) -> None:
        self.live.turn()
        for person in self.people.values():
            for kind, exchange in list(person.waiting):
                if not exchange.waits:
                    person.waiting.remove((kind, exchange))
                    said = exchange.payload
                    text = f"b:{said.hex()}" if isinstance(said, bytes) else said
                    self.out.append(self.shown(f"{kind}{person.name} {exchange.status} {text}"))
            for number, link in enumerate(person.links):
                for frame in link.take():
                    text = f"b:{frame.hex()}" if isinstance(frame, bytes) else frame
                    self.out.append(self.shown(f"ws{person.name} {text}"))
                if link.closed is not None and number not in person.told:
                    person.told.add(number)
                    self.out.append(f"ws{person.name} close {link.closed[0]} {link.closed[1]}".rstrip())


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
async def test_transcript(path: Path) -> None:
    Replay(path).run()


def test_there_are_some_of_each_generation() -> None:
    import madang.wire

    generations = {path.stem for path in Path(madang.wire.__file__).parent.glob("*.py")} - {"__init__"}
    assert generations == set(QUERIES)
    for generation in generations:
        assert len([path for path in FILES if path.parent.name == generation]) >= 5


@pytest.mark.parametrize("change", ["40{", "< poll 200 ok", "nothing more"])
async def test_a_wrong_transcript_fails(tmp_path: Path, change: str) -> None:
    text = (HERE / "eio4" / "polling.txt").read_text()
    if change == "nothing more":
        text = text.rsplit("\n<", 1)[0]  # the last thing that the server says is not expected
    elif change == "40{":
        text = text.replace("40{", "40[", 1)
    else:
        text += f"\n{change}\n"
    wrong = tmp_path / "eio4" / "wrong.txt"
    wrong.parent.mkdir()
    wrong.write_text(text)
    with pytest.raises(AssertionError):
        Replay(wrong).run()
