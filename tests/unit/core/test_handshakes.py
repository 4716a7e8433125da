"""Sessions that begin with a handshake which names no transport, and may move without a probe: clients before 1.0."""

import asyncio
import json
from typing import Any
from urllib.parse import quote

import pytest

from madang import Config, ConnectionRefused, Cookie, Namespace, Server
from madang.core.session import CLOSED, UNDECIDED, Session
from madang.core.socket import Socket
from madang.errors import Reason, RequestRefused
from madang.packet import Frame
from madang.testing import EngineKit, RecordingDuplex, RecordingExchange
from madang.wire.sio1 import WIRE

BROWSER = {"user-agent": "Mozilla/5.0", "host": "here.example"}
FRIEND = "https://friend.example"
ALL = ["polling", "websocket", "jsonp", "iframe", "flashsocket", "sse"]


class Old:
    """A client whose requests name all in their path."""

    def __init__(self, kit: EngineKit, headers: dict[str, str] | None = None, query: str = "t=1") -> None:
        self.kit = kit
        self.headers = headers or {}
        known = set(kit.engine.sessions)
        self.hello = kit.http("GET", query, headers=self.headers, below="1/")
        [self.sid] = set(kit.engine.sessions) - known
        self.session: Session = kit.engine.sessions[self.sid]

    def get(self, transport: str = "xhr-polling", query: str = "") -> RecordingExchange:
        exchange = self.kit.http("GET", query, headers=self.headers, below=f"1/{transport}/{self.sid}")
        self.kit.turn()
        return exchange

    def post(self, body: str, transport: str = "xhr-polling", query: str = "") -> RecordingExchange:
        below = f"1/{transport}/{self.sid}"
        exchange = self.kit.http("POST", query, body.encode(), self.headers, below=below)
        self.kit.turn()
        return exchange

    def link(self) -> RecordingDuplex:
        request = self.kit.request("GET", "", self.headers, below=f"1/websocket/{self.sid}")
        self.kit.engine.admit(request)
        duplex = RecordingDuplex()
        self.kit.engine.link(request, duplex)
        return duplex


def kit_of(**settings: Any) -> EngineKit:
    kit = EngineKit(**{"generations": ["eio4", "sio1"], "transports": ALL, **settings})
    kit.io.on("echo", lambda socket, *args: args)
    return kit


@pytest.fixture
def kit() -> EngineKit:
    return kit_of()


def ends_of(io: Server | Namespace) -> list[str]:
    reasons: list[str] = []
    io.on("disconnect", lambda socket, reason: reasons.append(reason))
    return reasons


def comers(io: Server | Namespace) -> list[Socket]:
    sockets: list[Socket] = []
    io.on("connection", sockets.append)
    return sockets


ECHO = '5:1+::{"name":"echo","args":["한"]}'
SLOW = WIRE.join(['5:::{"name":"slow"}'] * 8)
ECHOED = '6:::1+["\\ud55c"]'


# ---- handshakes ----


def test_a_handshake(kit: EngineKit) -> None:
    seen = comers(kit.io)
    client = Old(kit, query="t=1&user=me")
    assert client.hello.text == f"{client.sid}:45:50:websocket,flashsocket,htmlfile,xhr-polling,jsonp-polling"
    assert client.session.transport is UNDECIDED
    assert seen == []
    assert client.get().text == "1::"
    [socket] = seen
    assert socket.handshake.generation == "sio1"
    assert socket.handshake.query == {"t": "1", "user": "me"}
    assert socket.handshake.transport == socket.transport == "polling"


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
def test_any_method_shakes_hands(kit: EngineKit, method: str) -> None:
    assert kit.http(method, "", below="1").text.split(":")[1] == "45"


def test_a_handshake_by_a_script(kit: EngineKit) -> None:
    answer = kit.http("GET", "jsonp=4", below="1/")
    assert answer.text.startswith('io.j[4]("')
    assert answer.text.endswith('jsonp-polling");')


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({"referer": "http://here.example/page"}, True),
        ({"referer": f"{FRIEND}/page"}, True),
        ({"referer": "https://bad.example/page"}, False),
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"cookie": "a=b"}, False),
        ({}, False),
    ],
)
def test_who_may_load_scripts(headers: dict[str, str], allowed: bool) -> None:
    kit = kit_of(origins=[FRIEND])
    headers = BROWSER | headers
    answer = kit.http("GET", "jsonp=0", headers=headers, below="1/")
    assert answer.status == 200
    assert (answer.text == 'io.j[0](new Error("handshake bad origin"));') is not allowed
    assert len(kit.engine.sessions) == int(allowed)

    client = Old(kit)
    client.headers = headers
    poll = client.get("jsonp-polling", "i=0")
    assert poll.text == ('io.j[0]("1::");' if allowed else "Forbidden")
    assert poll.status == (200 if allowed else 403)


def test_pages_of_other_origins() -> None:
    kit = kit_of(origins=[FRIEND])
    headers = {"host": "here.example", "origin": FRIEND}
    client = Old(kit, headers)
    for answer in (client.hello, client.get(), client.post(ECHO), client.get()):
        assert answer.headers["access-control-allow-origin"] == FRIEND
        assert answer.headers["access-control-allow-credentials"] == "true"
    for below in ("1/", f"1/xhr-polling/{client.sid}", "1/xhr-polling/unknown"):
        answer = kit.http("GET", "", headers={**headers, "origin": "https://bad.example"}, below=below)
        assert answer.status == 403
        assert "access-control-allow-origin" not in answer.headers
    assert kit.http("GET", "", headers={"origin": "https://bad.example"}, below="1/").text == "handshake bad origin"
    request = kit.request("GET", "", {"origin": "https://bad.example"}, below=f"1/websocket/{client.sid}")
    with pytest.raises(RequestRefused):
        kit.engine.admit(request)


def test_any_page_may_come_with_cookies() -> None:
    """Browsers give pages of these clients no answer that doesn't allow it."""
    kit = kit_of(origins="*")
    answer = kit.http("GET", "", headers={"origin": "https://any.example"}, below="1/")
    assert answer.headers["access-control-allow-origin"] == "https://any.example"
    assert answer.headers["access-control-allow-credentials"] == "true"


def test_refused_handshakes() -> None:
    kit = kit_of(allow_request=lambda request: request.query.get("token") == "secret")
    answer = kit.http("GET", "", below="1/")
    assert (answer.status, answer.text) == (403, "handshake unauthorized")
    assert kit.http("GET", "jsonp=1", below="1/").text == 'io.j[1](new Error("handshake unauthorized"));'
    assert kit.http("GET", "token=secret", below="1/").status == 200
    assert len(kit.engine.sessions) == 1
    full = kit_of(max_connections=1)
    Old(full)
    answer = full.http("GET", "", below="1/")
    assert (answer.status, answer.text) == (503, "Server is full")


def test_other_versions(kit: EngineKit) -> None:
    answer = kit.http("GET", "", below="2/")
    assert (answer.status, answer.text) == (500, "Protocol version not supported.")
    [refusal] = kit.refusals
    assert refusal.context == {"protocol": "2"}


def test_a_cookie() -> None:
    kit = kit_of(cookie=Cookie("io"))
    client = Old(kit)
    assert client.hello.headers["set-cookie"].startswith(f"io={client.sid};")
    assert "set-cookie" not in client.get().headers


def test_generations_that_are_off() -> None:
    kit = EngineKit()
    answer = kit.http("GET", "", below="1/")
    assert answer.status == 400
    assert kit.engine.sessions == {}


def test_a_handshake_that_nobody_uses(kit: EngineKit) -> None:
    seen, ends = comers(kit.io), ends_of(kit.io)
    client = Old(kit)
    assert client.post("1::/chat").text == "1"
    assert client.post(ECHO).text == "1"
    kit.advance(kit.io.config.connect_timeout_seconds + 1)
    assert client.session.state == CLOSED
    assert kit.engine.sessions == {}
    assert client.get().text == "7:::1+0"
    assert (seen, ends) == ([], [])
    Old(kit)
    kit.engine.close(Reason.SHUTTING_DOWN)
    assert kit.engine.sessions == {}
    assert (seen, ends) == ([], [])


@pytest.mark.parametrize("transport", ["xhr-polling", "htmlfile"])
def test_who_is_told_of_a_client_ends_it(kit: EngineKit, transport: str) -> None:
    kit.io.engine.on("connection", lambda session: session.close(Reason.SERVER_DISCONNECT, discard=True))
    client = Old(kit)
    poll = client.get(transport)
    assert "7:::1+0" in poll.text + poll.take().decode()
    assert kit.engine._parked == 0
    assert kit.engine.sessions == {}


def test_answers_that_nobody_fetches_count_as_what_they_take() -> None:
    kit = kit_of(max_buffered_bytes=100_000)
    client = Old(kit)
    client.get()
    client.post(WIRE.join(["3:1::a"] * 2000))
    assert client.session.ended == Reason.SLOW_CONSUMER


# ---- transports ----


def test_scripts(kit: EngineKit) -> None:
    client = Old(kit)
    assert client.get("jsonp-polling", "i=3&t=1").text == 'io.j[3]("1::");'
    assert client.session.transport.name == "jsonp"
    poll = client.get("jsonp-polling", "i=4")
    assert poll.waits
    body = "d=" + quote(json.dumps(ECHO, ensure_ascii=False))
    assert client.post(body, "jsonp-polling", "i=4").text == "1"
    assert poll.text == f"io.j[4]({json.dumps(ECHOED)});"
    assert client.post("d=" + ECHO.replace("+", "%2B"), "jsonp-polling").text == "1"  # as the clients before 0.8.6
    assert client.get("jsonp-polling").text == f"io.j[0]({json.dumps(ECHOED)});"
    answer = client.post("d=%22", "jsonp-polling")
    assert answer.status == 400
    assert client.get("jsonp-polling").text == 'io.j[0]("7:::1+0");'


@pytest.mark.parametrize("transport", ["xhr-polling", "jsonp-polling"])
def test_a_poll_fails_where_a_link_would_break(kit: EngineKit, transport: str) -> None:
    """Clients that read that their session is over say `0::` in the one that they begin then, if they were posting."""
    client = Old(kit)
    client.get(transport)
    poll = client.get(transport)
    kit.engine.close(Reason.SHUTTING_DOWN)
    assert poll.status == 410
    assert "7:::1+0" in poll.text
    assert client.get(transport).status == 200  # as for all sessions that there aren't


def test_documents(kit: EngineKit) -> None:
    ends = ends_of(kit.io)
    client = Old(kit)
    frame = client.get("htmlfile")
    assert frame.response is not None
    assert len(frame.response.body) == 256
    assert frame.headers["content-type"] == "text/html; charset=UTF-8"
    assert frame.take() == b'<script>_("1::");</script>'
    assert client.post(ECHO, "htmlfile").text == "1"
    assert frame.take() == b'<script>_("6:::1+[\\"\\\\ud55c\\"]");</script>'
    kit.io.emit("a")
    kit.io.emit("b/")
    kit.turn()
    assert frame.take() == (
        b'<script>_("5:::{\\"name\\":\\"a\\"}");</script><script>_("5:::{\\"name\\":\\"b\\/\\"}");</script>'
    )

    # It never ends, and the client is pinged in it.
    for _ in range(40):
        kit.advance(25)
        assert frame.take() == b'<script>_("2::");</script>'
        assert client.post("2::", "htmlfile").text == "1"
    assert frame.ended is False
    assert client.session.transport.name == "iframe"
    kit.advance(46)
    assert ends == [Reason.PING_TIMEOUT]
    assert frame.ended == "cut"


def test_a_document_in_place_of_another(kit: EngineKit) -> None:
    client = Old(kit)
    first = client.get("htmlfile")
    second = client.get("htmlfile")
    assert first.take() == b'<script>_("1::");</script><script>_("8::");</script>'
    assert first.ended is True
    kit.io.emit("e")
    kit.turn()
    assert second.take() == b'<script>_("5:::{\\"name\\":\\"e\\"}");</script>'
    poll = client.get()
    assert second.take() == b'<script>_("8::");</script>'
    assert second.ended is True
    kit.io.emit("e")
    kit.turn()
    assert poll.text == '5:::{"name":"e"}'


def test_from_one_transport_to_another(kit: EngineKit) -> None:
    seen, ends = comers(kit.io), ends_of(kit.io)
    client = Old(kit)
    first = client.link()
    assert first.take() == ["1::"]
    poll = client.get()
    assert first.closed is not None
    assert client.session.transport.name == "polling"
    script = client.get("jsonp-polling")
    assert poll.text == "8::"
    second = client.link()
    assert script.text == 'io.j[0]("8::");'
    second.say(ECHO)
    assert second.take() == [ECHOED]
    first.lose()  # which has nothing to do with it any more
    assert (len(seen), ends) == (1, [])
    [socket] = seen
    assert socket.transport == "websocket"
    assert socket.handshake.transport == "websocket"


def test_what_waits_goes_by_the_next_transport(kit: EngineKit) -> None:
    client = Old(kit)
    client.get()
    kit.io.emit("a")
    kit.io.emit("b")
    assert client.link().take() == ['5:::{"name":"a"}', '5:::{"name":"b"}']


def test_posts_beside_a_link(kit: EngineKit) -> None:
    client = Old(kit)
    link = client.link()
    link.take()
    assert client.post(ECHO).text == "1"
    assert link.take() == [ECHOED]


def test_links_of_unknown_sessions(kit: EngineKit) -> None:
    for below in ("1/websocket/unknown", "1/flashsocket/unknown"):
        request = kit.request("GET", "", below=below)
        kit.engine.admit(request)
        duplex = RecordingDuplex()
        kit.engine.link(request, duplex)
        assert duplex.take() == ["7:::1+0"]
        assert duplex.closed == (1008, "Session ID unknown")
    for below in ("1/xhr-polling/unknown", "1/nothing/unknown", "1/", "1/websocket"):
        with pytest.raises(RequestRefused):
            kit.engine.admit(kit.request("GET", "", below=below))


def test_sessions_of_other_generations(kit: EngineKit) -> None:
    modern, client = kit.polling(), Old(kit)
    assert kit.http("GET", f"EIO=4&transport=polling&sid={client.sid}").status == 400
    answer = kit.http("GET", "", below=f"1/xhr-polling/{modern.session.id}")
    assert (answer.status, answer.text) == (400, "Bad request")


def test_bytes_are_no_frames(kit: EngineKit) -> None:
    link = Old(kit).link()
    link.say(b"3:::x")
    assert link.closed == (1002, "parse error")


# ---- heartbeats ----


def test_pings_over_a_link(kit: EngineKit) -> None:
    ends = ends_of(kit.io)
    link = Old(kit).link()
    assert link.take() == ["1::"]
    kit.advance(25)
    assert link.take() == ["2::"]
    link.say("2::")
    kit.advance(25)
    assert link.take() == ["2::"]
    assert ends == []
    kit.advance(20)
    assert ends == [Reason.PING_TIMEOUT]
    assert link.closed is not None


@pytest.mark.parametrize("transport", ["xhr-polling", "jsonp-polling"])
def test_polls_are_the_sign_of_life(kit: EngineKit, transport: str) -> None:
    """A ping would be answered by a POST beside the one that may be under way, which a page's form then loses."""
    ends = ends_of(kit.io)
    client = Old(kit)
    client.get(transport)
    for _ in range(10):
        poll = client.get(transport)
        kit.advance(29)
        assert poll.waits
        kit.advance(1)
        assert "8::" in poll.text
    assert ends == []
    kit.advance(90)
    assert ends == [Reason.PING_TIMEOUT]
    assert kit.engine.sessions == {}


def test_a_poll_that_waits_longer_than_a_client_may_be_silent() -> None:
    kit = kit_of(poll_timeout_seconds=200)
    ends = ends_of(kit.io)
    client = Old(kit)
    assert client.hello.text.split(":")[1:3] == ["45", "220"]
    client.get()
    poll = client.get()
    kit.advance(199)
    assert poll.waits
    assert ends == []


# ---- namespaces ----


def test_the_main_namespace_is_all(kit: EngineKit) -> None:
    chat = kit.io.of("/chat")
    roots, others = ends_of(kit.io), ends_of(chat)
    link = Old(kit).link()
    link.say("1::/chat", "0::")
    assert link.take() == ["1::", "1::/chat", "0::"]
    assert link.closed == (1000, "")
    assert roots == others == [Reason.CLIENT_DISCONNECT]

    seen = comers(kit.io)
    link = Old(kit).link()
    link.say("1::/chat")
    seen[0].disconnect()
    assert link.take() == ["1::", "1::/chat", "0::"]
    assert link.closed is not None
    assert roots == [Reason.CLIENT_DISCONNECT, Reason.SERVER_DISCONNECT]
    assert others == [Reason.CLIENT_DISCONNECT, Reason.SERVER_DISCONNECT]
    assert kit.engine.sessions == {}


def test_other_namespaces_come_and_go(kit: EngineKit) -> None:
    chat = kit.io.of("/chat")
    seen, ends = comers(chat), ends_of(chat)
    link = Old(kit).link()
    for _ in range(3):
        link.say("1::/chat", "1::/chat", "0::/chat", "0::/chat", "3::/chat:late")
    assert link.take() == ["1::", "1::/chat", "1::/chat", "1::/chat"]
    assert link.closed is None
    assert len(seen) == len(ends) == 3


async def test_who_is_refused_in_the_main_namespace_is_told() -> None:
    kit = kit_of()

    @kit.io.use
    def nobody(socket: Socket) -> None:
        raise ConnectionRefused("nobody")

    link = Old(kit).link()
    assert link.take() == ["7:::2"]
    assert link.closed is not None
    client = Old(kit)
    assert client.get().text == "7:::2"
    assert client.get().status == 410
    assert kit.engine.sessions == {}


async def test_what_is_said_before_the_answer() -> None:
    """These clients don't wait for it."""
    kit = kit_of()
    heard: list[Any] = []
    gate = asyncio.Event()
    for name in ("/chat", "/no"):

        @kit.io.of(name).use
        async def let_in(socket: Socket) -> None:
            await gate.wait()
            if socket.namespace.name == "/no":
                raise ConnectionRefused("no")

        kit.io.of(name).on("say", lambda socket, *args: heard.append(args))
    ends = ends_of(kit.io.of("/chat"))
    client = Old(kit)
    link = client.link()
    link.say("1::/chat", '5:1+:/chat:{"name":"say","args":[1]}', "1::/chat", '5:2:/chat:{"name":"say","args":[2]}')
    link.say("1::/no", '5::/no:{"name":"say","args":[3]}', "6::/no:1", "0::/chat", '5::/chat:{"name":"say","args":[4]}')
    for _ in range(5):
        await asyncio.sleep(0)
    kit.turn()
    assert link.take() == ["1::", "6::/chat:2"]
    assert heard == []
    assert sorted(map(len, kit.hub._early.values())) == [2, 4]
    gate.set()
    for _ in range(20):
        await asyncio.sleep(0)
        kit.turn()
    assert sorted(map(str, link.take())) == ["1::/chat", "6::/chat:1", "7::/no:2"]
    assert heard == [(1,), (2,)]
    assert ends == [Reason.CLIENT_DISCONNECT]
    assert client.session.load == 0
    assert link.closed is None
    assert kit.hub._early == {}


async def test_too_much_is_said_before_the_answer() -> None:
    kit = kit_of(max_handlers_per_client=4)
    heard: list[int] = []
    gate = asyncio.Event()

    @kit.io.of("/chat").use
    async def let_in(socket: Socket) -> None:
        await gate.wait()

    kit.io.of("/chat").on("say", lambda socket, number: heard.append(number))
    link = Old(kit).link()
    link.say("1::/chat")
    link.say(*[json.dumps({"name": "say", "args": [number]}).join(["5::/chat:", ""]) for number in range(12)])
    assert link.unread is not None  # nobody reads on
    assert len(link.unread) >= 7
    gate.set()
    for _ in range(50):
        await asyncio.sleep(0)
        kit.turn()
    assert heard == list(range(12))
    assert link.unread is None


async def test_who_goes_before_the_answer() -> None:
    kit = kit_of()

    @kit.io.of("/chat").use
    async def let_in(socket: Socket) -> None:
        await asyncio.Event().wait()

    client = Old(kit)
    link = client.link()
    link.say("1::/chat", "3::/chat:early")
    link.lose()
    assert kit.engine.sessions == {}
    assert kit.hub._early == {}
    link = Old(kit).link()
    link.say("1::/chat", "3::/chat:early")
    kit.hub.reset()
    assert kit.hub._early == {}


# ---- ends ----


@pytest.mark.parametrize("below", ["1//{}", "1/xhr-polling/{}", "1/htmlfile/{}"])
def test_good_bye_by_a_request(kit: EngineKit, below: str) -> None:
    ends = ends_of(kit.io)
    client = Old(kit)
    client.get()
    poll = client.get()
    answer = kit.http("GET", "disconnect=1", below=below.format(client.sid) + "/")
    assert (answer.status, answer.text) == (200, "")
    assert poll.text == "0::"
    assert ends == [Reason.TRANSPORT_CLOSE]
    assert kit.engine.sessions == {}
    again = kit.http("GET", "disconnect=1", below=below.format(client.sid) + "/")
    assert (again.status, again.text) == (200, "")


def test_good_bye_without_a_transport(kit: EngineKit) -> None:
    """No poll waits at this moment, or none ever has: the session ends all the same."""
    ends = ends_of(kit.io)
    client, nobody = Old(kit), Old(kit)
    client.get()
    for sid in (client.sid, nobody.sid):
        assert kit.http("GET", "disconnect=1", below=f"1//{sid}").status == 200
    assert ends == [Reason.TRANSPORT_CLOSE]
    assert kit.engine.sessions == {}


def break_poll(client: Old) -> None:
    poll = client.get()
    client.kit.engine.abandon(client.kit.request("GET", "", below=f"1/xhr-polling/{client.sid}"), poll)


def test_a_poll_that_breaks(kit: EngineKit) -> None:
    """Clients break it as they say good-bye, and some try again."""
    ends = ends_of(kit.io)
    client = Old(kit)
    client.get()
    break_poll(client)
    kit.io.emit("e")
    kit.advance(19)
    assert client.get().text == '5:::{"name":"e"}'
    kit.advance(40)
    assert ends == []
    break_poll(client)
    assert client.post("0::").text == "1"
    assert ends == [Reason.CLIENT_DISCONNECT]
    assert client.get().text == "7:::1+0"
    client = Old(kit)
    client.get()
    break_poll(client)
    kit.advance(21)
    assert ends == [Reason.CLIENT_DISCONNECT, Reason.PING_TIMEOUT]


async def test_a_pong_beside_a_post_that_waits() -> None:
    """The clients of "htmlfile" answer a ping whatever they are sending."""
    kit = kit_of(max_handlers_per_client=2)
    gate = asyncio.Event()

    @kit.io.on("slow")
    async def slow(socket: Socket) -> None:
        await gate.wait()

    ends = ends_of(kit.io)
    client = Old(kit)
    frame = client.get("htmlfile")
    waiting = client.post(SLOW, "htmlfile")
    for _ in range(3):
        await asyncio.sleep(0)
    assert waiting.waits
    kit.advance(25)
    assert b'_("2::")' in frame.take()
    assert client.post("2::", "htmlfile").text == "1"
    assert ends == []
    gate.set()
    for _ in range(30):
        await asyncio.sleep(0)
        kit.turn()
    assert waiting.text == "1"
    assert ends == []


async def test_other_posts_beside_a_post_that_waits() -> None:
    kit = kit_of(max_handlers_per_client=2)

    @kit.io.on("slow")
    async def slow(socket: Socket) -> None:
        await asyncio.Event().wait()

    client = Old(kit)
    client.get()
    assert client.post(SLOW).waits
    assert client.post("3:::x").status == 400
    assert client.session.violation is None
    assert kit.engine.sessions == {}


# ---- with the others ----


def test_one_room_of_all_generations(kit: EngineKit) -> None:
    modern, old = kit.websocket(), Old(kit)
    modern.join()
    link = old.link()
    link.take()
    kit.io.emit("photo", "마당", b"png")
    kit.io.send("마당\u2028")
    frames: list[Frame] = ['42["message","마당\u2028"]']
    assert modern.heard()[-1:] == frames
    assert link.take() == ['5:::{"name":"photo","args":["\\ub9c8\\ub2f9","cG5n"]}', '4:::"\\ub9c8\\ub2f9\\u2028"']


def test_acknowledgements_of_the_client(kit: EngineKit) -> None:
    seen = comers(kit.io)
    link = Old(kit).link()
    link.take()
    ack = seen[0].call("q", 1)
    [frame] = link.take()
    assert isinstance(frame, str)
    id_ = frame.split(":")[1].removesuffix("+")
    assert frame == f'5:{id_}+::{{"name":"q","args":[1]}}'
    link.say(f'6:::{id_}+["a","b"]')
    assert ack.done
    message = seen[0].call("message", "hi")
    [frame] = link.take()
    assert frame == f"3:{int(id_) + 1}+::hi"
    link.say(f"6:::{int(id_) + 1}")
    assert message.done


def test_bytes_for_handlers_that_want_bytes() -> None:
    """These clients have nothing but base64 for them; from others, a string is a string."""
    kit = EngineKit(generations="all")

    @kit.io.on("typed")
    def typed(socket: Socket, number: int, data: bytes, *more: bytes) -> list[object]:
        return [number, data.decode(), len(more)]

    link, modern = Old(kit).link(), kit.websocket()
    modern.join()
    link.take()
    link.say('5:1+::{"name":"typed","args":[5,"cG5n","",""]}')
    assert link.take() == ['6:::1+[[5,"png",2]]']
    for args, paths in ((["x", "cG5n"], [[0]]), ([5, "%"], [[1]]), ([5, 6, 7, "cG5n"], [[1], [2]])):
        link.say(f'5:2+::{{"name":"typed","args":{json.dumps(args)}}}')
        [answer] = link.take()
        assert isinstance(answer, str)
        [told] = json.loads(answer.removeprefix("6:::2+"))
        assert [fault["path"] for fault in told["error"]["details"]] == paths
    modern.say('421["typed",5,"cG5n"]')
    assert "invalid_arguments" in str(modern.heard())


def test_settings_are_for_all(kit: EngineKit) -> None:
    assert Config(generations="all").generations == "all"
    everyone = EngineKit(generations="all")
    assert "sio1" in {one.name for one in everyone.engine.routes.generations}
    assert Old(everyone).hello.text.endswith(":websocket,xhr-polling")
