"""The network: requests through `httpx`, WebSockets over connections of our own, both through proxies and TLS.

Cookies are kept between all of these, because load balancers with sticky sessions send a client by its cookie to the
server that knows its session.
"""

from __future__ import annotations

import asyncio
import base64
import email.message
import os
import secrets
import ssl
import urllib.request
import weakref
import zlib
from collections.abc import AsyncIterator, Mapping
from http.cookiejar import Cookie, CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from madang.client.config import Address, ClientConfig, check_proxy
from madang.client.dial import Dialer, Incoming, Reply, words_of
from madang.client.link import Head, Pipe, WebSocketLink
from madang.errors import ConfigError, ConnectError, RemoteProtocolError
from madang.rfc import ws
from madang.transports import Duplex

if TYPE_CHECKING:
    import httpx

__all__ = ["NetDialer", "environment_proxy"]

#: How long an unused connection for requests is kept: less than by servers, which mostly close them after 5 s. What is
#: sent on one that is being closed is lost.
_KEEP_ALIVE_SECONDS: Final = 4.0
#: How answers may be packed, and what zlib has to know to unpack them.
_PACKED: Final = {"gzip": 31, "deflate": 15}
#: How many cookies of a server are kept: more than any browser keeps of one.
_MAX_COOKIES: Final = 200


def environment_proxy(address: Address) -> str | None:
    """The proxy that the environment (on some systems, its settings) names for a server, or None.

    Raises:
        ConfigError: what it names is no proxy that we can use.
    """
    # Entries of NO_PROXY may name a port.
    if urllib.request.proxy_bypass(f"{address.host}:{address.port}") or urllib.request.proxy_bypass(address.host):
        return None
    proxies = urllib.request.getproxies()
    proxy = proxies.get("https" if address.secure else "http") or proxies.get("all")
    if not proxy:
        return None
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    check_proxy(proxy)
    return proxy


class NetDialer(Dialer):
    """Makes requests and links over the network.

    Args:
        address: where the server is.
        config: the settings.

    Raises:
        ConfigError: certificates can't be read, or the proxy of the environment can't be used.
    """

    __slots__ = ("_address", "_config", "_context", "_http", "_jar", "_links", "_proxy")

    def __init__(self, address: Address, config: ClientConfig) -> None:
        self._address = address
        self._config = config
        self._proxy = environment_proxy(address) if config.proxy == "environment" else config.proxy
        self._links: weakref.WeakSet[WebSocketLink] = weakref.WeakSet()
        self._jar = CookieJar()
        self._jar.set_policy(_CookiePolicy(self._jar))
        self._http: httpx.AsyncClient | None = None
        self._context: ssl.SSLContext | None = None
        if config.ssl is not None or config.certificate is not None:
            self._tls()  # complains now, not at the first connection

    # Requests

    async def get(self, target: str, headers: Mapping[str, str]) -> Reply:  # noqa: D102
        return await self._request("GET", target, headers, None)

    async def post(self, target: str, headers: Mapping[str, str], body: bytes) -> Reply:  # noqa: D102
        return await self._request("POST", target, {"Content-Type": "text/plain;charset=UTF-8", **headers}, body)

    async def _request(self, method: str, target: str, headers: Mapping[str, str], body: bytes | None) -> Reply:
        import httpx

        if self._http is None:
            self._http = self._open_http()
        url = self._address.origin + target
        most = self._config.max_payload_bytes
        taken = bytearray()
        try:
            sent = list(self._headers(target, headers).items())
            async with self._http.stream(method, url, headers=sent, content=body) as response:
                async for chunk in response.aiter_raw():
                    taken += chunk
                    if len(taken) > most:
                        raise ConnectError(f"the server's answer has more than {most} bytes; max_payload_bytes")
                body = _unpacked(bytes(taken), response.headers.get("Content-Encoding", ""), most)
                return Reply(response.status_code, body)
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise self._no_answer(error) from error

    def _no_answer(self, error: Exception) -> ConnectError:
        return ConnectError(f"no answer from {self._address.origin}: {error or type(error).__name__}")

    async def stream(self, target: str, headers: Mapping[str, str]) -> Incoming:  # noqa: D102
        import httpx

        if self._http is None:
            self._http = self._open_http()
        # Packed, it would be handed on when enough is there to be packed well.
        sent = {"Accept-Encoding": "identity", "Cache-Control": "no-cache", **self._headers(target, headers)}
        try:
            request = self._http.build_request("GET", self._address.origin + target, headers=list(sent.items()))
            response = await self._http.send(request, stream=True)
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise self._no_answer(error) from error
        return _HttpIncoming(response, self)

    def _open_http(self) -> httpx.AsyncClient:
        import httpx

        proxied = self._proxy is not None and self._proxy.lower().startswith("https:")
        # Without TLS a context is never used, and loading the system's certificates takes its time.
        context = self._tls() if self._address.secure or proxied else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        return httpx.AsyncClient(
            verify=context,
            proxy=httpx.Proxy(self._proxy, ssl_context=context) if self._proxy and proxied else self._proxy,
            trust_env=False,
            headers={"Accept-Encoding": ", ".join(_PACKED)},
            cookies=self._jar,
            timeout=httpx.Timeout(None, connect=self._config.connect_timeout_seconds),
            limits=httpx.Limits(keepalive_expiry=_KEEP_ALIVE_SECONDS),
        )

    # WebSockets

    async def open(self, target: str, headers: Mapping[str, str]) -> WebSocketLink:  # noqa: D102
        try:
            pipe = await self._connect()
        except ConnectError:
            raise
        except (OSError, UnicodeError) as error:
            raise ConnectError(f"no connection to {self._address.authority}: {error}") from error
        assert pipe.transport is not None  # it is connected  # noqa: S101
        try:
            return await self._shake_hands(pipe, target, headers)
        except RemoteProtocolError as error:
            pipe.transport.abort()
            raise ConnectError(f"{self._address.authority} opens no WebSocket: {error}") from error
        except BaseException:
            pipe.transport.abort()
            raise

    async def _shake_hands(self, pipe: Pipe, target: str, headers: Mapping[str, str]) -> WebSocketLink:
        assert pipe.transport is not None  # it is connected  # noqa: S101
        config = self._config
        key = ws.client_key(secrets.token_bytes(16))
        sent = self._headers(target, headers)
        host = next((sent.pop(name) for name in list(sent) if name.lower() == "host"), self._address.authority)
        wanted = ws.Deflate(server_no_context_takeover=False, client_no_context_takeover=False)
        extensions = ws.offer(wanted) if config.websocket_compression else None
        pipe.transport.write(ws.handshake_request(host, target, key, extensions=extensions, headers=sent.items()))
        head = await pipe.head()
        self._keep_cookies(target, head)
        if head.status != 101:
            said = words_of(pipe.take())
            raise ConnectError(f"{self._address.authority} answered with status {head.status} {said}".rstrip())
        _, agreed = ws.check_response(head.status, head.headers, key)
        compression = ws.accept(agreed, wanted) if config.websocket_compression else None
        if agreed and not config.websocket_compression:
            raise RemoteProtocolError(f"an extension that was not offered: {agreed:.80}", rule="RFC 6455 4.1")
        loop = asyncio.get_running_loop()
        link = WebSocketLink(pipe, loop, max_message_bytes=config.max_payload_bytes, compression=compression)
        self._links.add(link)
        return link

    async def _connect(self) -> Pipe:
        loop = asyncio.get_running_loop()
        address = self._address
        if self._proxy is not None:
            return await self._connect_through(self._proxy)
        context = self._tls() if address.secure else None
        name = address.host if address.secure else None
        _, pipe = await loop.create_connection(Pipe, address.host, address.port, ssl=context, server_hostname=name)
        return pipe

    async def _connect_through(self, proxy: str) -> Pipe:
        """A tunnel through an HTTP proxy (RFC 9110, 9.3.6)."""
        loop = asyncio.get_running_loop()
        address, parts = self._address, urlsplit(proxy)
        assert parts.hostname is not None  # it was checked  # noqa: S101
        secure = parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
        _, pipe = await loop.create_connection(
            Pipe,
            parts.hostname,
            port,
            ssl=self._tls() if secure else None,
            server_hostname=parts.hostname if secure else None,
        )
        assert pipe.transport is not None  # it is connected  # noqa: S101
        try:
            host = f"[{address.host}]" if ":" in address.host else address.host
            lines = [f"CONNECT {host}:{address.port} HTTP/1.1", f"Host: {host}:{address.port}"]
            if parts.username is not None:
                user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
                lines.append(f"Proxy-Authorization: Basic {base64.b64encode(user.encode()).decode()}")
            pipe.transport.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
            try:
                head = await pipe.head()
            except (RemoteProtocolError, ConnectError) as error:
                raise ConnectError(f"the proxy {parts.hostname} doesn't work: {error}") from error
            if not 200 <= head.status < 300:
                raise ConnectError(f"the proxy {parts.hostname} answered with status {head.status}")
            if pipe.take():  # it would be taken for words of the server, which TLS would seem to vouch for
                raise ConnectError(f"the proxy {parts.hostname} sent something in the server's name")
            if address.secure:
                transport = await loop.start_tls(pipe.transport, pipe, self._tls(), server_hostname=address.host)
                assert transport is not None  # else it has raised  # noqa: S101
                pipe.transport = transport
        except BaseException:
            pipe.transport.abort()
            raise
        return pipe

    # WebTransport

    async def knock(self, path: str, headers: Mapping[str, str]) -> Duplex:  # noqa: D102
        from madang.client.webtransport import connect

        if self._proxy is not None:
            # Past it we'd show our own address to whom we are to reach through it.
            raise ConnectError(
                "WebTransport goes through no HTTP proxy: leave it out of `transports`, or set proxy=None"
            )
        config = self._config
        sent = {name: value for name, value in self._headers(path, headers).items() if name.lower() != "host"}
        return await connect(self._address, path, sent, config.ssl, config.certificate_hashes, config.max_payload_bytes)

    # What all share

    def _tls(self) -> ssl.SSLContext:
        config = self._config
        if isinstance(config.ssl, ssl.SSLContext):
            return config.ssl
        if self._context is not None:
            return self._context
        try:
            if config.ssl is None:
                context = ssl.create_default_context()
            elif os.path.isdir(config.ssl):
                context = ssl.create_default_context(capath=config.ssl)
            else:
                context = ssl.create_default_context(cafile=config.ssl)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"ssl: the certificates in {config.ssl!r} can't be read: {error}") from None
        shown: Any = config.certificate
        if shown is not None:
            files = (shown, None) if isinstance(shown, str | os.PathLike) else tuple(shown)
            try:
                context.load_cert_chain(*files)
            except (OSError, ssl.SSLError) as error:
                raise ConfigError(f"certificate: {config.certificate!r} can't be read: {error}") from None
        self._context = context
        return context

    def _headers(self, target: str, headers: Mapping[str, str]) -> dict[str, str]:
        """The headers to send: those given, ours where they leave room, and the cookies."""
        sent = dict(headers)
        names = {name.lower(): name for name in sent}
        if "user-agent" not in names:
            sent["User-Agent"] = "madang"
        request = urllib.request.Request(self._address.origin + target)  # noqa: S310  # never opened
        self._jar.add_cookie_header(request)
        kept = request.get_header("Cookie")
        if kept is not None:
            own = names.get("cookie", "Cookie")
            sent[own] = f"{sent[own]}; {kept}" if own in sent else kept
        return sent

    def _keep_cookies(self, target: str, head: Head) -> None:
        if head.cookies:
            request = urllib.request.Request(self._address.origin + target)  # noqa: S310  # never opened
            self._jar.extract_cookies(_Cookies(head.cookies), request)  # type: ignore[arg-type]

    async def close(self) -> None:  # noqa: D102
        for link in tuple(self._links):
            await link.cut()
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()


class _HttpIncoming(Incoming):
    """A response of `httpx` that is read while it comes."""

    __slots__ = ("_chunks", "_coding", "_dialer", "_response")

    def __init__(self, response: httpx.Response, dialer: NetDialer) -> None:
        self.status = response.status_code
        self.content_type = response.headers.get("Content-Type", "")
        self._coding = response.headers.get("Content-Encoding", "identity").strip().lower()
        self._response = response
        self._dialer = dialer
        self._chunks: AsyncIterator[bytes] | None = None

    async def read(self) -> bytes:
        import httpx

        if self._coding not in ("", "identity"):
            raise ConnectError(f"the server's answer is packed by {self._coding!r:.80}, which nobody asked for")
        if self._chunks is None:
            self._chunks = self._response.aiter_raw()
        try:
            return await anext(self._chunks, b"")
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise self._dialer._no_answer(error) from error

    async def close(self) -> None:
        await self._response.aclose()


def _unpacked(body: bytes, coding: str, most: int) -> bytes:
    """The body of an answer, which may be packed once, and must not grow beyond a limit."""
    coding = coding.strip().lower()
    if not body or coding in ("", "identity"):
        return body
    if coding not in _PACKED:
        raise ConnectError(f"the server's answer is packed by {coding!r:.80}, which nobody asked for")
    stream = zlib.decompressobj(_PACKED[coding])
    try:
        unpacked = stream.decompress(body, most + 1)
    except zlib.error as error:
        raise ConnectError(f"the server's answer can't be unpacked: {error}") from error
    if len(unpacked) > most:
        raise ConnectError(f"the server's answer unpacks to more than {most} bytes; max_payload_bytes")
    if not stream.eof:
        raise ConnectError("the server's answer can't be unpacked: it ends too early")
    return unpacked


class _CookiePolicy(DefaultCookiePolicy):
    """Keeps no cookie that can't be sent back, and not more than a few."""

    def __init__(self, jar: CookieJar) -> None:
        super().__init__()
        self._jar = jar

    def set_ok(self, cookie: Cookie, request: urllib.request.Request) -> bool:
        said = f"{cookie.name}={cookie.value or ''}"
        if any(not " " <= character <= "~" for character in said) or len(self._jar) >= _MAX_COOKIES:
            return False
        return bool(super().set_ok(cookie, request))


class _Cookies:
    """The part of a response that a cookie jar looks at."""

    def __init__(self, cookies: list[str]) -> None:
        self._message = email.message.Message()
        for cookie in cookies:
            self._message["Set-Cookie"] = cookie

    def info(self) -> email.message.Message:
        return self._message
