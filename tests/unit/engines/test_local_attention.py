"""Packed attention on the CPU, compared with plain attention for each request."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from torch.nn import functional

from sprint_agent.engines.local import attention

HEADS, KEY_HEADS, WIDTH = 4, 2, 8
ROWS = 64
"""Rows of the cache."""


class Cache:
    """One layer's cache, in pages of 4 rows, as transformers presents it."""

    def __init__(self) -> None:
        self.keys = torch.randn(ROWS // 4, 4, KEY_HEADS, WIDTH)
        self.values = torch.randn(ROWS // 4, 4, KEY_HEADS, WIDTH)
        self.index = 0
        self.layer_type = "full_attention"
        self.layer_to_allocator: Mapping[int, attention._Allocator] = {0: self}

    def get_cache_for_block_table(self, layer: int) -> tuple[Any, Any]:
        return self.keys, self.values


@dataclass
class Layer:
    """The attention of one layer, as transformers presents it."""

    layer_idx: int


def running_totals(lengths: list[int]) -> list[int]:
    return [sum(lengths[:n]) for n in range(len(lengths) + 1)]


def attend(lengths: list[tuple[int, int]]) -> tuple[Any, Any]:
    """Computes one step for requests with these numbers of (old, new) ids.

    Returns the packed result and the expected one, which are [ids, heads, width].
    """
    cache = Cache()
    shuffled = torch.randperm(ROWS)
    totals = running_totals([old + new for old, new in lengths])
    rows = [shuffled[a:b] for a, b in itertools.pairwise(totals)]
    count = sum(new for _, new in lengths)
    query = torch.randn(1, HEADS, count, WIDTH)
    key, value = torch.randn(2, 1, KEY_HEADS, count, WIDTH)
    written = torch.cat([r[old:] for r, (old, _) in zip(rows, lengths, strict=True)])
    has_past = any(old for old, _ in lengths)
    out, _ = attention._packed_attention(
        Layer(layer_idx=0),
        query,
        key,
        value,
        None,
        scaling=0.3,
        cache=cache,
        cu_seq_lens_q=torch.tensor(running_totals([new for _, new in lengths])),
        cu_seq_lens_k={"full_attention": torch.tensor(totals)},
        read_index=[torch.cat(rows) if has_past else torch.empty(0, dtype=torch.long)],
        write_index=[written],
    )
    expected = []
    keys, values = (
        cache.keys.view(ROWS, KEY_HEADS, WIDTH),
        cache.values.view(ROWS, KEY_HEADS, WIDTH),
    )
    assert torch.equal(keys[written], key[0].transpose(0, 1))
    start = 0
    for request_rows, (old, new) in zip(rows, lengths, strict=True):
        mask = torch.ones(new, old + new, dtype=torch.bool).tril(old)
        expected.append(
            functional.scaled_dot_product_attention(
                query[0, :, start : start + new],
                keys[request_rows].transpose(0, 1).repeat_interleave(HEADS // KEY_HEADS, 0),
                values[request_rows].transpose(0, 1).repeat_interleave(HEADS // KEY_HEADS, 0),
                attn_mask=mask,
                scale=0.3,
            ).transpose(0, 1)
        )
        start += new
    return out[0], torch.cat(expected)


@pytest.mark.parametrize(
    "lengths",
    [
        [(0, 5)],
        [(0, 5), (0, 1), (0, 3)],
        [(7, 1)],
        [(7, 1), (3, 1), (5, 1)],
        [(7, 1), (7, 1)],
        [(7, 1), (4, 6), (3, 1), (0, 9)],
        # The last request is far longer than the others, so it attends separately.
        [(2, 1), (3, 1), (30, 1)],
    ],
)
def test_it_equals_plain_attention(lengths: list[tuple[int, int]]) -> None:
    torch.manual_seed(1)
    out, expected = attend(lengths)
    torch.testing.assert_close(out, expected)


def test_a_request_that_is_far_longer_does_not_pad_the_others() -> None:
    lengths = [3, 4, 31]
    pack = attention._pack([0, 1, 2, 3], running_totals(lengths), torch.arange(sum(lengths)))
    assert pack.single.tolist() == [0, 1]
    assert pack.single_keys.shape == (2, 4)
    assert [keys.tolist() for _, keys in pack.spans] == [list(range(7, 38))]
    assert pack.mask is not None
    assert pack.mask[:, 0, 0].tolist() == [[True, True, True, False], [True] * 4]


def test_equal_lengths_need_no_mask() -> None:
    assert attention._pack([0, 1, 2], [0, 4, 8], torch.arange(8)).mask is None


def test_a_buffer_uses_its_memory_again() -> None:
    buffer = attention._Buffer()
    first = buffer.rows(4, torch.empty(1, 2, 3))
    second = buffer.rows(3, torch.empty(1, 2, 3))
    assert (first.shape, second.shape) == ((4, 2, 3), (3, 2, 3))
    assert first.data_ptr() == second.data_ptr()
    assert buffer.rows(3, torch.empty(1, 2, dtype=torch.float64)).dtype == torch.float64


def test_a_model_with_a_sliding_window_is_left_unchanged() -> None:
    chosen: list[str] = []

    def model(**settings: object) -> Any:
        config = SimpleNamespace(get_text_config=lambda: SimpleNamespace(**settings))
        return SimpleNamespace(config=config, set_attn_implementation=chosen.append)

    attention.use_packed_attention(model(layer_types=["full_attention", "sliding_attention"]))
    assert chosen == []
    attention.use_packed_attention(model(layer_types=["full_attention"]))
    attention.use_packed_attention(model())
    assert chosen == [attention._NAME] * 2
