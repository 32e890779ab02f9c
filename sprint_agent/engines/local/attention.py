"""Attention over the paged cache on the CPU, in as few operations as one step allows.

transformers' own CPU path computes every query against the keys of every request and masks nearly all
of the result. With 20 requests this was most of a step. Here all requests that add a single id (all
that are past their prompt) attend in one operation, over keys that are padded to the longest of these
requests. Each other request reads only its own keys.
"""

from __future__ import annotations

import statistics
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import torch
import transformers
from torch.nn import functional

_NAME = "sprint_packed"

_Attention: Any = transformers.AttentionInterface


class _Allocator(Protocol):
    """The pages of the layers of one type, in transformers' cache."""

    index: int
    layer_type: str

    def get_cache_for_block_table(self, layer: int, /) -> Sequence[torch.Tensor]:
        """Returns the pages of a layer's keys and those of its values."""
        ...


class _Cache(Protocol):
    """transformers' paged cache."""

    layer_to_allocator: Mapping[int, _Allocator]


class _Layer(Protocol):
    """transformers' module of one layer's attention."""

    layer_idx: int


@dataclass(frozen=True, slots=True)
class _Pack:
    """The rows of one step's pack that belong to each request, and the keys that they attend to."""

    single: torch.Tensor
    """The rows in the pack of the requests that add a single id, [requests]."""

    single_keys: torch.Tensor
    """The rows in the cache of the keys of each of these requests, [requests, longest], padded."""

    mask: torch.Tensor | None
    """Which of these keys are not padding. None if none is padding."""

    spans: list[tuple[slice, torch.Tensor]]
    """The other requests: the rows of their ids in the pack, the rows of their keys in the cache."""


def _pack(query_ends: list[int], key_ends: list[int], key_rows: torch.Tensor) -> _Pack:
    """Divides a step into requests, given the running totals of their new ids and of their keys."""
    count = len(query_ends) - 1
    lengths = [key_ends[i + 1] - key_ends[i] for i in range(count)]
    singles = [i for i in range(count) if query_ends[i + 1] - query_ends[i] == 1]
    # A request that is far longer than the others would pad them all.
    most = 2 * statistics.median([lengths[i] for i in singles]) if singles else 0
    singles = [i for i in singles if lengths[i] <= most]
    batched = set(singles)
    spans = [
        (slice(query_ends[i], query_ends[i + 1]), key_rows[key_ends[i] : key_ends[i + 1]])
        for i in range(count)
        if i not in batched
    ]
    single = torch.tensor([query_ends[i] for i in singles], dtype=torch.long)
    longest = max((lengths[i] for i in singles), default=0)
    offsets = torch.arange(longest)
    ends = torch.tensor([lengths[i] for i in singles], dtype=torch.long)[:, None]
    starts = torch.tensor([key_ends[i] for i in singles], dtype=torch.long)[:, None]
    keys = key_rows[starts + torch.minimum(offsets, ends - 1)] if singles else key_rows[:0]
    padded = any(lengths[i] < longest for i in singles)
    return _Pack(single, keys, (offsets < ends)[:, None, None] if padded else None, spans)


class _Buffer:
    """Memory that each layer uses again. Allocating new memory would cost more than the copying."""

    def __init__(self) -> None:
        self._memory = torch.empty(0)

    def rows(self, count: int, like: torch.Tensor) -> torch.Tensor:
        """Returns uninitialised memory for `count` rows with the shape and dtype of those of `like`."""
        size = count * like[0].numel()
        if self._memory.numel() < size or self._memory.dtype != like.dtype:
            self._memory = torch.empty(2 * size, dtype=like.dtype)
        return self._memory[:size].view(count, *like.shape[1:])


class _Scratch(threading.local):
    """Each engine's thread has its own."""

    def __init__(self) -> None:
        self.pack: _Pack | None = None
        self.keys = _Buffer()
        self.values = _Buffer()


_scratch = _Scratch()


def use_packed_attention(model: Any) -> None:
    """Switches a model to packed attention, unless a layer has a sliding window (not supported here).

    Call it after the batch manager was created, because the manager accepts only implementations that
    it knows. Call it before the manager allocates, because the manager then sees that this
    implementation needs no mask.
    """
    layers = getattr(model.config.get_text_config(), "layer_types", None)
    kinds: set[str] = set(layers or ["full_attention"])
    if kinds == {"full_attention"}:
        _Attention.register(_NAME, _packed_attention)
        model.set_attn_implementation(_NAME)


def _packed_attention(
    module: _Layer,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    *,
    scaling: float,
    cache: _Cache,
    cu_seq_lens_q: torch.Tensor,
    cu_seq_lens_k: dict[str, torch.Tensor],
    read_index: list[torch.Tensor],
    write_index: list[torch.Tensor],
    **kwargs: object,
) -> tuple[torch.Tensor, None]:
    """Computes one layer's attention for a pack.

    `query`, `key` and `value` are [1, heads, packed ids, width]. `cu_seq_lens_…` are the running totals
    of the lengths of the requests in the pack.
    """
    allocator = cache.layer_to_allocator[module.layer_idx]
    key_rows, new_rows = read_index[allocator.index], write_index[allocator.index]
    pack = _scratch.pack
    if module.layer_idx == 0 or pack is None:
        query_ends = _numbers(cu_seq_lens_q)
        key_ends = _numbers(cu_seq_lens_k[allocator.layer_type])
        # If there are no rows to read, nothing in this pack has a past: all keys are new.
        pack = _pack(query_ends, key_ends, key_rows if key_rows.numel() else new_rows)
        _scratch.pack = pack
    stores = allocator.get_cache_for_block_table(module.layer_idx)
    keys = _write(stores[0], key, new_rows)
    values = _write(stores[1], value, new_rows)
    queries = query[0].transpose(0, 1)
    out = torch.empty_like(queries, memory_format=torch.contiguous_format)
    if pack.single.numel():
        out[pack.single] = _attend_single(queries[pack.single], keys, values, pack, scaling)
    for ids, read in pack.spans:
        out[ids] = _attend_span(queries[ids], keys[read], values[read], scaling)
    return out[None], None


def _numbers(tensor: Any) -> list[int]:
    """Returns the numbers of a tensor of one dimension. (torch does not tell the type of a list.)"""
    return tensor.tolist()


def _write(pages: torch.Tensor, new: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Writes the pack's new keys (or values) into a layer's cache, and returns the cache.

    The result is [ids, heads, width].
    """
    store = pages.view(-1, *pages.shape[2:])
    return store.index_copy_(0, rows, new[0].transpose(0, 1))


def _attend_single(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, pack: _Pack, scaling: float
) -> torch.Tensor:
    """Returns the attention of the requests that add a single id.

    `queries` and the result are [requests, heads, width].
    """
    requests, heads, width = queries.shape
    longest = pack.single_keys.shape[1]
    read = pack.single_keys.view(-1)

    def gather(store: torch.Tensor, buffer: _Buffer) -> torch.Tensor:
        rows = torch.index_select(store, 0, read, out=buffer.rows(read.numel(), store))
        return rows.view(requests, longest, *store.shape[1:]).transpose(1, 2)

    # The heads that share a key head are treated as if they were several ids of one head.
    grouped = queries.view(requests, keys.shape[1], -1, width)
    attended = functional.scaled_dot_product_attention(
        grouped,
        gather(keys, _scratch.keys),
        gather(values, _scratch.values),
        attn_mask=pack.mask,
        scale=scaling,
    )
    return attended.reshape(requests, heads, width)


def _attend_span(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scaling: float
) -> torch.Tensor:
    """Returns the causal attention of one request, whose queries belong to the last of its keys.

    `queries` and the result are [ids, heads, width].
    """
    new, total = queries.shape[0], keys.shape[0]
    attended = functional.scaled_dot_product_attention(
        queries.transpose(0, 1)[None],
        keys.transpose(0, 1)[None],
        values.transpose(0, 1)[None],
        attn_mask=_last_rows(new, total) if 1 < new < total else None,
        is_causal=new == total,
        scale=scaling,
        enable_gqa=queries.shape[1] != keys.shape[1],
    )
    return attended[0].transpose(0, 1)


@lru_cache(maxsize=4)
def _last_rows(new: int, total: int) -> torch.Tensor:
    """Returns the last `new` rows of a causal mask over `total` ids."""
    return torch.ones(new, total, dtype=torch.bool).tril(total - new)
