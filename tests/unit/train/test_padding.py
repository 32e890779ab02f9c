"""Padded batches: all rows once, within the allowed number of ids."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from train.data.padding import batches
from train.data.rows import PLAN, READ, Row


def row(number: int, length: int) -> Row:
    return Row((number,) * length, (PLAN,) * length)


def test_batches_contain_every_row_once_and_no_more_ids_than_allowed() -> None:
    rows = [row(number, 1 + 37 * number % 150) for number in range(1, 60)]
    made = list(batches(rows, 512, seed=0, pool=20))
    assert all(batch.tokens <= 512 and batch.ids.shape[1] % 64 == 0 for batch in made)
    contents = [
        (int(ids[0]), int((kinds != READ).sum()))
        for batch in made
        for ids, kinds in zip(batch.ids, batch.kinds, strict=True)
    ]
    assert sorted(contents) == [(number, len(row.ids)) for number, row in enumerate(rows, 1)]
    again = list(batches(rows, 512, seed=0, pool=20))
    assert [batch.ids.tolist() for batch in again] == [batch.ids.tolist() for batch in made]
    other = list(batches(rows, 512, seed=1, pool=20))
    assert [batch.ids.tolist() for batch in other] != [batch.ids.tolist() for batch in made]


def test_a_row_longer_than_a_batch_gets_one_for_itself() -> None:
    shapes = [tuple(batch.ids.shape) for batch in batches([row(1, 100), row(2, 3)], 64, seed=0)]
    assert sorted(shapes) == [(1, 64), (1, 128)]
