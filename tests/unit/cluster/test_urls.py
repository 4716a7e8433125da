"""URLs of engines: what is wrong with one is told without its password."""

import pytest

from madang.cluster import open_bus
from madang.config import Cluster
from madang.errors import ConfigError


@pytest.mark.parametrize("scheme", ["redis", "redis-classic", "redis-streams", "redis+cluster", "postgresql", "nats"])
@pytest.mark.parametrize(
    "rest", ["u:s3cr/et@host", "u:s3cr?et@host:1/0", ":1/s3cret@host", ":1?s3cret@host", "u:s3cret@host?s3cret@x=1"]
)
def test_a_password_that_is_not_encoded_is_not_told(scheme: str, rest: str) -> None:
    if scheme == "nats" and "?" not in rest:
        open_bus(Cluster(f"{scheme}://{rest}"))  # it has no path, and takes the slash as it is meant
        return
    with pytest.raises(ConfigError) as caught:
        open_bus(Cluster(f"{scheme}://{rest}"))
    assert "write %2F" in str(caught.value)
    assert "s3cr" not in str(caught.value)
    assert "et@" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://u:p%2F%3F%40@host:1/0?socket_timeout=1",
        "redis+sentinel://[::1]:1,host/master/0?sentinel_password=a@b",
        "redis-streams://host?session_key_prefix=a@b",
        "postgresql:///database?user=me&password=a@b",
        "postgresql://u:p%2F@one:1,two:2/database?application_name=a@b",
        "nats://token%2F@[::1]:4222,other",
    ],
)
def test_what_is_encoded_or_behind_an_option_is_taken(url: str) -> None:
    open_bus(Cluster(url))


@pytest.mark.parametrize("url", ["redis:s3cret@host", "s3cret@host"])
def test_what_is_no_url_at_all_is_not_told_if_it_has_a_password(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Cluster(url)
    assert "s3cret" not in str(caught.value)


def test_a_port_of_nats_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="write nats://host:4222"):
        open_bus(Cluster("nats://u:p@host:port"))
