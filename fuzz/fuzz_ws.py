"""Fuzz `madang.rfc.ws`: frames in both roles, with and without compression, and the headers of the handshake.

The first byte of an input chooses what is fuzzed (see `target`), the rest is what a peer sends. Checked
besides "raises nothing but RemoteProtocolError": one byte at a time, uneven pieces and all at once give the
same messages and error; no message is over the limit; after an error nothing is delivered.
"""

from harness import run
from pieces import feed, however_cut

from madang.errors import RemoteProtocolError
from madang.rfc import ws

LIMIT = 2000
HEADERS, CLIENT, DEFLATE, TAKEOVER = 0x80, 0x01, 0x02, 0x04


def receive(chunks: list[bytes], options: int) -> tuple[list[object], tuple[str, int] | None]:
    got: list[object] = []
    inflater = ws.Inflater(15, bool(options & TAKEOVER)) if options & DEFLATE else None
    reader = ws.FrameReader(
        got.append,
        lambda opcode, payload: got.append((opcode, payload)),
        masked=not options & CLIENT,
        max_message_bytes=LIMIT,
        inflater=inflater,
        max_fragments=20,
    )
    error = feed(reader, chunks, got, lambda error: (str(error), error.close_code))
    assert error is None or ws.is_close_code(error[1])
    return got, error


def target(data: bytes) -> None:
    options, stream = (data[0], data[1:]) if data else (0, b"")
    if options & HEADERS:
        headers(stream.decode("latin-1"))
        return
    for message in however_cut(lambda chunks: receive(chunks, options), stream)[0]:
        if isinstance(message, str):
            assert len(message.encode()) <= LIMIT
        elif isinstance(message, bytes):
            assert len(message) <= LIMIT
        else:
            opcode, payload = message
            assert len(payload) <= 125
            if opcode == ws.CLOSE:
                ws.parse_close(payload)


def headers(text: str) -> None:
    lines = dict(line.split(":", 1) for line in text.split("\n") if ":" in line)
    for check in (
        lambda: ws.parse_extensions(text),
        lambda: ws.accept(text, ws.Deflate()),
        lambda: ws.check_handshake("GET", "1.1", lines),
        lambda: ws.check_response(101, lines, "dGhlIHNhbXBsZSBub25jZQ=="),
    ):
        try:
            check()
        except RemoteProtocolError:
            pass
    agreed = ws.negotiate(text, ws.Deflate(server_no_context_takeover=False))
    if agreed is not None:
        response, inflater, deflater = agreed
        ws.negotiate(response, ws.Deflate())
        assert inflater.window_bits in range(8, 16)
        payload = text.encode()
        assert ws.Inflater(deflater.window_bits).decompress(deflater.compress(payload), len(payload)) == payload


def seeds() -> list[bytes]:
    key = b"\0\0\0\0"  # so that mutations hit the plain payload
    deflater = ws.Deflater()
    small = deflater.compress(b"Hello" * 20)
    again = deflater.compress(b"Hello" * 20)
    bomb = ws.Deflater(level=9).compress(bytes(100_000))
    plain: list[tuple[int, bytes, bool, bool]] = [
        (ws.TEXT, b"Hello", True, False),
        (ws.TEXT, "안녕 κόσμε 🎈".encode(), True, False),
        (ws.BINARY, bytes(range(256)), True, False),
        (ws.PING, b"beat", True, False),
        (ws.TEXT, "마".encode()[:2], False, False),
        (ws.PONG, b"", True, False),
        (ws.CONTINUATION, b"", False, False),
        (ws.CONTINUATION, "마".encode()[2:], True, False),
        (ws.BINARY, b"x" * 1900, False, False),
        (ws.CONTINUATION, b"y" * 100, True, False),
    ]
    deflated: list[tuple[int, bytes, bool, bool]] = [
        (ws.TEXT, small, True, True),
        (ws.TEXT, again, True, True),
        (ws.BINARY, small[:5], False, True),
        (ws.CONTINUATION, small[5:], True, False),
        (ws.BINARY, bytes.fromhex("f348cdc9c9070000"), True, True),
        (ws.BINARY, b"\x00", True, True),
        (ws.BINARY, bomb, True, True),
    ]
    close = (ws.CLOSE, ws.close_payload(1000, "bye"), True, False)
    result = [bytes((HEADERS,)) + text for text in HEADER_SEEDS]
    for frames, options in (([*plain, close], 0), ([*plain[:4], *deflated, close], DEFLATE | TAKEOVER)):
        masked = [ws.frame_masked(o, p, key, fin=fin, rsv1=rsv1) for o, p, fin, rsv1 in frames]
        bare = [ws.frame(o, p, fin=fin, rsv1=rsv1) for o, p, fin, rsv1 in frames]
        result += [bytes((options,)) + frame for frame in masked]
        result += [bytes((options | CLIENT,)) + frame for frame in bare]
        result.append(bytes((options,)) + b"".join(masked))
        result.append(bytes((options | CLIENT,)) + b"".join(bare))
        result.append(bytes((options & ~TAKEOVER,)) + b"".join(masked))
    result.append(b"\x00\x82\xff" + (1 << 62).to_bytes(8, "big") + key)
    result.append(b"\x00\x82\xff" + (70_000).to_bytes(8, "big") + key)
    result.append(bytes((DEFLATE,)) + ws.frame_masked(ws.BINARY, b"\x03\x00" * 70, key, rsv1=True))
    return result


HEADER_SEEDS = [
    b"permessage-deflate; client_max_window_bits, permessage-deflate",
    b'permessage-deflate; server_max_window_bits="10"; client_max_window_bits=8',
    b"permessage-deflate; server_no_context_takeover; client_no_context_takeover, x; y=z",
    b"host:x\nupgrade:websocket\nconnection:keep-alive, Upgrade\nsec-websocket-version:13\n"
    b"sec-websocket-key:dGhlIHNhbXBsZSBub25jZQ==\nsec-websocket-protocol:a, b",
    b"upgrade:websocket\nconnection:upgrade\nsec-websocket-accept:s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
]

if __name__ == "__main__":
    run(target, seeds(), (RemoteProtocolError,))
