"""Attention over the paged cache for the CPU, in as few operations as a step allows.

transformers' own CPU path computes every query against the keys of every request and masks nearly
all of it away: at 20 requests that was most of a step. Here the requests that add a single id (all
that are past their prompt) attend in one operation, over keys that are padded to the longest of
them, and each other request reads its own keys alone.
"""

from __future__ import annotations

import statistics
import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import torch
import transformers
from torch.nn import functional

_NAME = "sprint_packed"

_Attention: Any = transformers.AttentionInterface


@dataclass(frozen=True, slots=True)
class _Pack:
    """Where the requests of a step have their ids, and what those attend to.

    `single` are the places in the pack of the ids that came alone, `single_keys` the places in the
    cache of the keys of each ([requests, longest], padded), `mask` which of those count (None: all).
    `spans` are the other requests: their ids' places in the pack, their keys' places in the cache.
    """

    single: torch.Tensor
    single_keys: torch.Tensor
    mask: torch.Tensor | None
    spans: list[tuple[slice, torch.Tensor]]


def _pack(queried: list[int], kept: list[int], places: torch.Tensor) -> _Pack:
    """From the running totals of the requests' new ids and of their keys."""
    count = len(queried) - 1
    lengths = [kept[i + 1] - kept[i] for i in range(count)]
    alone = [i for i in range(count) if queried[i + 1] - queried[i] == 1]
    # One that is far longer than the rest would pad them all.
    most = 2 * statistics.median([lengths[i] for i in alone]) if alone else 0
    alone = [i for i in alone if lengths[i] <= most]
    together = set(alone)
    spans = [
        (slice(queried[i], queried[i + 1]), places[kept[i] : kept[i + 1]])
        for i in range(count)
        if i not in together
    ]
    single = torch.tensor([queried[i] for i in alone], dtype=torch.long)
    longest = max((lengths[i] for i in alone), default=0)
    within = torch.arange(longest)
    ends = torch.tensor([lengths[i] for i in alone], dtype=torch.long)[:, None]
    starts = torch.tensor([kept[i] for i in alone], dtype=torch.long)[:, None]
    keys = places[starts + torch.minimum(within, ends - 1)] if alone else places[:0]
    padded = any(lengths[i] < longest for i in alone)
    return _Pack(single, keys, (within < ends)[:, None, None] if padded else None, spans)


class _Buffer:
    """Memory that is used again in each layer: fresh memory would cost more than the copying."""

    def __init__(self) -> None:
        self._memory = torch.empty(0)

    def of(self, rows: int, like: torch.Tensor) -> torch.Tensor:
        """Uninitialised memory for `rows` rows of `like`."""
        size = rows * like[0].numel()
        if self._memory.numel() < size or self._memory.dtype != like.dtype:
            self._memory = torch.empty(2 * size, dtype=like.dtype)
        return self._memory[:size].view(rows, *like.shape[1:])


class _Scratch(threading.local):
    """Each engine's thread has its own."""

    def __init__(self) -> None:
        self.pack: _Pack | None = None
        self.keys = _Buffer()
        self.values = _Buffer()


_scratch = _Scratch()


def use_packed_attention(model: Any) -> None:
    """Switches a model to it, unless a layer has a sliding window, which it does not know.

    To be called once the batch manager was made, which accepts only implementations that it knows,
    and before it allocates, for it then sees that this one needs no mask.
    """
    text: Any = model.config.get_text_config()
    kinds: set[str] = set(getattr(text, "layer_types", None) or ["full_attention"])
    if kinds == {"full_attention"}:
        _Attention.register(_NAME, _packed_attention)
        model.set_attn_implementation(_NAME)


def _packed_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    *,
    scaling: float,
    cache: Any,
    cu_seq_lens_q: torch.Tensor,
    cu_seq_lens_k: dict[str, torch.Tensor],
    read_index: list[torch.Tensor],
    write_index: list[torch.Tensor],
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Tensors are [1, heads, packed ids, width], the lengths those of the requests in the pack."""
    allocator = cache.layer_to_allocator[module.layer_idx]
    group: int = allocator.index
    places, new_places = read_index[group], write_index[group]
    pack = _scratch.pack
    if module.layer_idx == 0 or pack is None:
        queried: list[int] = cast(Any, cu_seq_lens_q).tolist()
        kept: list[int] = cast(Any, cu_seq_lens_k[allocator.layer_type]).tolist()
        # No places to read: nothing in this pack has a past, so what is new is all there is.
        pack = _scratch.pack = _pack(queried, kept, places if places.numel() else new_places)
    stores = allocator.get_cache_for_block_table(module.layer_idx)
    keys = _written(stores[0], key, new_places)
    values = _written(stores[1], value, new_places)
    queries = query[0].transpose(0, 1)
    out = torch.empty_like(queries, memory_format=torch.contiguous_format)
    if pack.single.numel():
        out[pack.single] = _alone(queries[pack.single], keys, values, pack, scaling)
    for ids, read in pack.spans:
        out[ids] = _causal(queries[ids], keys[read], values[read], scaling)
    return out[None], None


def _written(pages: torch.Tensor, new: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """The cache of a layer's keys (or values), [ids, heads, width], with the pack's new ones in it."""
    store = pages.view(-1, *pages.shape[2:])
    return store.index_copy_(0, places, new[0].transpose(0, 1))


def _alone(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, pack: _Pack, scaling: float
) -> torch.Tensor:
    """Attention of ids that came alone: [requests, heads, width], as the result is."""
    requests, heads, width = queries.shape
    longest = pack.single_keys.shape[1]
    read = pack.single_keys.view(-1)

    def gathered(store: torch.Tensor, buffer: _Buffer) -> torch.Tensor:
        rows = torch.index_select(store, 0, read, out=buffer.of(read.numel(), store))
        return rows.view(requests, longest, *store.shape[1:]).transpose(1, 2)

    # The heads that share a key head stand as if they were ids of one.
    grouped = queries.view(requests, keys.shape[1], -1, width)
    attended = functional.scaled_dot_product_attention(
        grouped,
        gathered(keys, _scratch.keys),
        gathered(values, _scratch.values),
        attn_mask=pack.mask,
        scale=scaling,
    )
    return attended.reshape(requests, heads, width)


def _causal(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scaling: float
) -> torch.Tensor:
    """One request's attention, [ids, heads, width], its queries being the last of its keys."""
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
    """The last `new` rows of a causal mask over `total` ids."""
    return torch.ones(new, total, dtype=torch.bool).tril(total - new)
