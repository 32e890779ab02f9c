"""Halves of characters in an engine's deltas."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sprint_agent.engine import Delta
from sprint_agent.protocol.deltas import EncodableDeltas

FIRST, SECOND = "\ud83d", "\ude00"
SMILE = "\N{GRINNING FACE}"


def read(*deltas: Delta) -> list[Delta]:
    reader = EncodableDeltas()
    fed = [*map(reader.feed, deltas), reader.flush()]
    return [delta for delta in fed if delta is not None]


def test_halves_of_two_deltas_are_joined() -> None:
    assert read(Delta("a" + FIRST, (1,)), Delta(SECOND + "b", (2,))) == [
        Delta(f"a{SMILE}b", (1, 2))
    ]
    assert read(Delta("a" + FIRST), Delta(SECOND + "b")) == [Delta("a"), Delta(f"{SMILE}b")]


def test_single_halves_are_replaced() -> None:
    assert read(Delta(FIRST + "a"), Delta(SECOND)) == [Delta("\ufffda"), Delta("\ufffd")]
    assert read(Delta(FIRST), Delta("a")) == [Delta(""), Delta("\ufffda")]
    assert read(Delta("a" + FIRST, (1,))) == [Delta("a\ufffd", (1,))]
    assert read(Delta(FIRST, (1,)), Delta(FIRST, (2,)), Delta(SECOND, (3,))) == [
        Delta(f"\ufffd{SMILE}", (1, 2, 3))
    ]


def test_other_deltas_are_passed_on_at_once() -> None:
    deltas = [Delta("a", (1,)), Delta("", (2,)), Delta(""), Delta(SMILE, (3, 4)), Delta("é")]
    assert read(*deltas) == deltas


@given(
    st.lists(st.text(st.sampled_from(["a", "é", SMILE, FIRST, SECOND]), max_size=4), max_size=8),
    st.booleans(),
)
def test_the_joined_text_does_not_depend_on_the_cuts(texts: list[str], with_ids: bool) -> None:
    ids = [(number,) if with_ids else () for number in range(len(texts))]
    deltas = read(*(Delta(text, i) for text, i in zip(texts, ids, strict=True)))
    whole = "".join(texts).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    assert "".join(delta.text for delta in deltas) == whole
    assert [i for delta in deltas for i in delta.ids] == [i for one in ids for i in one]
