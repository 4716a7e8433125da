"""How clients go: each way, over each transport, and the reason that the handlers are given."""

import pytest

from faces.support.clients import Client, PollingClient, WebSocketClient, unpack
from support.server import ServerProcess


async def gone(watcher: WebSocketClient, client: Client) -> str:
    """The reason that the handlers were given."""
    id_, reason, rooms = await watcher.event("gone")
    assert id_ == client.id
    assert rooms["after"] == []
    assert rooms["connected"] is False
    return reason


async def test_the_client_leaves_the_namespace(client: Client, watcher: WebSocketClient) -> None:
    assert await watcher.call("watch", client.id) is True
    await client.join("/custom")
    await client.hear()  # "welcome"
    await client.say("41")
    assert await gone(watcher, client) == "client namespace disconnect"
    # the connection stays, and the other namespace with it
    await client.say('42/custom,1["echo","here"]')
    assert await client.hear() == '43/custom,1["here"]'


async def test_the_client_says_good_bye(client: Client, watcher: WebSocketClient) -> None:
    assert await watcher.call("watch", client.id) is True
    await client.say("1")
    assert await gone(watcher, client) == "transport close"


async def test_the_server_disconnects_from_the_namespace(client: Client, watcher: WebSocketClient) -> None:
    assert await watcher.call("watch", client.id) is True
    await client.emit("disconnect me", False)
    assert await client.hear() == "41"
    assert await gone(watcher, client) == "server namespace disconnect"
    await client.join("/custom")


async def test_the_server_closes_the_connection(client: Client, watcher: WebSocketClient) -> None:
    assert await watcher.call("watch", client.id) is True
    await client.emit("disconnect me", True)
    assert await client.hear() == "41"
    assert await gone(watcher, client) == "server namespace disconnect"
    if isinstance(client, WebSocketClient):
        assert await client.closed() == 1000
    else:
        assert await client.hear() == "1"


async def test_the_server_closes_while_a_poll_waits(server: ServerProcess, watcher: WebSocketClient) -> None:
    async with PollingClient(server.port) as client:
        await client.join()
        assert await watcher.call("watch", client.id) is True
        client.begin_poll()
        await client.emit("server close")
        assert unpack((await client.end_poll()).text) == ["1"]
        assert await gone(watcher, client) == "forced close"
        assert (await client.poll()).json() == {"code": 1, "message": "Session ID unknown"}


async def test_close_frame(server: ServerProcess, watcher: WebSocketClient) -> None:
    async with WebSocketClient(server.port) as client:
        await client.join()
        assert await watcher.call("watch", client.id) is True
        await client.ws.close(1001, "the page is left")
        assert client.ws.close_code == 1001
        assert await gone(watcher, client) == "transport close"


async def test_tcp_fin(server: ServerProcess, watcher: WebSocketClient) -> None:
    async with WebSocketClient(server.port) as client:
        await client.join()
        assert await watcher.call("watch", client.id) is True
        client.ws.transport.write_eof()
        assert await gone(watcher, client) == "transport close"


async def test_tcp_reset(server: ServerProcess, watcher: WebSocketClient) -> None:
    async with WebSocketClient(server.port) as client:
        await client.join()
        assert await watcher.call("watch", client.id) is True
        client.reset()
        assert await gone(watcher, client) == "transport close"


@pytest.mark.parametrize("way", ["fin", "reset"])
async def test_a_poll_is_aborted(server: ServerProcess, watcher: WebSocketClient, way: str) -> None:
    async with PollingClient(server.port) as client:
        await client.join()
        assert await watcher.call("watch", client.id) is True
        client.begin_poll()
        await client.say('42["count",1]')
        if way == "reset":
            client.polls.reset()
        else:
            client.polls.writer.close()
        assert await gone(watcher, client) == "transport error"


async def test_a_post_is_aborted(server: ServerProcess, watcher: WebSocketClient) -> None:
    async with PollingClient(server.port) as client:
        await client.join()
        assert await watcher.call("watch", client.id) is True
        client.posts.send("POST", client.target(sid=client.sid), "4", {"Content-Length": "100"})
        await client.posts.writer.drain()
        client.posts.reset()
        assert await gone(watcher, client) == "transport error"


async def test_nobody_hears_of_a_poll_connection_that_closes_between_polls(
    server: ServerProcess, watcher: WebSocketClient
) -> None:
    async with PollingClient(server.port) as client:
        await client.join()
        assert await watcher.call("watch", client.id) is True
        client.polls.reset()
        await client.fresh_posts()
        assert (await client.post('42["count",1]')).text == "ok"
        assert await watcher.call("watch", client.id) is True
        assert not watcher._skipped


async def test_a_broken_packet_over_polling(server: ServerProcess, watcher: WebSocketClient) -> None:
    async with PollingClient(server.port) as client:
        await client.join()
        assert await watcher.call("watch", client.id) is True
        await client.post("9 is no packet")
        assert await gone(watcher, client) == "parse error"
        assert (await client.post("3")).status == 400


async def test_all_namespaces_end_with_the_connection(server: ServerProcess, watcher: WebSocketClient) -> None:
    async with WebSocketClient(server.port) as client:
        await client.join()
        id_ = await client.join("/custom")
        assert await watcher.call("watch", client.id) is True
        await watcher.call("watch", id_)
        client.reset()
        assert {(await watcher.event("gone"))[0] for _ in range(2)} == {client.id, id_}
