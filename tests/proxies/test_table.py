"""The table of `docs/how-to/proxies.md`: each cell is what is found out here."""

import asyncio
import ssl

import pytest

from faces.support.clients import CLIENTS
from proxies.support.documented import COLUMNS, IDS, table
from proxies.support.real import ProxyProcess
from proxies.support.trials import MATTERS, carries, flashsocket, vanishes
from support.server import ServerProcess

pytestmark = pytest.mark.proxies

VANISHING = "a client that vanishes is missed"
each_column = pytest.mark.parametrize(
    ("proxy", "column"), [(column[0], column) for column in COLUMNS], ids=IDS, indirect=["proxy"]
)


@pytest.fixture
def tls(column: tuple[str, str], trusting: ssl.SSLContext) -> ssl.SSLContext | None:
    """How to trust the site of a column, if it speaks TLS."""
    return trusting if column[1] == "documented" else None


def test_the_table_is_complete() -> None:
    assert set(table()) == {*[f"`{name}`" for name in CLIENTS], *MATTERS, VANISHING}


@each_column
async def test_what_each_transport_does(
    proxy: ProxyProcess, column: tuple[str, str], tls: ssl.SSLContext | None
) -> None:
    documented = table()
    found = await carries(CLIENTS, proxy[column[1]], tls)
    assert found == {name: documented[f"`{name}`"][column] for name in CLIENTS}


@each_column
async def test_what_else_there_is(proxy: ProxyProcess, column: tuple[str, str], tls: ssl.SSLContext | None) -> None:
    found = await asyncio.gather(*[trial(proxy[column[1]], tls) for trial in MATTERS.values()])
    documented = table()
    assert dict(zip(MATTERS, found, strict=True)) == {matter: documented[matter][column] for matter in MATTERS}


async def test_what_passes_no_proxy_is_there_without_one(calm: ServerProcess) -> None:
    assert await flashsocket(calm.port) == "yes"


async def test_who_vanishes(
    real_nginx: ProxyProcess, real_haproxy: ProxyProcess, trusting: ssl.SSLContext, calm: ServerProcess
) -> None:
    proxies = {"nginx": real_nginx, "haproxy": real_haproxy}
    found = await asyncio.gather(
        *[
            vanishes(proxies[proxy][site], trusting if site == "documented" else None, calm.port)
            for proxy, site in COLUMNS
        ]
    )
    rows = table()
    for column, missed in zip(COLUMNS, found, strict=True):
        if rows[VANISHING][column] == "at once":
            # Who polls now and then can't be missed before its time.
            expected = {name for name in CLIENTS if rows[f"`{name}`"][column][:2] != "no"} - {"shortpolling"}
        else:
            assert rows[VANISHING][column] == "with the next ping; WebSocket at once"
            expected = {"websocket"}
        assert missed == expected, column
