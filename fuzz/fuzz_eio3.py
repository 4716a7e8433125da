"""Fuzz `madang.wire.eio3`: its decoder over sequences of frames, and payloads in both forms.

The first byte of an input chooses the limits and what the rest is: a payload of text, one of bytes, or frames between
zero bytes, of which those that start with "B" are binary. Checked besides "raises nothing but RemoteProtocolError":
what was read can be written, in ASCII, and is read the same again; payloads that were split are joined to the same
frames in both forms, which take no more than was said before; text that is encoded twice is read as text that is
encoded once; limits are kept.
"""

from harness import run

from madang.config import Config
from madang.errors import RemoteProtocolError
from madang.packet import ACK, CONNECT, CONNECT_ERROR, DISCONNECT, EVENT, NOTHING, Frame, Packet
from madang.parsers.json import PARSER
from madang.wire.eio3 import WIRE

TEXT, SMALL, BYTES = 0x01, 0x02, 0x04
DEFAULT = Config()
TIGHT = Config(
    max_attachments=2, max_event_args=3, max_json_depth=4, max_packets_per_payload=5, max_payload_bytes=40,
    max_packet_bytes=40,
)  # fmt: skip
#: What was read may have an attachment in more places than were announced.
WIDE = Config(max_attachments=100_000, max_packet_bytes=100_000_000, max_packets_per_payload=100_000)


def target(data: bytes) -> None:
    options, stream = (data[0], data[1:]) if data else (0, b"")
    limits = TIGHT if options & SMALL else DEFAULT
    frames: list[Frame]
    if options & (TEXT | BYTES):
        frames = WIRE.split(stream.decode("utf-8", "replace") if options & TEXT else stream, limits)
        check_payloads(frames, limits)
    else:
        frames = [part[1:] if part[:1] == b"B" else part.decode("utf-8", "replace") for part in stream.split(b"\0")]
    decoder = WIRE.decoder(PARSER, limits)
    for frame in frames:
        packet = decoder.feed(frame)
        if packet is not None:
            check(packet, limits)


def check_payloads(frames: list[Frame], limits: Config) -> None:
    assert len(frames) <= limits.max_packets_per_payload
    text, packed = WIRE.join(frames), WIRE.pack(frames)
    most = WIRE.payload_bytes(frames)
    assert len(text.encode()) <= most, f"{len(text.encode())} bytes of text, {most} were said"
    assert len(packed) <= most, f"{len(packed)} bytes, {most} were said"
    assert WIRE.split(text, WIDE) == frames
    assert WIRE.split(packed, WIDE) == frames
    texts = [str(frame) for frame in frames if isinstance(frame, str) and "\ufffd" not in frame]
    twice = WIRE.join([one.encode().decode("latin-1") for one in texts])
    assert read(WIRE.split(twice, WIDE)) == read(texts)


def read(frames: list[Frame]) -> list[Packet | None] | str:
    """The packets that a new client's frames are, or the rule that they break."""
    decoder = WIRE.decoder(PARSER, WIDE)
    try:
        return [decoder.feed(frame) for frame in frames]
    except RemoteProtocolError as error:
        return error.rule or ""


def check(packet: Packet, limits: Config) -> None:
    assert packet.missing == 0
    assert packet.namespace.startswith("/")
    assert "," not in packet.namespace
    if packet.kind in (EVENT, ACK):
        assert type(packet.data) is list
        assert len(packet.data) <= limits.max_event_args + 1
    elif packet.kind == CONNECT:
        assert type(packet.data) is dict
        assert all(type(value) is str for value in packet.data.values())
        assert len(packet.data) <= 64
    elif packet.kind == CONNECT_ERROR:
        assert type(packet.data) in (dict, str)
    else:
        assert packet.data is NOTHING or type(packet.data) is str
    if packet.kind not in (EVENT, ACK, DISCONNECT):
        return
    decoder = WIRE.decoder(PARSER, WIDE)
    *before, last = WIRE.encode(packet, PARSER)
    head = before[0] if before else last
    assert isinstance(head, str)
    assert head.isascii() or not packet.namespace.isascii()
    for frame in before:
        assert decoder.feed(frame) is None
    again = decoder.feed(last)
    assert again == packet, f"{again} was {packet}"


def seeds() -> list[bytes]:
    texts = [
        "40", "41", "40/chat", "40/chat,", "40/chat?token=x&y=%20,", "40/카페?é=é", '42["e"]', '4212["e",1,null,true]',
        '42/chat,7["e",{"a":[1.5,-2e3]}]', "437[]", '43/chat,0["ok"]', '44"no"', '42["마당 🎈","\\ud83c\\udf88\\n\\""]',
        '42["é€","Ã©"]', '42["\\ud800"]', "2", "2probe", "3", "3probe", "5", "6", "1", "42[[[[[[]]]]]]",
        '42/카페,1["é","\\\\x41\\\\"]', '450-["e",{"_placeholder":true,"num":0}]', "b4AQIDBA==", "b", "b9", "b4!",
    ]  # fmt: skip
    binary: list[list[Frame]] = [
        ['451-["e",{"_placeholder":true,"num":0}]', b"\x04\1\2"],
        ['452-/n,5["é",{"_placeholder":true,"num":1},[{"_placeholder":true,"num":0}]]', b"\x04one", b"\x04two"],
        ['461-3[{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]', b"\x04"],
        ['451-["e",{"_placeholder":true,"num":0}]', b"\x05x", '42["next"]'],
    ]
    result = []
    for some in [*binary, [*texts], *([text] for text in texts)]:
        once = [one.encode() if isinstance(one, str) else b"B" + one for one in some]
        plain = WIRE.join(some)
        old = WIRE.join([one.encode().decode("latin-1") if isinstance(one, str) else one for one in some])
        by_characters = "".join(f"{len(one)}:{one}" for one in map(WIRE.as_text, some))
        for small in (0, SMALL):
            result.append(bytes((small,)) + b"\0".join(once))
            result += [bytes((TEXT | small,)) + one.encode() for one in dict.fromkeys((plain, old, by_characters))]
            result.append(bytes((BYTES | small,)) + WIRE.pack(some))
    result += [bytes((TEXT,)) + b"0:0:4:42[]", bytes((BYTES,)) + b"\0\0\xff\1\0\xff\0\1\xff2"]
    return result


if __name__ == "__main__":
    run(target, seeds(), (RemoteProtocolError,))
