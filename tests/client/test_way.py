"""The way to the server: TLS, proxies, cookies, several transports."""

import asyncio
import re
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from client.conftest import QUICK, WAYS, make, until
from client.support.cable import Cable, HttpProxy
from madang import Client, ConfigError, ConnectError, Cookie
from madang.client.config import Address
from madang.client.net import environment_proxy
from madang.faces.uvicorn import serve_async
from madang.rfc import ws

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for localhost, signed by itself."""
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(cert), "-days", "2"]
    subprocess.run([*command, *names, *files], check=True, capture_output=True, timeout=30)
    return key, cert


@asynccontextmanager
async def secure(certificate: tuple[Path, Path], **options: Any) -> AsyncIterator[int]:
    files = {"ssl_keyfile": str(certificate[0]), "ssl_certfile": str(certificate[1]), **options}
    async with serve_async(make(), **files) as port:
        yield port


async def test_tls(certificate: tuple[Path, Path], way: str) -> None:
    async with secure(certificate) as port:
        context = ssl.create_default_context(cafile=certificate[1])
        for trust in (context, certificate[1], str(certificate[1])):
            for scheme in ("https", "wss"):
                url = f"{scheme}://localhost:{port}"
                async with Client(url, transports=WAYS[way], ssl=trust, **QUICK) as client:
                    assert await client.call("echo", "x" * 200_000) == "x" * 200_000
                    if way == "upgrade":
                        await until(lambda client=client: client.manager.transport == "websocket")


async def test_a_certificate_that_is_not_trusted(certificate: tuple[Path, Path], way: str) -> None:
    async with secure(certificate) as port:
        with pytest.raises(ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            async with Client(f"https://localhost:{port}", transports=WAYS[way], **QUICK):
                pytest.fail("connected")


async def test_a_client_certificate(certificate: tuple[Path, Path], way: str) -> None:
    required = {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_ca_certs": str(certificate[1])}
    async with secure(certificate, **required) as port:
        url = f"https://localhost:{port}"
        shown = (certificate[1], certificate[0])
        async with Client(url, transports=WAYS[way], ssl=certificate[1], certificate=shown, **QUICK) as client:
            assert await client.call("echo", 1) == 1
        with pytest.raises(ConnectError):
            async with Client(url, transports=WAYS[way], ssl=certificate[1], **QUICK):
                pytest.fail("connected")


def test_certificates_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("nothing")
    for trust in (tmp_path / "none.pem", tmp_path / "empty.pem"):
        with pytest.raises(ConfigError, match="ssl: the certificates in"):
            Client("https://localhost", ssl=trust)
    with pytest.raises(ConfigError, match=r"certificate: .* can't be read"):
        Client("https://localhost", certificate=tmp_path / "none.pem")


# ---- proxies ----


async def test_a_proxy(place: Any, way: str) -> None:
    async with place() as here, HttpProxy() as proxy:
        async with here.client(way, proxy=proxy.url) as client:
            assert await client.call("echo", "x" * 100_000) == "x" * 100_000
            if way == "upgrade":
                await until(lambda: client.manager.transport == "websocket")
        lines = {line.split(" ")[0] for line in proxy.seen}
        expected = {name: {"CONNECT"} if name == "websocket" else {"GET", "POST"} for name in WAYS[way]}
        assert lines == set().union(*expected.values())


async def test_a_proxy_before_tls(certificate: tuple[Path, Path], way: str) -> None:
    async with secure(certificate) as port, HttpProxy() as proxy:
        url = f"https://localhost:{port}"
        async with Client(url, transports=WAYS[way], ssl=certificate[1], proxy=proxy.url, **QUICK) as client:
            assert await client.call("echo", 1) == 1
        assert {line.split(" ")[0] for line in proxy.seen} == {"CONNECT"}


async def test_a_proxy_that_is_spoken_to_by_tls(certificate: tuple[Path, Path], place: Any, way: str) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate[1], certificate[0])
    async with secure(certificate) as port, place() as here, HttpProxy(tls=context) as proxy:
        for url in (here.url, f"https://localhost:{port}"):
            settings: dict[str, Any] = {"ssl": certificate[1], "proxy": proxy.url, **QUICK}
            async with Client(url, transports=WAYS[way], **settings) as client:
                assert await client.call("echo", "x" * 100_000) == "x" * 100_000
                if way == "upgrade":
                    await until(lambda client=client: client.manager.transport == "websocket")


async def test_a_proxy_with_a_password(place: Any, way: str) -> None:
    async with place() as here, HttpProxy(user="me:p@ss") as proxy:
        with_user = proxy.url.replace("http://", "http://me:p%40ss@")
        async with here.client(way, proxy=with_user) as client:
            assert await client.call("echo", 1) == 1
        with pytest.raises(ConnectError, match="407"):
            async with here.client(way, proxy=proxy.url):
                pytest.fail("connected")


async def test_the_proxy_of_the_environment(place: Any, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with place() as here, HttpProxy() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        async with here.client(way) as client:
            await client.call("echo")
        seen = len(proxy.seen)
        assert seen
        async with here.client(way, proxy=None) as client:
            await client.call("echo")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        async with here.client(way) as client:
            await client.call("echo")
        assert len(proxy.seen) == seen


def test_which_proxy_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, tls = Address.of("ws://example.org"), Address.of("wss://example.org")
    assert environment_proxy(plain) is None
    monkeypatch.setenv("ALL_PROXY", "http://all:1")
    assert environment_proxy(plain) == environment_proxy(tls) == "http://all:1"
    monkeypatch.setenv("HTTPS_PROXY", "tls:2")
    assert environment_proxy(plain) == "http://all:1"
    assert environment_proxy(tls) == "http://tls:2"
    monkeypatch.setenv("HTTPS_PROXY", "gopher://tls:2")
    with pytest.raises(ConfigError, match="the proxy must be"):
        environment_proxy(tls)
    monkeypatch.setenv("NO_PROXY", ".org")
    assert environment_proxy(tls) is None
    monkeypatch.setenv("NO_PROXY", "example.org:80")
    assert environment_proxy(plain) is None
    with pytest.raises(ConfigError, match="the proxy must be"):
        environment_proxy(tls)


@pytest.mark.parametrize(
    "proxy", ["socks5://me:secret@proxy:1", "gopher://me:secret@proxy", "http://me:secret@proxy:x"]
)
def test_the_password_of_a_proxy_is_not_shown(proxy: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Client("http://server", proxy=proxy)
    assert "secret" not in str(caught.value)
    assert "proxy" in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "answered with status 403"),
        (b"nonsense\r\n\r\n", "this is no HTTP response"),
        (b"", "closed the connection before it had answered"),
        (b"HTTP/1.1 200 OK\r\nbroken header\r\n\r\n", "this is no header"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000, "has more than 65536 bytes"),
    ],
)
async def test_proxies_that_do_not_work(answer: bytes, wrong: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        proxy = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        client = Client("http://localhost:9", transports=["websocket"], proxy=proxy, **QUICK)
        with pytest.raises(ConnectError, match=wrong):
            await client.connect()
        await client.close()


async def test_a_cut_cable_behind_a_proxy(place: Any, way: str) -> None:
    async with place() as here, HttpProxy() as proxy, here.client(way, proxy=proxy.url) as client:
        for _ in range(2):
            await asyncio.sleep(0.1)  # a poll waits again, or the upgrade is done
            proxy.cut()
            await until(lambda: not client.connected)
            assert await client.call("echo", 1) == 1


async def test_a_proxy_that_speaks_for_the_server(certificate: tuple[Path, Path]) -> None:
    """What it sends behind its own answer, before TLS, must not be taken for the server's: it could set cookies."""
    async with secure(certificate) as port, HttpProxy() as proxy:
        proxy.said = b"HTTP/1.1 500 Oops\r\nSet-Cookie: session=mine\r\n\r\n"
        settings = {"transports": ["websocket"], "ssl": certificate[1], "proxy": proxy.url, **QUICK}
        client = Client(f"https://localhost:{port}", **settings)
        with pytest.raises(ConnectError, match="in the server's name"):
            await client.connect()
        await client.close()


# ---- cookies ----


def sent_cookies(cable: Cable) -> list[tuple[str, str]]:
    """Of each request that went through a cable: method and transport, and the cookies."""
    found = []
    for head in re.findall(rb"(?:GET|POST) /socket\.io/.*?\r\n\r\n", bytes(cable.heard), re.DOTALL):
        lines = head.decode("latin-1").split("\r\n")
        method, target, _ = lines[0].split(" ")
        transport = "websocket" if "transport=websocket" in target else "polling"
        cookies = [line.partition(":")[2].strip() for line in lines if line.lower().startswith("cookie:")]
        found.append((f"{method} {transport}", "; ".join(cookies)))
    return found


async def test_cookies_are_kept(place: Any) -> None:
    """What a load balancer sets at the handshake comes back with polls, posts and the WebSocket."""
    async with (
        place(cookie=Cookie("sticky")) as here,
        Cable(here.port) as cable,
        Client(cable.url, headers={"Cookie": "own=1"}, **QUICK) as client,
    ):
        await until(lambda: client.manager.transport == "websocket")
        [socket] = here.io.sockets.values()
        first, *others = sent_cookies(cable)
        assert first == ("GET polling", "own=1")
        assert {kind for kind, _ in others} >= {"GET polling", "POST polling", "GET websocket"}
        assert {cookies for _, cookies in others} == {f"own=1; sticky={socket.session.id}"}
        assert await client.call("echo", 1) == 1


async def test_a_cookie_of_the_websocket(place: Any) -> None:
    """One that comes with the answer 101 is kept for the next connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        heads.append(head)
        key = re.search(r"Sec-WebSocket-Key: (\S+)", head)
        assert key is not None
        cookie = ("Set-Cookie", "sticky=7; Path=/")
        writer.write(ws.handshake_response(key[1], headers=[cookie]))
        writer.write(ws.text_frame('0{"sid":"x","upgrades":[],"pingInterval":1000,"pingTimeout":1000}'))
        await reader.read(100)
        writer.write(ws.text_frame('40{"sid":"y"}'))
        writer.close()

    heads: list[str] = []
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with Client(url, transports=["websocket"], **QUICK):
            await until(lambda: len(heads) == 2)
        assert "Cookie:" not in heads[0]
        assert "\r\nCookie: sticky=7\r\n" in heads[1]


async def test_cookies_that_cannot_be_kept(place: Any) -> None:
    """Those that could not be sent back, and too many, are left out; nothing breaks."""
    async with place() as here, Cable(here.port) as cable:
        cookies = ("name=이름", "이름=1", *(f"c{number}=1" for number in range(250)))
        cable.added = "".join(f"Set-Cookie: {cookie}\r\n" for cookie in cookies).encode()
        async with Client(cable.url, **QUICK) as client:
            await until(lambda: client.manager.transport == "websocket")
            assert await client.call("echo", 1) == 1
        _, *others = sent_cookies(cable)
        assert {len(cookies.split("; ")) for _, cookies in others} == {200}


# ---- transports ----


async def test_trying_all_transports(place: Any) -> None:
    async with place(transports=["websocket"]) as here:
        with pytest.raises(ConnectError, match="Transport unknown"):
            async with here.client("upgrade"):
                pytest.fail("connected")
        async with here.client("upgrade", try_all_transports=True) as client:
            assert client.manager.transport == "websocket"
    async with place(transports=["polling"]) as here:
        with pytest.raises(ConnectError, match="answered with status 400"):
            async with here.client("websocket"):
                pytest.fail("connected")
        both = {"transports": ["websocket", "polling"], "try_all_transports": True}
        async with here.client(**both) as client:
            assert client.manager.transport == "polling"
            assert await client.call("echo", 1) == 1


async def test_remembering_the_upgrade(place: Any) -> None:
    async with (
        place() as here,
        Cable(here.port) as cable,
        Client(cable.url, remember_upgrade=True, **QUICK) as client,
    ):
        await until(lambda: client.manager.transport == "websocket")
        cable.heard.clear()
        cable.cut()
        await until(lambda: not client.connected)
        assert await client.call("echo", 1) == 1
        assert client.manager.transport == "websocket"
        assert [kind for kind, _ in sent_cookies(cable)] == ["GET websocket"]


async def test_another_path(place: Any, way: str) -> None:
    async with place(path="/deep/down/") as here:
        async with here.client(way, path="/deep/down") as client:
            assert await client.call("echo", 1) == 1
        with pytest.raises(ConnectError, match=r"status 40[34]"):
            async with here.client(way):
                pytest.fail("connected")
