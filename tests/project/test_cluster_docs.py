"""The page of clusters names exactly the options that each engine's URL has."""

import re
from pathlib import Path

import pytest

from madang.cluster import local, nats, open_bus, postgres, redis_streams
from madang.cluster._jetstream import LIMITS
from madang.config import Cluster
from madang.errors import ConfigError

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "cluster.md").read_text()
FILE = __file__  # one that there is
#: A value that each option takes which not any text fits.
VALUES = {
    "subscription_mode": "static",
    "ssl_cert_reqs": "none",
    "storage": "memory",
    "ssl_ca_certs": FILE,
    "ssl_certfile": FILE,
    "ssl_keyfile": FILE,
    "table": "attachments",
    "stream_name": "courtyard",
}


def table(heading: str) -> dict[str, tuple[str, str]]:
    """The options that a section names: of whom, and their default."""
    text = re.search(rf"^## {heading}\n(.*?)^## ", PAGE, re.MULTILINE | re.DOTALL)
    assert text is not None
    found: dict[str, tuple[str, str]] = {}
    for line in text[1].splitlines():
        if line.startswith("| `"):
            names, *whose, default, _ = [cell.strip() for cell in line.strip("|").split("|")]
            for name in re.findall(r"`(\w+)`", names):
                found[name] = (whose[0] if whose else "", default.strip("`"))
    return found


def told_by(url: str) -> set[str]:
    """The options that the refusal of an unknown one names."""
    with pytest.raises(ConfigError) as caught:
        open_bus(Cluster(f"{url}?nonsense=1"))
    return set(re.findall(r"\w+", str(caught.value).partition("it has ")[2]))


def test_options_of_redis() -> None:
    described = table("Redis")
    everywhere = {name for name, (whose, _) in described.items() if whose in ("all", "by TLS", "`+sentinel`")}
    for scheme in ("redis", "redis-classic", "redis-streams"):
        own = {name for name, (whose, _) in described.items() if whose == f"`{scheme}://`"}
        url = f"{scheme.replace('redis', 'rediss')}+sentinel://host/mymaster"
        assert own | everywhere == told_by(url)
        for name in own | everywhere:
            open_bus(Cluster(f"{url}?{name}={VALUES.get(name, '1')}"))
    bus = open_bus(Cluster("redis-streams://host"))
    assert isinstance(bus, redis_streams.RedisStreamsBus)
    assert described["max_len"][1] == str(bus.max_len)


@pytest.mark.parametrize(
    ("heading", "url", "module"), [("PostgreSQL", "postgresql://host/db", postgres), ("NATS", "nats://host", nats)]
)
def test_options_of_others(heading: str, url: str, module: object) -> None:
    described = table(heading)
    listed = re.findall(r"^- ((?:`\w+`(?: \([^)]*\))?,? ?)+)", module.__doc__ or "", re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(listed))) == set(described)
    for name in described.keys() - {"tls_ca", "tls_cert", "tls_key"}:  # which read their files at once
        more = "jetstream=1&" if name in LIMITS else ""
        open_bus(Cluster(f"{url}?{more}{name}={VALUES.get(name, '1')}"))
    if heading == "NATS":
        assert {name: described[name][1] for name in LIMITS} == {
            name: f"{default:g}" if isinstance(default, float) else str(default) for name, default in LIMITS.items()
        }


def test_options_of_workers() -> None:
    described = table("Workers of one machine")
    assert set(described) == {"ledger", *local._OPTIONS}
    for name in described:
        open_bus(Cluster(f"local:///run/chat?{name}=1"))
