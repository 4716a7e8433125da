"""The WebSocket transport: nothing but a name, because frames are messages already."""

from madang.transports import LinkTransport
from madang.transports.websocket import TRANSPORT


def test_what_it_is() -> None:
    assert isinstance(TRANSPORT, LinkTransport)
    assert TRANSPORT.name == "websocket"
    assert TRANSPORT.upgrades == ()
