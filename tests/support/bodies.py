"""How clients write and read the bodies of each HTTP transport: `check_transport` is told by these."""

import json
import re
from collections.abc import Callable, Mapping
from urllib.parse import quote_plus

Pack = Callable[[str], tuple[Mapping[str, str], bytes]]
Unpack = Callable[[bytes], str]


def plain_pack(payload: str) -> tuple[Mapping[str, str], bytes]:
    return {"Content-Type": "text/plain;charset=UTF-8"}, payload.encode()


def jsonp_pack(payload: str) -> tuple[Mapping[str, str], bytes]:
    """As engine.io-client 1.x to 5.x puts a payload into its form."""
    escaped = payload.replace("\\n", "\\\n").replace("\n", "\\n")
    return {"Content-Type": "application/x-www-form-urlencoded"}, f"d={quote_plus(escaped)}".encode()


def jsonp_unpack(body: bytes) -> str:
    found = re.fullmatch(r'___eio\[\d+\]\(("[^<\u2028\u2029]*")\);', body.decode(), re.DOTALL)
    assert found is not None, body
    payload = json.loads(found[1])
    assert isinstance(payload, str)
    return payload


def sse_unpack(data: bytes) -> str:
    payloads = []
    for event in data.decode().split("\n\n")[:-1]:
        kind, lines = "message", []
        for line in event.split("\n"):
            assert "\r" not in line
            name, _, value = line.partition(": ")
            if name == "event":
                kind = value
            elif name == "data":
                lines.append(value)
        if lines:
            payloads.append(json.loads("\n".join(lines)) if kind == "json" else "\n".join(lines))
    return "\x1e".join(payloads)


def multipart_frames(data: bytes) -> list[str | bytes]:
    """The frames of whole parts; the boundary before the first one may be there or not."""
    data = data.removeprefix(b"--madang\r\n")
    frames: list[str | bytes] = []
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        headers = dict(line.split(b": ", 1) for line in head.split(b"\r\n"))
        length = int(headers[b"Content-Length"])
        body, end, data = data[:length], data[length : length + 12], data[length + 12 :]
        assert end == b"\r\n--madang\r\n"
        assert len(body) == length
        frames.append(body if headers[b"Content-Type"] == b"application/octet-stream" else body.decode())
    return frames


def multipart_unpack(data: bytes) -> str:
    from madang.wire.eio4 import WIRE

    return WIRE.join(multipart_frames(data))


def iframe_unpack(data: bytes) -> str:
    payloads = []
    for element in re.findall(r"<script>_\((.*?)\)</script>\n", data.decode(), re.DOTALL):
        assert not re.search("[<\u2028\u2029]", element)
        payloads.append(json.loads(element))
    return "\x1e".join(payloads)


WAYS: dict[str, tuple[Pack, Unpack]] = {
    "polling": (plain_pack, bytes.decode),
    "shortpolling": (plain_pack, bytes.decode),
    "jsonp": (jsonp_pack, jsonp_unpack),
    "sse": (plain_pack, sse_unpack),
    "multipart": (plain_pack, multipart_unpack),
    "iframe": (plain_pack, iframe_unpack),
}
