"""Attention that follows a forest's segments: a branch sees the trunk before it, and itself.

Two ways to the same numbers. `branched` computes each segment by a call of its own over the ids that it
sees, which suits a CPU. On a GPU the whole row is one call of FlexAttention, and `block_mask` tells it
which blocks of 128 by 128 ids hold anything at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional
from torch.nn.attention.flex_attention import BlockMask, create_block_mask
from transformers import AttentionInterface

from train.forests import Forest, Segment

ATTENTION = "branched"
"""The name of the attention in a model's configuration."""


def branched(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    segments: Sequence[Segment],
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention over a flat row of trees, in the signature that transformers gives to attentions.

    Shapes are [1, heads, ids, width], and [1, ids, heads, width] of what comes back. Each segment
    is one call over the ids that it sees, so nothing is computed for those that it does not.
    """
    grouped = {"scale": scaling, "dropout_p": dropout, "enable_gqa": True}
    parts: list[torch.Tensor] = []
    for s in segments:
        own = slice(s.start, s.end)
        if not s.seen:
            part = functional.scaled_dot_product_attention(
                query[:, :, own], key[:, :, own], value[:, :, own], is_causal=True, **grouped
            )
        else:
            keys, values = (_seen(whole, s) for whole in (key, value))
            part = functional.scaled_dot_product_attention(
                query[:, :, own], keys, values, attn_mask=_mask(s, query.device), **grouped
            )
        parts.append(part)
    return torch.cat(parts, dim=2).transpose(1, 2).contiguous(), None


def _seen(whole: torch.Tensor, s: Segment) -> torch.Tensor:
    return torch.cat([whole[:, :, s.root : s.root + s.seen], whole[:, :, s.start : s.end]], dim=2)


def _mask(s: Segment, device: torch.device) -> torch.Tensor:
    """True where an id of the segment sees one of the trunk or of itself."""
    length = s.end - s.start
    return torch.ones(length, s.seen + length, dtype=torch.bool, device=device).tril(s.seen)


def block_mask(forest: Forest) -> BlockMask:
    """The same for FlexAttention: which blocks of a forest's ids see which, and the rule within them."""
    device = forest.ids.device
    lengths = torch.tensor([s.end - s.start for s in forest.segments])
    columns = ([s.start, s.root, s.root + s.seen] for s in forest.segments)
    start, root, until = torch.tensor(list(columns)).repeat_interleave(lengths, 0).T.to(device)

    def sees(
        batch: torch.Tensor, head: torch.Tensor, query: torch.Tensor, key: torch.Tensor
    ) -> torch.Tensor:
        itself = (key >= start[query]) & (key <= query)
        return itself | ((key >= root[query]) & (key < until[query]))

    length = forest.tokens
    # Compiled where there is a compiler for it: else the mask is made whole first, id by id.
    return create_block_mask(
        sees, None, None, length, length, device=device, _compile=device.type == "cuda"
    )


def mask_of(forest: Forest) -> dict[str, Any]:
    """What a model is given beside a forest's ids, with the attention of `attention_on` its device."""
    given: dict[str, Any] = {"position_ids": forest.positions}
    if forest.ids.device.type == "cuda":
        return {**given, "attention_mask": block_mask(forest)}
    return {**given, "segments": forest.segments}


def attention_on(device: torch.device) -> str:
    """The attention that suits a device: FlexAttention's kernel, or a call for each segment."""
    return "flex_attention" if device.type == "cuda" else ATTENTION


def work(forest: Forest) -> int:
    """How many pairs of ids attend, by causality and segments: what attention costs."""
    return sum(
        (s.end - s.start) * s.seen + (s.end - s.start) * (s.end - s.start + 1) // 2
        for s in forest.segments
    )


AttentionInterface.register(ATTENTION, branched)
