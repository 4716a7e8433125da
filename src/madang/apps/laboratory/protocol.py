"""Every message between the laboratory and its page. Times are milliseconds since the epoch, by the server's clock."""

import time
from collections.abc import Mapping
from typing import Annotated, Final, Literal, NamedTuple

from msgspec import Meta, Struct

__all__ = [
    "LANES",
    "LIMITS",
    "TRANSPORTS",
    "Change",
    "Done",
    "Hello",
    "LaboratoryError",
    "LaneKind",
    "Limits",
    "Opened",
    "Range",
    "Refused",
    "Settings",
    "Stats",
    "TransportInfo",
    "Way",
    "clock_ms",
]

#: All transports, in the order in which they are told: from the one that asks most to the one that asks least.
TRANSPORTS: Final = (
    "shortpolling",
    "polling",
    "jsonp",
    "iframe",
    "multipart",
    "sse",
    "websocket",
    "flashsocket",
    "webtransport",
)


class LaneKind(NamedTuple):
    """What a lane's server takes.

    Attributes:
        transports: the transports; of several, the client begins with the first and moves to the last.
        earlier: whether its client speaks an earlier generation than that of today.
    """

    transports: tuple[str, ...]
    earlier: bool = True


#: All lanes that there are: a transport with the client of today, and what clients of earlier releases do with theirs.
LANES: Final[Mapping[str, LaneKind]] = {
    **{name: LaneKind((name,), earlier=False) for name in TRANSPORTS},
    "v2-polling": LaneKind(("polling",)),
    "v2-websocket": LaneKind(("websocket",)),
    "v2-upgrade": LaneKind(("polling", "websocket")),
    "v1-polling": LaneKind(("polling",)),
    "v1-websocket": LaneKind(("websocket",)),
    "v1-upgrade": LaneKind(("polling", "websocket")),
    "v0-polling": LaneKind(("polling",)),
    "v0-jsonp": LaneKind(("jsonp",)),
    "v0-websocket": LaneKind(("websocket",)),
}


class Range(NamedTuple):
    """What a setting may be."""

    least: float
    most: float


RATE: Final = Range(0, 200)
SIZE: Final = Range(0, 10_000)
DELAY_MS: Final = Range(0, 2_000)
SHORT_POLL_MS: Final = Range(200, 5_000)

Way = Literal["down", "up", "both"]
Rate = Annotated[float, Meta(ge=RATE.least, le=RATE.most)]
Size = Annotated[int, Meta(ge=int(SIZE.least), le=int(SIZE.most))]
DelayMs = Annotated[float, Meta(ge=DELAY_MS.least, le=DELAY_MS.most)]


class LaboratoryError(Exception):
    """What was asked for can't be had; the text says why, and is for people."""


def clock_ms() -> float:
    """The time that all threads of the laboratory go by. It doesn't jump when the computer's clock is set."""
    return _EPOCH_MS + time.perf_counter() * 1000


_EPOCH_MS: Final = (time.time() - time.perf_counter()) * 1000


class Settings(Struct, rename="camel", frozen=True):
    """What a lane carries.

    Attributes:
        rate: events in a second, in each direction that there is; 0 for none.
        size: how many characters or bytes each of them has.
        direction: "down" from the server, "up" from the page, or "both".
        delay_ms: how long a byte takes, one way.
        binary: whether the events carry bytes, not text.
    """

    rate: Rate = 10.0
    size: Size = 100
    direction: Way = "down"
    delay_ms: DelayMs = 0.0
    binary: bool = False


class Change(Struct, rename="camel", frozen=True):
    """Some of the settings; the others stay as they are."""

    rate: Rate | None = None
    size: Size | None = None
    direction: Way | None = None
    delay_ms: DelayMs | None = None
    binary: bool | None = None


class TransportInfo(Struct, omit_defaults=True):
    """A kind of lane, whether there can be such lanes, and if not, why.

    Attributes:
        name: its name: of a transport in the settings of a server, or of what a client of an earlier release does.
        available: whether `open` takes it.
        why: what is missing.
    """

    name: str
    available: bool
    why: str = ""


class Limits(Struct, rename="camel", frozen=True):
    """What the settings of a lane may be, and how many lanes there may be.

    Attributes:
        rate: events in a second.
        size: characters or bytes of an event.
        delay_ms: one way.
        short_poll_ms: how often a client that polls in short may ask; a setting of the page's alone.
        lanes_per_viewer: how many lanes one page may have open.
    """

    rate: Range
    size: Range
    delay_ms: Range
    short_poll_ms: Range
    lanes_per_viewer: int


LIMITS: Final = Limits(RATE, SIZE, DELAY_MS, SHORT_POLL_MS, lanes_per_viewer=12)


class Hello(Struct):
    """The answer to "hello".

    Attributes:
        version: Madang's.
        transports: all kinds of lanes that there are, those that can't be had too.
        limits: of the settings.
    """

    version: str
    transports: list[TransportInfo]
    limits: Limits


class Opened(Struct, rename="camel", omit_defaults=True, tag="opened", tag_field="outcome"):
    """A lane is open.

    Attributes:
        lane: its id; the `auth` of the client that is measured is `{lane}`, or its query where it knows no `auth`.
        port: where it is found, on the host of the page: TCP, or UDP for webtransport.
        name: its kind.
        certificate_hash: base64 of the SHA-256 of the certificate, for `serverCertificateHashes`.
    """

    lane: str
    port: int
    name: str
    certificate_hash: str = ""


class Done(Struct, tag="done", tag_field="outcome"):
    """It was done."""


class Refused(Struct, tag="refused", tag_field="outcome"):
    """It was not done.

    Attributes:
        error: why, for people.
    """

    error: str


class Stats(Struct, rename="camel"):
    """What a lane has cost since it was opened.

    Attributes:
        at_ms: the time of these numbers.
        transport: by which the client is connected now; empty while it isn't.
        requests: HTTP requests.
        empty_responses: polls that were answered without an event.
        bytes_up: from the page to the server, with all headers; of TCP's payload, or of UDP's.
        bytes_down: the same to the page.
        header_bytes_up: of these, heads of requests, and headers of chunks and frames.
        header_bytes_down: the same to the page.
        messages_down: events that the server has sent.
        messages_up: events that it has received.
        cpu_ms: what the lane's server has computed, the source of events included.
        up_latency_ms: how long the events took that came since the last statistics; of many, an even choice.
        up_late: how many events came later than they should.
        up_lost: how many never came.
    """

    at_ms: float
    transport: str
    requests: int
    empty_responses: int
    bytes_up: int
    bytes_down: int
    header_bytes_up: int
    header_bytes_down: int
    messages_down: int
    messages_up: int
    cpu_ms: float
    up_latency_ms: list[float]
    up_late: int
    up_lost: int
