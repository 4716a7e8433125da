"""What a URL of Redis says, what it may not say, and how a link reads the protocol where hiredis isn't there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import ResponseError

from madang.cluster._redis import NOTHING, Engine, Push, Reader, choice, command, seconds, slot_of, whole, yes_no
from madang.errors import ConfigError

KNOWN = {"mode": choice("one", "two"), "often": whole, "on": yes_no, "wait": seconds}


def test_a_plain_url() -> None:
    engine = Engine("redis://localhost", KNOWN)
    assert (engine.kind, engine.addresses, engine.database, engine.tls) == ("single", [("localhost", 6379)], 0, False)
    assert (engine.options, engine.timeout) == ({}, 2.5)


def test_everything_in_a_url() -> None:
    engine = Engine(
        "valkeys-classic+sentinel://us%40er:pa:ss%2Fw#@one,[::1]:7,three:8/mymaster/3"
        "?mode=two&often=5&on=yes&wait=0.5&socket_timeout=1&ssl_cert_reqs=none&sentinel_password=x",
        KNOWN,
    )
    assert (engine.kind, engine.service, engine.database, engine.tls) == ("sentinel", "mymaster", 3, True)
    assert engine.addresses == [("one", 26379), ("::1", 7), ("three", 8)]
    assert engine.options == {"mode": "two", "often": 5, "on": True, "wait": 0.5}
    assert engine.timeout == 1
    assert (engine._username, engine._password) == ("us@er", "pa:ss/w#")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis://h?socket_timeot=1", "has no option 'socket_timeot'; it has mode, often, on, socket_timeout, wait"),
        ("redis://h?ssl_ca_certs=/x", "needs TLS"),
        ("rediss://h?ssl_ca_certs=/nowhere/at/all", "there is none at '/nowhere/at/all'"),
        ("redis://h?mode=three", "mode is one of one, two, not 'three'"),
        ("redis://h?often=0", "a whole number greater than 0, not '0'"),
        ("redis://h?on=perhaps", "true or false"),
        ("redis://h?socket_timeout=nan", "a number of seconds greater than 0"),
        ("redis://h:port", "'port' is no port"),
        ("redis://h:70000", "'70000' is no port"),
        ("redis://h/chat", "number of a database, not with 'chat'"),
        ("redis://h,i", "write redis+cluster or redis+sentinel"),
        ("redis+cluster://h/1", "no other database than 0"),
        ("redis+sentinel://h", "what the Sentinels call it"),
        ("redis+proxy://h", "there are redis+sentinel and redis+cluster"),
    ],
)
def test_a_url_that_makes_no_sense_is_refused_in_words(url: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Engine(url.replace("://", "://user:secret@"), KNOWN)
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)


def test_slots() -> None:
    # The two examples of Redis's specification, and a tag.
    assert slot_of("123456789") == 0x31C3
    assert slot_of("foo{bar}zap") == slot_of("bar")
    assert slot_of("foo{}bar") != slot_of("")


CONVERSATION = [
    (b"+OK\r\n", b"OK"),
    (b":-12\r\n", -12),
    (b"$5\r\nhe\r\no\r\n", b"he\r\no"),
    (b"$-1\r\n", None),
    (b"_\r\n", None),
    (b"#t\r\n", True),
    (b",1.5\r\n", 1.5),
    (b"(123456789012345678901234567890\r\n", 123456789012345678901234567890),
    (b"=6\r\ntxt:hi\r\n", b"hi"),
    (b"*2\r\n$1\r\na\r\n*1\r\n:1\r\n", [b"a", [1]]),
    (b"~1\r\n:1\r\n", [1]),
    (b"%1\r\n$1\r\na\r\n:1\r\n", {b"a": 1}),
    (b"|1\r\n+ttl\r\n:3600\r\n:7\r\n", 7),
    (b">3\r\n$8\r\nsmessage\r\n$1\r\nc\r\n$0\r\n\r\n", Push([b"smessage", b"c", b""])),
]


@given(st.data())
def test_the_reader_reads_whatever_way_it_is_cut(data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.sampled_from(CONVERSATION), max_size=20))
    text = b"".join(part for part, _ in chosen)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=10)))
    reader = Reader()
    found = []
    for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        reader.feed(text[start:end])
        while (value := reader.gets()) is not NOTHING:
            found.append(value)
    assert found == [value for _, value in chosen]
    assert [type(value) for value in found] == [type(value) for _, value in chosen]


def test_the_reader_knows_errors_and_what_is_no_protocol() -> None:
    reader = Reader()
    reader.feed(b"-MOVED 1 host:1\r\n!5\r\nERR x\r\n")
    for words in ("MOVED 1 host:1", "ERR x"):
        error = reader.gets()
        assert isinstance(error, ResponseError)
        assert str(error) == words
    for wrong in (b"HTTP/1.1 400\r\n", b"$x\r\n", b"*?\r\n"):
        reader = Reader()
        reader.feed(wrong)
        with pytest.raises(ValueError):  # noqa: PT011
            reader.gets()


def test_a_command() -> None:
    words = b"$8\r\nSPUBLISH\r\n" + b"$6\r\n" + "광장".encode() + b"\r\n" + b"$3\r\n\x00\r\n\r\n"
    assert command("SPUBLISH", "광장", b"\x00\r\n") == b"*3\r\n" + words
