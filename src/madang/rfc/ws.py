r"""RFC 6455 (WebSocket) and RFC 7692 (permessage-deflate) without any I/O: frames, handshake, compression.

Bytes go in, whole messages come out; what is to be sent is returned as bytes. Nothing here waits, opens a
socket, reads a clock or draws a random number: the masking key and the entropy of `Sec-WebSocket-Key` are
arguments. Both roles are here: a server reads masked frames and writes unmasked ones, a client the other way
round.

The parts, in the order of the file:

- `FrameReader`: the hot path of the whole server. A chunk that is exactly one small message, which is what
  nearly every `data_received` brings, is recognised by four comparisons and delivered; everything else goes
  through `_walk`.
- `frame`, `frame_masked`, `text_frame`, `binary_frame`, `joined_frames`, `close_payload`, `parse_close`: frames
  to send, close codes.
- `Deflate`, `negotiate`, `offer`, `accept`, `Inflater`, `Deflater`: compression.
- `check_handshake`, `handshake_response`, `handshake_request`, `check_response`, `accept_key`: the opening
  handshake.

Both RFCs are one module, and a long one, because compression lives inside the frames: the reader inflates what the
handshake agreed on. About half of it are docstrings.

What a peer does wrong is a `RemoteProtocolError` that names the paragraph (`.rule`) and the close code to
answer with (`.close_code`, or `.http_status` during the handshake); what the caller does wrong is a
`LocalProtocolError`.

Example:
    >>> got = []
    >>> reader = FrameReader(got.append, lambda opcode, payload: None, max_message_bytes=1_000_000)
    >>> reader.feed(frame_masked(TEXT, b"hello", key=b"1234"))
    >>> got
    ['hello']
    >>> text_frame("hello")
    b'\x81\x05hello'
"""

import base64
import binascii
import codecs
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from madang.errors import ConfigError, LocalProtocolError, RemoteProtocolError


def apply_mask_python(data: bytes | bytearray | memoryview, mask: bytes | bytearray) -> bytes:
    """XOR `data` with the four bytes of `mask`, over and over (RFC 6455 5.3): masks and unmasks.

    Used where the C function of `websockets` is missing. Both numbers are converted in linear time.

    Example:
        >>> apply_mask_python(apply_mask_python(b"hello", b"1234"), b"1234")
        b'hello'
    """
    size = len(data)
    pattern = mask * (size // 4) + mask[: size % 4]
    return (int.from_bytes(data, "little") ^ int.from_bytes(pattern, "little")).to_bytes(size, "little")


try:
    # For a few bytes, that of OpenSSL takes several times as long.
    from _sha1 import sha1  # type: ignore[import-not-found]
except ImportError:  # a Python that was built without it
    from hashlib import sha1

try:
    from websockets.speedups import apply_mask
except ImportError:  # a platform for which `websockets` has no compiled wheel
    apply_mask = apply_mask_python

# ------------------------------------------------------------------------------------------- words of the RFC

# Opcodes, RFC 6455 5.2
CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

# Close codes, RFC 6455 7.4.1 and the IANA registry
NORMAL_CLOSURE: Final = 1000
GOING_AWAY: Final = 1001
PROTOCOL_ERROR: Final = 1002
UNSUPPORTED_DATA: Final = 1003
NO_STATUS: Final = 1005  # never on the wire: the close frame was empty
ABNORMAL_CLOSURE: Final = 1006  # never on the wire: there was no close frame
INVALID_DATA: Final = 1007
POLICY_VIOLATION: Final = 1008
MESSAGE_TOO_BIG: Final = 1009
MANDATORY_EXTENSION: Final = 1010
INTERNAL_ERROR: Final = 1011
SERVICE_RESTART: Final = 1012
TRY_AGAIN_LATER: Final = 1013
BAD_GATEWAY: Final = 1014

_MAX_CONTROL_BYTES: Final = 125
_COPYLESS_BYTES: Final = 8192  # from here a memoryview costs less than the copy it saves


def _bad_utf8(error: UnicodeDecodeError, what: str) -> RemoteProtocolError:
    return RemoteProtocolError(
        f"{what} is not UTF-8: {error.reason} at byte {error.start}",
        rule="RFC 6455 8.1",
        close_code=INVALID_DATA,
    )


def _too_big(size: str, limit: int) -> RemoteProtocolError:
    return RemoteProtocolError(
        f"message of {size} bytes; max_payload_bytes is {limit}",
        rule="RFC 6455 10.4",
        close_code=MESSAGE_TOO_BIG,
    )


# ------------------------------------------------------------------------------------------------------ close


def is_close_code(code: int) -> bool:
    """Tell whether `code` may stand in a close frame (RFC 6455 7.4; 1012 to 1014 are IANA's).

    Example:
        >>> is_close_code(1000), is_close_code(1005), is_close_code(4321)
        (True, False, True)
    """
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


def close_payload(code: int, reason: str = "") -> bytes:
    r"""Return the payload of a close frame (RFC 6455 5.5.1).

    The reason is cut to the 123 bytes that fit, between two characters; what UTF-8 cannot say becomes `?`.

    Raises:
        LocalProtocolError: `code` may not be sent (see `is_close_code`).

    Example:
        >>> frame(CLOSE, close_payload(1001, "restarting"))
        b'\x88\x0c\x03\xe9restarting'
    """
    if not is_close_code(code):
        raise LocalProtocolError(f"{code} is not a close code that may be sent")
    encoded = reason.encode("utf-8", "replace")
    if len(encoded) > _MAX_CONTROL_BYTES - 2:
        encoded = encoded[: _MAX_CONTROL_BYTES - 2].decode("utf-8", "ignore").encode()
    return code.to_bytes(2, "big") + encoded


def parse_close(payload: bytes) -> tuple[int, str]:
    r"""Return code and reason of a received close frame; an empty one means 1005 (RFC 6455 5.5.1, 7.1.5).

    Raises:
        RemoteProtocolError: one byte, a code that may not be sent (both 1002), or a reason that is not UTF-8
            (1007).

    Example:
        >>> parse_close(b"\x03\xe8bye")
        (1000, 'bye')
    """
    if not payload:
        return NO_STATUS, ""
    if len(payload) == 1:
        raise RemoteProtocolError("close frame with half a code", rule="RFC 6455 5.5.1")
    code = payload[0] << 8 | payload[1]
    if not is_close_code(code):
        raise RemoteProtocolError(f"close code {code} may not be sent", rule="RFC 6455 7.4")
    try:
        return code, payload[2:].decode()
    except UnicodeDecodeError as error:
        raise _bad_utf8(error, "close reason") from None


# ------------------------------------------------------------------------------------------------ compression

_TAIL: Final = b"\x00\x00\xff\xff"  # RFC 7692 7.2.1: what the sender cuts off and the receiver puts back
_MAX_FINAL_BLOCKS: Final = 64  # each costs a new zlib stream and a copy of the rest


class Inflater:
    """The receiving half of permessage-deflate (RFC 7692 7.2.2); made by `negotiate` and `accept`.

    `window_bits` is the agreed bound of the peer's window, `context_takeover` whether its messages may refer
    to earlier ones. The zlib stream is made when first needed, so that an idle connection costs nothing.

    Example:
        >>> Inflater().decompress(bytes.fromhex("f248cdc9c90700"), 1000)
        b'Hello'
    """

    __slots__ = ("_stream", "_wbits", "context_takeover", "window_bits")

    def __init__(self, window_bits: int = 15, context_takeover: bool = True) -> None:
        self.window_bits = window_bits
        self.context_takeover = context_takeover
        self._wbits = -max(window_bits, 9)  # some encoders mean 9 when they say 8; reading with more is always right
        self._stream: zlib._Decompress | None = None

    def decompress(self, data: bytes, max_bytes: int, last: bool = True) -> bytes:
        """Inflate one frame's payload, `last` if it ends its message; never make more than `max_bytes` + 1.

        Blocks with BFINAL (RFC 7692 7.2.3.4) are understood; what follows one starts with an empty window.

        Raises:
            RemoteProtocolError: more than `max_bytes` come out (1009), or this is not DEFLATE data (1007).
        """
        stream = self._stream
        if stream is None:
            stream = zlib.decompressobj(self._wbits)
        if last:
            data += _TAIL
        try:
            inflated = stream.decompress(data, max_bytes + 1)
            finals = 0
            while stream.eof and len(inflated) <= max_bytes:
                finals += 1
                if finals > _MAX_FINAL_BLOCKS:
                    raise RemoteProtocolError(
                        f"more than {_MAX_FINAL_BLOCKS} final blocks in one frame",
                        rule="RFC 7692 7.2.3.4",
                        close_code=POLICY_VIOLATION,
                    )
                rest = stream.unused_data
                stream = zlib.decompressobj(self._wbits)
                inflated += stream.decompress(rest, max_bytes + 1 - len(inflated))
        except zlib.error as error:
            raise RemoteProtocolError(
                f"not DEFLATE data: {error}", rule="RFC 7692 7.2.2", close_code=INVALID_DATA
            ) from None
        if len(inflated) > max_bytes:
            raise RemoteProtocolError(
                f"message inflates to more than {max_bytes} bytes",
                rule="RFC 7692 8",
                close_code=MESSAGE_TOO_BIG,
            )
        self._stream = None if last and not self.context_takeover else stream
        return inflated


class Deflater:
    """The sending half of permessage-deflate (RFC 7692 7.2.1); made by `negotiate` and `accept`.

    Send the result as `frame(TEXT, deflater.compress(payload), rsv1=True)`. Messages under `threshold_bytes`
    are better sent as they are: `frame(TEXT, payload)`; both kinds may alternate.

    Without context takeover it keeps nothing between messages: then `key` is not `None`, any two deflaters
    with the same `key` give the same bytes, and a broadcast is compressed once for all members that share it.
    (With context takeover `key` is `None`, and the message must go through each member's own deflater: its
    window has to know it.)

    Example:
        >>> Deflater().compress(b"Hello").hex()
        'f248cdc9c90700'
        >>> Deflater(context_takeover=False).key
        (15, 6, 8)
    """

    __slots__ = (
        "_stream",
        "context_takeover",
        "key",
        "level",
        "memory_level",
        "threshold_bytes",
        "window_bits",
    )

    def __init__(
        self,
        window_bits: int = 15,
        context_takeover: bool = True,
        level: int = 6,
        memory_level: int = 8,
        threshold_bytes: int = 1024,
    ) -> None:
        self.window_bits = window_bits
        self.context_takeover = context_takeover
        self.level = level
        self.memory_level = memory_level
        self.threshold_bytes = threshold_bytes
        self.key: tuple[int, int, int] | None = None if context_takeover else (window_bits, level, memory_level)
        self._stream: zlib._Compress | None = None

    def compress(self, payload: bytes) -> bytes:
        """Deflate a whole message's payload, without the four bytes that the receiver adds."""
        if not payload:
            return b"\x00"  # RFC 7692 7.2.3.6; leaves the window as it is
        stream = self._stream
        if stream is None:
            stream = self._open()
            if self.context_takeover:
                self._stream = stream
        return (stream.compress(payload) + stream.flush(zlib.Z_SYNC_FLUSH))[:-4]

    def _open(self) -> "zlib._Compress":
        if self.window_bits == 8:
            # zlib cannot write raw streams with a window of 256 bytes; run lengths look back by one byte.
            return zlib.compressobj(self.level, zlib.DEFLATED, -9, self.memory_level, zlib.Z_RLE)
        return zlib.compressobj(self.level, zlib.DEFLATED, -self.window_bits, self.memory_level)


@dataclass(frozen=True)
class Deflate:
    """What this side wants of permessage-deflate (RFC 7692 7.1) and of zlib.

    Attributes:
        server_no_context_takeover: the server forgets its window after each message: more bytes on the wire,
            but no 256 kB per connection, and one compression per broadcast.
        client_no_context_takeover: the client is asked to do so.
        server_max_window_bits: the server's window, 8 to 15.
        client_max_window_bits: the client's window, 8 to 15; asked for only if the client's offer allows it.
        level: zlib's, 0 to 9, or -1 for zlib's own choice.
        memory_level: zlib's, 1 to 9.
        threshold_bytes: messages smaller than this are not worth it.

    Raises:
        ConfigError: a number is out of its range.
    """

    server_no_context_takeover: bool = True
    client_no_context_takeover: bool = True
    server_max_window_bits: int = 15
    client_max_window_bits: int = 15
    level: int = 6
    memory_level: int = 8
    threshold_bytes: int = 1024

    def __post_init__(self) -> None:
        for name, value, least, most in (
            ("server_max_window_bits", self.server_max_window_bits, 8, 15),
            ("client_max_window_bits", self.client_max_window_bits, 8, 15),
            ("level", self.level, -1, 9),
            ("memory_level", self.memory_level, 1, 9),
        ):
            if not least <= value <= most:
                raise ConfigError(f"{name}={value} is not between {least} and {most}")

    def deflater(self, window_bits: int, context_takeover: bool) -> Deflater:
        """Make a `Deflater` with these zlib settings."""
        return Deflater(window_bits, context_takeover, self.level, self.memory_level, self.threshold_bytes)


_TCHARS: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # RFC 9110 5.6.2
_IS_TOKEN: Final = re.compile(_TCHARS)
_EXTENSION: Final = re.compile(rf"[ \t]*(?:({_TCHARS})[ \t]*)?")  # matches everywhere, maybe nothing
_PARAMETER: Final = re.compile(rf';[ \t]*({_TCHARS})[ \t]*(?:=[ \t]*(?:({_TCHARS})|"((?:[^"\\]|\\.)*)")[ \t]*)?')
_WINDOW_BITS: Final = {str(bits): bits for bits in range(8, 16)}

Extension = tuple[str, list[tuple[str, str | None]]]  # its name; the parameters with their values, in order


def parse_extensions(header: str) -> list[Extension]:
    """Parse `Sec-WebSocket-Extensions` (RFC 6455 9.1) into names, each with its parameters in order.

    Raises:
        RemoteProtocolError: the header is malformed.

    Example:
        >>> parse_extensions('permessage-deflate; client_max_window_bits, x; y="10"')
        [('permessage-deflate', [('client_max_window_bits', None)]), ('x', [('y', '10')])]
    """
    extensions: list[Extension] = []
    position = 0
    while position < len(header):
        name = _EXTENSION.match(header, position)
        assert name is not None  # noqa: S101 - all its parts are optional
        position = name.end()
        if name[1] is not None:
            parameters: list[tuple[str, str | None]] = []
            extensions.append((name[1], parameters))
            while (found := _PARAMETER.match(header, position)) is not None:
                value: str | None = found[2]
                if found[3] is not None:
                    value = re.sub(r"\\(.)", r"\1", found[3])
                    if _IS_TOKEN.fullmatch(value) is None:
                        break
                parameters.append((found[1], value))
                position = found.end()
        if position < len(header):
            if header[position] != ",":
                raise RemoteProtocolError(
                    f"malformed Sec-WebSocket-Extensions at character {position}", rule="RFC 6455 9.1"
                )
            position += 1
    return extensions


def _deflate_parameters(parameters: list[tuple[str, str | None]], *, response: bool) -> dict[str, int] | None:
    """Check one permessage-deflate by RFC 7692 7.1; `None` if it breaks a rule. A bare parameter is 0."""
    result: dict[str, int] = {}
    for name, value in parameters:
        if name in result:
            return None
        if name in ("server_no_context_takeover", "client_no_context_takeover"):
            if value is not None:
                return None
            result[name] = 0
        elif name == "client_max_window_bits" and value is None and not response:
            result[name] = 0
        elif name in ("server_max_window_bits", "client_max_window_bits"):
            if value not in _WINDOW_BITS:
                return None
            result[name] = _WINDOW_BITS[value]
        else:
            return None
    return result


def negotiate(offer_header: str, settings: Deflate) -> tuple[str, Inflater, Deflater] | None:
    """Server: answer a client's `Sec-WebSocket-Extensions` (RFC 7692 5.1, 7.1).

    The first offer without a fault is taken; one with an unknown, repeated or invalid parameter is declined,
    and so are all other extensions. Both sides' wishes hold: the smaller window, no context takeover if
    either asks for it.

    Returns:
        The response header's value, and the two halves for this connection, or `None`: go on without.

    Raises:
        RemoteProtocolError: the header is malformed (RFC 6455 9.1).

    Example:
        >>> response, inflater, deflater = negotiate("permessage-deflate; client_max_window_bits", Deflate())
        >>> response
        'permessage-deflate; server_no_context_takeover; client_no_context_takeover'
    """
    for name, parameters in parse_extensions(offer_header):
        if name != "permessage-deflate":
            continue
        offered = _deflate_parameters(parameters, response=False)
        if offered is None:
            continue
        response = "permessage-deflate"
        server_takeover = not (settings.server_no_context_takeover or "server_no_context_takeover" in offered)
        if not server_takeover:
            response += "; server_no_context_takeover"
        client_takeover = not (settings.client_no_context_takeover or "client_no_context_takeover" in offered)
        if not client_takeover:
            response += "; client_no_context_takeover"
        server_bits = min(settings.server_max_window_bits, offered.get("server_max_window_bits", 15))
        if server_bits < 15 or "server_max_window_bits" in offered:
            response += f"; server_max_window_bits={server_bits}"
        client_bits = 15
        if "client_max_window_bits" in offered:  # else the client would not understand our wish, 7.1.2.2
            client_bits = min(settings.client_max_window_bits, offered["client_max_window_bits"] or 15)
            if client_bits < 15:
                response += f"; client_max_window_bits={client_bits}"
        return (
            response,
            Inflater(client_bits, client_takeover),
            settings.deflater(server_bits, server_takeover),
        )
    return None


def offer(settings: Deflate) -> str:
    """Client: return the `Sec-WebSocket-Extensions` that asks for `settings` (RFC 7692 7.1).

    Example:
        >>> offer(Deflate(server_no_context_takeover=False, client_no_context_takeover=False))
        'permessage-deflate; client_max_window_bits'
    """
    header = "permessage-deflate"
    if settings.server_no_context_takeover:
        header += "; server_no_context_takeover"
    if settings.client_no_context_takeover:
        header += "; client_no_context_takeover"
    if settings.server_max_window_bits < 15:
        header += f"; server_max_window_bits={settings.server_max_window_bits}"
    header += "; client_max_window_bits"
    if settings.client_max_window_bits < 15:
        header += f"={settings.client_max_window_bits}"
    return header


def accept(response_header: str, settings: Deflate) -> tuple[Inflater, Deflater] | None:
    """Client: read the server's answer to `offer(settings)` (RFC 7692 5.1, 7.1); `None` if it declined.

    Raises:
        RemoteProtocolError: the answer is malformed, names anything that was not offered or breaks the offer
            (1010).

    Example:
        >>> inflater, deflater = accept("permessage-deflate; server_no_context_takeover", Deflate())
        >>> inflater.context_takeover
        False
    """
    extensions = parse_extensions(response_header)
    if not extensions:
        return None
    agreed: dict[str, int] | None = None
    if len(extensions) == 1 and extensions[0][0] == "permessage-deflate":
        agreed = _deflate_parameters(extensions[0][1], response=True)
    if (
        agreed is None
        or agreed.get("server_max_window_bits", 15) > settings.server_max_window_bits
        or agreed.get("client_max_window_bits", 8) > settings.client_max_window_bits
        or (settings.server_no_context_takeover and "server_no_context_takeover" not in agreed)
    ):
        raise RemoteProtocolError(
            f"the server accepted what was not offered: {response_header}",
            rule="RFC 7692 5.1",
            close_code=MANDATORY_EXTENSION,
        )
    deflater_bits = min(agreed.get("client_max_window_bits", 15), settings.client_max_window_bits)
    deflater_takeover = not (settings.client_no_context_takeover or "client_no_context_takeover" in agreed)
    return (
        Inflater(agreed.get("server_max_window_bits", 15), "server_no_context_takeover" not in agreed),
        settings.deflater(deflater_bits, deflater_takeover),
    )


# -------------------------------------------------------------------------------------------- frames, reading

_FIN_TEXT: Final = 0x81
_FIN_BINARY: Final = 0x82


class FrameReader:
    r"""Bytes in, whole messages out (RFC 6455 5; RFC 7692 6.2).

    `on_message` gets a text message as `str` and a binary one as `bytes`; `on_control` gets `PING`, `PONG`
    and `CLOSE` with their payload, in the order in which they came, also between the fragments of a message.
    Answering is the caller's: a ping with `frame(PONG, payload)`, a close with a close (see `parse_close`).
    Both run inside `feed`, which they must not call again; after `stop` nothing more of the chunk is
    delivered. `CLOSE` stops the reader by itself.

    Memory is held for the one message that is being received: at most `max_message_bytes` of it, and of a
    frame the part that has come. What a header announces is checked before anything is kept, and so is what
    compressed data inflate to. The work is linear in what arrives, in whatever pieces.

    Args:
        on_message: called with each message; the attribute of this name may be set anew at any time.
        on_control: called with each control frame's opcode and payload.
        masked: `True` on the server's side: frames must be masked. `False` on the client's: they must not
            (5.1).
        max_message_bytes: the limit for a message, over all its fragments, compressed and inflated.
        inflater: the agreed compression; without one RSV1 is an error.
        max_fragments: the limit for frames in one message; passing it is a policy violation (1008). The
            default lets 8 MB in fragments of 64 bytes through.

    Example:
        >>> got = []
        >>> reader = FrameReader(got.append, lambda _, payload: got.append(payload), max_message_bytes=100)
        >>> for chunk in (b"\x01\x82abcd\t\x0b\x89\x81abcd\x11", b"\x80\x80abcd"):
        ...     reader.feed(chunk)
        >>> got
        [b'p', 'hi']
    """

    __slots__ = (
        "_decoder",
        "_fast_limit",
        "_fast_size",
        "_fin",
        "_fragments",
        "_head",
        "_inflater",
        "_key",
        "_masked",
        "_max_fragments",
        "_max_message_bytes",
        "_max_wire_bytes",
        "_message",
        "_message_deflated",
        "_message_opcode",
        "_missing",
        "_on_control",
        "_opcode",
        "_payload",
        "_rsv1",
        "_stopped",
        "_wire_bytes",
        "on_message",
    )

    def __init__(
        self,
        on_message: Callable[[str | bytes], None],
        on_control: Callable[[int, bytes], None],
        *,
        masked: bool = True,
        max_message_bytes: int,
        inflater: Inflater | None = None,
        max_fragments: int = 131_072,
    ) -> None:
        self.on_message = on_message
        self._on_control = on_control
        self._masked = masked
        self._max_message_bytes = max_message_bytes
        # Compressed data may be longer than what they say; this is zlib's bound for the worst settings.
        self._max_wire_bytes = max_message_bytes + (max_message_bytes >> 2) + 64
        self._inflater = inflater
        self._max_fragments = max_fragments
        self._stopped = False
        # A chunk of up to _fast_size bytes may be one small message: 0 while something has been begun.
        self._fast_limit = 6 + min(_MAX_CONTROL_BYTES, max_message_bytes) if masked else 0
        self._fast_size = self._fast_limit
        # The frame that is being received: its incomplete header, or its fields and how much is missing.
        self._head = b""
        self._missing = 0
        self._payload: bytearray | None = None
        self._fin = False
        self._rsv1 = False
        self._opcode = 0
        self._key = b""
        # The fragmented message that is being received; opcode 0 if there is none.
        self._message_opcode = 0
        self._message: bytearray | None = None
        self._message_deflated = False
        self._fragments = 0
        self._wire_bytes = 0
        self._decoder: codecs.IncrementalDecoder | None = None

    @property
    def stopped(self) -> bool:
        """Whether nothing more is delivered: after `CLOSE`, an error or `stop`."""
        return self._stopped

    def extent(self, data: bytes) -> int:
        r"""How many bytes of what comes next are of one frame: of that at hand, or else of the one that they begin.

        It is more than there are where the frame goes on behind them, and 0 where it can't be told yet.

        Example:
            >>> reader = FrameReader(print, print, max_message_bytes=100)
            >>> reader.extent(frame_masked(TEXT, b"a message", key=b"1234") + b"and more")
            15
        """
        if self._missing or self._head or len(data) < 10:
            return self._missing
        length = data[1] & 0x7F
        start = 6 if self._masked else 2
        if length == 126:
            return start + 2 + int.from_bytes(data[2:4], "big")
        if length == 127:
            return start + 8 + int.from_bytes(data[2:10], "big")
        return start + length

    def stop(self) -> None:
        """Deliver nothing more, not even from the chunk at hand, and let go of what was kept.

        Example:
            >>> reader = FrameReader(print, print, max_message_bytes=100)
            >>> reader.stop()
            >>> reader.feed(frame_masked(TEXT, b"unheard", key=b"1234"))
        """
        self._stopped = True
        self._fast_size = 0
        self._missing = 0
        self._head = b""
        self._payload = None
        self._message = None
        self._decoder = None

    def feed(self, data: bytes) -> None:
        """Take what arrived, in pieces of any size, and call back for all that it completes.

        An exception, be it ours or a callback's, passes through and leaves the reader stopped.

        Raises:
            RemoteProtocolError: the peer broke a rule; close with its `.close_code`: 1002 (protocol), 1007
                (not UTF-8 or not DEFLATE), 1008 (too many fragments) or 1009 (too big).
        """
        size = len(data)
        try:
            # One whole small message: 2 bytes of header, 4 of mask, and a length that says what is here.
            if 5 < size <= self._fast_size and data[1] == size + 122:
                first = data[0]
                if first == _FIN_TEXT:
                    try:
                        text = apply_mask(data[6:], data[2:6]).decode()
                    except UnicodeDecodeError as error:
                        raise _bad_utf8(error, "text message") from None
                    self.on_message(text)
                    return
                if first == _FIN_BINARY:
                    self.on_message(apply_mask(data[6:], data[2:6]))
                    return
            if not self._stopped:
                self._walk(data)
        except BaseException:
            self.stop()
            raise

    def _walk(self, data: bytes) -> None:
        """Cut `data` into frames, beginning with the rest of an earlier one."""
        position = 0
        if self._missing:
            position = self._resume(data)
            if self._missing:
                return
        elif self._head:
            data = self._head + data
            self._head = b""
        masked = self._masked
        size = len(data)
        while not self._stopped and position + 2 <= size:
            first = data[position]
            length = data[position + 1]
            # The same short cut for several messages in one chunk, and for those of up to 65,535 bytes.
            if masked and _FIN_TEXT <= first <= _FIN_BINARY and not self._message_opcode:
                start = position + 6
                length_here = length - 128
                if length == 254 and start + 2 <= size:
                    start += 2
                    length_here = data[position + 2] << 8 | data[position + 3]
                    if length_here < 126:
                        length_here = -1  # an error, which _header words
                end = start + length_here
                if length < 255 and 0 <= length_here <= self._max_message_bytes and end <= size:
                    key = data[start - 4 : start]
                    if length_here < _COPYLESS_BYTES:
                        payload = apply_mask(data[start:end], key)
                    else:
                        payload = apply_mask(memoryview(data)[start:end], key)
                    position = end
                    if first == _FIN_BINARY:
                        self.on_message(payload)
                        continue
                    try:
                        text = payload.decode()
                    except UnicodeDecodeError as error:
                        raise _bad_utf8(error, "text message") from None
                    self.on_message(text)
                    continue
            start = self._header(data, position, first, length)
            if start == 0:
                break
            end = start + self._missing
            if end > size:
                self._payload = bytearray(memoryview(data)[start:])
                self._missing = end - size
                self._fast_size = 0
                return
            position = end
            self._missing = 0
            if masked:
                if end - start < _COPYLESS_BYTES:
                    payload = apply_mask(data[start:end], self._key)
                else:
                    payload = apply_mask(memoryview(data)[start:end], self._key)
            else:
                payload = data[start:end]
            self._frame(payload)
        if self._stopped:
            return
        if position < size:
            self._head = data[position:]
        self._fast_size = 0 if self._head or self._message_opcode else self._fast_limit

    def _resume(self, data: bytes) -> int:
        """Add to the payload that is being received, deliver it when whole; return how much was its."""
        payload = self._payload
        assert payload is not None  # noqa: S101 - there is one while something is missing
        size = len(data)
        if size < self._missing:
            payload += data
            self._missing -= size
            return size
        taken = self._missing
        payload += data if size == taken else memoryview(data)[:taken]
        self._payload = None
        self._missing = 0
        self._frame(apply_mask(payload, self._key) if self._masked else bytes(payload))
        return taken

    def _header(self, data: bytes, position: int, first: int, length: int) -> int:
        """Read and check a frame's header (5.2); return where its payload starts, 0 if it is not whole."""
        opcode = first & 0x0F
        rsv1 = first & 0x40 != 0
        fin = first & 0x80 != 0
        if first & 0x30 or (rsv1 and self._inflater is None):
            raise RemoteProtocolError("reserved bit is set, but no extension uses it", rule="RFC 6455 5.2")
        if 3 <= opcode <= 7 or opcode > PONG:
            raise RemoteProtocolError(f"opcode {opcode:#x} is reserved", rule="RFC 6455 5.2")
        if (length >= 128) is not self._masked:
            raise RemoteProtocolError(
                "frame of a client is not masked" if self._masked else "frame of a server is masked",
                rule="RFC 6455 5.1",
            )
        length &= 0x7F
        if opcode >= CLOSE:
            if not fin:
                raise RemoteProtocolError("control frame is fragmented", rule="RFC 6455 5.5")
            if length > _MAX_CONTROL_BYTES:
                raise RemoteProtocolError("control frame has more than 125 bytes", rule="RFC 6455 5.5")
            if rsv1:
                raise RemoteProtocolError("control frame is compressed", rule="RFC 7692 6.1")
        elif opcode == CONTINUATION:
            if not self._message_opcode:
                raise RemoteProtocolError("continuation of nothing", rule="RFC 6455 5.4")
            if rsv1:
                raise RemoteProtocolError("RSV1 is set after a message's first frame", rule="RFC 7692 6.1")
        elif self._message_opcode:
            raise RemoteProtocolError("new message inside a fragmented one", rule="RFC 6455 5.4")

        start = position + 2
        if length == 126:
            start += 2
            if start > len(data):
                return 0
            length = data[start - 2] << 8 | data[start - 1]
            if length < 126:
                raise RemoteProtocolError(f"length {length} is written in two bytes", rule="RFC 6455 5.2")
        elif length == 127:
            start += 8
            if start > len(data):
                return 0
            length = int.from_bytes(data[start - 8 : start], "big")
            if length >= 1 << 63:
                raise RemoteProtocolError("length has its highest bit set", rule="RFC 6455 5.2")
            if length < 65_536:
                raise RemoteProtocolError(f"length {length} is written in eight bytes", rule="RFC 6455 5.2")

        if opcode < CLOSE:
            self._check_size(opcode, length, rsv1)
        if self._masked:
            start += 4
            if start > len(data):
                return 0
            self._key = data[start - 4 : start]
        self._opcode = opcode
        self._fin = fin
        self._rsv1 = rsv1
        self._missing = length
        return start

    def _check_size(self, opcode: int, length: int, rsv1: bool) -> None:
        """Refuse a data frame that makes its message too long, before anything of it is kept."""
        deflated = rsv1
        before = 0
        if opcode == CONTINUATION:
            deflated = self._message_deflated
            before = self._wire_bytes
            if self._fragments >= self._max_fragments:
                raise RemoteProtocolError(
                    f"message has more than {self._max_fragments} frames",
                    rule="max_websocket_fragments",
                    close_code=POLICY_VIOLATION,
                )
        if before + length > (self._max_wire_bytes if deflated else self._max_message_bytes):
            raise _too_big(str(before + length), self._max_message_bytes)

    def _frame(self, payload: bytes) -> None:
        """Deliver a frame's unmasked payload, or add it to its message."""
        opcode = self._opcode
        if opcode >= CLOSE:
            if opcode == CLOSE:
                parse_close(payload)
                self.stop()
            self._on_control(opcode, payload)
            return
        if not self._fin or opcode == CONTINUATION:
            self._fragment(payload)
            return
        if self._rsv1:
            assert self._inflater is not None  # noqa: S101 - checked in _header
            payload = self._inflater.decompress(payload, self._max_message_bytes)
        if opcode == BINARY:
            self.on_message(payload)
            return
        try:
            text = payload.decode()
        except UnicodeDecodeError as error:
            raise _bad_utf8(error, "text message") from None
        self.on_message(text)

    def _fragment(self, payload: bytes) -> None:
        """Add a fragment to its message (5.4); text is checked at once (8.1), so that it fails fast."""
        message = self._message
        if self._opcode != CONTINUATION:
            self._message_opcode = self._opcode
            self._message_deflated = self._rsv1
            self._fragments = 0
            self._wire_bytes = 0
            message = self._message = bytearray()
            if self._opcode == TEXT:
                self._decoder = codecs.getincrementaldecoder("utf-8")()
        assert message is not None  # noqa: S101 - begun with the first fragment
        self._fragments += 1
        self._wire_bytes += len(payload)
        if self._message_deflated:
            assert self._inflater is not None  # noqa: S101 - checked in _header
            payload = self._inflater.decompress(payload, self._max_message_bytes - len(message), self._fin)
        if self._decoder is not None:
            try:
                self._decoder.decode(payload, self._fin)
            except UnicodeDecodeError as error:
                raise _bad_utf8(error, "text message") from None
        message += payload
        if not self._fin:
            return
        is_text = self._message_opcode == TEXT
        self._message_opcode = 0
        self._message = None
        self._decoder = None
        self.on_message(message.decode() if is_text else bytes(message))


# -------------------------------------------------------------------------------------------- frames, writing

_TEXT_HEADS: Final = [bytes((0x81, length)) for length in range(126)]
_BINARY_HEADS: Final = [bytes((0x82, length)) for length in range(126)]
_pack_16: Final = struct.Struct(">BBH").pack
_pack_64: Final = struct.Struct(">BBQ").pack


def _header_of(opcode: int, length: int, fin: bool, rsv1: bool, mask_bit: int) -> bytes:
    if opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
        raise LocalProtocolError(f"opcode {opcode:#x} does not exist")
    if opcode >= CLOSE and (length > _MAX_CONTROL_BYTES or not fin or rsv1):
        raise LocalProtocolError("a control frame is whole, not compressed and has at most 125 bytes")
    first = opcode
    if fin:
        first |= 0x80
    if rsv1:
        first |= 0x40
    if length < 126:
        return bytes((first, mask_bit | length))
    if length < 65_536:
        return _pack_16(first, mask_bit | 126, length)
    return _pack_64(first, mask_bit | 127, length)


def frame(opcode: int, payload: bytes, *, fin: bool = True, rsv1: bool = False) -> bytes:
    r"""Return a frame as a server sends it (RFC 6455 5.2). `rsv1` marks compressed data (RFC 7692 6.1).

    Raises:
        LocalProtocolError: no such opcode, or a control frame that is too long, fragmented or compressed.

    Example:
        >>> frame(PONG, b"beat")
        b'\x8a\x04beat'
    """
    return _header_of(opcode, len(payload), fin, rsv1, 0) + payload


def frame_masked(opcode: int, payload: bytes, key: bytes, *, fin: bool = True, rsv1: bool = False) -> bytes:
    """Return a frame as a client sends it, masked with the four bytes of `key` (RFC 6455 5.3).

    The key of each frame has to be fresh and unpredictable: `secrets.token_bytes(4)`.

    Raises:
        LocalProtocolError: as in `frame`, or a key that has not four bytes.

    Example:
        >>> frame_masked(TEXT, b"Hello", key=bytes.fromhex("37fa213d")).hex()
        '818537fa213d7f9f4d5158'
    """
    if len(key) != 4:
        raise LocalProtocolError(f"a masking key has 4 bytes, not {len(key)}")
    return _header_of(opcode, len(payload), fin, rsv1, 128) + key + apply_mask(payload, key)


def text_frame(payload: str | bytes) -> bytes:
    r"""Return a whole text message as a server sends it; `bytes` must already be UTF-8.

    Raises:
        LocalProtocolError: a lone surrogate, which UTF-8 cannot say.

    Example:
        >>> text_frame("hello")
        b'\x81\x05hello'
    """
    if isinstance(payload, str):
        try:
            payload = payload.encode()
        except UnicodeEncodeError as error:
            raise LocalProtocolError(f"text cannot be sent as UTF-8: {error.reason}") from None
    length = len(payload)
    if length < 126:
        return _TEXT_HEADS[length] + payload
    if length < 65_536:
        return _pack_16(0x81, 126, length) + payload
    return _pack_64(0x81, 127, length) + payload


def binary_frame(payload: bytes) -> bytes:
    r"""Return a whole binary message as a server sends it.

    Example:
        >>> binary_frame(b"\x00\x01")
        b'\x82\x02\x00\x01'
    """
    return _binary_head(len(payload)) + payload


def _binary_head(length: int) -> bytes:
    if length < 126:
        return _BINARY_HEADS[length]
    if length < 65_536:
        return _pack_16(0x82, 126, length)
    return _pack_64(0x82, 127, length)


def joined_frames(messages: Iterable[str | bytes]) -> bytes:
    r"""Return several whole messages as a server sends them, in one piece; what is large is copied once.

    Raises:
        LocalProtocolError: a lone surrogate, which UTF-8 cannot say.

    Example:
        >>> joined_frames(["hello", b"\x00\x01"])
        b'\x81\x05hello\x82\x02\x00\x01'
    """
    parts: list[bytes] = []
    for message in messages:
        if isinstance(message, str):
            parts.append(text_frame(message))
        else:
            parts.append(_binary_head(len(message)))
            parts.append(message)
    return b"".join(parts)


# ------------------------------------------------------------------------------------------ opening handshake

VERSION_HEADER: Final = ("Sec-WebSocket-Version", "13")  # goes with a response of status 426, RFC 6455 4.2.2
_DRAFTS: Final = ("7", "8")
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_SWITCHING: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
)
_FORBIDDEN_IN_HEADER: Final = re.compile(r"[^\t\x20-\x7e\x80-\xff]")


class Handshake(NamedTuple):
    """A client's opening handshake that passed all checks.

    Attributes:
        key: the client's `Sec-WebSocket-Key`, for `handshake_response`.
        subprotocols: what the client speaks, in its order of preference.
        extensions: `Sec-WebSocket-Extensions` as it came, for `negotiate`; empty if there was none.
    """

    key: str
    subprotocols: tuple[str, ...]
    extensions: str


def is_key(key: str) -> bool:
    """Tell whether this can be a client's `Sec-WebSocket-Key`: 16 bytes in base64 (RFC 6455 4.1).

    Example:
        >>> is_key("dGhlIHNhbXBsZSBub25jZQ=="), is_key("dGhlIHNhbXBsZQ==")
        (True, False)
    """
    try:
        return len(binascii.a2b_base64(key, strict_mode=True)) == 16
    except ValueError:
        return False


def accept_key(key: str) -> str:
    """Return the `Sec-WebSocket-Accept` that proves a key was read (RFC 6455 4.2.2).

    Example:
        >>> accept_key("dGhlIHNhbXBsZSBub25jZQ==")
        's3pPLMBiTxaQ9kYGzzhZRbK+xOo='
    """
    digest = sha1(key.encode() + _GUID, usedforsecurity=False).digest()
    return binascii.b2a_base64(digest, newline=False).decode()


def client_key(entropy: bytes) -> str:
    """Return a `Sec-WebSocket-Key` made of 16 random bytes (RFC 6455 4.1).

    Raises:
        LocalProtocolError: there are not 16.

    Example:
        >>> client_key(b"the sample nonce")
        'dGhlIHNhbXBsZSBub25jZQ=='
    """
    if len(entropy) != 16:
        raise LocalProtocolError(f"a key is made of 16 bytes, not {len(entropy)}")
    return base64.b64encode(entropy).decode()


def _has_token(header: str, token: str) -> bool:
    header = header.lower()
    return header == token or token in [part.strip(" \t") for part in header.split(",")]


def _tokens(name: str, header: str) -> tuple[str, ...]:
    tokens = tuple(part.strip(" \t") for part in header.split(",")) if header else ()
    if any(_IS_TOKEN.fullmatch(token) is None for token in tokens):
        raise RemoteProtocolError(f"malformed {name}", rule="RFC 6455 4.1")
    return tokens


def check_handshake(method: str, http_version: str, headers: Mapping[str, str], *, drafts: bool = False) -> Handshake:
    """Server: check a client's opening handshake (RFC 6455 4.2.1).

    `headers` has names in lower case, and the values of repeated headers joined by commas. With `drafts`, the versions
    7 and 8 are taken too (draft-ietf-hybi-thewebsocketprotocol-07 to -12), whose frames are the same; what is `Origin`
    today was `Sec-WebSocket-Origin` in them.

    Raises:
        RemoteProtocolError: with `.http_status` 400, or 426 for another version; a response of status 426 has to
            carry `VERSION_HEADER`.

    Example:
        >>> check_handshake("GET", "1.1", {
        ...     "host": "example.org", "upgrade": "websocket", "connection": "keep-alive, Upgrade",
        ...     "sec-websocket-version": "13", "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ=="}).key
        'dGhlIHNhbXBsZSBub25jZQ=='
    """
    rule = "RFC 6455 4.2.1"
    if method != "GET":
        raise RemoteProtocolError(f"a WebSocket opens with GET, not {method}", rule=rule)
    if http_version != "1.1":
        raise RemoteProtocolError(f"a WebSocket opens with HTTP/1.1, not {http_version}", rule=rule)
    if not headers.get("host"):
        raise RemoteProtocolError("no Host", rule=rule)
    if not _has_token(headers.get("upgrade", ""), "websocket"):
        raise RemoteProtocolError("no Upgrade: websocket", rule=rule)
    if not _has_token(headers.get("connection", ""), "upgrade"):
        raise RemoteProtocolError("no Connection: Upgrade", rule=rule)
    version = headers.get("sec-websocket-version")
    if version is None:
        raise RemoteProtocolError("no Sec-WebSocket-Version", rule=rule)
    version = version.strip(" \t")
    if version != VERSION_HEADER[1] and not (drafts and version in _DRAFTS):
        raise RemoteProtocolError(
            f"Sec-WebSocket-Version is {version:.80}, not 13", rule="RFC 6455 4.4", http_status=426
        )
    key = headers.get("sec-websocket-key", "").strip(" \t")
    if not is_key(key):
        raise RemoteProtocolError("Sec-WebSocket-Key is not 16 bytes in base64", rule=rule)
    subprotocols = _tokens("Sec-WebSocket-Protocol", headers.get("sec-websocket-protocol", ""))
    return Handshake(key, subprotocols, headers.get("sec-websocket-extensions", ""))


def _encoded(lines: list[str]) -> bytes:
    """The lines of a message's head, each with its end."""
    for line in lines:
        if _FORBIDDEN_IN_HEADER.search(line):
            raise LocalProtocolError(f"a header with a character that cannot be in one: {line!r}")
    return "".join([f"{line}\r\n" for line in lines]).encode("latin-1")


def handshake_response(
    key: str,
    *,
    subprotocol: str | None = None,
    extensions: str | None = None,
    headers: Iterable[tuple[str, str]] = (),
) -> bytes:
    r"""Server: return the whole response that opens the WebSocket (RFC 6455 4.2.2).

    Raises:
        LocalProtocolError: a line break, or what is not Latin-1, in a header.

    Example:
        >>> handshake_response("dGhlIHNhbXBsZSBub25jZQ==").split(b"\r\n")[0]
        b'HTTP/1.1 101 Switching Protocols'
    """
    lines = [f"{name}: {value}" for name, value in headers]
    if extensions is not None:
        lines.insert(0, f"Sec-WebSocket-Extensions: {extensions}")
    if subprotocol is not None:
        lines.insert(0, f"Sec-WebSocket-Protocol: {subprotocol}")
    return _SWITCHING + accept_key(key).encode() + b"\r\n" + (_encoded(lines) if lines else b"") + b"\r\n"


def handshake_request(
    host: str,
    target: str,
    key: str,
    *,
    subprotocols: Sequence[str] = (),
    extensions: str | None = None,
    headers: Iterable[tuple[str, str]] = (),
) -> bytes:
    r"""Client: return the whole request that asks for a WebSocket (RFC 6455 4.1); `key` is from `client_key`.

    Raises:
        LocalProtocolError: a line break, or what is not Latin-1, in a header or in the target.

    Example:
        >>> handshake_request("example.org", "/chat", "dGhlIHNhbXBsZSBub25jZQ==").split(b"\r\n")[0]
        b'GET /chat HTTP/1.1'
    """
    lines = [("Host", host), ("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Key", key)]
    lines.append(VERSION_HEADER)
    if subprotocols:
        lines.append(("Sec-WebSocket-Protocol", ", ".join(subprotocols)))
    if extensions is not None:
        lines.append(("Sec-WebSocket-Extensions", extensions))
    lines += headers
    return _encoded([f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in lines)]) + b"\r\n"


def check_response(
    status: int, headers: Mapping[str, str], key: str, *, subprotocols: Sequence[str] = ()
) -> tuple[str | None, str]:
    """Client: check the server's answer to `handshake_request` (RFC 6455 4.1).

    `headers` has names in lower case. Returns the chosen subprotocol, if any, and the extensions, for
    `accept`.

    Raises:
        RemoteProtocolError: the server did not open a WebSocket, or not the one that was asked for.

    Example:
        >>> check_response(101, {"upgrade": "websocket", "connection": "Upgrade",
        ...     "sec-websocket-accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="}, "dGhlIHNhbXBsZSBub25jZQ==")
        (None, '')
    """
    rule = "RFC 6455 4.1"
    if status != 101:
        raise RemoteProtocolError(f"the server answered with status {status}", rule=rule)
    if headers.get("upgrade", "").strip(" \t").lower() != "websocket":
        raise RemoteProtocolError("no Upgrade: websocket", rule=rule)
    if not _has_token(headers.get("connection", ""), "upgrade"):
        raise RemoteProtocolError("no Connection: Upgrade", rule=rule)
    if headers.get("sec-websocket-accept", "").strip(" \t") != accept_key(key):
        raise RemoteProtocolError("Sec-WebSocket-Accept does not fit the key", rule=rule)
    subprotocol = headers.get("sec-websocket-protocol")
    if subprotocol is not None and subprotocol not in subprotocols:
        raise RemoteProtocolError(f"subprotocol {subprotocol} was not offered", rule=rule)
    return subprotocol, headers.get("sec-websocket-extensions", "")
