"""Attention that follows a forest's segments: a branch sees the trunk before it, and itself.

Two ways to the same numbers. `branched` computes each segment by itself over the ids that it sees,
which suits a CPU. On a GPU the whole row is one call of FlexAttention, and `block_mask` tells it
which blocks of 128 by 128 ids hold anything at all.

On a CPU these are plain products over a few rows at a time: with bf16, a training step takes less than
by the fused kernel, whose backward pass does not use the processor's bf16 products.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.attention.flex_attention import BlockMask, create_block_mask
from transformers import AttentionInterface

from train.data.packing import Forest, Segment
from train.errors import TrainingError

_ROWS = 128
"""Rows of a segment that are computed at a time: the fewer, the less is computed that none sees."""
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
    softcap: float | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention over a flat row of trees, in the signature that transformers gives to attentions.

    Shapes are [1, heads, ids, width], and [1, ids, heads, width] of what comes back. Nothing is computed
    for ids that a segment does not see. What is kept for the way back grows with the square of a tree's
    length. Raises TrainingError for a model that drops attention out, caps its scores, or has a window
    that is shorter than what a segment sees.
    """
    if dropout:
        raise TrainingError("attention_dropout is not supported: set it to 0 in the model's config")
    if softcap is not None:
        raise TrainingError("a model that caps the scores of attention cannot be trained here")
    longest = max(s.seen + s.end - s.start for s in segments)
    if sliding_window and sliding_window < longest:
        raise TrainingError(
            f"a model whose attention has a window of {sliding_window} ids cannot be trained on "
            f"contexts of {longest}"
        )
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    parts: list[torch.Tensor] = []
    for s in segments:
        keys, values = (_seen(whole[0], s) for whole in (key, value))
        for start in range(s.start, s.end, _ROWS):
            end = min(start + _ROWS, s.end)
            seen = s.seen + end - s.start
            parts.append(_attend(query[0, :, start:end], keys[:, :seen], values[:, :seen], scale))
    return torch.cat(parts, dim=1).transpose(0, 1).contiguous()[None], None


def _seen(whole: torch.Tensor, s: Segment) -> torch.Tensor:
    own = whole[:, s.start : s.end]
    return torch.cat([whole[:, s.root : s.root + s.seen], own], dim=1) if s.seen else own


def _attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
) -> torch.Tensor:
    """Attention of the last ids among those seen; several heads of a query share a key's."""
    heads, rows, width = query.shape
    grouped = query.reshape(len(key), -1, width) * scale
    scores = torch.bmm(grouped, key.transpose(1, 2)).view(heads, rows, -1)
    later = torch.full((rows, rows), -torch.inf, dtype=query.dtype, device=query.device).triu(1)
    scores[:, :, -rows:] += later
    weights = scores.softmax(-1).view(len(key), -1, key.shape[1])
    return torch.bmm(weights, value).view(heads, rows, width)


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
    """The attention that suits a device: FlexAttention's kernel, or products for each segment."""
    return "flex_attention" if device.type == "cuda" else ATTENTION


def work(forest: Forest) -> int:
    """How many pairs of ids attend, by causality and segments: what attention costs."""
    return sum(
        (s.end - s.start) * s.seen + (s.end - s.start) * (s.end - s.start + 1) // 2
        for s in forest.segments
    )


AttentionInterface.register(ATTENTION, branched)
