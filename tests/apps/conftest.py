"""The chat in this process, on a real socket, with a page of one line; and people who talk to it."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import socketio
import uvloop

sys.path.insert(0, str(Path(__file__).parents[1]))

from apps.courtyard import Person
from madang.apps.chat import create_app
from madang.faces.uvicorn import serve_async

Arrive = Callable[..., Awaitable[Person]]


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The laboratory runs on uvloop, as by its command; its wire on the event loop of asyncio too."""
    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    if item.path.name == "test_laboratory_wire.py":
        return {**loops, "uvloop": uvloop.new_event_loop}
    return {"uvloop": uvloop.new_event_loop} if item.path.name.startswith("test_laboratory") else loops


@pytest.fixture
def static(tmp_path: Path) -> Path:
    folder = tmp_path / "static"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>Madang</title>")
    (folder / "assets" / "app-1.js").write_text("'use strict'")
    return folder


@pytest.fixture
async def url(tmp_path: Path, static: Path) -> AsyncIterator[str]:
    async with serve_async(create_app(tmp_path / "data", static=static)) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
async def http(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url) as client:
        yield client


@pytest.fixture
async def arrive(url: str) -> AsyncIterator[Arrive]:
    """People: `await arrive("Mina")`; the same `token` is another tab of the same person."""
    clients: list[socketio.AsyncClient] = []

    async def person(nick: str, token: str | None = None, **known: int) -> Person:
        client = socketio.AsyncClient(reconnection=False)
        clients.append(client)
        found = Person(client)
        auth: dict[str, Any] = {"token": token or f"secret-of-{nick}-0000", "nick": nick}
        await client.connect(url, auth=auth, transports=["websocket"])
        found.welcome = await found.ask("hello", rooms=known)
        return found

    yield person
    for client in clients:
        await client.disconnect()
