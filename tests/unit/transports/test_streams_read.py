"""The client's half of streams: what the server writes is read, in pieces of any size, and nothing else is."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from madang.errors import ConfigError, RemoteProtocolError
from madang.packet import Frame
from madang.transports import Request, StreamTransport, load, multipart, sse

TYPES = {"sse": "text/event-stream; charset=UTF-8", "multipart": 'multipart/x-mixed-replace; boundary="madang"'}
SPECIAL = [
    "",
    "\n",
    "\r",
    "\r\n",
    "\n\n",
    "a\u2028b\u2029",
    "🙂",
    "\ufeff",
    ": x",
    " x",
    "data: x",
    "--madang\r\n",
    "\0",
]
TEXT = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(SPECIAL)
FRAMES = {"sse": st.lists(TEXT), "multipart": st.lists(TEXT | st.binary())}


def decoder(name: str, most: int = 1_000_000) -> Any:
    transport = load(name)
    assert isinstance(transport, StreamTransport)
    return transport.decoder(TYPES[name], most)


def stream(name: str, frames: list[Frame]) -> bytes:
    transport = load(name)
    assert isinstance(transport, StreamTransport)
    return transport.prelude(Request("GET", "/", "", [])) + b"".join(map(transport.chunk, frames))


def one_by_one(reader: Any, data: bytes) -> list[Frame]:
    return [frame for at in range(len(data)) for frame in reader.feed(data[at : at + 1])]


@pytest.mark.parametrize("name", TYPES)
@settings(max_examples=60)
@given(data=st.data())
def test_what_is_written_is_read(name: str, data: st.DataObject) -> None:
    frames = data.draw(FRAMES[name])
    sent = stream(name, frames)
    assert decoder(name).feed(sent) == frames
    assert one_by_one(decoder(name), sent) == frames
    cuts = sorted({0, len(sent), *data.draw(st.lists(st.integers(0, len(sent)), max_size=5))})
    reader = decoder(name)
    pieces = [sent[start:end] for start, end in pairwise(cuts)]
    assert [frame for piece in pieces for frame in reader.feed(piece)] == frames


@pytest.mark.parametrize("name", TYPES)
@settings(max_examples=100)
@given(data=st.data())
def test_what_makes_no_sense_is_the_same_in_pieces(name: str, data: st.DataObject) -> None:
    """Whatever comes: frames or an error, and the same for one byte at a time."""
    words = st.sampled_from([b"data", b": ", b"\r", b"\n", b"event: json", b'"', b"--madang", b"Content-Length: 1"])
    sent = data.draw(st.sampled_from([b"", b"--madang\r\n"]))
    sent += b"".join(data.draw(st.lists(words | st.binary(max_size=4))))

    def read(pieces: list[bytes]) -> tuple[list[Frame], str]:
        reader = decoder(name, 20)
        frames: list[Frame] = []
        try:
            for piece in pieces:
                frames += reader.feed(piece)
        except RemoteProtocolError as error:
            return frames, error.rule or "no rule"
        return frames, ""

    whole, error = read([sent])
    bytewise, same_error = read([sent[at : at + 1] for at in range(len(sent))])
    assert same_error == error != "no rule"
    assert bytewise[: len(whole)] == whole  # in one piece, what was whole before the error goes with it
    assert error or bytewise == whole


@pytest.mark.parametrize("name", TYPES)
def test_no_payload_is_larger_than_allowed(name: str) -> None:
    payload = "x" * 1000
    assert decoder(name, 1000).feed(stream(name, [payload])) == [payload]
    for most in (900, 10):
        reader = decoder(name, most)
        with pytest.raises(RemoteProtocolError) as caught:
            one_by_one(reader, stream(name, [payload]))
        assert caught.value.rule == "max_payload_bytes"


ENDLESS = [("sse", b"data: x\n"), ("sse", b":"), ("sse", b"event: x"), ("multipart", b"X: y\r\n")]


@pytest.mark.parametrize(("name", "endless"), ENDLESS)
def test_what_never_gets_whole_is_bounded(name: str, endless: bytes) -> None:
    reader = decoder(name, 1000)
    if name == "multipart":
        reader.feed(b"--madang\r\n")
    with pytest.raises(RemoteProtocolError):
        one_by_one(reader, endless * 5000)


def test_a_large_payload_in_small_pieces_is_read_in_time_that_grows_with_it() -> None:
    for name in TYPES:
        sent = stream(name, ["x" * 1_000_000])
        reader = decoder(name, 2_000_000)
        looked: list[Frame] = []
        for at in range(0, len(sent), 100):
            looked += reader.feed(sent[at : at + 100])
        assert looked == ["x" * 1_000_000]


@pytest.mark.parametrize(
    ("sent", "payloads"),
    [
        (b"data: 1\r\rdata: 2\r\n\r\ndata: 3\n\n", ["1", "2", "3"]),
        (b"\xef\xbb\xbfdata: 1\n\n", ["1"]),
        (b"data:1\n\ndata:  1\n\n", ["1", " 1"]),
        (b"data: 1\ndata: 2\n\n", ["1\n2"]),
        (b"data\n\n", [""]),
        (b"id: 7\nretry: 3\n: word\nnothing\ndata: 1\n\n", ["1"]),
        (b"event: other\ndata: 1\n\nevent: message\ndata: 2\n\n", ["2"]),
        (b"event: json\n\ndata: 1\n\n", ["1"]),
        (b"data: 1\n", []),
        (b": open\n\n\n\n: \n", []),
    ],
)
def test_streams_of_events_as_others_may_write_them(sent: bytes, payloads: list[str]) -> None:
    assert decoder("sse").feed(sent) == payloads
    assert one_by_one(decoder("sse"), sent) == payloads


@pytest.mark.parametrize("data", [b"1", b"[", b"x", b'"\\ud800"', b"[" * 100_000])
def test_a_json_event_is_a_json_string(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="is no JSON string"):
        decoder("sse").feed(b"event: json\ndata: %b\n\n" % data)


def test_half_of_a_character() -> None:
    for name, sent in (
        ("sse", b"data: \xff\n\n"),
        ("multipart", stream("multipart", ["x"]).replace(b"x\r\n--", b"\xff\r\n--")),
    ):
        with pytest.raises(RemoteProtocolError, match="not UTF-8"):
            decoder(name).feed(sent)


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (b"--other\r\n", "starts with the boundary"),
        (b"--madang\r\nContent-Type: text/plain\r\n\r\n", "tells its length"),
        (b"--madang\r\nContent-Length: -1\r\n\r\n", "tells its length"),
        (b"--madang\r\nContent-Length: 1\r\nContent-Type: text/html\r\n\r\n", "text/plain or"),
        (b"--madang\r\nContent-Length: 1\r\nContent-Type: text/plain\r\n\r\nxxxxxxxxxxxxxxx", "with the boundary"),
        (b"--madang\r\n" + b"x" * 5000, "head of a part"),
    ],
)
def test_streams_of_parts_that_are_none(sent: bytes, message: str) -> None:
    with pytest.raises(RemoteProtocolError, match=message):
        decoder("multipart").feed(sent)


def test_another_boundary() -> None:
    sent = stream("multipart", ["x", b"y"]).replace(b"--madang", b"--b'1")
    reader = multipart.TRANSPORT.decoder("Multipart/X-Mixed-Replace; charset=x; boundary=b'1".lower(), 10)
    assert reader.feed(sent) == ["x", b"y"]


def test_responses_of_another_type() -> None:
    for kind in ("", "text/html", "text/event-stream2", "multipart/x-mixed-replace"):
        for transport in (sse.TRANSPORT, multipart.TRANSPORT):
            with pytest.raises(RemoteProtocolError, match="is no stream of"):
                transport.decoder(kind, 10)


def test_a_frame_for_pages_only_is_not_read() -> None:
    iframe = load("iframe")
    assert isinstance(iframe, StreamTransport)
    with pytest.raises(ConfigError, match="pages in browsers only"):
        iframe.decoder("text/html", 10)


def test_the_payload_of_a_poll() -> None:
    polling: Any = load("polling")
    assert polling.read("마당".encode()) == "마당"
    with pytest.raises(RemoteProtocolError, match="not UTF-8"):
        polling.read(b"\xff")
