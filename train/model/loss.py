"""The loss of a causal LM over the learned ids of a batch, weighted by kind, and counted by kind."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from train.data.packing import Forest
from train.data.padding import Batch
from train.data.rows import DECISION, PLAN, READ, ROLES
from train.model import attention

_LOGITS = 4096
"""Of so many ids the logits are held at a time."""


def chunks(row_tokens: int) -> int:
    """Into how many parts the logits of rows of that length are made: equally many on every process."""
    return -(-row_tokens // _LOGITS)


class WeightedLM(nn.Module):
    """A causal LM whose forward pass is its loss: the sum over the learned ids, by kind weighted.

    The sum is divided by `scale`, which the caller knows, so that an id has the same influence in
    whichever batch it is. Logits are made for learned ids alone, in `chunks` parts of which only one
    is held at a time: whole, those of a large vocabulary would be larger than the model.
    """

    def __init__(self, model: nn.Module, chunks: int = 1) -> None:
        super().__init__()
        self.model = model
        self._chunks = chunks

    def forward(
        self, batch: Batch | Forest, weights: torch.Tensor, scale: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss, and what it was by kind: sums and counts, of shape [2, kinds]."""
        hidden, targets, kinds = self._learned(batch)
        if self._chunks == 1:
            losses = self._losses(hidden, targets)
        else:
            parts = zip(
                hidden.tensor_split(self._chunks), targets.tensor_split(self._chunks), strict=True
            )
            losses = torch.cat(
                [checkpoint(self._losses, h, t, use_reentrant=False) for h, t in parts]
            )
        seen = torch.zeros(2, len(weights), device=losses.device)
        seen[0].index_add_(0, kinds, losses.detach())
        seen[1].index_add_(0, kinds, torch.ones_like(losses))
        return (losses * weights[kinds]).sum() / scale, seen

    @torch.no_grad()
    def measure(self, batch: Batch | Forest, kinds: int) -> torch.Tensor:
        """By kind: the sum of losses, ids predicted right, and ids; of shape [3, kinds]."""
        hidden, targets, learned = self._learned(batch)
        found = torch.zeros(3, kinds, device=hidden.device)
        for h, t, k in zip(
            *(x.tensor_split(self._chunks) for x in (hidden, targets, learned)), strict=True
        ):
            logits = self.model.lm_head(h).float()
            losses = functional.cross_entropy(logits, t, reduction="none")
            right = (logits.argmax(-1) == t).float()
            for row, values in zip(found, (losses, right, torch.ones_like(losses)), strict=True):
                row.index_add_(0, k, values)
        return found

    def _losses(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logits = self.model.lm_head(hidden).float()
        return functional.cross_entropy(logits, targets, reduction="none")

    def _learned(self, batch: Batch | Forest) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What the model made of the ids before the learned ones, those ids, and their kinds."""
        if isinstance(batch, Forest):
            self.model.set_attn_implementation(attention.attention_on(batch.ids.device))
            more = attention.mask_of(batch)
        else:
            self.model.set_attn_implementation("sdpa")
            more = {}
        hidden = self.model.model(input_ids=batch.ids, **more).last_hidden_state
        kinds = batch.kinds[:, 1:]
        learned = kinds != READ
        return hidden[:, :-1][learned], batch.ids[:, 1:][learned], kinds[learned]


@dataclass(frozen=True, slots=True)
class Measured:
    """Loss and accuracy over the learned ids of held-out examples, as a whole and by role."""

    loss: float
    accuracy: float
    decisions: float
    by_role: dict[str, float]

    @classmethod
    def of(cls, found: torch.Tensor) -> Measured:
        """Reads what `WeightedLM.measure` found, summed over batches and processes."""
        loss, right, count = (row.sum().item() for row in found)
        decisive = found[:, DECISION:].sum(1)
        return cls(
            loss / max(1.0, count),
            right / max(1.0, count),
            (decisive[1] / decisive[2].clamp(min=1)).item(),
            by_role(found[0], found[2]),
        )


def by_role(losses: torch.Tensor, counts: torch.Tensor) -> dict[str, float]:
    """The mean loss of each role that there is, and of decisions, from sums by kind."""
    kinds = {name: slice(k, k + 1) for k, name in enumerate(ROLES, PLAN)}
    named = {**kinds, "decisions": slice(DECISION, None)}
    return {
        name: (losses[kind].sum() / counts[kind].sum()).item()
        for name, kind in named.items()
        if counts[kind].sum() > 0
    }
