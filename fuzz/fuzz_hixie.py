"""Fuzz `madang.rfc.hixie`: frames, and the headers of the handshake.

The first byte of an input chooses which. Checked besides "raises nothing but RemoteProtocolError": one byte at a time,
uneven pieces and all at once give the same messages and error; no message is over the limit; after an error nothing is
delivered; a handshake that passes has two numbers of 32 bits, and a response without a line break in a header.
"""

from harness import run
from pieces import feed, however_cut

from madang.errors import RemoteProtocolError
from madang.rfc import hixie

LIMIT = 500
HEADERS = 0x80


def receive(chunks: list[bytes]) -> tuple[list[object], tuple[str, int] | None]:
    got: list[object] = []
    reader = hixie.FrameReader(got.append, lambda: got.append(None), max_message_bytes=LIMIT)
    return got, feed(reader, chunks, got, lambda error: (error.rule, error.close_code))


def target(data: bytes) -> None:
    options, stream = (data[0], data[1:]) if data else (0, b"")
    if options & HEADERS:
        headers(stream.decode("latin-1"))
        return
    for message in however_cut(receive, stream)[0]:
        assert message is None or (isinstance(message, str) and len(message) <= LIMIT)


def headers(text: str) -> None:
    pairs = dict(line.partition(":")[::2] for line in text.split("\n"))
    if not hixie.speaks(pairs):
        return
    handshake = hixie.check_handshake("GET", "1.1", pairs)
    if handshake.numbers is not None:
        assert all(0 <= number < 1 << 32 for number in handshake.numbers)
        assert len(handshake.proof(text.encode()[:8].ljust(8))) == 16
    if not any(ord(character) < 32 or ord(character) == 127 for character in handshake.origin + handshake.host):
        response = hixie.handshake_response(handshake, "/")
        assert response.count(b"\r\n") == 6
        assert response.endswith(b"\r\n\r\n")


HEAD = b"upgrade:WebSocket\nconnection:Upgrade\nhost:example.com\norigin:http://example.com"
SEEDS = [
    b"\x00\x00hello\xff\x00\xec\x95\x88\xf0\x9f\x8e\xaa\xff\xff\x00",
    b"\x00\x00" + b"x" * LIMIT + b"\xff\x00\xff",
    b"\x00\x80\x03abc",
    bytes((HEADERS,)) + HEAD,
    bytes((HEADERS,)) + HEAD + b"\nsec-websocket-key1:4 @1  46546xW%0l 1 5\nsec-websocket-key2:12998 5 Y3 1  .P00",
]

if __name__ == "__main__":
    run(target, SEEDS, (RemoteProtocolError,))
