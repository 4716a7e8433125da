"""Rooms, messages, members and files in SQLite, without ever blocking the event loop.

One thread owns the writing connection. It takes whatever jobs have queued up since its last commit, runs each under a
savepoint, commits them together and only then answers: many writers share one fsync, and what was answered is on disk.
Reading has a connection and a thread of its own; in WAL mode neither waits for the other.
"""

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from madang import ConfigError
from madang.apps.chat.protocol import (
    MAX_JOINED,
    MAX_PAGE,
    MAX_ROOMS,
    MAX_UNREAD,
    PAGE,
    ChatError,
    File,
    Mark,
    Message,
    Page,
    Room,
    Visit,
    Who,
)

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

MIGRATIONS: Final = (
    # Version 1. Append scripts, never change one: PRAGMA user_version counts those that have run.
    """
    CREATE TABLE rooms (
        id TEXT PRIMARY KEY, name TEXT NOT NULL, topic TEXT NOT NULL, creator TEXT NOT NULL, at INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE files (
        id TEXT PRIMARY KEY, owner TEXT NOT NULL, name TEXT NOT NULL, type TEXT NOT NULL, size INTEGER NOT NULL,
        width INTEGER NOT NULL, height INTEGER NOT NULL, at INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE messages (
        id INTEGER PRIMARY KEY AUTOINCREMENT, room TEXT NOT NULL REFERENCES rooms, author TEXT NOT NULL,
        nick TEXT NOT NULL, key TEXT NOT NULL, text TEXT NOT NULL, file TEXT REFERENCES files, at INTEGER NOT NULL,
        UNIQUE (author, key)
    );
    CREATE INDEX messages_of_room ON messages (room, id);
    CREATE TABLE members (
        room TEXT NOT NULL REFERENCES rooms, person TEXT NOT NULL, nick TEXT NOT NULL,
        upto INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (person, room)
    ) WITHOUT ROWID;
    CREATE INDEX members_of_room ON members (room, upto DESC);
    """,
)
BATCH: Final = 256
"""Jobs that share a commit at most."""
DEFAULT_ROOM: Final = Room("madang", "Madang 마당", "Everybody's courtyard · 모두의 마당")

_MESSAGE = (
    "SELECT m.id, m.room, m.key, m.author, m.nick, m.text, m.at, f.id, f.name, f.type, f.size, f.width, f.height"
    " FROM messages m LEFT JOIN files f ON f.id = m.file"
)


class SchemaError(ConfigError):
    """The database was written by a newer version of the chat."""


class Store:
    """The chat's memory. Every method that asks the database is awaited; the data returned is complete and typed."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        _migrate(path)
        self._jobs: queue.SimpleQueue[tuple[Work[Any], Future[Any]] | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write_forever, name="chat-writer", daemon=True)
        self._writer.start()
        self._reader = ThreadPoolExecutor(1, "chat-reader")
        self._reading = self._reader.submit(_connect, path).result()
        self._closed = False

    async def close(self) -> None:
        """Finish everything that was asked, then close the database. Closing twice is allowed."""
        if self._closed:
            return
        self._closed = True
        self._jobs.put(None)
        await asyncio.to_thread(self._writer.join)
        await asyncio.get_running_loop().run_in_executor(self._reader, self._reading.close)
        self._reader.shutdown()

    # --- rooms and members --------------------------------------------------------------------------------

    async def rooms(self) -> list[Room]:
        """Return all rooms by name."""

        def work(db: sqlite3.Connection) -> list[Room]:
            return [Room(*row) for row in db.execute("SELECT id, name, topic FROM rooms ORDER BY name")]

        return await self._read(work)

    async def create_room(self, room: Room, creator: str) -> None:
        """Add a room; `ChatError` if there is one of that id, or too many."""

        def work(db: sqlite3.Connection) -> None:
            if db.execute("SELECT count(*) FROM rooms").fetchone()[0] >= MAX_ROOMS:
                raise ChatError("too_many_rooms", f"There are {MAX_ROOMS} rooms already.", status=409)
            values = (room.id, room.name, room.topic, creator, _now())
            if not db.execute("INSERT OR IGNORE INTO rooms VALUES (?, ?, ?, ?, ?)", values).rowcount:
                raise ChatError("room_exists", "There is a room of that name already.", status=409, room=room.id)

        await self._write(work)

    async def join(self, room: str, who: Who) -> None:
        """Make somebody a member who has read everything up to now; nothing happens to one who is a member."""

        def work(db: sqlite3.Connection) -> None:
            _room(db, room)
            joined = [row[0] for row in db.execute("SELECT room FROM members WHERE person = ?", (who.id,))]
            if room not in joined and len(joined) >= MAX_JOINED:
                raise ChatError("too_many_rooms", f"You are in {MAX_JOINED} rooms already.", status=409)
            db.execute(
                "INSERT OR IGNORE INTO members SELECT ?, ?, ?, coalesce(max(id), 0) FROM messages WHERE room = ?",
                (room, who.id, who.nick, room),
            )

        await self._write(work)

    async def leave(self, room: str, person: str) -> None:
        """End a membership."""
        await self._write(
            lambda db: db.execute("DELETE FROM members WHERE room = ? AND person = ?", (room, person)).rowcount
        )

    async def rename(self, who: Who) -> None:
        """Show somebody's read marks under a new name."""
        await self._write(
            lambda db: (
                db.execute(
                    "UPDATE members SET nick = ? WHERE person = ? AND nick <> ?", (who.nick, who.id, who.nick)
                ).rowcount
            )
        )

    async def mark_read(self, room: str, person: str, upto: int) -> bool:
        """Move a read mark forward; false if it was there already, or the room has no such message."""
        sql = """UPDATE members SET upto = :upto WHERE room = :room AND person = :person AND upto < :upto
                 AND :upto <= (SELECT coalesce(max(id), 0) FROM messages WHERE room = :room)"""
        values = {"room": room, "person": person, "upto": upto}
        return await self._write(lambda db: db.execute(sql, values).rowcount > 0)

    async def joined(self, person: str) -> set[str]:
        """Return the rooms that somebody is a member of."""
        sql = "SELECT room FROM members WHERE person = ?"
        return await self._read(lambda db: {row[0] for row in db.execute(sql, (person,))})

    async def visits(self, person: str, known: Mapping[str, int]) -> list[Visit]:
        """Return all of somebody's rooms, with what they missed in those of which they know a message id."""

        def work(db: sqlite3.Connection) -> list[Visit]:
            rooms = db.execute("SELECT room FROM members WHERE person = ?", (person,)).fetchall()
            return [_visit(db, room, person, known.get(room)) for (room,) in rooms]

        return await self._read(work)

    # --- messages -----------------------------------------------------------------------------------------

    async def add_message(self, room: str, author: Who, key: str, text: str, file: str | None) -> tuple[Message, bool]:
        """Store a message and return it, with true if it is new; the same author and key store nothing twice."""

        def work(db: sqlite3.Connection) -> tuple[Message, bool]:
            _room(db, room)
            if file and not db.execute("SELECT 1 FROM files WHERE id = ? AND owner = ?", (file, author.id)).fetchone():
                raise ChatError("no_such_file", "That file was never uploaded.", status=404)
            new = db.execute(
                "INSERT OR IGNORE INTO messages (room, author, nick, key, text, file, at) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (room, author.id, author.nick, key, text, file, _now()),
            ).rowcount
            found = db.execute(f"{_MESSAGE} WHERE m.author = ? AND m.key = ?", (author.id, key)).fetchone()
            message = _message(found)
            sql = "UPDATE members SET upto = max(upto, ?) WHERE person = ? AND room = ?"
            db.execute(sql, (message.id, author.id, message.room))
            return message, new > 0

        return await self._write(work)

    async def page(self, room: str, before: int | None = None, limit: int = PAGE) -> Page:
        """Return the newest messages of a room, or the newest before an id."""

        def work(db: sqlite3.Connection) -> Page:
            _room(db, room)
            return _page(db, room, before, limit)

        return await self._read(work)

    # --- files --------------------------------------------------------------------------------------------

    async def add_file(self, file: File, owner: str) -> None:
        """Remember a file whose bytes are on disk."""
        values = (file.id, owner, file.name, file.type, file.size, file.width, file.height, _now())
        await self._write(lambda db: db.execute("INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values).rowcount)

    async def file(self, file_id: str) -> File:
        """Return what is known of a file."""

        def work(db: sqlite3.Connection) -> File:
            sql = "SELECT id, name, type, size, width, height FROM files WHERE id = ?"
            row = db.execute(sql, (file_id,)).fetchone()
            if row is None:
                raise ChatError("no_such_file", "There is no such file.", status=404)
            return File(*row)

        return await self._read(work)

    async def bytes_stored(self) -> int:
        """Return the size of all files together."""
        total = "SELECT coalesce(sum(size), 0) FROM files"
        return await self._read(lambda db: int(db.execute(total).fetchone()[0]))

    # --- threads ------------------------------------------------------------------------------------------

    async def _read(self, work: Work[T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._reader, work, self._reading)

    async def _write(self, work: Work[T]) -> T:
        if self._closed:
            raise ChatError("closing", "The server is shutting down.", status=503)
        future: Future[T] = Future()
        self._jobs.put((work, future))
        return await asyncio.wrap_future(future)

    def _write_forever(self) -> None:
        db = _connect(self._path)
        open_for_work = True
        while open_for_work:
            jobs = [self._jobs.get()]
            while len(jobs) < BATCH and not self._jobs.empty():
                jobs.append(self._jobs.get())
            open_for_work = None not in jobs
            batch = [job for job in jobs if job is not None and job[1].set_running_or_notify_cancel()]
            if batch:
                _commit(db, batch)
        db.close()


def _commit(db: sqlite3.Connection, batch: list[tuple[Work[Any], Future[Any]]]) -> None:
    """Run jobs in one transaction; a job that fails takes back its own changes only. Answer after the commit."""
    outcomes: list[tuple[Future[Any], Any, BaseException | None]] = []
    try:
        db.execute("BEGIN IMMEDIATE")
        for work, future in batch:
            db.execute("SAVEPOINT job")
            try:
                outcomes.append((future, work(db), None))
            except (ChatError, sqlite3.IntegrityError) as error:
                db.execute("ROLLBACK TO job")
                outcomes.append((future, None, error))
            db.execute("RELEASE job")
        db.execute("COMMIT")
    except BaseException as error:  # the disk is full, or a job is wrong: everyone who waits must hear of it
        if db.in_transaction:
            db.execute("ROLLBACK")
        outcomes = [(future, None, error) for _, future in batch]
    for future, result, failure in outcomes:
        if failure is None:
            future.set_result(result)
        else:
            future.set_exception(failure)


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA foreign_keys = ON")
    return db


def _migrate(path: Path) -> None:
    db = _connect(path)
    try:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > len(MIGRATIONS):
            raise SchemaError(f"{path} has schema version {version}; this chat knows {len(MIGRATIONS)}: update it.")
        for number, script in enumerate(MIGRATIONS[version:], version + 1):
            db.executescript(f"BEGIN IMMEDIATE; {script} PRAGMA user_version = {number}; COMMIT;")
        values = (DEFAULT_ROOM.id, DEFAULT_ROOM.name, DEFAULT_ROOM.topic, "", _now())
        db.execute("INSERT OR IGNORE INTO rooms VALUES (?, ?, ?, ?, ?)", values)
    finally:
        db.close()


def _now() -> int:
    return time.time_ns() // 1_000_000


def _room(db: sqlite3.Connection, room: str) -> Room:
    row = db.execute("SELECT id, name, topic FROM rooms WHERE id = ?", (room,)).fetchone()
    if row is None:
        raise ChatError("no_such_room", "There is no such room.", status=404)
    return Room(*row)


def _message(row: tuple[Any, ...]) -> Message:
    number, room, key, author, nick, text, at, *file = row
    return Message(number, room, key, Who(author, nick), text, File(*file) if file[0] is not None else None, at)


def _page(db: sqlite3.Connection, room: str, before: int | None, limit: int) -> Page:
    sql = f"{_MESSAGE} WHERE m.room = ? AND m.id < ? ORDER BY m.id DESC LIMIT ?"
    rows = db.execute(sql, (room, 2**62 if before is None else before, limit + 1)).fetchall()
    return Page([_message(row) for row in reversed(rows[:limit])], more=len(rows) > limit)


def _visit(db: sqlite3.Connection, room: str, person: str, known: int | None) -> Visit:
    upto = db.execute("SELECT upto FROM members WHERE person = ? AND room = ?", (person, room)).fetchone()[0]
    unread_sql = "SELECT 1 FROM messages WHERE room = ? AND id > ? AND author <> ? LIMIT ?"
    unread = len(db.execute(unread_sql, (room, upto, person, MAX_UNREAD)).fetchall())
    last = _page(db, room, None, 1).messages
    marks_sql = "SELECT person, nick, upto FROM members WHERE room = ? AND person <> ? ORDER BY upto DESC LIMIT 50"
    seen = [Mark(Who(who, nick), mark) for who, nick, mark in db.execute(marks_sql, (room, person))]
    page, reset = Page([], more=False), False
    if known is not None:
        missed_sql = f"{_MESSAGE} WHERE m.room = ? AND m.id > ? ORDER BY m.id LIMIT ?"
        missed = [_message(row) for row in db.execute(missed_sql, (room, known, MAX_PAGE + 1))]
        reset = len(missed) > MAX_PAGE
        page = _page(db, room, None, PAGE) if reset else Page(missed, more=False)
    return Visit(_room(db, room), last[0] if last else None, unread, upto, seen, page.messages, page.more, reset)
