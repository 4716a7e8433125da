"""Fuzz what the servers of a cluster say to each other about requests: any parcel, and any order of good ones.

Two servers, whose parcels are taken from the input, or are those that they say themselves, lost and doubled as the
input wants. Checked: nothing but a report of a malformed parcel comes out; a request is answered once at most; what is
noted of requests under way is of those that are; when each takes the other for dead, nothing is left.
"""

import msgspec
from harness import run

from madang.cluster.parcels import read
from madang.cluster.requests import Requests
from madang.errors import RemoteProtocolError
from madang.testing import EngineKit, RecordingDuplex, RecordingExchange


class Play:
    """Two servers and one input."""

    def __init__(self) -> None:
        self.kits = {node: EngineKit(transports="all", max_payload_bytes=2000) for node in ("aaaa", "bbbb")}
        self.under_way: list[tuple[str, bytes]] = []
        self.malformed = 0
        self.failures: list[Exception] = []
        self.exchanges: list[RecordingExchange] = []
        self.links: list[RecordingDuplex] = []
        for node, kit in self.kits.items():
            requests = Requests(kit.engine, node, lambda to, data: self.under_way.append((to, data)))
            requests.on_malformed = self.told
            requests.on_failed = self.failed
            requests.knows = lambda node: node in self.kits
            kit.io.on("echo", lambda socket, *args: args)
        self.owner, self.entrance = self.kits.values()

    def told(self, error: RemoteProtocolError) -> None:
        self.malformed += 1

    def failed(self, error: Exception) -> None:
        self.failures.append(error)

    def requests(self, node: str) -> Requests:
        requests = self.kits[node].engine.elsewhere
        assert isinstance(requests, Requests)
        return requests

    def turn(self) -> None:
        for kit in self.kits.values():
            kit.turn()

    def step(self, kind: int, more: bytes) -> None:
        if kind == 0:
            client = self.owner.polling()
            for method, body in (("POST", b"40"), ("GET", None), ("GET", None)):
                exchange = self.entrance.http(method, client.query, body)
                self.exchanges.append(exchange)
        elif kind == 1:
            client = self.owner.polling()
            duplex = RecordingDuplex(room=3)
            request = self.entrance.request("GET", f"EIO=4&transport=websocket&sid={client.session.id}")
            self.entrance.engine.admit(request)
            self.entrance.engine.link(request, duplex)
            duplex.say("2probe", "5", "40", '421["echo",1]')
            self.links.append(duplex)
        elif kind == 2 and self.under_way:
            node, data = self.under_way.pop(0)
            if node in self.kits:
                self.requests(node).posted(data)
        elif kind == 3 and self.under_way:
            self.under_way.pop(0)
        elif kind == 4 and self.under_way:
            self.under_way.insert(0, self.under_way[0])
        elif kind == 5:
            self.owner.io.emit("news", "x" * 100)
        elif kind == 6 and self.links:
            self.links[-1].lose()
        elif kind == 7:
            self.entrance.advance(0.5)
        elif kind == 8:
            self.requests("aaaa").lost("bbbb")
        elif kind == 9 and self.links:
            self.links[-1].empty()
        elif kind == 10:
            self.entrance.engine.close("server shutting down")
            self.entrance.engine.reopen()
        else:
            self.requests("bbbb").posted(more)
            self.requests("aaaa").posted(more)
        self.turn()

    def end(self) -> None:
        while self.under_way:
            self.step(2, b"")
        if self.failures:
            raise self.failures[0]
        for kit in self.kits.values():
            kit.advance(3)
        for node, other in (("aaaa", "bbbb"), ("bbbb", "aaaa")):
            self.requests(node).lost(other)
            # The input may have spoken for others, whom nobody has taken for dead.
            for whose in {whose for whose, _ in self.requests(node)._remotes}:
                self.requests(node).lost(whose)
            assert self.requests(node).open_here == 0
            assert self.requests(node).open_elsewhere == 0
            assert not self.requests(node)._of_exchanges


def target(data: bytes) -> None:
    try:
        parcel = read(data)
    except RemoteProtocolError:
        pass
    else:
        assert read(msgspec.msgpack.encode(parcel)) == parcel
    play = Play()
    for number in data[:24]:
        play.step(number % 12, data)
    play.end()


def seeds() -> list[bytes]:
    head = ["GET", "/socket.io/", "EIO=4&transport=polling", b"\r\nhost:a\r\n", "", False, 0.0, ""]
    messages = [
        [1, 1, head, None], [1, 1, ["POST", *head[1:]], b"40"], [2, 1, head, False, ""],
        [2, 2, head, True, "webtransport"], [3, 0, head], [4, 1, ["2probe", b"x"]], [5, 1, 70_000],
        [6, 1, "transport close"], [7, 1, "x", "y", 1002, 400, "parse error"], [8, 1], [9, 1],
        [10, 1, 200, [["A", "b"]], b"ok"], [11, 1, 200, [], b""], [12, [1, 2], b"x"], [13, 1, True],
        [14, [1], ["x", b"y"], True], [15, 1, 1000, "bye"], [16, 1, 70_000], [17],
    ]  # fmt: skip
    steps = [
        [0, 2, 2, 2], [1, 2, 2, 5, 2, 9], [0, 1, 3, 2, 2, 4, 2], [0, 1, 2, 2, 5, 3, 2, 5, 2], [1, 2, 6, 2],
        [0, 7, 7, 7, 7, 7], [0, 2, 2, 10, 2, 2], [1, 0, 2, 8, 2],
    ]  # fmt: skip
    parcels = [msgspec.msgpack.encode([1, "bbbb", 1, [message]]) for message in messages]
    return [*parcels, msgspec.msgpack.encode([1, "bbbb", 1, messages]), *map(bytes, steps)]


if __name__ == "__main__":
    run(target, seeds())
