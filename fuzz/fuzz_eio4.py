"""Fuzz `madang.wire.eio4`: its decoder over sequences of frames, and payloads.

The first byte of an input chooses the limits and whether the rest is a payload, or frames between zero bytes, of which
those that start with "B" are binary. Checked besides "raises nothing but RemoteProtocolError": what was read can be
written and is read the same again; payloads that were split are joined to the same frames; limits are kept.
"""

from harness import run

from madang.config import Config
from madang.errors import RemoteProtocolError
from madang.packet import ACK, CONNECT, CONNECT_ERROR, EVENT, NOTHING, Frame, Packet
from madang.parsers.json import PARSER
from madang.wire.eio4 import WIRE

PAYLOAD, SMALL = 0x01, 0x02
DEFAULT = Config()
TIGHT = Config(
    max_attachments=2, max_event_args=3, max_json_depth=4, max_packets_per_payload=5, max_payload_bytes=40,
    max_packet_bytes=40,
)  # fmt: skip
#: What was read may have an attachment in more places than were announced.
WIDE = Config(max_attachments=100_000, max_packet_bytes=100_000_000)


def target(data: bytes) -> None:
    options, stream = (data[0], data[1:]) if data else (0, b"")
    limits = TIGHT if options & SMALL else DEFAULT
    if options & PAYLOAD:
        payload = stream.decode("utf-8", "replace")
        frames = WIRE.split(payload, limits)
        assert len(frames) <= limits.max_packets_per_payload
        assert WIRE.split(WIRE.join(frames), limits) == frames
    else:
        frames = [part[1:] if part[:1] == b"B" else part.decode("utf-8", "replace") for part in stream.split(b"\0")]
    feed(frames, limits)


def feed(frames: list[Frame], limits: Config) -> None:
    decoder = WIRE.decoder(PARSER, limits)
    for frame in frames:
        packet = decoder.feed(frame)
        if packet is not None:
            check(packet, limits)


def check(packet: Packet, limits: Config) -> None:
    assert packet.missing == 0
    assert packet.namespace.startswith("/")
    assert "," not in packet.namespace
    if packet.kind in (EVENT, ACK):
        assert type(packet.data) is list
        assert len(packet.data) <= limits.max_event_args + 1
    elif packet.kind == CONNECT:
        assert type(packet.data) is dict
    elif packet.kind == CONNECT_ERROR:
        assert type(packet.data) in (dict, str)
    else:
        assert packet.data is NOTHING or type(packet.data) is str
    decoder = WIRE.decoder(PARSER, WIDE)
    *before, last = WIRE.encode(packet, PARSER)
    for frame in before:
        assert decoder.feed(frame) is None
    again = decoder.feed(last)
    assert again == packet, f"{again} was {packet}"


def seeds() -> list[bytes]:
    frames = [
        b"40", b"41", b"41/chat,", b'40{"token":"x"}', b'40/chat?a=b,{"x":1}', b'42["e"]', b'4212["e",1,null,true]',
        b'42/chat,7["e",{"a":[1.5,-2e3]}]', b"437[]", b'43/chat,0["ok"]', b'44{"message":"no"}', b'44"no"',
        "42[\"마당 🎈\",\"\\ud83c\\udf88\\n\\\"\"]".encode(), b'42["\\ud800"]', b"2", b"2probe", b"3", b"3probe",
        b"5", b"6", b"1", b'42["e",18446744073709551616,1e400]', b"42[[[[[[]]]]]]", b'42["[[[[[",["]]]"]]',
        b'450-["e",{"_placeholder":true,"num":0}]',
    ]  # fmt: skip
    binary = [
        [b'451-["e",{"_placeholder":true,"num":0}]', b"B\x01\x02"],
        [b'452-/n,5["e",{"_placeholder":true,"num":1},[{"_placeholder":true,"num":0}]]', b"Bone", b"2", b"Btwo"],
        [b'461-3[{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]', b"B"],
        [b'451-["e",{"_placeholder":true,"num":-1}]', b"Bx", b'42["next"]'],
    ]
    result = [bytes((options,)) + frame for frame in frames for options in (0, SMALL)]
    result += [bytes((options,)) + b"\0".join(some) for some in binary for options in (0, SMALL)]
    result.append(b"\0" + b"\0".join(frames))
    result.append(bytes((PAYLOAD,)) + b"\x1e".join(frames))
    result.append(bytes((PAYLOAD | SMALL,)) + b"\x1e".join(frames[:4]))
    result.append(bytes((PAYLOAD,)) + b'451-["e",{"_placeholder":true,"num":0}]\x1ebAQIDBA==\x1eb')
    return result


if __name__ == "__main__":
    run(target, seeds(), (RemoteProtocolError,))
