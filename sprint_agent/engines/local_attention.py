"""Attention over the paged cache for the CPU, one request at a time.

transformers' own CPU path computes every query against the keys of every request and masks nearly
all of it away: at 20 requests that was most of a step. This one reads each request's keys alone,
so it needs no mask over the whole cache either.
"""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import Any, cast

import torch
import transformers
from torch.nn import functional

_NAME = "sprint_packed"

_Attention: Any = transformers.AttentionInterface


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
    stores = allocator.get_cache_for_block_table(module.layer_idx)
    keys = _stored(stores[0], key, new_places, places, _scratch.keys)
    values = _stored(stores[1], value, new_places, places, _scratch.values)
    queried: list[int] = cast(Any, cu_seq_lens_q).tolist()
    kept: list[int] = cast(Any, cu_seq_lens_k[allocator.layer_type]).tolist()
    parts = [
        _causal(
            query[:, :, queried[i] : queried[i + 1]],
            keys[:, :, kept[i] : kept[i + 1]],
            values[:, :, kept[i] : kept[i + 1]],
            scaling,
        )
        for i in range(len(queried) - 1)
    ]
    packed = parts[0] if len(parts) == 1 else torch.cat(parts, 2)
    return packed.transpose(1, 2), None


def _stored(
    pages: torch.Tensor,
    new: torch.Tensor,
    new_places: torch.Tensor,
    places: torch.Tensor,
    scratch: _Buffer,
) -> torch.Tensor:
    """Writes the pack's new keys (or values) into the cache; returns all that the pack reads."""
    store = pages.view(-1, *pages.shape[2:])
    fresh = new[0].transpose(0, 1)
    store.index_copy_(0, new_places, fresh)
    # No places to read: nothing in this pack has a past, so what is new is all there is.
    if places.numel() > 0:
        fresh = torch.index_select(store, 0, places, out=scratch.of(places.numel(), store))
    return fresh.transpose(0, 1)[None]


def _causal(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
) -> torch.Tensor:
    """One request's attention, its queries being the last of its keys."""
    new, total = query.shape[2], key.shape[2]
    return functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=_last_rows(new, total) if 1 < new < total else None,
        is_causal=new == total,
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )


@lru_cache(maxsize=4)
def _last_rows(new: int, total: int) -> torch.Tensor:
    """The last `new` rows of a causal mask over `total` ids."""
    return torch.ones(new, total, dtype=torch.bool).tril(total - new)
