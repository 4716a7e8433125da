"""The chat over real sockets: events, JSON API, files, page; and as a process that is stopped, killed and restarted."""

import asyncio
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest
import socketio
from socketio.exceptions import ConnectionError as NotConnected
from socketio.exceptions import TimeoutError as NoAnswer

from apps.conftest import Arrive
from apps.courtyard import Courtyard, Person
from madang.apps.chat import AssetsMissingError, create_app
from madang.apps.chat import protocol as p
from support.matrix import some

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 2_000


async def together(arrive: Arrive, *nicks: str) -> list[Person]:
    people = [await arrive(nick) for nick in nicks]
    for person in people:
        answer = await person.ask("join", room="madang")
        assert answer["visit"]["room"]["id"] == "madang"
    return people


# --- events


async def test_a_message_is_stored_told_and_acknowledged(arrive: Arrive) -> None:
    mina, jun = await together(arrive, "Mina", "Jun")
    said = await mina.say("madang", "hello", "key-0001")
    assert said["author"] == mina.welcome["me"]
    assert await jun.hears("message") == [said]
    assert mina.told("message") == []
    assert await mina.say("madang", "hello", "key-0001") == said
    await mina.say("madang", "again", "key-0002")
    assert [message["text"] for message in await jun.hears("message", 2)] == ["hello", "again"]


async def test_missed_messages_come_with_hello(arrive: Arrive) -> None:
    mina, jun = await together(arrive, "Mina", "Jun")
    first = await mina.say("madang", "one", "key-0001")
    await jun.hears("message")
    await jun.client.disconnect()
    missed = [await mina.say("madang", text, f"key-{text}") for text in ("second", "third")]
    back = await arrive("Jun", madang=first["id"])
    (visit,) = back.welcome["visits"]
    assert visit["messages"] == missed
    assert (visit["unread"], visit["reset"]) == (3, False)


async def test_history_comes_page_by_page(arrive: Arrive) -> None:
    (mina,) = await together(arrive, "Mina")
    said = [await mina.say("madang", f"text {n}", f"key-{n:04}") for n in range(12)]
    newest = await mina.ask("history", room="madang", limit=5)
    assert newest == {"messages": said[7:], "more": True}
    older = await mina.ask("history", room="madang", limit=50, before=said[7]["id"])
    assert older == {"messages": said[:7], "more": False}


async def test_who_is_here_with_several_tabs(arrive: Arrive) -> None:
    mina, jun = await together(arrive, "Mina", "Jun")
    assert [who["nick"] for who in (await arrive("Ada")).welcome["here"].get("madang", [])] == []
    second = await arrive("Jun")
    assert [who["nick"] for who in second.welcome["here"]["madang"]] == ["Jun", "Mina"]
    await jun.client.disconnect()
    assert (await mina.ask("join", room="madang"))["here"] == second.welcome["here"]["madang"]
    assert mina.told("departed") == []
    await second.client.disconnect()
    assert [news["who"]["nick"] for news in await mina.hears("departed")] == ["Jun"]
    assert [who["nick"] for who in (await mina.ask("join", room="madang"))["here"]] == ["Mina"]


async def test_all_tabs_join_and_leave_together(arrive: Arrive) -> None:
    one, jun = await together(arrive, "Mina", "Jun")
    two = await arrive("Mina")
    answer = await one.ask("create", name="Lunch", topic="noodles")
    assert answer["visit"]["room"] == {"id": "lunch", "name": "Lunch", "topic": "noodles"}
    assert await jun.hears("room") == [answer["visit"]["room"]]
    await two.hears("arrived", 1)
    assert "message" not in (await jun.ask("say", room="lunch", key="key-0000", text="not in there"))
    await jun.ask("join", room="lunch")
    await jun.say("lunch", "hungry", "key-0001")
    await one.hears("message")
    await two.hears("message")
    await two.ask("leave", room="lunch")
    await jun.hears("departed")
    await jun.say("lunch", "anyone?", "key-0002")
    await jun.say("madang", "anyone?", "key-0003")
    assert [message["room"] for message in await one.hears("message", 2)] == ["lunch", "madang"]


async def test_reading_is_told_to_authors_and_own_tabs(arrive: Arrive) -> None:
    mina, jun = await together(arrive, "Mina", "Jun")
    tab = await arrive("Jun")
    said = await mina.say("madang", "hello", "key-0001")
    await jun.ask("read", room="madang", upto=said["id"])
    news = {"room": "madang", "who": jun.welcome["me"], "upto": said["id"]}
    assert await mina.hears("seen") == [news]
    assert await tab.hears("seen") == [news]
    assert (await arrive("Jun")).welcome["visits"][0]["unread"] == 0
    assert (await arrive("Mina")).welcome["visits"][0]["seen"] == [{"who": jun.welcome["me"], "upto": said["id"]}]


async def test_typing_is_told_to_the_room_only(arrive: Arrive) -> None:
    mina, jun = await together(arrive, "Mina", "Jun")
    outside = await arrive("Ada")
    await mina.ask("typing", room="madang", on=True)
    assert await jun.hears("typing") == [{"room": "madang", "who": mina.welcome["me"], "on": True}]
    await outside.ask("typing", room="madang", on=True)
    await mina.ask("typing", room="madang", on=False)
    assert [news["who"]["nick"] for news in await jun.hears("typing", 2)] == ["Mina", "Mina"]
    assert outside.told("typing") == []


async def refusal(url: str, auth: dict[str, str] | None) -> dict[str, Any]:
    """Connect in vain; return what the server said of it."""
    client = socketio.AsyncClient(reconnection=False)
    heard: list[dict[str, Any]] = []
    client.on("connect_error", heard.append)
    with pytest.raises(NotConnected):
        await client.connect(url, auth=auth)
    await client.shutdown()
    data: dict[str, Any] = heard[0]["data"]
    assert data["message"]
    return data


async def test_names_are_one_person_s_while_they_are_here(arrive: Arrive, url: str) -> None:
    mina, jun = await together(arrive, "Mina", "Jun")
    assert (await refusal(url, {"token": "someone-else-0000", "nick": " MINA "}))["code"] == "nick_taken"
    assert (await jun.ask("rename", nick="mina"))["error"]["code"] == "nick_taken"
    assert (await jun.ask("rename", nick="준호"))["me"]["nick"] == "준호"
    assert (await mina.hears("renamed"))[0] == {"id": jun.welcome["me"]["id"], "nick": "준호"}
    assert (await arrive("Jun", token="another-person-0000")).welcome["me"]["nick"] == "Jun"


async def test_the_newest_tab_brings_the_name(arrive: Arrive) -> None:
    mina, jun = await together(arrive, "Mina", "Jun")
    tab = await arrive("Minja", token="secret-of-Mina-0000")
    news = {"id": mina.welcome["me"]["id"], "nick": "Minja"}
    assert (await jun.hears("renamed"))[0] == (await mina.hears("renamed"))[0] == news
    assert tab.welcome["me"] == news
    assert (await arrive("Jun")).welcome["visits"][0]["seen"] == [{"who": news, "upto": 0}]


@pytest.mark.parametrize(
    "auth",
    [{"token": "x", "nick": "Mina"}, {"token": "t" * 24, "nick": "\u200b"}, {"token": "t" * 24}, {"nick": "Mina"}],
)
async def test_who_brings_something_invalid_is_refused(url: str, auth: dict[str, str]) -> None:
    assert (await refusal(url, auth))["code"] == "invalid"


async def test_who_brings_nothing_is_a_guest_until_they_take_a_name(arrive: Arrive, url: str) -> None:
    (mina,) = await together(arrive, "Mina")
    guests = [Person(socketio.AsyncClient(reconnection=False)) for _ in range(2)]
    for guest in guests:
        await guest.client.connect(url)
    one, other = [(await guest.ask("hello"))["me"] for guest in guests]
    assert one["id"] != other["id"]
    assert one["nick"] != other["nick"]
    assert (await guests[0].ask("rename", nick="Mina"))["error"]["code"] == "nick_taken"
    assert (await guests[0].ask("rename", nick="Jun"))["me"] == {"id": one["id"], "nick": "Jun"}
    assert [who["nick"] for who in (await guests[0].ask("join", room="madang"))["here"]] == ["Jun", "Mina"]
    assert (await mina.hears("arrived"))[-1]["who"]["nick"] == "Jun"
    for guest in guests:
        await guest.client.disconnect()


@pytest.mark.parametrize(
    ("event", "question", "code"),
    [
        ("say", {"room": "madang", "key": "key-0001", "text": "  \n "}, "invalid"),
        ("say", {"room": "madang", "key": "key-0001", "text": "x" * 4001}, "invalid"),
        ("say", {"room": "lunch", "key": "key-0001", "text": "x"}, "not_joined"),
        ("say", {"room": "madang", "key": "key-0001", "file": "nothing"}, "no_such_file"),
        ("join", {"room": "lunch"}, "no_such_room"),
        ("history", {"room": "lunch"}, "no_such_room"),
        ("create", {"name": "madang"}, "room_exists"),
        ("create", {"name": "!!!"}, "invalid"),
        ("upload_start", {"name": "x", "size": p.MAX_FILE_BYTES + 1}, "file_too_large"),
        ("upload_chunk", {"upload": "x", "offset": 0, "data": b"x"}, "no_such_upload"),
        ("read", {"room": "madang", "upto": "last"}, "invalid"),
        ("rename", {"nick": ""}, "invalid"),
        ("hello", {"rooms": []}, "invalid"),
    ],
)
async def test_errors_are_answers(arrive: Arrive, event: str, question: dict[str, Any], code: str) -> None:
    (mina,) = await together(arrive, "Mina")
    answer = await mina.ask(event, **question)
    assert answer["error"]["code"] == code
    assert answer["error"]["message"]


async def test_a_request_that_is_no_object_is_refused(arrive: Arrive) -> None:
    mina = await arrive("Mina")
    for question in ("hello", 5, None, ["room"]):
        answer = await mina.client.call("say", question, timeout=5)
        assert answer["error"]["code"] == "invalid"


async def test_who_says_too_much_is_slowed_down(arrive: Arrive) -> None:
    mina, jun = await together(arrive, "Mina", "Jun")
    questions = [{"room": "madang", "key": f"key-{n:04}", "text": str(n)} for n in range(40)]
    answers = await asyncio.gather(*(mina.client.call("say", question, timeout=10) for question in questions))
    slowed = [answer["error"] for answer in answers if "error" in answer]
    assert slowed
    assert {error["code"] for error in slowed} == {"slow_down"}
    await asyncio.sleep(slowed[0]["retry_after"] + 0.05)
    assert "id" in await mina.say("madang", "slower", "key-slow")
    assert "id" in await jun.say("madang", "not my fault", "key-fast")


async def test_the_round_trip_is_answered(arrive: Arrive) -> None:
    mina = await arrive("Mina")
    assert await mina.client.call("ping", timeout=5) is None


# --- files


async def send(person: Person, name: str, data: bytes, width: int = 0, height: int = 0) -> dict[str, Any]:
    started = await person.ask("upload_start", name=name, size=len(data), width=width, height=height)
    answer: dict[str, Any] = {"received": 0}
    while answer.get("file") is None:
        at = answer["received"]
        part = data[at : at + started["chunk"]]
        answer = await person.ask("upload_chunk", upload=started["upload"], offset=at, data=part)
    file: dict[str, Any] = answer["file"]
    return file


async def test_a_picture_goes_round(arrive: Arrive, http: httpx.AsyncClient) -> None:
    mina, jun = await together(arrive, "Mina", "Jun")
    file = await send(mina, "마당.png", PNG, 640, 480)
    said = await mina.say("madang", "", "key-0001", file["id"])
    (heard,) = await jun.hears("message")
    assert heard == said
    assert heard["file"] == {
        **file,
        "name": "마당.png",
        "type": "image/png",
        "size": len(PNG),
        "width": 640,
        "height": 480,
    }
    answer = await http.get(f"/api/files/{file['id']}")
    assert answer.content == PNG
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-disposition"].startswith("inline; filename*=utf-8''%EB%A7%88")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    part = await http.get(f"/api/files/{file['id']}", headers={"Range": "bytes=0-7"})
    assert (part.status_code, part.content) == (206, PNG[:8])
    saved = await http.get(f"/api/files/{file['id']}?download")
    assert saved.headers["content-disposition"].startswith("attachment")


@pytest.mark.parametrize("name", ["evil.html", "evil.svg", "evil.png", 'a"\r\nX-Evil: 1.txt'])
async def test_anything_else_is_only_ever_saved(arrive: Arrive, http: httpx.AsyncClient, name: str) -> None:
    mina = await arrive("Mina")
    file = await send(mina, name, b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", 10, 10)
    answer = await http.get(f"/api/files/{file['id']}")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "x-evil" not in answer.headers
    assert (file["width"], file["height"]) == (0, 0)


async def test_a_file_said_by_someone_else_is_refused(arrive: Arrive) -> None:
    mina, jun = await together(arrive, "Mina", "Jun")
    file = await send(mina, "a.txt", b"hello")
    assert (await jun.say("madang", "", "key-0001", file["id"]))["error"]["code"] == "no_such_file"


# --- JSON API


async def test_a_post_is_live_and_in_the_history(arrive: Arrive, http: httpx.AsyncClient) -> None:
    (mina,) = await together(arrive, "Mina")
    post = {"nick": "Weather", "text": "Rain at four", "key": "rain-0001"}
    answer = await http.post("/api/rooms/madang/messages", json=post)
    assert answer.status_code == 201
    message = answer.json()["message"]
    assert (message["author"], message["text"]) == ({"id": "api:Weather", "nick": "Weather"}, "Rain at four")
    assert await mina.hears("message") == [message]
    again = await http.post("/api/rooms/madang/messages", json=post)
    assert (again.status_code, again.json()) == (200, {"message": message})
    assert (await http.get("/api/rooms/madang/messages")).json() == {"messages": [message], "more": False}
    assert len(mina.told("message")) == 1


async def test_pages_over_http(http: httpx.AsyncClient) -> None:
    for number in range(7):
        await http.post("/api/rooms/madang/messages", json={"nick": "Bot", "text": f"{number}"})
    newest = (await http.get("/api/rooms/madang/messages", params={"limit": 3})).json()
    assert [message["text"] for message in newest["messages"]] == ["4", "5", "6"]
    assert newest["more"] is True
    before = newest["messages"][0]["id"]
    older = (await http.get("/api/rooms/madang/messages", params={"limit": 9, "before": before})).json()
    assert ([message["text"] for message in older["messages"]], older["more"]) == (["0", "1", "2", "3"], False)


async def test_rooms_over_http(arrive: Arrive, http: httpx.AsyncClient) -> None:
    (mina,) = await together(arrive, "Mina")
    await mina.ask("create", name="점심 메뉴")
    rooms = (await http.get("/api/rooms")).json()["rooms"]
    assert {room["id"]: room["here"] for room in rooms} == {"madang": 1, "점심-메뉴": 1}
    answer = await http.post("/api/rooms/점심-메뉴/messages", json={"nick": "봇", "text": "국수"})
    assert answer.json()["message"]["room"] == "점심-메뉴"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "rooms/madang/messages", {"nick": "Bot"}, 400, "invalid"),
        ("POST", "rooms/madang/messages", {"nick": "Bot", "text": " "}, 400, "invalid"),
        ("POST", "rooms/madang/messages", {"nick": "\u200b", "text": "x"}, 400, "invalid"),
        ("POST", "rooms/madang/messages", {"nick": "Bot", "text": "x", "key": "!"}, 400, "invalid"),
        ("POST", "rooms/madang/messages", {"nick": "Bot", "text": "x" * 70_000}, 413, "too_large"),
        ("POST", "rooms/nowhere/messages", {"nick": "Bot", "text": "x"}, 404, "no_such_room"),
        ("GET", "rooms/nowhere/messages", None, 404, "no_such_room"),
        ("GET", "rooms/madang/messages?limit=0", None, 400, "invalid"),
        ("GET", "rooms/madang/messages?before=x", None, 400, "invalid"),
        ("GET", "files/../chat.db", None, 404, "not_found"),
        ("GET", "files/%2e%2e%2fchat.db", None, 404, "not_found"),
        ("GET", "files/nothing", None, 404, "no_such_file"),
        ("GET", "nothing", None, 404, "not_found"),
        ("DELETE", "rooms", None, 404, "not_found"),
    ],
)
async def test_errors_over_http(
    http: httpx.AsyncClient, method: str, path: str, body: dict[str, str] | None, status: int, code: str
) -> None:
    answer = await http.request(method, f"/api/{path}", json=body)
    if "/../" in path:  # the client itself resolves it, to an address outside of the API
        assert answer.status_code == 404
        return
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.headers["cache-control"] == "no-store"


async def test_other_sites_can_not_post(http: httpx.AsyncClient) -> None:
    text = '{"nick": "Bot", "text": "x"}'
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        answer = await http.post("/api/rooms/madang/messages", content=text, headers={"Content-Type": kind})
        assert answer.status_code == 415
    answer = await http.get("/api/rooms", headers={"Origin": "https://elsewhere.example"})
    assert "access-control-allow-origin" not in answer.headers
    answer = await http.post("/api/rooms/madang/messages", content="{", headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "not_json")


async def test_a_script_that_posts_too_much_is_slowed_down(http: httpx.AsyncClient) -> None:
    post = {"nick": "Bot", "text": "x"}
    answers = [await http.post("/api/rooms/madang/messages", json=post) for _ in range(90)]
    assert 429 in {answer.status_code for answer in answers}


# --- the page


async def test_the_page_and_its_headers(http: httpx.AsyncClient) -> None:
    page = await http.get("/")
    assert "<title>Madang</title>" in page.text
    assert page.headers["cache-control"] == "no-cache"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "'unsafe" not in page.headers["content-security-policy"]
    asset = await http.get("/assets/app-1.js")
    assert asset.headers["cache-control"] == "public, max-age=31536000, immutable"
    unchanged = await http.get("/", headers={"If-None-Match": page.headers["etag"]})
    assert unchanged.status_code == 304
    assert (await http.get("/assets/none.js")).status_code == 404
    for answer in (page, asset, await http.get("/api/rooms")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"


def test_a_missing_page_is_said_clearly(tmp_path: Path) -> None:
    with pytest.raises(AssetsMissingError, match="make assets"):
        create_app(tmp_path / "data", static=tmp_path)
    assert not (tmp_path / "data").exists()


# --- as a process


async def write_until_it_ends(url: str, nick: str) -> list[dict[str, Any]]:
    """Say one thing after the other; return what was acknowledged."""
    client = socketio.AsyncClient(reconnection=False)
    person = Person(client)
    await client.connect(url, auth={"token": f"secret-of-{nick}-0000", "nick": nick}, transports=["websocket"])
    await person.ask("hello")
    await person.ask("join", room="madang")
    acknowledged: list[dict[str, Any]] = []
    number = 0
    try:
        while client.connected:
            answer = await client.call(
                "say", {"room": "madang", "key": f"{nick}-{number:06}", "text": f"{nick} {number}"}, timeout=2
            )
            if answer and "message" in answer:
                acknowledged.append(answer["message"])
                number += 1
            else:
                await asyncio.sleep(0.02)
    except (NoAnswer, NotConnected):
        pass  # the server is gone, which is what this waits for
    await client.disconnect()
    return acknowledged


@pytest.mark.slow
@pytest.mark.parametrize(
    "how",
    some([signal.SIGINT, signal.SIGTERM, signal.SIGKILL], usual=[signal.SIGTERM, signal.SIGKILL]),
    ids=lambda how: how.name,
)
async def test_nothing_acknowledged_is_lost(tmp_path: Path, how: signal.Signals) -> None:
    with Courtyard(tmp_path / "data") as courtyard:
        writers = [asyncio.create_task(write_until_it_ends(courtyard.url, f"writer{n}")) for n in range(4)]
        await asyncio.sleep(2.5)
        await asyncio.to_thread(courtyard.stop, how)
        acknowledged = [message for writer in writers for message in await writer]
        assert len(acknowledged) > 40
        assert "Traceback" not in courtyard.log.read_text()
        await asyncio.to_thread(courtyard.start)
        async with httpx.AsyncClient(base_url=courtyard.url) as http:
            stored: list[dict[str, Any]] = []
            more = True
            while more:
                before = {"before": stored[0]["id"]} if stored else {}
                page = (await http.get("/api/rooms/madang/messages", params={"limit": 200, **before})).json()
                stored, more = page["messages"] + stored, page["more"]
    assert sorted(acknowledged, key=lambda message: message["id"]) == [
        message for message in stored if message in acknowledged
    ]
    texts = [message["text"] for message in stored]
    assert len(texts) == len(set(texts))
