"""The `quotes` voice: which sentences make a reply."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from persona.types import Sentence
from persona.voices import put_together


def sentence(number: int, *, joined: bool = True, paragraph: int = 0, speaker: str | None = "Mara") -> Sentence:
    return Sentence("talk", number, f"S{number}.", f"S{number}.", speaker, None, None, paragraph, "", joined)


ONE, TWO, THREE, FOUR = map(sentence, range(1, 5))


def test_neighbours_become_one_quotation_in_the_order_they_were_said() -> None:
    assert put_together([(TWO,)], (THREE,)) == [(TWO, THREE)]
    assert put_together([(TWO,)], (ONE,)) == [(ONE, TWO)]
    assert put_together([(FOUR,), (ONE,)], (TWO, THREE)) == [(TWO, THREE, FOUR), (ONE,)]


def test_what_is_apart_stays_apart() -> None:
    assert put_together([(ONE,)], (THREE,)) == [(ONE,), (THREE,)]
    for other in (
        replace(TWO, joined=False),
        replace(TWO, paragraph=1),
        replace(TWO, speaker="Tobin"),
        replace(TWO, document="other"),
    ):
        assert put_together([(ONE,)], (other,)) == [(ONE,), (other,)]


@given(st.permutations(range(8)), st.sets(st.integers(0, 7)))
def test_nothing_is_lost_and_no_gap_is_bridged(order: list[int], breaks: set[int]) -> None:
    parts: list[tuple[Sentence, ...]] = []
    for number in order:
        parts = put_together(parts, (sentence(number, joined=number not in breaks),))
    assert sorted(s.number for part in parts for s in part) == list(range(8))
    for part in parts:
        assert [s.number for s in part] == list(range(part[0].number, part[-1].number + 1))
        assert all(s.joined for s in part[1:])
