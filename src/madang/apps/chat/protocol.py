"""Everything that is said on the wire, as types, with its limits.

Requests are validated by `msgspec.convert` before a handler sees them; whatever a person sees of another's text has
been through `clean_line` or `clean_text`. A request that can't be granted is a `ChatError`: its code is for programs,
its message for people.
"""

import re
import secrets
import unicodedata
from typing import Annotated, Any, Final

from msgspec import Meta, Struct, field

PAGE: Final = 50
"""Messages per page of history when the client names no number."""
MAX_PAGE: Final = 200
MAX_TEXT: Final = 4_000
MAX_NICK: Final = 32
MAX_ROOM_NAME: Final = 40
MAX_TOPIC: Final = 120
MAX_JOINED: Final = 100
"""Rooms that one person may be in."""
MAX_ROOMS: Final = 1_000
MAX_FILE_BYTES: Final = 20_000_000
CHUNK_BYTES: Final = 128 * 1024
"""What the browser puts into one chunk: small enough for base64 over polling, and for progress that moves."""
MAX_CHUNK_BYTES: Final = 512 * 1024
MAX_UNREAD: Final = 100
"""Unread messages are counted up to here; the page shows `99+`."""

RoomId = Annotated[str, Meta(min_length=1, max_length=MAX_ROOM_NAME)]
MessageId = Annotated[int, Meta(ge=0, le=2**53)]
Key = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{8,40}$")]
Nick = Annotated[str, Meta(min_length=1, max_length=MAX_NICK)]
Pixels = Annotated[int, Meta(ge=0, le=65_535)]


class ChatError(Exception):
    """A request that is not granted. It travels as ``{"error": {"code": ..., "message": ..., ...}}``."""

    def __init__(self, code: str, message: str, *, status: int = 400, **details: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.details = details

    def as_answer(self) -> dict[str, Any]:
        """Return the error as the client sees it."""
        return {"error": {"code": self.code, "message": self.message, **self.details}}


# --- what clients ask -------------------------------------------------------------------------------------


class Auth(Struct):
    """Sent with CONNECT. The token is the client's secret; others only ever see a digest of it."""

    token: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{16,64}$")]
    nick: Annotated[str, Meta(min_length=1, max_length=4 * MAX_NICK)]


def guest() -> Auth:
    """Return what somebody brings who brings nothing: a token that nobody knows, and a nickname to be changed."""
    return Auth(secrets.token_urlsafe(16), f"Guest {secrets.token_hex(3)}")


class Hello(Struct):
    """First request on every connection: for each room that the page has loaded, the last message id it knows."""

    rooms: Annotated[dict[RoomId, MessageId], Meta(max_length=MAX_JOINED)] = field(default_factory=dict)


class Create(Struct):
    """Make a room, and join it."""

    name: Annotated[str, Meta(min_length=1, max_length=4 * MAX_ROOM_NAME)]
    topic: Annotated[str, Meta(max_length=4 * MAX_TOPIC)] = ""


class InRoom(Struct):
    """Join or leave a room."""

    room: RoomId


class History(Struct):
    """A page of messages older than `before`; the newest page without it."""

    room: RoomId
    before: MessageId | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE)] = PAGE


class Say(Struct):
    """A message. `key` is the client's own id for it: saying it again with the same key changes nothing."""

    room: RoomId
    key: Key
    text: Annotated[str, Meta(max_length=MAX_TEXT)] = ""
    file: Annotated[str, Meta(max_length=40)] | None = None


class Typing(Struct):
    """Somebody starts or stops writing."""

    room: RoomId
    on: bool


class Read(Struct):
    """Everything up to and including this message was read."""

    room: RoomId
    upto: MessageId


class Rename(Struct):
    """Take another nickname."""

    nick: Annotated[str, Meta(min_length=1, max_length=4 * MAX_NICK)]


class UploadStart(Struct):
    """Announce a file; the size is binding. Width and height let others reserve the place of a picture."""

    name: Annotated[str, Meta(min_length=1, max_length=1_000)]
    size: Annotated[int, Meta(ge=1)]
    width: Pixels = 0
    height: Pixels = 0


class UploadChunk(Struct):
    """The next bytes of a file."""

    upload: Annotated[str, Meta(max_length=40)]
    offset: Annotated[int, Meta(ge=0)]
    data: Annotated[bytes, Meta(min_length=1, max_length=MAX_CHUNK_BYTES)]


class Post(Struct):
    """The body of ``POST /api/rooms/{room}/messages``."""

    nick: Annotated[str, Meta(min_length=1, max_length=4 * MAX_NICK)]
    text: Annotated[str, Meta(min_length=1, max_length=MAX_TEXT)]
    key: Key | None = None


# --- what clients are told --------------------------------------------------------------------------------


class Who(Struct, frozen=True):
    """A person as others see them."""

    id: str
    nick: str


class File(Struct, frozen=True):
    """A stored file. `type` was found by looking at the bytes, never taken from the sender."""

    id: str
    name: str
    type: str
    size: int
    width: int
    height: int


class Message(Struct, frozen=True):
    """A stored message; ids grow in the order of storing, `at` is in milliseconds since 1970."""

    id: int
    room: str
    key: str
    author: Who
    text: str
    file: File | None
    at: int


class Room(Struct, frozen=True):
    """A room in the list."""

    id: str
    name: str
    topic: str


class Page(Struct, frozen=True):
    """Messages in ascending order; `more` says whether there are older ones."""

    messages: list[Message]
    more: bool


class Mark(Struct, frozen=True):
    """How far somebody has read."""

    who: Who
    upto: int


class Visit(Struct, frozen=True):
    """A joined room as its member finds it.

    `messages` are those missed since the id the client gave; if that were too many, `reset` is true and they are the
    newest page, which replaces what the client had.
    """

    room: Room
    last: Message | None
    unread: int
    upto: int
    seen: list[Mark]
    messages: list[Message]
    more: bool
    reset: bool


# --- cleaning ---------------------------------------------------------------------------------------------

_SPACE = re.compile(r"\s+")
_BLANK_LINES = re.compile(r"\n{4,}")
_BIDI = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C, 0xFEFF])


def clean_line(text: str, limit: int, what: str) -> str:
    """Return one line without control characters; raise `ChatError` if nothing or too much is left."""
    line = _SPACE.sub(" ", unicodedata.normalize("NFC", text).translate(_BIDI))
    line = "".join(c for c in line if unicodedata.category(c) not in ("Cc", "Cs", "Co", "Cn")).strip()
    if not line.strip("\u200b\u200c\u200d\u3164\u115f\u1160\u2800 "):
        raise ChatError("invalid", f"The {what} is empty.", field=what)
    if len(line) > limit:
        raise ChatError("invalid", f"The {what} is longer than {limit} characters.", field=what)
    return line


def clean_text(text: str) -> str:
    """Return a message's text: line breaks stay, other control characters and towers of blank lines go."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs"))
    return _BLANK_LINES.sub("\n\n\n", text).strip()


def room_id(name: str) -> str:
    """Return the id of a room of this name: lower case, words joined by hyphens, any script.

    >>> room_id("Lunch & Coffee"), room_id("점심 메뉴")
    ('lunch-coffee', '점심-메뉴')
    """
    slug = "-".join(re.findall(r"\w+", unicodedata.normalize("NFKC", name).casefold()))[:MAX_ROOM_NAME].strip("-")
    if not slug:
        raise ChatError("invalid", "The name of a room needs letters or digits.", field="name")
    return slug
