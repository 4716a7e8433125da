# Tests of rooms.py: no ports, no sockets, no waiting.
#
#   pip install pytest pytest-asyncio
#   pytest examples/test_rooms.py

import pytest
from rooms import io

pytestmark = pytest.mark.asyncio


async def test_who_arrives_is_told_to_the_others(madang_connect):
    alice = await madang_connect(io)
    bob = await madang_connect(io)
    assert await alice.call("join", "garden") == ["garden"]
    assert await bob.call("join", "garden") == ["garden"]
    await alice.expect("arrived", "garden", bob.id)
    await bob.expect_nothing()


async def test_joining_twice_is_told_once(madang_connect):
    alice = await madang_connect(io)
    bob = await madang_connect(io)
    await alice.call("join", "garden")
    await bob.call("join", "garden")
    await bob.call("join", "garden")
    await alice.expect("arrived", "garden", bob.id)
    await alice.expect_nothing()


async def test_only_members_speak_and_hear(madang_connect):
    alice = await madang_connect(io)
    stranger = await madang_connect(io)
    assert await stranger.call("say", "garden", "let me in") == {"error": "join garden first"}
    await alice.call("join", "garden")
    assert await alice.call("say", "garden", "hello") == {"ok": True}
    await alice.expect("said", "garden", "hello")  # the sender hears it too
    await stranger.expect_nothing()


async def test_who_is_lost_has_left(madang_connect):
    alice = await madang_connect(io)
    bob = await madang_connect(io)
    await alice.call("join", "garden")
    await bob.call("join", "garden")
    lost = bob.id
    bob.network.drop()
    await alice.expect("arrived", "garden", lost)
    await alice.expect("left", "garden", lost)


async def test_who_goes_silent_leaves_after_a_while(madang_connect, madang_clock):
    alice = await madang_connect(io)
    bob = await madang_connect(io)
    await alice.call("join", "garden")
    await bob.call("join", "garden")
    bob.network.cut()
    await alice.expect("left", "garden", bob.id, timeout=60)
    assert madang_clock.now > io.config.ping_interval_seconds
