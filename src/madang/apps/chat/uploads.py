"""Files that arrive in chunks: a part file while they grow, the final name when they are whole and on disk."""

import asyncio
import contextlib
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from madang.apps.chat.protocol import MAX_FILE_BYTES, ChatError, File, UploadChunk, UploadStart, clean_line
from madang.apps.chat.store import Store

MAX_OPEN: Final = 4
"""Unfinished uploads of one person."""
MAX_STORED_BYTES: Final = 5_000_000_000
IDLE_SECONDS: Final = 600
"""An upload that nobody continues is forgotten after this time."""
OTHER: Final = "application/octet-stream"
PICTURES: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/avif"})
"""What a browser may show inside a page; all else is only ever downloaded."""


@dataclass(slots=True)
class Upload:
    """A file that is on its way."""

    file: File
    owner: str
    path: Path
    received: int
    at: float
    busy: bool = False
    done: File | None = None


class Uploads:
    """The files of the chat, in one folder; those on their way belong to a person, so that any tab may go on."""

    def __init__(self, folder: Path, store: Store) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for part in folder.glob("*.part"):
            with contextlib.suppress(FileNotFoundError):
                # Another worker may be writing it.
                if time.time() - part.stat().st_mtime > IDLE_SECONDS:
                    part.unlink()
        self._folder = folder
        self._store = store
        self._open: dict[str, Upload] = {}

    def path(self, file_id: str) -> Path:
        """Return where a file's bytes are."""
        return self._folder / file_id

    async def start(self, owner: str, ask: UploadStart) -> Upload:
        """Make room for a file; `ChatError` if it is too large or there are too many."""
        if ask.size > MAX_FILE_BYTES:
            megabytes = MAX_FILE_BYTES // 1_000_000
            raise ChatError("file_too_large", f"Files may have {megabytes} MB.", status=413, limit=MAX_FILE_BYTES)
        self._forget_idle()
        if sum(u.owner == owner and u.done is None for u in self._open.values()) >= MAX_OPEN:
            raise ChatError("too_many_uploads", f"{MAX_OPEN} files at once are enough.", status=429)
        if await self._store.bytes_stored() + ask.size > MAX_STORED_BYTES:
            raise ChatError("storage_full", "The server has no room for more files.", status=507)
        name = clean_line(PurePosixPath(ask.name.replace("\\", "/")).name or "file", 1_000, "name of the file")
        file = File(secrets.token_urlsafe(15), _shorten(name), OTHER, ask.size, ask.width, ask.height)
        upload = Upload(file, owner, self._folder / f"{file.id}.part", 0, time.monotonic())
        self._open[file.id] = upload
        return upload

    async def add(self, owner: str, ask: UploadChunk) -> tuple[int, File | None]:
        """Append a chunk; return how much there is, and the file if it is whole now.

        A chunk that was received before, because its acknowledgement got lost, changes nothing: the caller learns
        from the answer where to go on.
        """
        upload = self._open.get(ask.upload)
        if upload is None or upload.owner != owner:
            raise ChatError("no_such_upload", "That upload is not known (any more).", status=404)
        if upload.done is not None:
            return upload.received, upload.done
        if upload.busy:
            raise ChatError("busy", "The last chunk is still being written.", status=409, retry_after=0.2)
        if ask.offset != upload.received:
            return upload.received, None
        if ask.offset + len(ask.data) > upload.file.size:
            raise ChatError("file_too_large", "That is more than was announced.", status=413)
        upload.busy = True
        try:
            await asyncio.to_thread(_append, upload.path, ask.data)
            upload.received += len(ask.data)
            upload.at = time.monotonic()
            return upload.received, await self._finish(upload) if upload.received == upload.file.size else None
        finally:
            upload.busy = False

    async def _finish(self, upload: Upload) -> File:
        kind = await asyncio.to_thread(_settle, upload.path, self.path(upload.file.id))
        asked = upload.file
        size = (asked.width, asked.height) if kind in PICTURES else (0, 0)
        file = File(asked.id, asked.name, kind, asked.size, *size)
        await self._store.add_file(file, upload.owner)
        upload.done = file
        return file

    def _forget_idle(self) -> None:
        now = time.monotonic()
        for upload in [u for u in self._open.values() if now - u.at > IDLE_SECONDS and not u.busy]:
            del self._open[upload.file.id]
            upload.path.unlink(missing_ok=True)


def picture_type(head: bytes) -> str:
    """Return the media type of a raster picture by its first bytes, or the type of anything else."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "image/gif"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if head[4:12] in (b"ftypavif", b"ftypavis"):
        return "image/avif"
    return OTHER


def _append(path: Path, data: bytes) -> None:
    with path.open("ab") as part:
        part.write(data)


def _settle(part: Path, final: Path) -> str:
    with part.open("rb+") as whole:
        head = whole.read(16)
        os.fsync(whole.fileno())
    part.rename(final)
    return picture_type(head)


def _shorten(name: str, limit: int = 120) -> str:
    stem, dot, ending = name.rpartition(".")
    if len(name) <= limit:
        return name
    return f"{stem[: limit - len(ending) - 2]}….{ending}" if dot and len(ending) < 12 else name[: limit - 1] + "…"
