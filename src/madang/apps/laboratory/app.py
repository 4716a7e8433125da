"""The laboratory as one ASGI application: its page, and the server that the page asks for lanes."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from starlette.applications import Starlette
from starlette.routing import Mount

from madang.apps.laboratory.events import make_server
from madang.apps.laboratory.lanes import Lanes
from madang.apps.site import AssetsMissingError, Page, SafeHeaders

__all__ = ["AssetsMissingError", "create_app", "page_policy"]

STATIC: Final = Path(__file__).with_name("static")
#: A host that a policy can name: there is no way to write an IPv6 address in one.
_HOST: Final = re.compile(r"([A-Za-z0-9.-]{1,253})(?::[0-9]{1,5})?")


def create_app(
    host: str = "127.0.0.1", *, lane_ports: Sequence[int] = (0,), max_lanes: int = 32, static: Path = STATIC
) -> Any:
    """Return the laboratory, an ASGI application.

    Args:
        host: where lanes listen; the same as the page's own server.
        lane_ports: the ports that they may use; (0,) for any free ones.
        max_lanes: how many there may be at a time.
        static: the folder of the built page.

    Raises:
        AssetsMissingError: the page isn't there.
    """
    page = Page(static, "laboratory", page_policy)
    io = make_server(Lanes(host, lane_ports, max_lanes))
    return io.asgi(SafeHeaders(Starlette(routes=[Mount("/", page)])))


def page_policy(host: str) -> str:
    """The content security policy of the page, which reaches lanes at other ports of its own host.

    Args:
        host: the `Host` header of the request.

    Example:
        >>> "frame-src http://192.168.0.7:*;" in page_policy("192.168.0.7:8000")
        True
    """
    match = _HOST.fullmatch(host)
    name = match[1] if match else ""
    http = f"http://{name}:*" if name else "http:"
    links = f"ws://{name}:* https://{name}:*" if name else "ws: https:"
    return (
        f"default-src 'none'; script-src 'self' {http}; style-src 'self'; img-src 'self' blob: data:; font-src 'self';"
        f" connect-src 'self' {http} {links}; frame-src {http}; form-action 'self' {http};"
        " manifest-src 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
