"""Requests for sessions of other servers, without any socket: kits whose parcels are carried by hand."""

from typing import Any

import msgspec
import pytest

from madang.cluster.parcels import read
from madang.cluster.requests import Requests
from madang.core.events import ResponseHeaders
from madang.core.session import Session
from madang.errors import Reason, RemoteProtocolError
from madang.testing import EngineKit, RecordingDuplex, RecordingExchange
from madang.transports import Request
from madang.wire import Address
from madang.wire.eio4 import EngineIO4
from support.bodies import WAYS

WINDOW = 262_144


class World:
    """Three servers; `settle` lets everybody's turn end until nothing is under way."""

    def __init__(self, **settings: Any) -> None:
        settings = {"transports": "all", "generations": "all", **settings}
        self.nodes = ["aaaa", "bbbb", "cccc"]
        self.kits = {node: EngineKit(**settings) for node in self.nodes}
        self.requests: dict[str, Requests] = {}
        self.under_way: list[tuple[str, bytes]] = []
        self.parcels: list[bytes] = []
        self.gone: set[str] = set()
        self.malformed: list[RemoteProtocolError] = []
        self.failed: list[Exception] = []
        self.gaps: list[str] = []
        for node, kit in self.kits.items():
            one = self.requests[node] = Requests(kit.engine, node, self.post)
            one.knows = lambda other: other in self.kits and other not in self.gone
            one.on_malformed = self.malformed.append
            one.on_failed = self.failed.append
            one.on_gap = self.gaps.append
            kit.io.on("echo", lambda socket, *args: args)
            kit.io.on("ping me", lambda socket, *args: socket.emit("pong", *args))
        self.owner, self.entrance, self.third = self.kits.values()

    def post(self, node: str, data: bytes) -> None:
        self.under_way.append((node, data))

    def settle(self) -> None:
        self.turn()
        while self.under_way:
            node, data = self.under_way.pop(0)
            self.parcels.append(data)
            if node not in self.gone:
                self.requests[node].posted(data)
            self.turn()

    def turn(self) -> None:
        for kit in self.kits.values():
            kit.turn()

    def advance(self, seconds: float) -> None:
        for node, kit in self.kits.items():
            if node not in self.gone:
                kit.advance(seconds)
        self.settle()

    def ask(
        self, method: str, query: str, body: bytes | None = None, headers: dict[str, str] | None = None, **more: Any
    ) -> RecordingExchange:
        exchange = self.entrance.http(method, query, body, headers, **more)
        self.settle()
        return exchange

    def is_quiet(self) -> bool:
        return all(one.open_here == one.open_elsewhere == 0 for one in self.requests.values())


@pytest.fixture
def world() -> World:
    return World()


def link(
    world: World, session: Session, duplex: RecordingDuplex | None = None, headers: dict[str, str] | None = None
) -> RecordingDuplex:
    link = duplex or RecordingDuplex()
    kit = world.entrance
    request = kit.request("GET", f"EIO=4&transport=websocket&sid={session.id}", headers)
    kit.engine.admit(request)
    kit.engine.link(request, link)
    world.settle()
    return link


def test_ids_begin_with_the_node(world: World) -> None:
    client = world.owner.polling()
    assert client.session.id.startswith("aaaa")
    assert len(client.session.id) == 20
    assert len(EngineKit().polling().session.id) == 20


# The same answers


class Both:
    """Says the same to a server alone and to one in a cluster through another, and compares the answers."""

    def __init__(self, **settings: Any) -> None:
        settings = {"transports": "all", "generations": "all", **settings}
        self.alone = EngineKit(**settings)
        self.world = World(**settings)
        self.alone.io.on("echo", lambda socket, *args: args)
        for kit in (self.alone, *self.world.kits.values()):
            kit.io.engine.on("headers", self.dress)
            kit.engine.new_id = iter([f"{number:020d}" for number in range(900)]).__next__

    @staticmethod
    def dress(headers: ResponseHeaders, request: Request) -> None:
        headers["X-Dressed"] = headers.get("X-Dressed", "") + "once"

    @property
    def kits(self) -> list[EngineKit]:
        return [self.alone, self.world.owner]

    def open(self, query: str, headers: dict[str, str] | None = None, below: str = "") -> str:
        alone, owner = [kit.http("GET", query, headers=headers, below=below) for kit in self.kits]
        sid = next(iter(self.world.owner.engine.sessions))
        self.world.settle()
        assert self.plain(owner) == self.plain(alone)
        return sid

    def plain(self, exchange: RecordingExchange) -> Any:
        response = exchange.response
        if response is None:
            return "waits"
        headers = [(name, value.replace("aaaa", "0000")) for name, value in response.headers]
        body = exchange.body.replace(b"aaaa", b"0000")
        return response.status, headers, body, exchange.take().replace(b"aaaa", b"0000"), exchange.ended

    def same(
        self,
        method: str,
        query: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        below: str = "",
    ) -> list[RecordingExchange]:
        alone = self.alone.http(
            method, query.replace("aaaa", "0000"), body, headers, below=below.replace("aaaa", "0000")
        )
        self.alone.turn()
        here = self.world.entrance.http(method, query, body, headers, below=below)
        self.world.settle()
        assert self.plain(here) == self.plain(alone)
        return [alone, here]

    def emit(self, *args: Any) -> None:
        for kit in self.kits:
            kit.io.emit(*args)
        self.alone.turn()
        self.world.settle()


@pytest.mark.parametrize("name", ["polling", "shortpolling", "jsonp", "sse", "multipart", "iframe"])
def test_every_http_transport_answers_as_its_own_server_would(name: str) -> None:
    both = Both(origins=["https://example.org"], cors_credentials=True, min_short_poll_seconds=0.001)
    page = {"Host": "a.org", "Origin": "https://example.org", "Referer": "https://example.org/"}
    page["Accept-Encoding"] = "gzip"
    query = f"EIO=4&transport={name}&j=7"
    sid = both.open(query, page)
    query += f"&sid={sid}"
    pack, _ = WAYS.get(name, (lambda text: ({}, text.encode()), None))
    headers, body = pack("40")
    both.same("POST", query, body, {**page, **headers})
    got = both.same("GET", query, headers=page)
    headers, body = pack('421["echo","마당"]')
    both.same("POST", query, body, {**page, **headers})
    if got[0].waits:
        got = both.same("GET", query, headers=page)
    both.emit("news", "x" * 3000)
    if name in ("sse", "multipart", "iframe"):
        assert both.plain(got[0]) == both.plain(got[1])
    else:
        both.same("GET", query, headers=page)
    headers, body = pack("1")
    both.same("POST", query, body, {**page, **headers})
    both.same("GET", query, headers=page)
    assert both.world.is_quiet()
    assert both.world.requests["bbbb"].handed_over > 3
    assert not both.world.failed


@pytest.mark.parametrize(
    ("method", "query", "body", "headers"),
    [
        ("GET", "EIO=4&transport=polling", None, {"Origin": "https://evil.org", "Host": "a.org"}),
        ("GET", "EIO=3&transport=polling", None, {}),
        ("GET", "EIO=4&transport=sse", None, {}),
        ("GET", "EIO=4&transport=jsonp&j=x", None, {}),
        ("GET", "EIO=4&transport=websocket", None, {}),
        ("GET", "EIO=4&transport=telepathy", None, {}),
        ("PUT", "EIO=4&transport=polling", None, {}),
        ("OPTIONS", "EIO=4&transport=polling", None, {"Origin": "https://a.org", "Host": "a.org"}),
        ("POST", "EIO=4&transport=polling", b"\xff", {}),
        ("POST", "EIO=4&transport=polling", b"nonsense", {}),
        ("POST", "EIO=4&transport=polling", b"4" * 300, {}),
        ("POST", "EIO=4&transport=polling", b"", {"Content-Length": "999"}),
    ],
)
def test_refusals_are_those_of_the_owner(method: str, query: str, body: bytes | None, headers: dict[str, str]) -> None:
    both = Both(max_payload_bytes=200, max_packet_bytes=300)
    sid = both.open("EIO=4&transport=polling")
    both.same(method, f"{query}&sid={sid}", body, headers)
    both.same("GET", f"EIO=4&transport=polling&sid={sid}")
    assert not both.world.failed


def test_older_generations(world: World) -> None:
    both = Both()
    sid = both.open("t=1", below="1/")
    both.same("GET", "t=2", below=f"1/xhr-polling/{sid}")
    both.same("POST", "t=3", b'5:1+::{"name":"echo","args":["a"]}', below=f"1/xhr-polling/{sid}")
    both.same("GET", "t=2", below=f"1/jsonp-polling/{sid}")
    both.same("GET", "t=2", below=f"1/htmlfile/{sid}")
    both.same("GET", "disconnect=1", below=f"1/xhr-polling/{sid}")
    both.same("GET", "t=2", below=f"1/xhr-polling/{sid}")
    assert both.world.is_quiet()


def test_engineio_3() -> None:
    both = Both()
    sid = both.open("EIO=3&transport=polling&b64=1")
    query = f"EIO=3&transport=polling&b64=1&sid={sid}"
    both.same("GET", query)
    both.same("POST", query, b'15:421["echo","a"]')
    both.same("GET", query)


# Polls


def test_a_poll_waits_at_the_owner_and_is_answered_through_the_entrance(world: World) -> None:
    client = world.owner.polling()
    client.join()
    exchange = world.ask("GET", client.query)
    assert exchange.waits
    world.advance(5)
    assert exchange.waits
    world.owner.io.emit("news", 1)
    world.settle()
    assert exchange.text == '42["news",1]'
    assert world.is_quiet()


def test_a_post_is_taken_through_another_entrance_than_the_poll(world: World) -> None:
    client = world.owner.polling()
    client.join()
    poll = world.ask("GET", client.query)
    post = world.third.http("POST", client.query, b'421["echo",7]')
    world.settle()
    assert (post.status, post.text) == (200, "ok")
    assert poll.text == "431[7]"


def test_an_answer_that_may_have_died_with_its_entrance_ends_the_session(world: World) -> None:
    reasons: list[str] = []
    world.owner.io.on("disconnect", lambda socket, reason: reasons.append(reason))
    client, other = world.owner.polling(), world.owner.polling()
    client.join()
    other.join()
    world.ask("GET", client.query)
    world.ask("GET", other.query)
    world.advance(1)
    world.gone.add("bbbb")  # it has died, which its servers don't know yet
    world.owner.io.to(client.session.sockets["/"].id).emit("news", 1)  # type: ignore[union-attr]
    world.settle()
    again = world.third.http("GET", client.query)  # by a proxy, of which the client knows nothing
    world.settle()
    assert again.waits
    world.requests["aaaa"].lost("bbbb")
    world.settle()
    assert client.session.ended == Reason.TRANSPORT_CLOSE
    assert not again.waits
    assert reasons[0] == Reason.TRANSPORT_CLOSE


def test_an_answer_that_was_given_ends_nothing(world: World) -> None:
    client = world.owner.polling()
    client.join()
    poll = world.ask("GET", client.query)
    world.owner.io.emit("news", 1)
    world.settle()
    assert not poll.waits
    said = len(world.parcels)
    world.advance(1)  # nothing else is said, so it is told alone
    assert len(world.parcels) == said + 1
    world.requests["aaaa"].lost("bbbb")
    assert client.session.ended is None
    # With a poll that follows at once it is told without a parcel of its own
    world.ask("GET", client.query)
    world.owner.io.emit("news", 2)
    world.settle()
    said = len(world.parcels)
    world.ask("GET", client.query)
    assert len(world.parcels) == said + 2  # the poll, with what was given; that it is taken
    world.advance(1)
    assert len(world.parcels) == said + 2
    assert world.requests["aaaa"]._unconfirmed["bbbb"] == {}


def test_a_client_that_leaves_during_its_poll_is_gone(world: World) -> None:
    reasons: list[str] = []
    world.owner.io.on("disconnect", lambda socket, reason: reasons.append(reason))
    client = world.owner.polling()
    client.join()
    exchange = RecordingExchange()
    request = world.entrance.request("GET", client.query)
    world.entrance.engine.begin(request, exchange)
    world.settle()
    world.entrance.engine.abandon(request, exchange)
    world.settle()
    assert reasons == [Reason.TRANSPORT_ERROR]
    assert world.is_quiet()


def test_a_post_that_breaks_ends_the_session(world: World) -> None:
    client = world.owner.polling()
    request = world.entrance.request("POST", client.query)
    assert world.entrance.engine.begin(request, RecordingExchange()) > 0
    world.entrance.engine.abort(request)
    world.settle()
    assert client.session.ended == Reason.TRANSPORT_ERROR


# Those who are not there


def test_a_node_that_is_not_there_is_refused_at_once(world: World) -> None:
    client = world.owner.polling()
    world.gone.add("aaaa")
    exchange = world.entrance.http("GET", client.query)
    assert exchange.status == 400
    assert exchange.json == {"code": 1, "message": "Session ID unknown"}
    assert world.under_way == []


def test_an_unknown_id_of_a_node_that_is_there(world: World) -> None:
    exchange = world.ask("GET", "EIO=4&transport=polling&sid=aaaa0123456789012345")
    assert exchange.json == {"code": 1, "message": "Session ID unknown"}
    assert world.is_quiet()


def test_an_owner_that_does_not_answer(world: World) -> None:
    client = world.owner.polling()
    exchange = world.entrance.http("GET", client.query)
    world.entrance.turn()
    [(_, data)] = world.under_way
    world.under_way.clear()
    world.entrance.advance(1.9)
    assert exchange.waits
    world.entrance.advance(0.3)
    assert (exchange.status, exchange.json["code"]) == (400, 1)
    # It only was late: it hears that the client has gone.
    world.under_way.insert(0, ("aaaa", data))
    world.settle()
    assert client.session.ended == Reason.TRANSPORT_ERROR
    assert world.is_quiet()
    assert world.requests["bbbb"].refused == 1


def test_an_owner_that_dies_while_a_poll_waits(world: World) -> None:
    client = world.owner.polling()
    poll = world.ask("GET", client.query)
    stream = world.owner.http("GET", "EIO=4&transport=sse")
    sid = list(world.owner.engine.sessions)[1]
    stream = world.ask("GET", f"EIO=4&transport=sse&sid={sid}", headers={"Accept": "text/event-stream"})
    ws = link(world, world.owner.polling().session)
    world.gone.add("aaaa")
    world.requests["bbbb"].lost("aaaa")
    world.settle()
    assert poll.json["message"] == "Session ID unknown"
    assert stream.status in (200, 400)
    assert ws.closed == (1008, "Session ID unknown")
    assert world.requests["bbbb"].open_here == 0


def test_an_entrance_that_dies_takes_its_clients_along(world: World) -> None:
    reasons: list[str] = []
    world.owner.io.on("disconnect", lambda socket, reason: reasons.append(reason))
    polling, streaming, linked = world.owner.polling(), world.owner.polling(), world.owner.polling()
    for client in (polling, streaming, linked):
        client.join()
    world.ask("GET", polling.query)
    duplex = link(world, linked.session)
    duplex.say("2probe", "5")
    world.settle()
    world.gone.add("bbbb")
    world.requests["aaaa"].lost("bbbb")
    assert sorted(reasons) == [Reason.TRANSPORT_CLOSE, Reason.TRANSPORT_ERROR]
    assert world.requests["aaaa"].open_elsewhere == 0


def test_a_request_is_handed_over_once(world: World) -> None:
    """Where two servers take each other for the owner, none of them asks for ever."""
    client = world.owner.polling()
    for one in world.requests.values():
        one._post = lambda node, data: world.under_way.append(("cccc" if node == "aaaa" else node, data))
    exchange = world.ask("GET", client.query)
    duplex = link(world, client.session)
    assert [refusal.context["sid"] for refusal in world.third.refusals] == [client.session.id] * 2
    assert world.requests["cccc"].handed_over == 0
    world.advance(2.5)  # nobody has asked that server
    assert exchange.json["message"] == "Session ID unknown"
    assert duplex.closed == (1008, "Session ID unknown")


# Streams


def open_stream(world: World) -> tuple[Session, RecordingExchange]:
    """A stream of the owner's whose second response comes through the entrance."""
    owner = world.owner
    known = set(owner.engine.sessions)
    first = owner.http("GET", "EIO=4&transport=sse")
    [sid] = set(owner.engine.sessions) - known
    session = owner.engine.sessions[sid]
    session.end_stream(session._duplex)
    assert first.ended is True
    stream = world.ask("GET", f"EIO=4&transport=sse&sid={sid}")
    assert stream.status == 200
    assert stream.streamer is not None
    owner.http("POST", f"EIO=4&transport=sse&sid={sid}", b"40")
    world.settle()
    stream.take()
    return session, stream


def test_what_goes_to_many_streams_and_links_goes_over_the_bus_once(world: World) -> None:
    streams = [open_stream(world)[1] for _ in range(3)]
    links = []
    for _ in range(3):
        client = world.owner.polling()
        client.join()
        links.append(link(world, client.session))
        links[-1].say("2probe", "5")
        world.settle()
        links[-1].take()
    world.parcels.clear()
    world.owner.io.emit("news", "x" * 1000)
    world.settle()
    assert [b"x" * 1000 in stream.take() for stream in streams] == [True] * 3
    assert [duplex.take() for duplex in links] == [[f'42["news","{"x" * 1000}"]']] * 3
    [parcel] = world.parcels
    assert parcel.count(b"x" * 1000) == 2  # as a part of streams, and as a packet of links


def test_a_stream_that_is_not_read_makes_the_owner_wait(world: World) -> None:
    session, stream = open_stream(world)
    stream.streamer.pause()
    for _ in range(40):
        world.owner.io.emit("news", "x" * 10_000)
        world.settle()
    assert session.direct is None
    got = len(stream.take())
    assert got < WINDOW + 20_000
    stream.streamer.resume()
    world.settle()
    assert got + len(stream.take()) > 400_000
    assert session.direct is not None


def test_a_stream_whose_client_leaves(world: World) -> None:
    session, stream = open_stream(world)
    stream.streamer.gone()
    world.settle()
    assert session.ended == Reason.TRANSPORT_CLOSE
    assert world.is_quiet()


def test_a_stream_that_nobody_reads_is_cut(world: World) -> None:
    session, stream = open_stream(world)
    session.close(Reason.SLOW_CONSUMER, discard=True)
    world.settle()
    assert stream.ended == "cut"
    assert world.is_quiet()


# Links


def test_an_upgrade_through_the_entrance(world: World) -> None:
    client = world.owner.polling()
    client.join()
    poll = world.ask("GET", client.query)
    duplex = link(world, client.session)
    assert duplex.closed is None
    duplex.say("2probe")
    world.settle()
    assert duplex.take() == ["3probe"]
    assert poll.text == "6"
    duplex.say("5", '421["echo","마당"]', '451-2["echo",{"_placeholder":true,"num":0}]', b"\x00\xff")
    world.settle()
    assert duplex.take() == ['431["마당"]', '461-2[{"_placeholder":true,"num":0}]', b"\x00\xff"]
    assert client.session.transport.name == "websocket"
    duplex.lose()
    world.settle()
    assert client.session.ended == Reason.TRANSPORT_CLOSE
    assert world.is_quiet()


def test_a_link_that_the_owner_does_not_take(world: World) -> None:
    client = world.owner.polling()
    client.session.close(Reason.SERVER_DISCONNECT)
    duplex = link(world, client.session)
    assert duplex.closed == (1008, "Session ID unknown")
    assert world.is_quiet()


def test_an_origin_is_refused_where_the_link_arrives(world: World) -> None:
    client = world.owner.polling()
    with pytest.raises(Exception, match="may not connect"):
        link(world, client.session, headers={"Origin": "https://evil.org", "Host": "a.org"})
    assert world.parcels == []


class TextDuplex(RecordingDuplex):
    text_only = True


def test_a_link_that_carries_text_only(world: World) -> None:
    client = world.owner.polling()
    socket = client.join()
    duplex = link(world, client.session, duplex=TextDuplex())
    duplex.say("2probe", "5")
    world.settle()
    socket.emit("photo", b"png")
    world.settle()
    assert duplex.take() == ["3probe", '451-["photo",{"_placeholder":true,"num":0}]', "bcG5n"]


def test_a_client_that_breaks_a_rule_of_its_link(world: World) -> None:
    client = world.owner.polling()
    client.join()
    duplex = link(world, client.session)
    duplex.say("2probe", "5")
    world.settle()
    error = RemoteProtocolError("too large", rule="RFC 6455 10.4", close_code=1009)
    assert duplex.receiver is not None
    duplex.receiver.fail(error, Reason.TRANSPORT_ERROR)
    world.settle()
    assert client.session.ended == Reason.TRANSPORT_ERROR
    assert [str(error) for error in world.owner.violations] == ["too large [RFC 6455 10.4]"]
    assert world.is_quiet()


def test_a_link_that_is_not_read_makes_the_owner_wait(world: World) -> None:
    client = world.owner.polling()
    client.join()
    duplex = link(world, client.session)
    duplex.say("2probe", "5")
    world.settle()
    duplex.take()
    duplex.fill()
    for _ in range(40):
        world.owner.io.emit("news", "x" * 10_000)
        world.settle()
    assert client.session.direct is None
    assert len(duplex.frames) < 30
    duplex.empty()
    world.settle()
    assert len(duplex.frames) == 40


def test_a_client_whose_handlers_wait_is_not_read(world: World) -> None:
    client = world.owner.polling()
    client.join()
    duplex = link(world, client.session)
    duplex.say("2probe", "5")
    world.settle()
    [remote] = world.requests["aaaa"]._remotes.values()
    remote.pause_reading()
    for _ in range(30):
        duplex.say(f'42["ping me","{"x" * 10_000}"]')
        world.settle()
    assert duplex.unread is not None
    remote.resume_reading()
    world.settle()
    assert duplex.unread is None
    assert sum(frame.startswith('42["pong"') for frame in duplex.take()) == 30


def test_webtransport(world: World) -> None:
    for kit in world.kits.values():
        kit.engine.listening.add("webtransport")
    client = world.owner.polling()
    client.join()
    duplex = RecordingDuplex()
    kit = world.entrance
    request = kit.request("CONNECT", "")
    kit.engine.admit_knock(request)
    kit.engine.greet(request, "webtransport", duplex)
    duplex.say(client.session.wire.knock(client.session.id), "2probe")
    world.settle()
    duplex.say("5", '421["echo",1]')
    world.settle()
    assert duplex.take() == ["3probe", "431[1]"]
    assert client.session.transport.name == "webtransport"


# Leaving


def test_a_server_that_goes_lets_go_the_clients_of_others(world: World) -> None:
    client = world.owner.polling()
    client.join()
    poll = world.ask("GET", client.query)
    session, stream = open_stream(world)
    other = world.owner.polling()
    other.join()
    duplex = link(world, other.session)
    duplex.say("2probe", "5")
    world.settle()
    world.entrance.engine.close(Reason.SHUTTING_DOWN)
    world.settle()
    assert poll.text == "6"
    assert stream.ended is True
    assert duplex.closed == (1001, Reason.SHUTTING_DOWN)
    assert client.session.ended is None
    assert session.ended is None
    assert other.session.ended == Reason.TRANSPORT_CLOSE
    assert world.ask("GET", client.query).text == "6"
    world.entrance.engine.reopen()
    assert world.ask("GET", client.query).waits


# The bus


def test_a_parcel_that_comes_twice_is_taken_once(world: World) -> None:
    client = world.owner.polling()
    client.join()
    world.ask("POST", client.query, b'421["echo",7]')
    world.requests["aaaa"].posted(world.parcels[0])
    world.settle()
    assert client.heard() == ["431[7]"]


def test_a_gap_gives_up_what_is_under_way(world: World) -> None:
    client, other = world.owner.polling(), world.owner.polling()
    client.join()
    poll = world.ask("GET", client.query)
    world.owner.io.emit("news", 1)
    world.owner.turn()
    world.under_way.clear()  # the answer is lost
    # What the owner says next shows the gap. Both clients begin anew, and all is well again.
    assert world.ask("GET", other.query).json["message"] == "Session ID unknown"
    assert poll.json["message"] == "Session ID unknown"
    assert world.gaps == ["aaaa"]
    assert world.is_quiet()
    assert world.ask("POST", world.owner.polling().query, b"40").status == 200
    assert len(world.gaps) == 1


def test_a_server_that_was_taken_for_dead_can_come_back(world: World) -> None:
    client = world.owner.polling()
    client.join()
    assert world.ask("POST", client.query, b'421["echo",7]').status == 200
    world.requests["bbbb"].lost("aaaa")
    for number in range(3):
        assert world.ask("POST", client.query, b'422["echo",%d]' % number).status == 200
    world.requests["aaaa"].lost("bbbb")
    assert world.ask("POST", client.query, b'423["echo",9]').status == 200


def test_a_server_that_begins_a_new_life_is_heard_by_those_who_have_not_noticed(world: World) -> None:
    client = world.owner.polling()
    client.join()
    for _ in range(3):
        assert world.ask("POST", client.query, b'421["echo",7]').status == 200
    before = world.requests["bbbb"]
    after = Requests(world.kits["bbbb"].engine, "bbbb", world.post, last_number=before.last_number)
    world.requests["bbbb"] = after
    assert world.ask("POST", client.query, b'421["echo",7]').status == 200


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"nonsense",
        msgspec.msgpack.encode([2, "aaaa", 1, []]),
        msgspec.msgpack.encode([1, "a", 1, []]),
        msgspec.msgpack.encode([1, "aaaa", 1, [[99]]]),
        msgspec.msgpack.encode([1, "aaaa", 1, [[1, 1, ["GET", "/", "", b"x", "", False, 0.0, ""], None]]]),
        msgspec.msgpack.encode([1, "aaaa", 1, [[10, 1, "200", [], b""]]]),
        b"\x91" * 2000,
    ],
    ids=["empty", "never used", "text", "version", "node", "message", "headers", "status", "deep"],
)
def test_what_is_no_parcel_is_told_of_and_costs_nothing(world: World, data: bytes) -> None:
    world.requests["bbbb"].posted(data)
    assert len(world.malformed) == 1
    assert "[cluster requests]" in str(world.malformed[0])
    with pytest.raises(RemoteProtocolError):
        read(data)


def test_messages_about_what_is_unknown_mean_nothing(world: World) -> None:
    client = world.owner.polling()
    poll = world.ask("GET", client.query)
    messages = [
        [4, 99, ["x"]], [5, 99, 1], [6, 99, "x"], [7, 99, "x", "y", 1002, 400, "z"], [8, 99], [9, 99],
        [10, 99, 200, [], b""], [11, 99, 200, [], b""], [12, [99], b"x"], [13, 99, True], [14, [99], ["x"], True],
        [15, 99, 1000, ""], [16, 99, 1],
    ]  # fmt: skip
    for node in ("aaaa", "bbbb"):
        world.requests[node].posted(msgspec.msgpack.encode([1, "cccc", 1, messages]))
    # Nor does what another server than the owner says about a request.
    world.requests["bbbb"].posted(msgspec.msgpack.encode([1, "cccc", 2, [[10, 1, 200, [], b"x"]]]))
    world.settle()
    assert poll.waits
    assert not world.failed


def test_what_a_request_raises_is_told_and_answered(world: World) -> None:
    class Broken(EngineIO4):
        def address(self, request: Request, below: str) -> Address | None:
            raise LookupError("a broken slot")

    client = world.owner.polling()
    world.owner.engine.routes.generations[:] = [Broken()]
    exchange = world.ask("GET", client.query)
    assert exchange.status == 400
    assert [str(error) for error in world.failed] == ["'a broken slot'"] or "a broken slot" in str(world.failed[0])
    assert world.is_quiet()


def test_halves_of_characters(world: World) -> None:
    client = world.owner.polling()
    exchange = RecordingExchange()
    request = Request("GET", "/socket.io/\ud800/", client.query, [])
    world.entrance.engine.elsewhere.ask(client.session.id, request, exchange)
    assert exchange.json["message"] == "Session ID unknown"


def test_the_address_is_what_the_entrance_has_seen(world: World) -> None:
    seen: list[Request] = []
    world.owner.engine.on("headers", lambda headers, request: seen.append(request))
    client = world.owner.polling()
    request = world.entrance.request(
        "GET", client.query, {"Cookie": "a=1"}, address="203.0.113.9", secure=True, received=7.5, root_path="/app"
    )
    exchange = RecordingExchange()
    world.entrance.engine.begin(request, exchange)
    world.settle()
    world.owner.io.emit("x")
    world.owner.engine.close(Reason.SHUTTING_DOWN)
    world.settle()
    got = seen[-1]
    assert (got.address, got.secure, got.received, got.root_path) == ("203.0.113.9", True, 7.5, "/app")
    assert got.header("cookie") == "a=1"
    assert (got.path, got.query_string, got.method) == (request.path, request.query_string, "GET")
