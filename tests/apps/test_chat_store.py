"""The chat's memory, and the rules for what goes into it."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from madang.apps.chat import protocol as p
from madang.apps.chat.people import Budget
from madang.apps.chat.store import MIGRATIONS, SchemaError, Store
from madang.apps.chat.uploads import OTHER, Uploads, picture_type

MINA = p.Who("mina", "Mina")
JUN = p.Who("jun", "Jun")
ROOM = "madang"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = Store(tmp_path / "chat.db")
    yield store
    await store.close()


async def say(store: Store, who: p.Who, number: int, room: str = ROOM) -> p.Message:
    message, _ = await store.add_message(room, who, f"{who.id}-{room}-{number:06}", f"text {number}", None)
    return message


async def test_messages_come_back_page_by_page(store: Store) -> None:
    said = [await say(store, MINA, number) for number in range(25)]
    newest = await store.page(ROOM, limit=10)
    assert newest == p.Page(said[15:], more=True)
    assert await store.page(ROOM, before=said[15].id, limit=10) == p.Page(said[5:15], more=True)
    assert await store.page(ROOM, before=said[5].id, limit=10) == p.Page(said[:5], more=False)
    assert await store.page(ROOM, before=said[0].id) == p.Page([], more=False)


async def test_a_key_is_stored_once(store: Store) -> None:
    first, new = await store.add_message(ROOM, MINA, "key-0001", "hello", None)
    again, new_again = await store.add_message(ROOM, MINA, "key-0001", "hello, changed", None)
    other, new_other = await store.add_message(ROOM, JUN, "key-0001", "hello from Jun", None)
    assert (new, new_again, new_other) == (True, False, True)
    assert again == first
    assert other.id > first.id


async def test_many_at_once_are_stored_in_the_order_of_asking(store: Store) -> None:
    said = await asyncio.gather(*(say(store, MINA, number) for number in range(600)))
    assert [message.id for message in said] == sorted(message.id for message in said)
    assert (await store.page(ROOM, limit=200)).messages == said[400:]


async def test_a_refused_job_does_not_harm_those_that_share_its_commit(store: Store) -> None:
    def ask(number: int) -> "asyncio.Task[p.Message]":
        room = "nowhere" if number % 3 == 0 else ROOM
        return asyncio.ensure_future(say(store, MINA, number, room))

    outcomes = await asyncio.gather(*(ask(number) for number in range(90)), return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, p.ChatError)]
    assert len(refused) == 30
    assert {error.code for error in refused} == {"no_such_room"}
    assert len((await store.page(ROOM, limit=200)).messages) == 60


async def test_a_full_disk_is_told_to_everyone_who_waits(store: Store) -> None:
    await store._write(lambda db: db.execute("SELECT 1").fetchone())
    pages = await store._write(lambda db: db.execute("PRAGMA page_count").fetchone()[0])
    await store._write(lambda db: db.execute(f"PRAGMA max_page_count = {pages + 1}").fetchone())
    big = "x" * 4_000
    asked = (store.add_message(ROOM, MINA, f"big-{number:06}", big, None) for number in range(20))
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert any(isinstance(outcome, sqlite3.OperationalError) for outcome in outcomes)
    stored = [outcome for outcome in outcomes if isinstance(outcome, tuple)]
    assert len((await store.page(ROOM, limit=200)).messages) == len(stored)
    await store._write(lambda db: db.execute("PRAGMA max_page_count = 1000000").fetchone())
    assert await say(store, MINA, 1)


async def test_everything_asked_before_closing_is_there_after_opening_again(tmp_path: Path) -> None:
    store = Store(tmp_path / "chat.db")
    asked = [asyncio.ensure_future(say(store, MINA, number)) for number in range(150)]
    await asyncio.sleep(0)  # every task has put its job into the queue
    await store.close()
    said = await asyncio.gather(*asked)
    with pytest.raises(p.ChatError, match="shutting down"):
        await say(store, MINA, 1000)
    await store.close()
    again = Store(tmp_path / "chat.db")
    assert (await again.page(ROOM, limit=200)).messages == said
    assert (await say(again, JUN, 1)).id > said[-1].id
    await again.close()


async def test_a_newer_schema_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "chat.db"
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    db.close()
    with pytest.raises(SchemaError, match="update it"):
        Store(path)


async def test_rooms(store: Store) -> None:
    lunch = p.Room("lunch", "Lunch", "noodles")
    await store.create_room(lunch, MINA.id)
    assert lunch in await store.rooms()
    with pytest.raises(p.ChatError) as refused:
        await store.create_room(p.Room("lunch", "LUNCH", ""), JUN.id)
    assert refused.value.code == "room_exists"
    with pytest.raises(p.ChatError, match="no such room"):
        await store.join("nowhere", MINA)
    with pytest.raises(p.ChatError, match="no such room"):
        await store.page("nowhere")


async def test_unread_messages_are_those_of_others_after_the_mark(store: Store) -> None:
    await say(store, JUN, 1)
    await store.join(ROOM, MINA)
    await store.join(ROOM, JUN)
    second, third = await say(store, JUN, 2), await say(store, JUN, 3)

    async def unread(who: p.Who) -> int:
        return (await store.visits(who.id, {}))[0].unread

    assert (await unread(MINA), await unread(JUN)) == (2, 0)
    assert await store.mark_read(ROOM, MINA.id, second.id)
    assert await unread(MINA) == 1
    assert not await store.mark_read(ROOM, MINA.id, second.id)  # marks only move forward
    assert not await store.mark_read(ROOM, MINA.id, third.id + 1)  # and not beyond the newest message
    assert not await store.mark_read("nowhere", MINA.id, third.id)
    visit = (await store.visits(JUN.id, {}))[0]
    assert visit.seen == [p.Mark(MINA, second.id)]
    assert visit.last == third
    await store.rename(p.Who(MINA.id, "Minja"))
    assert (await store.visits(JUN.id, {}))[0].seen == [p.Mark(p.Who(MINA.id, "Minja"), second.id)]
    await store.leave(ROOM, MINA.id)
    assert await store.visits(MINA.id, {}) == []


async def test_speaking_is_reading(store: Store) -> None:
    await store.join(ROOM, MINA)
    await say(store, JUN, 1)
    await say(store, MINA, 1)
    assert (await store.visits(MINA.id, {}))[0].unread == 0


async def test_unread_messages_are_counted_up_to_a_limit(store: Store) -> None:
    await store.join(ROOM, MINA)
    await asyncio.gather(*(say(store, JUN, number) for number in range(p.MAX_UNREAD + 20)))
    assert (await store.visits(MINA.id, {}))[0].unread == p.MAX_UNREAD


async def test_what_was_missed_comes_whole_or_as_a_fresh_page(store: Store) -> None:
    await store.join(ROOM, MINA)
    said = await asyncio.gather(*(say(store, JUN, number) for number in range(p.MAX_PAGE + 10)))
    few = (await store.visits(MINA.id, {ROOM: said[-4].id}))[0]
    assert (few.messages, few.reset) == (said[-3:], False)
    none = (await store.visits(MINA.id, {ROOM: said[-1].id}))[0]
    assert (none.messages, none.reset) == ([], False)
    many = (await store.visits(MINA.id, {ROOM: said[0].id}))[0]
    assert (many.messages, many.reset, many.more) == (said[-p.PAGE :], True, True)
    assert (await store.visits(MINA.id, {}))[0].messages == []


async def test_one_may_be_in_so_many_rooms(store: Store) -> None:
    for number in range(p.MAX_JOINED + 1):
        await store.create_room(p.Room(f"room-{number}", f"Room {number}", ""), MINA.id)
    for number in range(p.MAX_JOINED):
        await store.join(f"room-{number}", MINA)
    await store.join("room-0", MINA)
    with pytest.raises(p.ChatError) as refused:
        await store.join(f"room-{p.MAX_JOINED}", MINA)
    assert refused.value.code == "too_many_rooms"


async def test_files_may_be_said_by_their_owner_only(store: Store) -> None:
    file = p.File("f1", "a.png", "image/png", 10, 2, 3)
    await store.add_file(file, MINA.id)
    assert await store.file("f1") == file
    assert await store.bytes_stored() == 10
    message, _ = await store.add_message(ROOM, MINA, "with-file", "", "f1")
    assert message.file == file
    with pytest.raises(p.ChatError, match="never uploaded"):
        await store.add_message(ROOM, JUN, "with-file", "", "f1")
    with pytest.raises(p.ChatError, match="no such file"):
        await store.file("f2")


PNG = b"\x89PNG\r\n\x1a\n" + bytes(92)


@pytest.fixture
def uploads(tmp_path: Path, store: Store) -> Uploads:
    return Uploads(tmp_path / "files", store)


def chunk(upload: str, offset: int, data: bytes) -> p.UploadChunk:
    return p.UploadChunk(upload, offset, data)


async def test_an_upload_in_chunks(uploads: Uploads, store: Store) -> None:
    upload = await uploads.start("mina", p.UploadStart("C:\\pictures\\a\u202ed.png", 100, 8, 4))
    name = upload.file.id
    assert await uploads.add("mina", chunk(name, 0, PNG[:60])) == (60, None)
    assert await uploads.add("mina", chunk(name, 0, PNG[:60])) == (60, None)  # its acknowledgement was lost
    assert await uploads.add("mina", chunk(name, 30, PNG[30:])) == (60, None)  # the answer says where to go on
    with pytest.raises(p.ChatError, match="not known"):
        await uploads.add("jun", chunk(name, 60, PNG[60:]))
    with pytest.raises(p.ChatError, match="more than was announced"):
        await uploads.add("mina", chunk(name, 60, PNG))
    file = p.File(name, "ad.png", "image/png", 100, 8, 4)
    assert await uploads.add("mina", chunk(name, 60, PNG[60:])) == (100, file)
    assert await uploads.add("mina", chunk(name, 60, PNG[60:])) == (100, file)
    assert await store.file(name) == file
    assert uploads.path(name).read_bytes() == PNG


async def test_the_type_of_a_file_is_what_its_bytes_say(uploads: Uploads) -> None:
    upload = await uploads.start("mina", p.UploadStart("fake.png", 30, 8, 4))
    _, file = await uploads.add("mina", chunk(upload.file.id, 0, b"<script>alert(1)</script>     "))
    assert file == p.File(upload.file.id, "fake.png", OTHER, 30, 0, 0)


async def test_uploads_have_limits(uploads: Uploads, tmp_path: Path, store: Store) -> None:
    with pytest.raises(p.ChatError) as refused:
        await uploads.start("mina", p.UploadStart("big", p.MAX_FILE_BYTES + 1))
    assert refused.value.code == "file_too_large"
    for _ in range(4):
        upload = await uploads.start("mina", p.UploadStart("small", 10))
        await uploads.add("mina", chunk(upload.file.id, 0, b"x"))
    with pytest.raises(p.ChatError) as refused:
        await uploads.start("mina", p.UploadStart("small", 10))
    assert refused.value.code == "too_many_uploads"
    assert await uploads.start("jun", p.UploadStart("small", 10))
    parts = sorted((tmp_path / "files").glob("*.part"))
    assert len(parts) == 4
    for part in parts[1:]:
        os.utime(part, (0, 0))
    Uploads(tmp_path / "files", store)  # the next start of the chat, or of another worker
    assert list((tmp_path / "files").iterdir()) == parts[:1]


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n0000", "image/png"),
        (b"\xff\xd8\xff\xe0....", "image/jpeg"),
        (b"GIF89a..........", "image/gif"),
        (b"RIFF....WEBPVP8 ", "image/webp"),
        (b"\0\0\0\x1cftypavif....", "image/avif"),
        (b"<svg xmlns=", OTHER),
        (b"RIFF....WAVE", OTHER),
        (b"", OTHER),
    ],
)
def test_picture_types(head: bytes, kind: str) -> None:
    assert picture_type(head) == kind


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Lunch & Coffee", "lunch-coffee"),
        ("점심 메뉴", "점심-메뉴"),
        ("../../etc", "etc"),
        ("ﬁlm", "film"),
        ("a" * 90, "a" * 40),
    ],
)
def test_room_ids(name: str, slug: str) -> None:
    assert p.room_id(name) == slug


@pytest.mark.parametrize("name", ["", "   ", "\u200b\u200b", "\u202e", "\x00\x01", "ㅤ", "x" * 33])
def test_bad_names(name: str) -> None:
    with pytest.raises(p.ChatError):
        p.clean_line(name, 32, "nickname")


def test_clean_texts() -> None:
    assert p.clean_line("  미나 \u202e\n 님\x07 ", 32, "nickname") == "미나 님"
    assert p.clean_line("👩‍🌾", 32, "nickname") == "👩‍🌾"
    assert p.clean_text("\r\n a\x00\r\n\n\n\n\n\n\tb \n") == "a\n\n\n\tb"


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        (p.Say, {"room": "madang", "key": "short", "text": "x"}),
        (p.Say, {"room": "madang", "key": "long-enough", "text": "x" * 4001}),
        (p.Say, {"room": 1, "key": "long-enough", "text": "x"}),
        (p.Say, "hello"),
        (p.History, {"room": "madang", "limit": 201}),
        (p.History, {"room": "madang", "before": -1}),
        (p.History, {"room": "madang", "before": True}),
        (p.Hello, {"rooms": {"madang": "1"}}),
        (p.Hello, {"rooms": {str(n): 1 for n in range(101)}}),
        (p.UploadChunk, {"upload": "u", "offset": 0, "data": b""}),
        (p.UploadChunk, {"upload": "u", "offset": 0, "data": bytes(p.MAX_CHUNK_BYTES + 1)}),
        (p.Auth, {"token": "short", "nick": "Mina"}),
    ],
)
def test_bad_requests_are_refused(kind: type[msgspec.Struct], raw: object) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(raw, kind)


def test_a_budget_refills() -> None:
    budget = Budget(rate=2, burst=3)
    for _ in range(3):
        budget.spend(100.0)
    with pytest.raises(p.ChatError) as refused:
        budget.spend(100.0)
    assert refused.value.details == {"retry_after": 0.5}
    budget.spend(100.5)
    with pytest.raises(p.ChatError):
        budget.spend(100.6)
    for _ in range(3):
        budget.spend(200.0)
