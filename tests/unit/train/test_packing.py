"""Packing: trees in rows, all of them once, with the segments that say what is seen."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from train.data.packing import Segment, assign_rows, pack_row, pack_rows
from train.data.rows import PLAN, READ, Row
from train.data.trees import Branch, Tree


def test_a_row_contains_segments_positions_and_padding() -> None:
    branch = Branch(1, Row((7, 8), (READ, PLAN)))
    tree = Tree(Row((3, 4, 5), (READ, PLAN, PLAN)), (branch,))
    packed = pack_row([Tree(Row((9,), (READ,))), tree], 8)
    assert packed.ids.tolist() == [[9, 3, 4, 5, 7, 8, 0, 0]]
    assert packed.kinds.tolist() == [[READ, READ, PLAN, PLAN, READ, PLAN, READ, READ]]
    assert packed.positions.tolist() == [[0, 0, 1, 2, 1, 2, 0, 0]]
    segments = (Segment(0, 1, 0, 0), Segment(1, 4, 1, 0), Segment(4, 6, 1, 1), Segment(6, 8, 6, 0))
    assert packed.segments == segments
    assert packed.tokens == 8


def test_an_empty_trunk_takes_no_kinds() -> None:
    branch = Branch(0, Row((3, 4), (READ, PLAN)))
    made = pack_row([Tree(Row((), ())), Tree(Row((1,), (READ,)), (branch,))])
    assert made.kinds.shape == made.ids.shape
    assert made.kinds[made.ids == 4].tolist() == [PLAN]


def test_packed_rows_contain_every_tree_once_and_no_more_ids_than_allowed() -> None:
    given = [Tree(Row((n + 1,) * (n % 7 + 1), (0, *(1,) * (n % 7)))) for n in range(50)]
    made = list(pack_rows(given, 10, seed=1))
    assert all(one.tokens <= 10 for one in made)
    assert sum(one.tokens for one in made) == sum(map(len, given))
    starts = [int(one.ids[0, s.start]) for one in made for s in one.segments]
    assert sorted(starts) == list(range(1, 51))
    assert starts != sorted(starts)
    assert [f.ids.tolist() for f in pack_rows(given, 10, seed=1)] == [f.ids.tolist() for f in made]
    assert len(list(pack_rows(given, 1, seed=1))) == 50


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 40), max_size=60), st.integers(0, 3))
def test_rows_contain_every_example_once_and_are_full(lengths: list[int], seed: int) -> None:
    rows = assign_rows(lengths, 32, seed)
    assert sorted(k for row in rows for k in row) == list(range(len(lengths)))
    filled = [sum(lengths[k] for k in row) for row in rows]
    assert all(size <= 32 or len(row) == 1 for size, row in zip(filled, rows, strict=True))
    # No two rows have room in one.
    assert len(filled) < 2 or sum(sorted(filled)[:2]) > 32
    assert rows == assign_rows(lengths, 32, seed)
