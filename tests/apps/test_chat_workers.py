"""The chat in several processes: one courtyard, whoever serves whom, while its workers die and are replaced."""

import asyncio
import os
import signal
import urllib.request
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from courtyard import Courtyard

from madang import Client

pytestmark = pytest.mark.slow


class Guest:
    """Somebody with a client that comes back by itself, and what they were told."""

    def __init__(self, url: str, nick: str, *transports: str) -> None:
        auth = {"token": f"token-of-{nick}-0123456789".replace(" ", "-"), "nick": nick}
        self.client = Client(url, auth, transports=list(transports), reconnection_delay_seconds=0.05)
        self.messages: list[str] = []
        self.told: list[tuple[str, Any]] = []
        self.client.on("message", lambda message: self.messages.append(message["text"]))
        for event in ("arrived", "departed", "renamed"):
            self.client.on(event, lambda news, event=event: self.told.append((event, news)))
        self.client.on("connect", self.hello)
        self.knows: dict[str, int] = {}
        self.welcome: dict[str, Any] = {}

    async def hello(self) -> None:
        self.welcome = await self.client.call("hello", {"rooms": self.knows}, timeout=10)
        for visit in self.welcome["visits"]:  # what was said while we were away
            self.messages += [message["text"] for message in visit["messages"] if message["text"] not in self.messages]

    async def ask(self, event: str, **question: Any) -> Any:
        while True:
            try:
                answer = await self.client.call(event, question, timeout=5)
            except Exception:  # the connection broke, or its server has ended: what has a key may be said twice
                await asyncio.sleep(0.05)
                continue
            assert "error" not in answer, answer
            return answer

    async def until(self, done: Any) -> None:
        async with asyncio.timeout(20):
            while not done():
                await asyncio.sleep(0.01)


def workers_of(courtyard: Courtyard) -> set[int]:
    assert courtyard._process is not None
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "status").read_text()
        except OSError:
            continue
        if f"\nPPid:\t{courtyard._process.pid}\n" in status:
            found.add(int(folder.name))
    return found


@pytest.fixture
def courtyard(tmp_path: Path) -> Any:
    with Courtyard(tmp_path / "data", "--workers", "2", "--drain-seconds", "0.5") as started:
        yield started


@pytest.fixture
async def people(courtyard: Courtyard) -> AsyncIterator[list[Guest]]:
    async with AsyncExitStack() as stack:
        made = []
        for number, transports in enumerate([["websocket"], ["polling"], ["polling", "websocket"]] * 2):
            guest = Guest(courtyard.url, f"guest {number}", *transports)
            await guest.client.connect()
            stack.push_async_callback(guest.client.close)
            await guest.until(lambda guest=guest: guest.welcome)
            await guest.ask("join", room="madang")
            guest.knows["madang"] = 0
            made.append(guest)
        yield made


async def test_everyone_is_there_for_everyone(courtyard: Courtyard, people: list[Guest]) -> None:
    nicks = {f"guest {number}" for number in range(len(people))}
    answer = await people[0].ask("join", room="madang")
    assert {who["nick"] for who in answer["here"]} == nicks
    for _ in range(6):  # whichever worker answers
        with urllib.request.urlopen(f"{courtyard.url}/api/rooms", timeout=10) as response:
            assert b'"here":6' in response.read()
    taken = await people[1].client.call("rename", {"nick": "guest 4"}, timeout=10)
    assert taken["error"]["code"] == "nick_taken"
    await people[1].ask("rename", nick="Mina")
    for guest in people:
        await guest.until(lambda guest=guest: any(e == "renamed" and w["nick"] == "Mina" for e, w in guest.told))
    for number, guest in enumerate(people):
        await guest.ask("say", room="madang", text=f"hello from {number}", key=f"key-{number}-of-a-message")
    for number, guest in enumerate(people):
        await guest.until(lambda guest=guest: len(guest.messages) == 5)
        assert sorted(guest.messages) == [f"hello from {other}" for other in range(6) if other != number]
    await people[5].client.close()
    for guest in people[:5]:
        await guest.until(
            lambda guest=guest: any(e == "departed" and w["who"]["nick"] == "guest 5" for e, w in guest.told)
        )


async def test_it_stays_usable_while_every_worker_is_replaced(courtyard: Courtyard, people: list[Guest]) -> None:
    before = workers_of(courtyard)
    assert len(before) == 2
    assert courtyard._process is not None
    texts: list[str] = []

    async def talk() -> None:
        number = 0
        while True:
            text = f"message {number}"
            await people[0].ask("say", room="madang", text=text, key=f"key-{number:06d}-of-a-message")
            texts.append(text)
            number += 1
            await asyncio.sleep(0.1)

    talking = asyncio.create_task(talk())
    await asyncio.sleep(0.3)
    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    async with asyncio.timeout(30):
        while len(workers_of(courtyard) - {victim}) < 2:
            await asyncio.sleep(0.25)
    between = workers_of(courtyard)
    courtyard._process.send_signal(signal.SIGHUP)
    async with asyncio.timeout(60):
        while workers_of(courtyard) & between or len(workers_of(courtyard)) != 2:
            await asyncio.sleep(0.25)
    await asyncio.sleep(0.3)
    talking.cancel()
    for guest in people[1:]:
        await guest.until(lambda guest=guest: set(texts) <= set(guest.messages))
        assert len(guest.messages) == len(set(guest.messages)), "nothing comes twice"
    async with asyncio.timeout(20):
        while len((await people[3].ask("join", room="madang"))["here"]) < 6:
            await asyncio.sleep(0.1)
