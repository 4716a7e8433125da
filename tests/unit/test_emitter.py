"""Emitters: what they refuse, and what happens to those that are used in a wrong way."""

import asyncio
import gc
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from madang import (
    AckTimeout,
    BlockingEmitter,
    ConfigError,
    Emitter,
    EncodeError,
    InvalidAnswer,
    LocalProtocolError,
    Server,
    WrongThreadError,
)
from madang.testing import connect

PATIENCE = 30.0


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    return f"memory://{request.node.name}"


async def in_thread(function: Callable[[], Any]) -> Any:
    return await asyncio.wait_for(asyncio.to_thread(function), PATIENCE)


@pytest.mark.parametrize("kind", [Emitter, BlockingEmitter])
@pytest.mark.parametrize("url", ["nonsense", "nobody://here", "local://", "redis://host:port"])
def test_a_url_that_makes_no_sense_is_refused_at_once(kind: type[Any], url: str) -> None:
    with pytest.raises(ConfigError):
        kind(url)


async def test_who_is_not_connected_says_nothing(url: str) -> None:
    emitter = Emitter(url)
    assert (emitter.connected, emitter.health, emitter.name) == (False, None, "/")
    for talk in (
        lambda: emitter.emit("e"),
        lambda: emitter.to("a").sockets_join("b"),
        lambda: emitter.of("/chat").server_side_emit("e"),
        lambda: emitter.call("e"),
    ):
        with pytest.raises(WrongThreadError, match="not connected"):
            talk()
    await emitter.drain()
    await emitter.close()
    async with emitter:
        emitter.emit("e")
        with pytest.raises(WrongThreadError, match="use BlockingEmitter"):
            await in_thread(lambda: emitter.emit("e"))
    with pytest.raises(WrongThreadError, match="not connected"):
        emitter.emit("e")
    async with emitter:  # once more
        assert await emitter.server_side_call("nobody is there", timeout=1) == []
        assert await emitter.call("nobody is there", timeout=1) == []


async def test_what_an_emitter_refuses(url: str) -> None:
    blocking = BlockingEmitter("local:///nowhere", connect_timeout=0.01)  # it is not even asked
    async with Emitter(url) as emitter:
        for one in (emitter, blocking):
            with pytest.raises(EncodeError):
                one.emit("e", object())
            with pytest.raises(EncodeError):
                one.server_side_emit("e", object())
            with pytest.raises(LocalProtocolError, match="reserved"):
                one.emit("disconnect")
            with pytest.raises(LocalProtocolError, match="reserved"):
                one.server_side_emit("connection")
            with pytest.raises(LocalProtocolError, match="without a room"):
                one.to()
            with pytest.raises(LocalProtocolError, match="must be a string"):
                one.in_("a").except_(7)  # type: ignore[arg-type]
            with pytest.raises(LocalProtocolError, match="must be a string"):
                one.sockets_join(7)  # type: ignore[arg-type]
            with pytest.raises(LocalProtocolError, match="stands for many"):
                one.of("/room-{id}")
        for target in (emitter, emitter.to("a"), emitter.of("/chat").volatile):
            with pytest.raises(LocalProtocolError, match="no clients of its own"):
                _ = target.local
        with pytest.raises(LocalProtocolError, match="positive number"):
            emitter.call("e", timeout=0)
        with pytest.raises(LocalProtocolError, match="are up, down, gap, malformed"):
            emitter.on("joined", lambda: None)
    blocking.close()


async def test_answers_that_are_missing_or_wrong(url: str) -> None:
    async with Server(cluster=url) as io, connect(io) as client:
        client.on("vote", lambda: "yes")
        io.server_side_event("fails", lambda: None)

        def ask() -> None:
            with BlockingEmitter(url, ack_timeout=0.05) as emitter:
                with pytest.raises(InvalidAnswer):
                    emitter.call("vote", returns=int, timeout=PATIENCE)
                with pytest.raises(AckTimeout, match="no acknowledgement came within"):
                    emitter.call("nobody answers this")
                with pytest.raises(AckTimeout):
                    emitter.server_side_call("nobody hears this")
                assert emitter.server_side_call("fails", timeout=PATIENCE) == [None]
                assert emitter.to(str(client.id)).call("vote", timeout=PATIENCE) == ["yes"]

        await in_thread(ask)


async def test_functions_of_on_run_in_the_emitters_thread_and_may_emit_but_not_wait(url: str) -> None:
    found: list[Any] = []

    def work() -> None:
        emitter = BlockingEmitter(url)

        @emitter.on("up")
        def up() -> None:
            found.append(threading.current_thread().name)
            emitter.emit("hello")
            for wait in (emitter.close, lambda: emitter.call("e"), emitter.drain, emitter.connect):
                try:
                    wait()
                except WrongThreadError as error:
                    found.append(type(error))

        emitter.connect()
        emitter.off("up", up)
        emitter.close()

    async with Server(cluster=url) as io, connect(io) as client:
        await in_thread(work)
        await client.expect("hello", timeout=PATIENCE)
    assert found == ["madang-emitter", *[WrongThreadError] * 4]


async def test_an_emitter_that_is_forgotten_ends_its_thread(url: str) -> None:
    def work() -> list[threading.Thread]:
        emitter = BlockingEmitter(url)
        emitter.emit("last words")
        return [thread for thread in threading.enumerate() if thread.name == "madang-emitter"]

    async with Server(cluster=url) as io, connect(io) as client:
        threads = await in_thread(work)
        await client.expect("last words", timeout=PATIENCE)
        assert threads
        end = time.monotonic() + PATIENCE
        while any(thread.is_alive() for thread in threads):
            gc.collect()
            assert time.monotonic() < end
            await asyncio.sleep(0.005)
