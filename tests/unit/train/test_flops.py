"""The operations of a training step."""

from __future__ import annotations

import pytest

pytest.importorskip("transformers")

import torch

from train.countdown.model import ModelShape, build
from train.data.packing import pack_row
from train.data.rows import PLAN, READ, Row
from train.data.trees import Branch, Tree
from train.model.flops import FlopModel, attended_pairs, peak, peak_memory

TREE = Tree(Row((1, 2, 3), (READ, PLAN, PLAN)), (Branch(2, Row((4, 5), (READ, PLAN))),))
CPU = torch.device("cpu")


def test_pairs_are_counted_by_causality_and_segments() -> None:
    # The trunk has 1 + 2 + 3 pairs. The branch has 2 + 2 with the trunk, and 1 + 2 with itself.
    assert attended_pairs(pack_row([TREE])) == 6 + 4 + 3
    assert attended_pairs(pack_row([TREE, TREE])) == 2 * 13


def test_a_step_costs_six_operations_per_weight_and_id() -> None:
    model = build(ModelShape(hidden=32, layers=2, heads=4, feed_forward=48), 100, 0, seed=0)
    table = 100 * 32
    body = sum(p.numel() for p in model.parameters()) - table
    pair = 12 * 2 * 4 * 8
    assert FlopModel.of(model) == FlopModel(6.0 * body, 6.0 * table, pair)
    # Five ids, of which three are learned.
    expected = 5 * 6 * body + 3 * 6 * table + 13 * pair
    assert FlopModel.of(model)([pack_row([TREE])]) == expected


def test_a_cpu_has_a_memory_but_no_known_peak() -> None:
    assert peak(CPU) is None
    assert peak_memory(CPU) > 2**20
