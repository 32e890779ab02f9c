"""Attention by the segments of a packed row: a branch sees the trunk before it, and itself.

There are two ways to the same numbers. `branched` computes each segment separately over the ids
that it sees, which suits a CPU. On a GPU the whole row is one call of FlexAttention, and
`block_mask` says which blocks of 128 by 128 ids contain a visible pair.

On a CPU the attention is computed by plain matrix products over a few rows at a time. With bf16, a
training step is then faster than with the fused kernel, whose backward pass does not use the
processor's bf16 instructions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.attention.flex_attention import BlockMask, create_block_mask
from transformers import AttentionInterface

from train.data.packing import PackedRow, Segment
from train.errors import TrainingError

_ROWS = 128
"""Query ids that are computed at a time. With fewer, less is computed for invisible pairs."""
ATTENTION = "branched"
"""The name of `branched` in a model's configuration."""


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
    """Computes attention over a packed row, with the signature that transformers expects.

    Query, key and value have the shape [1, heads, ids, width]. The result has [1, ids, heads,
    width]. Nothing is computed for ids that a segment does not see. The memory that is kept for the
    backward pass grows with the square of a tree's length.

    Raises:
        TrainingError: the model has dropout in attention, caps the scores of attention, or has a
            window that is shorter than the longest context.
    """
    if dropout:
        raise TrainingError("attention_dropout is not supported: set it to 0 in the model's config")
    if softcap is not None:
        raise TrainingError(
            "a model that caps the scores of attention is not supported: use another model"
        )
    longest = max(s.seen + s.end - s.start for s in segments)
    if sliding_window and sliding_window < longest:
        raise TrainingError(
            f"a model whose attention has a window of {sliding_window} ids cannot be trained on "
            f"contexts of {longest} ids: use shorter samples or another model"
        )
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    parts: list[torch.Tensor] = []
    for s in segments:
        keys, values = (_seen(each[0], s) for each in (key, value))
        for start in range(s.start, s.end, _ROWS):
            end = min(start + _ROWS, s.end)
            seen = s.seen + end - s.start
            parts.append(_attend(query[0, :, start:end], keys[:, :seen], values[:, :seen], scale))
    return torch.cat(parts, dim=1).transpose(0, 1).contiguous()[None], None


def _seen(row: torch.Tensor, s: Segment) -> torch.Tensor:
    own = row[:, s.start : s.end]
    return torch.cat([row[:, s.root : s.root + s.seen], own], dim=1) if s.seen else own


def _attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
) -> torch.Tensor:
    """Computes the attention of the last seen ids. Several query heads share a key head."""
    heads, rows, width = query.shape
    grouped = query.reshape(len(key), -1, width) * scale
    scores = torch.bmm(grouped, key.transpose(1, 2)).view(heads, rows, -1)
    later = torch.full((rows, rows), -torch.inf, dtype=query.dtype, device=query.device).triu(1)
    scores[:, :, -rows:] += later
    weights = scores.softmax(-1).view(len(key), -1, key.shape[1])
    return torch.bmm(weights, value).view(heads, rows, width)


def block_mask(packed: PackedRow) -> BlockMask:
    """Returns FlexAttention's mask: which blocks of ids see which, and the rule within a block."""
    device = packed.ids.device
    lengths = torch.tensor([s.end - s.start for s in packed.segments])
    columns = ([s.start, s.root, s.root + s.seen] for s in packed.segments)
    start, root, until = torch.tensor(list(columns)).repeat_interleave(lengths, 0).T.to(device)

    def sees(
        batch: torch.Tensor, head: torch.Tensor, query: torch.Tensor, key: torch.Tensor
    ) -> torch.Tensor:
        itself = (key >= start[query]) & (key <= query)
        return itself | ((key >= root[query]) & (key < until[query]))

    length = packed.tokens
    # On a GPU the construction is compiled. Without that, the full mask is built first, id by id.
    return create_block_mask(
        sees, None, None, length, length, device=device, _compile=device.type == "cuda"
    )


def model_inputs(packed: PackedRow) -> dict[str, Any]:
    """Returns the inputs of a model besides the ids, for `implementation_for` the row's device."""
    given: dict[str, Any] = {"position_ids": packed.positions}
    if packed.ids.device.type == "cuda":
        return {**given, "attention_mask": block_mask(packed)}
    return {**given, "segments": packed.segments}


def implementation_for(device: torch.device) -> str:
    """Returns the name of a device's attention: FlexAttention on a GPU, otherwise `branched`."""
    return "flex_attention" if device.type == "cuda" else ATTENTION


AttentionInterface.register(ATTENTION, branched)
