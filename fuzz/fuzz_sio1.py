"""Fuzz `madang.wire.sio1`: its decoder over sequences of frames, payloads, and the forms of its JSONP.

The first byte of an input chooses the limits and what the rest is: a payload, the form of a POST, or frames between
zero bytes. Checked besides "raises nothing but RemoteProtocolError": what was read can be written and is read the same
again; payloads that were split are joined to the same frames; what is answered at once is an acknowledgement or a
refusal, and can be written; limits are kept.
"""

from harness import run

from madang.config import Config
from madang.errors import RemoteProtocolError
from madang.packet import ACK, CONNECT, CONNECT_ERROR, EVENT, NOOP, NOTHING, PONG, Frame, Packet
from madang.parsers.json import PARSER
from madang.transports import Request
from madang.wire.sio1 import HTMLFILE, JSONP_POLLING, WIRE

PAYLOAD, SMALL, FORM = 0x01, 0x02, 0x04
POST = Request("POST", "/socket.io/1/jsonp-polling/SID", "i=0", ())
DEFAULT = Config()
TIGHT = Config(
    max_event_args=3, max_json_depth=4, max_packets_per_payload=5, max_payload_bytes=40, max_packet_bytes=40
)  # fmt: skip


def target(data: bytes) -> None:
    options, stream = (data[0], data[1:]) if data else (0, b"")
    limits = TIGHT if options & SMALL else DEFAULT
    frames: list[Frame]
    if options & (PAYLOAD | FORM):
        payload = JSONP_POLLING.unpack(POST, stream) if options & FORM else stream.decode("utf-8", "replace")
        payload.encode()
        frames = WIRE.split(payload, limits)
        assert len(frames) <= limits.max_packets_per_payload
        if len(frames) != 1 or not str(frames[0]).startswith("\ufffd"):
            joined = WIRE.join(frames)
            # Where units and characters lead to other frames, what we write is read in units.
            assert WIRE.split(joined, limits) == frames or not frames
            assert len(joined.encode("utf-8", "replace")) <= WIRE.payload_bytes(frames)
    else:
        frames = [part.decode("utf-8", "replace") for part in stream.split(b"\0")]
    decoder = WIRE.decoder(PARSER, limits)
    answers: list[Packet] = []
    decoder.answers(answers.append)
    for frame in frames:
        packet = decoder.feed(frame)
        assert packet is not None
        check(packet, limits)
    for answer in answers:
        assert answer.kind in (ACK, CONNECT_ERROR)
        WIRE.encode(answer, PARSER)


def check(packet: Packet, limits: Config) -> None:
    assert packet.missing == 0
    assert packet.namespace.startswith("/")
    assert ":" not in packet.namespace
    if packet.kind in (NOOP, PONG):
        return
    if packet.kind in (EVENT, ACK):
        assert type(packet.data) is list
        assert len(packet.data) <= limits.max_event_args + 1
    elif packet.kind == CONNECT:
        assert type(packet.data) is dict
    else:
        assert packet.data is NOTHING
    [frame] = WIRE.encode(packet, PARSER)
    assert isinstance(frame, str)
    HTMLFILE.chunk(frame)
    again = WIRE.decoder(PARSER, DEFAULT).feed(frame)
    if packet.kind == CONNECT:
        packet.data = {}
    assert again == packet, f"{again} was {packet}"


def seeds() -> list[bytes]:
    frames = [
        b"0", b"0::", b"0::/chat", b"1::", b"1::/chat", b"1::/chat?a=b&c", b"1::/chat:?a=%41", b"1::chat", b"2::",
        b"3:::hello: world", b"3:1::x", b"3:1+:/chat:x\ny", b"3::", b'4:2:/a:{"x":[1,null]}', b"4:::1e400",
        b'5:::{"name":"e"}', b'5:3+:/b:{"name":"e","args":["\\ud800",{"a":1.5}]}', b'5:::{"name":"disconnect"}',
        b'5:::{"name":"connect"}', b'5:::{"name":"e","args":[[[[[[]]]]]]}', b"6:::4", b'6::/chat:5+["x",[]]', b"6:::7+",
        b"7:::1+0", b"7::/x:2", b"8::", "3:::마당 🎈".encode(), "5:::{\"name\":\"🎈\\\\/\"}".encode(), b"3::::::",
    ]  # fmt: skip
    result = [bytes((options,)) + frame for frame in frames for options in (0, SMALL, PAYLOAD)]
    result.append(b"\0" + b"\0".join(frames))
    payloads = [
        "\ufffd3\ufffd0::\ufffd5\ufffd3:::x",
        "\ufffd6\ufffd3:::🎈\ufffd5\ufffd3:::한",
        "\ufffd5\ufffd3:::🎈\ufffd5\ufffd3:::한",
        "\ufffd0\ufffd\ufffd999999999\ufffd1::",
        WIRE.join([frame.decode() for frame in frames]),
    ]
    result += [bytes((PAYLOAD | options,)) + one.encode() for one in payloads for options in (0, SMALL)]
    forms = [b"d=5%3A%3A%3A%7B%22name%22%3A%22e%22%7D", b'd="3:::a\\nb \\ud83c\\udf88"', b'd="\\ud800"', b"d=%EF%BF%BD"]
    result += [bytes((FORM,)) + one for one in forms]
    return result


if __name__ == "__main__":
    run(target, seeds(), (RemoteProtocolError,))
