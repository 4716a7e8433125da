"""Who is at other servers, as the chat knows it."""

from madang.apps.chat.people import Elsewhere, People


def test_who_has_gone_unheard_is_gone_when_all_are_told_anew() -> None:
    mina, bora = Elsewhere("1", "Mina", frozenset({"yard"})), Elsewhere("2", "Bora", frozenset({"yard"}))
    people = People()
    people.told("a", mina)
    people.told("a", bora)
    people.told("b", bora)
    assert people.told_all("a", []) == [mina]  # the other one is still at the other server
    assert [who.nick for who in people.here("yard")] == ["Bora"]
    assert people.told_all("b", [mina]) == [bora]
    assert [who.nick for who in people.here("yard")] == ["Mina"]
