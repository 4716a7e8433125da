"""Which names a template, a regular expression or a predicate means."""

import re
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from madang import LocalProtocolError
from madang.core.patterns import Pattern, is_pattern

SOME_UUID = "123e4567-e89b-12d3-a456-426614174000"


@pytest.mark.parametrize(
    ("template", "name", "params"),
    [
        ("/room-{id}", "/room-7", {"id": "7"}),
        ("room-{id}", "/room-7", {"id": "7"}),
        ("/room-{id}", "/room-한글 🎪", {"id": "한글 🎪"}),
        ("/room-{id}", "/room-", None),
        ("/room-{id}", "/room-a/b", None),
        ("/room-{id}", "/room-7/", None),
        ("/room-{id}", "/my/room-7", None),
        ("/room-{id}", "/ROOM-7", None),
        ("/room-{id:int}", "/room-7", {"id": 7}),
        ("/room-{id:int}", "/room-0", {"id": 0}),
        ("/room-{id:int}", "/room--7", {"id": -7}),
        ("/room-{id:int}", "/room-07", None),
        ("/room-{id:int}", "/room--0", None),
        ("/room-{id:int}", "/room-7a", None),
        ("/room-{id:int}", "/room-٣", None),
        ("/room-{id:int}", "/room-" + "9" * 190, {"id": int("9" * 190)}),
        ("/{id:uuid}", f"/{SOME_UUID}", {"id": UUID(SOME_UUID)}),
        ("/{id:uuid}", f"/{SOME_UUID.upper()}", None),
        ("/files/{path:path}", "/files/a/b/c", {"path": "a/b/c"}),
        ("/files/{path:path}", "/files/", None),
        ("/{user:str}/{tab}", "/ada/mail", {"user": "ada", "tab": "mail"}),
        ("/a.b+c({id})", "/a.b+c(1)", {"id": "1"}),
        ("/a.b+c({id})", "/aXb+c(1)", None),
        ("/{a}-{b}", "/x-y-z", {"a": "x-y", "b": "z"}),
        ("/{a}-{b}", "/x-", None),
        ("/{a}{b}{c}", "/xyz", {"a": "x", "b": "y", "c": "z"}),
        ("/{a}{b}{c}", "/xy", None),
        ("/{a:int}{b:int}", "/-12", {"a": -1, "b": 2}),
        ("/{a:int}{b:int}", "/00", {"a": 0, "b": 0}),
        ("/{a:path}/{b}.txt", "/x/y/z.txt.txt", {"a": "x/y", "b": "z.txt"}),
        ("/{a}{id:uuid}", f"/x{SOME_UUID}", {"a": "x", "id": UUID(SOME_UUID)}),
    ],
)
def test_templates(template: str, name: str, params: dict[str, Any] | None) -> None:
    assert Pattern(template).match(name) == params


TYPES = {"str": "[^/]+", "int": "0|-?[1-9][0-9]*", "path": ".+"}


@given(
    st.lists(
        st.tuples(st.sampled_from(["", "", "-", "/", "1", "-1/", "a"]), st.sampled_from(sorted(TYPES))),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from(["", "-", "/", "0"]),
    st.text("-/01a\n", max_size=14),
)
def test_names_are_shared_out_as_regular_expressions_do(parts: list[tuple[str, str]], end: str, name: str) -> None:
    template = "/" + "".join(f"{text}{{p{index}:{kind}}}" for index, (text, kind) in enumerate(parts)) + end
    groups = [f"{text}(?P<p{index}>{TYPES[kind]})" for index, (text, kind) in enumerate(parts)]
    found = re.fullmatch("/" + "".join(groups) + end, "/" + name, re.DOTALL)
    expected = None
    if found is not None:
        expected = {f"p{i}": int(found[i + 1]) if kind == "int" else found[i + 1] for i, (_, kind) in enumerate(parts)}
    assert Pattern(template).match("/" + name) == expected


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("/{a}-{b}-{c}-{d}-{e}-{f}-{g}-{h}", "/" + "-" * 198 + "/"),
        ("/{a}{b}{c}{d}{e}{f}{g}{h}", "/" + "a" * 198 + "/"),
        ("/{a:path}/{b:path}/{c:path}/{d:path}/{e:path}/{f:path}.x", "/" * 200),
        ("/{a:int}{b:int}{c:int}{d:int}{e:int}{f:int}{g:int}x", "/" + "1" * 199),
        ("/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}.x", "/aaaaaa" * 30),
    ],
)
def test_a_name_that_matches_in_many_ways_but_for_its_end(template: str, name: str) -> None:
    """One way after the other, this would take years."""
    assert Pattern(template).match(name) is None


@pytest.mark.parametrize(
    "template",
    ["/{}", "/{1a}", "/{a b}", "/{a:}", "/{a:float}", "/{a:int:int}", "/{a}/{a}", "/{a", "/a}", "/{{a}}", "/{a}}"],
)
def test_malformed_templates(template: str) -> None:
    assert is_pattern(template)
    with pytest.raises(LocalProtocolError, match=r"parameter is written|has no other half"):
        Pattern(template)


def test_regular_expressions() -> None:
    pattern = Pattern(re.compile(r"/(?P<kind>news|sport)-\d+"))
    assert pattern.name == r"/(?P<kind>news|sport)-\d+"
    assert pattern.match("/news-1") == {"kind": "news"}
    assert pattern.match("/news-1/and more") is None, "the whole name has to match"
    assert pattern.match("/x/news-1") is None
    assert Pattern(re.compile("/a(b)?")).match("/a") == {}
    with pytest.raises(LocalProtocolError, match="names of namespaces are text"):
        Pattern(re.compile(b"/a"))  # type: ignore[arg-type]


def test_predicates_match_nothing_by_themselves() -> None:
    def known(name: str, auth: dict[str, Any]) -> bool:
        return True

    pattern = Pattern(known)
    assert pattern.predicate is known
    assert pattern.name.endswith("known")
    assert pattern.match("/a") is None


@pytest.mark.parametrize("wrong", [None, 7, b"/a", ["/a"]])
def test_what_is_no_pattern(wrong: Any) -> None:
    with pytest.raises(LocalProtocolError, match="a namespace is named by a string, a template as"):
        Pattern(wrong)


@given(st.text(st.characters(exclude_characters="/"), min_size=1), st.integers())
def test_what_is_put_into_a_template_comes_out(text: str, number: int) -> None:
    assert Pattern("/a-{text}/{number:int}").match(f"/a-{text}/{number}") == {"text": text, "number": number}


def test_names_are_no_patterns() -> None:
    assert not is_pattern("/")
    assert not is_pattern("/room-7 (old)")
