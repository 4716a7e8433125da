"""Fuzz `madang.wire.sio0`: its decoder over frames, payloads, and the forms of its transports.

The first byte of an input chooses the limits and what the rest is: a payload, the form of a POST by XHR or by JSONP, or
frames between zero bytes. Checked besides "raises nothing but RemoteProtocolError": what was read can be written and is
read the same again; payloads that were split are joined to the same frames; no event ends a part of a multipart stream,
or a script; limits are kept.
"""

from harness import run

from madang.config import Config
from madang.errors import RemoteProtocolError
from madang.packet import EVENT, PONG, Frame, Packet
from madang.parsers.json import PARSER
from madang.transports import Request
from madang.wire.sio0 import HTMLFILE, JSONP_POLLING, WIRE, XHR_MULTIPART, XHR_POLLING

PAYLOAD, SMALL, FORM, SCRIPT = 0x01, 0x02, 0x04, 0x08
POST = Request("POST", "/socket.io/jsonp-polling/SID/1/0", "", ())
DEFAULT = Config()
TIGHT = Config(
    max_event_args=3, max_json_depth=4, max_packets_per_payload=5, max_payload_bytes=40, max_packet_bytes=40
)  # fmt: skip


def target(data: bytes) -> None:
    options, stream = (data[0], data[1:]) if data else (0, b"")
    limits = TIGHT if options & SMALL else DEFAULT
    frames: list[Frame]
    if options & (PAYLOAD | FORM):
        transport = JSONP_POLLING if options & SCRIPT else XHR_POLLING
        payload = transport.unpack(POST, stream) if options & FORM else stream.decode("utf-8", "replace")
        payload.encode()
        frames = WIRE.split(payload, limits)
        assert 0 < len(frames) <= limits.max_packets_per_payload
        joined = WIRE.join(frames)
        assert WIRE.split(joined, limits) == frames
        assert len(joined.encode()) <= WIRE.payload_bytes(frames)
    else:
        frames = [part.decode("utf-8", "replace") for part in stream.split(b"\0")]
    decoder = WIRE.decoder(PARSER, limits)
    for frame in frames:
        packet = decoder.feed(frame)
        assert packet is not None
        check(packet, limits)


def check(packet: Packet, limits: Config) -> None:
    assert packet.missing == 0
    assert packet.namespace == "/"
    assert packet.id is None
    if packet.kind == PONG:
        return
    assert packet.kind == EVENT
    assert type(packet.data) is list
    assert type(packet.data[0]) is str
    assert len(packet.data) <= max(limits.max_event_args, 1) + 1
    frames = WIRE.encode(packet, PARSER)
    [frame] = frames
    assert isinstance(frame, str)
    assert WIRE.decoder(PARSER, DEFAULT).feed(frame) == packet
    payload = WIRE.join(frames)
    assert WIRE.split(payload, DEFAULT) == [frame]
    assert XHR_MULTIPART.chunk(payload).count(b"--socketio") == 1
    assert HTMLFILE.chunk(payload).count(b"<") == 2


def seeds() -> list[bytes]:
    frames = [
        "hello", "", "~h~", "~h~1", "~h~x", "~j~1", "~j~", "~j~{", "~j~null", '~j~"\\ud800"', "~j~[[[[[[]]]]]]",
        '~j~{"event":"e","args":[]}', '~j~{"args":[1,2,3,4],"event":"e"}', '~j~{"event":"connect","args":[]}',
        '~j~{"event":"message","args":[{"event":"e","args":[]}]}', '~j~{"event":"message","args":["x"]}',
        "~j~1e400", '~j~{"event":1,"args":[]}', '~j~{"event":"e","args":{}}', '~j~{"event":"e","args":[],"id":1}',
        '~j~{"--socketio":"--socketio"}', "--socketio\n", "</script><!--", "마당 🎈", '~j~"마당 🎈 \u2028"', "~m~1~m~x",
    ]  # fmt: skip
    result = [bytes((options,)) + frame.encode() for frame in frames for options in (0, SMALL)]
    result.append(b"\0" + "\0".join(frames).encode())
    payloads = [
        WIRE.join(frames),
        *(WIRE.join([frame]) for frame in frames),
        "~m~1~m~🎈~m~1~m~x",
        "~m~2~m~🎈~m~1~m~🎈",
        "~m~1~m~🎈",
        "~m~3~m~a\r\nb",
        "~m~99~m~short",
        "~m~9999999999~m~",
        "~m~0~m~" * 6,
    ]
    result += [bytes((PAYLOAD | options,)) + one.encode() for one in payloads for options in (0, SMALL)]
    result += [bytes((FORM | SCRIPT,)) + b"data=" + one.encode().replace(b"%", b"%25") for one in payloads]
    forms = [b"data=%7Em%7E1%7Em%7E%2B", b"data=~m~3~m~a+b", b"data=~m~3~m~a%0D%0Ab", b"d=~m~1~m~x", b"data=%"]
    result += [bytes((FORM | options,)) + one for one in forms for options in (0, SCRIPT)]
    return result


if __name__ == "__main__":
    run(target, seeds(), (RemoteProtocolError,))
