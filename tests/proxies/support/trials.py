"""Trials: what one transport does behind one proxy, in the words of the table in `docs/how-to/proxies.md`."""

import asyncio
import contextlib
import json
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Self

from websockets.exceptions import InvalidStatus

from faces.support.clients import CLIENTS, STREAMS, Client, PollingClient, WebSocketClient
from faces.support.flash import FlashClient
from faces.support.http import Connection, request

ELSEWHERE = "127.0.0.2"
#: How long nobody tells of clients that are not missed.
UNNOTICED_SECONDS = 3
#: How long a poll takes to get to the server, at most. Were it longer, the client would be missed by its connection.
POLL_SECONDS = 0.3

#: A proxy that waits for more to send waits for 0.2 s. On a busy machine all is slow, but not the fastest of many.
LATE_SECONDS = 0.15
FEW = 4
#: Nothing that is buffered comes within any time; what isn't may need so long on a busy machine.
PATIENCE_SECONDS = 15
LARGE = 1_000_000
#: An event whose POST has so many bytes; what is in it needs no escapes in forms.
BIG = "-" * (LARGE - len('42["echo back",""]'))


async def carries(
    names: Iterable[str], port: int, tls: ssl.SSLContext | None = None, *, tries: int = 20
) -> dict[str, str]:
    """Everything that transports have to do: "yes", or what they don't.

    Args:
        names: the transports, all of which are tried at the same time.
        port: the proxy's.
        tls: how to trust the proxy, if it speaks TLS.
        tries: how many events are given the chance to be fast.
    """
    found = {}
    clients: dict[str, Client] = {}
    async with contextlib.AsyncExitStack() as stack:
        for name in names:
            try:
                client = await stack.enter_async_context(CLIENTS[name](port, tls=tls))
            except InvalidStatus as refusal:
                found[name] = f"no: {refusal.response.status_code}"
            else:
                await client.join()
                clients[name] = client
        late = await asyncio.gather(*[_is_late(client, tries) for client in clients.values()])
        await asyncio.gather(*[_bears(client) for client in clients.values()])
        for client, is_late in zip(clients, late, strict=True):
            found[client] = "0.2 s late" if is_late else "yes"
    return found


async def _is_late(client: Client, tries: int) -> bool:
    """Each event comes before the next one is sent; tells whether the connection itself makes all of them late."""
    number = 0
    while True:
        began = time.monotonic()
        await client.emit("echo back", number)
        assert await client.event("echo back", PATIENCE_SECONDS) == [number]
        number += 1
        if number >= FEW and (client.transport not in STREAMS or time.monotonic() - began < LATE_SECONDS):
            return False
        if number == tries:
            return True


async def _bears(client: Client) -> None:
    """Bytes, and a megabyte each way."""
    await client.say('451-["echo back",{"_placeholder":true,"num":0}]', bytes(range(256)))
    assert await client.hear() == '451-["echo back",{"_placeholder":true,"num":0}]'
    assert await client.hear() == bytes(range(256))
    await client.emit("echo back", BIG)
    assert await client.event("echo back", PATIENCE_SECONDS) == [BIG]


async def upgrades(port: int, tls: ssl.SSLContext | None) -> str:
    """Move from polling to a WebSocket; if that can't be, nothing is lost where one is."""
    async with PollingClient(port, tls=tls) as client:
        await client.join()
        try:
            async with WebSocketClient(port, tls=tls, sid=client.sid) as better:
                await client.emit("echo back", "before")
                await better.say("2probe")
                assert await better.hear() == "3probe"
                while (frame := await client.hear()) != "6":
                    assert frame == '42["echo back","before"]'
                await better.say("5", '42["echo back","after"]')
                assert await better.hear() == '42["echo back","after"]'
                return "yes"
        except InvalidStatus as refusal:
            assert await client.call("echo", "still here") == "still here"
            return f"no: {refusal.response.status_code}, stays on polling"


async def webtransport(port: int, tls: ssl.SSLContext | None) -> str:
    """It is UDP, so nothing of it reaches a proxy of TCP; what asks for it by TCP is told so."""
    reply = await request(port, "GET", "/socket.io/?EIO=4&transport=webtransport", tls=tls)
    assert reply.status == 400, reply
    return "no"


async def flashsocket(port: int, tls: ssl.SSLContext | None = None) -> str:
    """Its draft of WebSocket has eight bytes behind the head, of which proxies of HTTP don't know."""
    client = FlashClient(port, tls=tls)
    try:
        async with asyncio.timeout(UNNOTICED_SECONDS):
            await client.start()
        await client.join()
        assert await client.call("echo", "마당") == "마당"
    except (TimeoutError, EOFError, AssertionError):  # no answer, none that is whole, or another one
        return "no"
    finally:
        await client.stop()
    return "yes"


async def same_origin(port: int, tls: ssl.SSLContext | None) -> str:
    """A browser's request from a page that came through the same proxy."""
    origin = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    reply = await request(port, "GET", "/socket.io/?EIO=4&transport=polling", headers={"Origin": origin}, tls=tls)
    return "yes" if reply.status == 200 else f"no: {reply.status}"


class _FromElsewhere(Connection):
    """A connection from another address of this machine than the proxy's."""

    async def __aenter__(self) -> Self:
        options: dict[str, Any] = {"ssl": self.tls, "server_hostname": "localhost" if self.tls else None}
        elsewhere = (ELSEWHERE, 0)
        self.reader, self.writer = await asyncio.open_connection(self.host, self.port, local_addr=elsewhere, **options)
        return self


async def told_who(port: int, tls: ssl.SSLContext | None) -> str:
    """Whether the server knows the client's address, and that it used TLS."""
    async with _FromElsewhere(port, tls=tls) as connection:
        target = "/socket.io/?EIO=4&transport=polling"
        opened = await connection.ask("GET", target)
        target += f"&sid={json.loads(opened.text[1:])['sid']}"
        for packet in ("40", '420["who am i"]'):
            assert (await connection.ask("POST", target, packet)).text == "ok"
            answer = (await connection.ask("GET", target)).text
        who = json.loads(answer.removeprefix("430"))[0]
        return "yes" if (who["address"], who["secure"]) == (ELSEWHERE, tls is not None) else "no"


async def takes(port: int, tls: ssl.SSLContext | None) -> str:
    """A POST that is larger than nginx lets pass by itself."""
    async with PollingClient(port, tls=tls) as client:
        await client.join()
        reply = await client.post('42["count","' + "-" * 1_100_000 + '"]')
        return "yes" if reply.status == 200 else f"no: {reply.status}"


#: What the table says beside the transports.
MATTERS: dict[str, Callable[[int, ssl.SSLContext | None], Awaitable[str]]] = {
    "`webtransport`": webtransport,
    "`flashsocket`": flashsocket,
    "the upgrade from polling to WebSocket": upgrades,
    'pages of the proxy\'s own address, with `origins="same"`': same_origin,
    "the client's address, and whether it used TLS": told_who,
    "a POST of 1,100,000 bytes": takes,
}


async def vanishes(port: int, tls: ssl.SSLContext | None, server_port: int) -> set[str]:
    """Cut clients of all transports; returns those that the server misses before the next ping."""
    async with WebSocketClient(server_port) as watcher:
        await watcher.join()
        names = {}
        for name, kind in CLIENTS.items():
            client = kind(port, tls=tls)
            try:
                await client.start()
            except InvalidStatus:
                continue  # not over this proxy
            await client.join()
            assert await watcher.call("watch", client.id) is True
            names[client.id] = name
            if name in ("polling", "jsonp"):
                assert isinstance(client, PollingClient)
                client.begin_poll()
                await asyncio.sleep(POLL_SECONDS)  # no sign comes back from a poll that waits
            await client.stop()
        missed: set[str] = set()
        # Those that are missed at once are so within any time; the others are missed by no later than the ping.
        with contextlib.suppress(TimeoutError):
            while True:
                missed.add(names[(await watcher.event("gone", UNNOTICED_SECONDS))[0]])
        return missed
