"""What is waited for: what is kept meanwhile, and what is kept no longer."""

import asyncio
import gc
import weakref
from typing import Any

import pytest

from madang.core.socket import Socket
from madang.errors import AckTimeout, Disconnected, Reason
from madang.testing import EngineKit, LinkClient, PollingClient, Waiting


def arrive(kit: EngineKit) -> tuple[LinkClient, Socket]:
    client = kit.websocket()
    return client, client.join()


async def _await(awaitable: Any) -> Any:
    return await awaitable


# --------------------------------------------------------------------------------------------------------- Ack


class Answer(list[Any]):
    """A list that can be looked after."""


def test_the_wheel_keeps_no_answer() -> None:
    kit = EngineKit()
    _, socket = arrive(kit)
    answer = Answer()
    kept = weakref.ref(answer)
    ack = socket.call("e")
    ack.received([answer])
    assert Waiting(ack).result is answer
    del ack, answer
    gc.collect()
    assert kept() is None


def test_the_time_of_an_answered_call_means_nothing() -> None:
    kit = EngineKit()
    client, socket = arrive(kit)
    waiting = Waiting(socket.call("e", timeout=5))
    client.say('431["x"]')
    kit.advance(10)
    assert waiting.result == "x"


def test_without_an_answer_the_time_ends_it() -> None:
    kit = EngineKit()
    _, socket = arrive(kit)
    waiting = Waiting(socket.call("e", timeout=5))
    kit.advance(4.9)
    assert not waiting.done
    kit.advance(0.2)
    with pytest.raises(AckTimeout):
        _ = waiting.result


# ------------------------------------------------------------------------------------------------------- drain


def test_draining_who_is_gone_raises() -> None:
    kit = EngineKit()
    client, socket = arrive(kit)
    client.duplex.lose(Reason.TRANSPORT_ERROR)
    with pytest.raises(Disconnected) as caught:
        _ = Waiting(socket.drain()).result
    assert caught.value.reason == Reason.TRANSPORT_ERROR


def test_draining_who_goes_meanwhile_raises() -> None:
    kit = EngineKit()
    client, socket = arrive(kit)
    client.duplex.fill()
    waiting = Waiting(socket.drain())
    assert not waiting.done
    client.duplex.lose()
    with pytest.raises(Disconnected, match=Reason.TRANSPORT_CLOSE):
        _ = waiting.result


def test_draining_who_only_has_to_fetch_the_farewell_raises() -> None:
    kit = EngineKit()
    client: PollingClient = kit.polling()
    socket = client.join()
    socket.emit("e")
    client.session.close(Reason.FORCED_CLOSE)
    with pytest.raises(Disconnected, match=Reason.FORCED_CLOSE):
        _ = Waiting(socket.drain()).result


@pytest.mark.parametrize("who", ["client", "server"])
def test_draining_who_has_left_only_the_namespace_raises(who: str) -> None:
    kit = EngineKit()
    kit.io.of("/chat")
    client = kit.websocket()
    client.join()
    socket = client.join("/chat")
    client.duplex.fill()
    waiting = Waiting(socket.drain())
    assert not waiting.done
    if who == "client":
        client.say("41/chat,")
    else:
        socket.disconnect()
    client.duplex.empty()
    reason = {"client": Reason.CLIENT_DISCONNECT, "server": Reason.SERVER_DISCONNECT}[who]
    for drain in (waiting, Waiting(socket.drain())):
        with pytest.raises(Disconnected) as caught:
            _ = drain.result
        assert caught.value.reason == reason
    assert client.session.ended is None


async def test_a_drain_that_is_given_up_leaves_nothing() -> None:
    kit = EngineKit()
    client, socket = arrive(kit)
    client.duplex.fill()
    other = asyncio.ensure_future(_await(socket.drain()))
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(_await(socket.drain()), 0.001)
    assert client.session._drained is not None
    assert len(client.session._drained) == 1
    client.duplex.empty()
    await asyncio.wait_for(other, 1)
    client.duplex.fill()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(_await(socket.drain()), 0.001)
    assert client.session._drained is None
