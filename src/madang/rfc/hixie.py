r"""WebSockets before RFC 6455: drafts 75 and 76 of hixie's protocol. No I/O: bytes in, messages and bytes out.

Flash films that give old browsers a WebSocket speak draft 76; so do Safari 5, Chrome 6 to 13, and clients of that time
in Node.js. Draft 75 is the same without the proof that the server is one.

A server asks `speaks`, then `check_handshake`, and answers with `handshake_response`. In draft 76 eight bytes follow
the client's head; they may come late, since proxies hold them back until the response has begun. Once they are there,
`Handshake.proof` makes the sixteen bytes that follow the response's head. From there it is messages: `FrameReader`
reads them, `text_frame` writes them, and `CLOSE` is the good-bye of both sides. There are no pings, and all is text.

Example:
    >>> got = []
    >>> reader = FrameReader(got.append, lambda: got.append("closed"), max_message_bytes=1_000_000)
    >>> reader.feed(text_frame("hello") + CLOSE)
    >>> got
    ['hello', 'closed']

Source: draft-ietf-hybi-thewebsocketprotocol-00, which is draft-hixie-thewebsocketprotocol-76, and the 75 before it.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from madang.errors import LocalProtocolError, RemoteProtocolError

__all__ = [
    "CHALLENGE_BYTES",
    "CLOSE",
    "FrameReader",
    "Handshake",
    "check_handshake",
    "handshake_response",
    "key_number",
    "speaks",
    "text_frame",
]

#: How many bytes follow the head of a client's handshake.
CHALLENGE_BYTES: Final = 8
#: The good-bye of either side.
CLOSE: Final = b"\xff\x00"

_RULE: Final = "hixie-76 5.2"
#: The greatest number that a key may stand for, and how many digits one may have: the greatest times twelve spaces.
_MAX_NUMBER: Final = 4_294_967_295
_MAX_DIGITS: Final = 12
_FORBIDDEN_IN_HEADER: Final = re.compile(r"[^\t\x20-\x7e\x80-\xff]")

# ------------------------------------------------------------------------------------------ opening handshake


@dataclass(frozen=True)
class Handshake:
    """A client's opening handshake that passed all checks.

    Attributes:
        origin: the page's origin, as it came.
        host: the `Host` that was asked.
        numbers: what the two keys stand for; None in draft 75, which has no keys and no proof.
        subprotocol: what the client wants to speak, or None.
    """

    origin: str
    host: str
    numbers: tuple[int, int] | None
    subprotocol: str | None

    def proof(self, challenge: bytes) -> bytes:
        r"""The sixteen bytes that show that both keys and the eight bytes behind the head were read.

        Raises:
            LocalProtocolError: there are not eight bytes, or this is draft 75.

        Example:
            >>> Handshake("http://example.com", "example.com", (829309203, 259970620), None).proof(b"^n:ds[4U")
            b"8jKS'y:G*Co,Wxa-"
        """
        if self.numbers is None or len(challenge) != CHALLENGE_BYTES:
            raise LocalProtocolError(f"a proof is made in draft 76, of {CHALLENGE_BYTES} bytes")
        first, second = self.numbers
        data = first.to_bytes(4, "big") + second.to_bytes(4, "big") + challenge
        return hashlib.md5(data, usedforsecurity=False).digest()


def speaks(headers: Mapping[str, str]) -> bool:
    """Tell whether a request for a WebSocket is one of these drafts; `headers` has names in lower case.

    Example:
        >>> speaks({"upgrade": "WebSocket", "sec-websocket-key1": "1 2", "sec-websocket-key2": "3 4"})
        True
        >>> speaks({"upgrade": "websocket", "sec-websocket-version": "13", "sec-websocket-key": "..."})
        False
    """
    return (
        headers.get("upgrade", "").strip(" \t").lower() == "websocket"
        and "sec-websocket-version" not in headers
        and "sec-websocket-key" not in headers
    )


def key_number(key: str) -> int:
    """What a key stands for: its digits as one number, divided by how many spaces it has.

    Args:
        key: the value of `Sec-WebSocket-Key1` or `-Key2`, with all spaces inside it.

    Raises:
        RemoteProtocolError: it is no such key.

    Example:
        >>> key_number("18x 6]8vM;54 *(5:  {   U1]8  z [  8")
        155712099
    """
    digits = "".join([character for character in key if "0" <= character <= "9"])
    spaces = key.count(" ")
    if not digits or len(digits) > _MAX_DIGITS or not spaces:
        raise RemoteProtocolError("a key has no digits, too many of them, or no spaces", rule=_RULE)
    number, rest = divmod(int(digits), spaces)
    if rest:
        raise RemoteProtocolError("the number of a key is no multiple of its spaces", rule=_RULE)
    if number > _MAX_NUMBER:
        raise RemoteProtocolError(f"the number of a key is greater than {_MAX_NUMBER}", rule=_RULE)
    return number


def check_handshake(method: str, http_version: str, headers: Mapping[str, str]) -> Handshake:
    """Check a client's opening handshake. Without keys it is one of draft 75.

    Args:
        method: the request's.
        http_version: the request's, as "1.1".
        headers: names in lower case, values as they came but for white space around them.

    Raises:
        RemoteProtocolError: it breaks a rule; `.http_status` is 400.

    Example:
        >>> check_handshake("GET", "1.1", {
        ...     "upgrade": "WebSocket", "connection": "Upgrade", "host": "example.com", "origin": "http://example.com",
        ...     "sec-websocket-key1": "4 @1  46546xW%0l 1 5", "sec-websocket-key2": "12998 5 Y3 1  .P00"}).numbers
        (829309203, 259970620)
    """
    if method != "GET":
        raise RemoteProtocolError(f"a WebSocket opens with GET, not {method}", rule=_RULE)
    if http_version != "1.1":
        raise RemoteProtocolError(f"a WebSocket opens with HTTP/1.1, not {http_version}", rule=_RULE)
    if headers.get("upgrade", "").strip(" \t").lower() != "websocket":
        raise RemoteProtocolError("no Upgrade: WebSocket", rule=_RULE)
    if headers.get("connection", "").strip(" \t").lower() != "upgrade":
        raise RemoteProtocolError("no Connection: Upgrade", rule=_RULE)
    host, origin = headers.get("host", ""), headers.get("origin", "")
    if not host:
        raise RemoteProtocolError("no Host", rule=_RULE)
    if not origin:
        raise RemoteProtocolError("no Origin, which the answer has to repeat", rule=_RULE)
    keys = headers.get("sec-websocket-key1"), headers.get("sec-websocket-key2")
    numbers = None
    if keys[0] is not None and keys[1] is not None:
        numbers = key_number(keys[0]), key_number(keys[1])
    elif keys != (None, None):
        raise RemoteProtocolError("there must be two keys, or none", rule=_RULE)
    return Handshake(origin, host, numbers, headers.get("sec-websocket-protocol"))


def handshake_response(
    handshake: Handshake,
    target: str,
    *,
    secure: bool = False,
    subprotocol: str | None = None,
    headers: Iterable[tuple[str, str]] = (),
) -> bytes:
    r"""The head of the response that opens the WebSocket; in draft 76 `Handshake.proof` has to follow it.

    Clients take it to the letter: `Upgrade` and `Connection` with nothing but their one word, the origin as the client
    has written it.

    Args:
        handshake: what is answered.
        target: path and query of the request, as they came.
        secure: whether the client uses TLS.
        subprotocol: what was agreed on.
        headers: more of them.

    Raises:
        LocalProtocolError: a line break, or what is not Latin-1, in a header.

    Example:
        >>> shaken = Handshake("http://example.com", "example.com", (1, 2), None)
        >>> handshake_response(shaken, "/demo").split(b"\r\n")[0]
        b'HTTP/1.1 101 WebSocket Protocol Handshake'
    """
    location = f"{'wss' if secure else 'ws'}://{handshake.host}{target}"
    if handshake.numbers is not None:
        lines, prefix = ["HTTP/1.1 101 WebSocket Protocol Handshake"], "Sec-"
    else:
        lines, prefix = ["HTTP/1.1 101 Web Socket Protocol Handshake"], ""
    lines += ["Upgrade: WebSocket", "Connection: Upgrade"]
    lines += [f"{prefix}WebSocket-Origin: {handshake.origin}", f"{prefix}WebSocket-Location: {location}"]
    if subprotocol is not None:
        lines.append(f"{prefix}WebSocket-Protocol: {subprotocol}")
    lines += [f"{name}: {value}" for name, value in headers]
    for line in lines:
        if _FORBIDDEN_IN_HEADER.search(line):
            raise LocalProtocolError(f"a header with a character that cannot be in one: {line!r}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


# ----------------------------------------------------------------------------------------------------- frames


def text_frame(text: str) -> bytes:
    r"""Return a message as both sides send it.

    Raises:
        LocalProtocolError: a lone surrogate, which UTF-8 cannot say.

    Example:
        >>> text_frame("hello")
        b'\x00hello\xff'
    """
    try:
        return b"\x00%b\xff" % text.encode()
    except UnicodeEncodeError as error:
        raise LocalProtocolError(f"text cannot be sent as UTF-8: {error.reason}") from None


class FrameReader:
    r"""Bytes in, whole messages out.

    A message begins with 00 and ends with FF, which stands in no UTF-8. What is not UTF-8 becomes U+FFFD, as the draft
    has it. Frames that begin with their length, which the draft keeps for binary data of a later day, are refused.

    Memory is held for the one message that is being received: at most `max_message_bytes`, whether or not its end ever
    comes. The work is linear in what arrives, in whatever pieces.

    Args:
        on_message: called with each message; the attribute of this name may be set anew at any time.
        on_close: called when the client has said good-bye, after which nothing more is read.
        max_message_bytes: the limit for a message.

    Example:
        >>> got = []
        >>> reader = FrameReader(got.append, lambda: None, max_message_bytes=100)
        >>> for chunk in (b"\x00h", b"i\xff\x00", b"\xff"):
        ...     reader.feed(chunk)
        >>> got
        ['hi', '']
    """

    __slots__ = ("_begun", "_kept", "_max_message_bytes", "_on_close", "_stopped", "on_message")

    def __init__(
        self,
        on_message: Callable[[str | bytes], None],  # as that of `ws.FrameReader`; bytes never come
        on_close: Callable[[], None],
        *,
        max_message_bytes: int,
    ) -> None:
        self.on_message = on_message
        self._on_close = on_close
        self._max_message_bytes = max_message_bytes
        self._stopped = False
        # What a frame has begun with, -1 between frames; of a message, what came so far.
        self._begun = -1
        self._kept = bytearray()

    @property
    def stopped(self) -> bool:
        """Whether nothing more is delivered: after a good-bye, an error or `stop`."""
        return self._stopped

    def extent(self, data: bytes) -> int:
        """How many bytes of what comes next are of one frame: nobody can tell, so 0."""
        return 0

    def stop(self) -> None:
        """Deliver nothing more, not even from the chunk at hand, and let go of what was kept.

        Example:
            >>> reader = FrameReader(print, print, max_message_bytes=100)
            >>> reader.stop()
            >>> reader.feed(text_frame("unheard"))
        """
        self._stopped = True
        self._kept = bytearray()

    def feed(self, data: bytes) -> None:
        """Take what arrived, in pieces of any size, and call back for all that it completes.

        An exception, be it ours or a callback's, passes through and leaves the reader stopped.

        Raises:
            RemoteProtocolError: the peer broke a rule.
        """
        try:
            position = 0
            size = len(data)
            while position < size and not self._stopped:
                if self._begun == 0:
                    position = self._text(data, position)
                elif self._begun == 0xFF:
                    if data[position]:
                        raise _no_text(0xFF)
                    self.stop()
                    self._on_close()
                else:
                    self._begun = data[position]
                    position += 1
                    if self._begun not in (0x00, 0xFF):
                        raise _no_text(self._begun)
        except BaseException:
            self.stop()
            raise

    def _text(self, data: bytes, position: int) -> int:
        """Take a message, or a piece of it; return where the next frame begins."""
        end = data.find(b"\xff", position)
        stop = end if end >= 0 else len(data)
        size = len(self._kept) + stop - position
        if size > self._max_message_bytes:
            raise RemoteProtocolError(
                f"message of {size} bytes or more; max_payload_bytes is {self._max_message_bytes}",
                rule="max_payload_bytes",
                close_code=1009,
            )
        message: bytes | bytearray = data[position:stop]
        if end < 0:
            self._kept += message
            return stop
        if self._kept:
            self._kept += message
            message, self._kept = self._kept, bytearray()
        self._begun = -1
        self.on_message(message.decode("utf-8", "replace"))
        return end + 1


def _no_text(kind: int) -> RemoteProtocolError:
    return RemoteProtocolError(
        f"a frame of type {kind:#04x}: all is text here, and begins with 0x00", rule="hixie-76 4.2", close_code=1003
    )
