"""Fuzz the framing of `madang.transports.webtransport`, and the first packet of its clients.

Checked besides "raises nothing but RemoteProtocolError": one byte at a time, uneven pieces and all at once give the
same frames and error; no frame is over the limit; what was read and is written again is read as the same.
"""

from harness import run
from pieces import feed, however_cut

from madang.errors import RemoteProtocolError
from madang.transports.webtransport import FrameReader, frame
from madang.wire.eio4 import WIRE

LIMIT = 2000


def receive(chunks: list[bytes]) -> tuple[list[str | bytes], str | None]:
    got: list[str | bytes] = []
    reader = FrameReader(got.append, max_payload_bytes=LIMIT)
    return got, feed(reader, chunks, got, str)


def target(data: bytes) -> None:
    contents, _ = however_cut(receive, data)
    for content in contents:
        assert len(content.encode() if isinstance(content, str) else content) <= LIMIT
        sid = WIRE.knocked(content)
        assert sid is None or WIRE.knocked(WIRE.knock(sid)) == sid
    assert receive([frame(content) for content in contents]) == (contents, None)


def seeds() -> list[bytes]:
    contents = ["0", '0{"sid":"x"}', "2probe", '42["마당 🎈"]', "x" * 125, "x" * 126, b"", b"\0\xff", bytes(300)]
    heads = ["7effff", "ff0000000000000002", "ffffffffffffffffff", "00", "80", "02ff"]
    frames = [frame(content) for content in contents]
    return [*frames, b"".join(frames), *(bytes.fromhex(head) + b"42" for head in heads)]


if __name__ == "__main__":
    run(target, seeds(), (RemoteProtocolError,))
