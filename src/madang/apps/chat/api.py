"""The JSON API beside the page, so that a script can read and speak too, and the files over HTTP.

==========================================================  ======================================================
``GET /api/rooms``                                          ``{"rooms": [{"id", "name", "topic", "here"}]}``
``GET /api/rooms/{room}/messages?before=ID&limit=50``       ``{"messages": [...], "more": bool}``, oldest first
``POST /api/rooms/{room}/messages``                         201 ``{"message": {...}}``, live to everyone in the room
``GET /api/files/{id}``                                     the bytes
==========================================================  ======================================================

A post is a JSON object ``{"nick": "Weather", "text": "Rain at four", "key": "optional-0001"}``; its content type must
be ``application/json``, which no other web site's form can send. Repeating a post with the same nick and key answers
200 and the message that was stored. An error is ``{"error": {"code", "message"}}`` with a fitting status.
"""

import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from madang.apps.chat import protocol as p
from madang.apps.chat.people import Budget, People
from madang.apps.chat.store import Store
from madang.apps.chat.uploads import PICTURES, Uploads

MAX_BODY: Final = 64 * 1024
MAX_CALLERS: Final = 1_000
T = TypeVar("T", bound=msgspec.Struct)
Endpoint = Callable[[Request], Awaitable[Response]]


class Api:
    """The endpoints, on the same store as the events, telling the same rooms."""

    def __init__(self, store: Store, uploads: Uploads, people: People, tell: Callable[[p.Message], None]) -> None:
        self._store = store
        self._uploads = uploads
        self._people = people
        self._tell = tell
        self._budgets: dict[str, Budget] = {}

    def routes(self) -> list[Route]:
        """Return the routes, relative to ``/api``."""
        return [
            Route("/rooms", _answers(self.rooms)),
            Route("/rooms/{room}/messages", _answers(self.messages), methods=["GET"]),
            Route("/rooms/{room}/messages", _answers(self.post), methods=["POST"]),
            Route("/files/{file}", _answers(self.file)),
            Route("/{nothing:path}", _answers(self.nothing), methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
        ]

    async def rooms(self, request: Request) -> Response:
        """List the rooms, with how many people are in each now."""
        counts = self._people.counts()
        rooms = [{**msgspec.to_builtins(room), "here": counts.get(room.id, 0)} for room in await self._store.rooms()]
        return _json({"rooms": rooms})

    async def messages(self, request: Request) -> Response:
        """Answer a page of history."""
        raw = {"room": request.path_params["room"], **request.query_params}
        ask = msgspec.convert(raw, p.History, strict=False)
        return _json(await self._store.page(ask.room, ask.before, ask.limit))

    async def post(self, request: Request) -> Response:
        """Store a message and tell the room."""
        self._spend(request.client.host if request.client else "")
        ask = await _body(request, p.Post)
        author = p.clean_line(ask.nick, p.MAX_NICK, "nick")
        text = p.clean_text(ask.text)
        if not text:
            raise p.ChatError("invalid", "The message is empty.")
        key = ask.key or secrets.token_urlsafe(12)
        room = request.path_params["room"]
        message, new = await self._store.add_message(room, p.Who(f"api:{author}", author), key, text, None)
        if new:
            self._tell(message)
        return _json({"message": message}, 201 if new else 200)

    async def file(self, request: Request) -> Response:
        """Send a file: pictures may be shown, anything else is only ever saved."""
        file = await self._store.file(request.path_params["file"])
        path = self._uploads.path(file.id)
        if not path.is_file():
            raise p.ChatError("no_such_file", "The file is gone from the server's disk.", status=404)
        headers = {
            "Cache-Control": "private, max-age=31536000, immutable",
            "Content-Security-Policy": "default-src 'none'; sandbox",
            "Cross-Origin-Resource-Policy": "same-origin",
        }
        inline = file.type in PICTURES and "download" not in request.query_params
        return FileResponse(
            path,
            headers=headers,
            media_type=file.type,
            filename=file.name,
            content_disposition_type="inline" if inline else "attachment",
        )

    async def nothing(self, request: Request) -> Response:
        """Answer an address that is not there in JSON too."""
        raise p.ChatError("not_found", "There is no such thing in the API.", status=404)

    def _spend(self, caller: str) -> None:
        now = time.monotonic()
        if len(self._budgets) >= MAX_CALLERS:
            self._budgets = {who: b for who, b in self._budgets.items() if now - b.at < 60}
        self._budgets.setdefault(caller, Budget(rate=10, burst=60)).spend(now)


def _answers(endpoint: Endpoint) -> Endpoint:
    """Turn an endpoint's errors into JSON."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except msgspec.ValidationError as error:
            return _json(p.ChatError("invalid", str(error)).as_answer(), 400)
        except p.ChatError as error:
            return _json(error.as_answer(), error.status)

    return answer


async def _body(request: Request, kind: type[T]) -> T:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise p.ChatError("not_json", "Send Content-Type: application/json.", status=415)
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY:
            raise p.ChatError("too_large", f"The body may have {MAX_BODY} bytes.", status=413)
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError as error:
        raise p.ChatError("not_json", f"The body is not JSON: {error}") from error


def _json(content: Any, status: int = 200) -> Response:
    return Response(
        msgspec.json.encode(content),
        status,
        headers={"Cache-Control": "no-store"},
        media_type="application/json",
    )


async def http_error(request: Request, error: Exception) -> Response:
    """Answer Starlette's own errors, such as a method that is not allowed, in JSON too."""
    assert isinstance(error, HTTPException)  # noqa: S101  Starlette calls it with nothing else
    code = error.detail.lower().replace(" ", "_")
    return _json({"error": {"code": code, "message": error.detail}}, error.status_code)
