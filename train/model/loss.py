"""The loss of a causal LM over the learned ids, weighted and reported by kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from train.data.packing import PackedRow
from train.data.padding import Batch
from train.data.rows import DECISION, PLAN, READ, ROLES
from train.model import attention

MicroBatch = Batch | PackedRow
"""What a model reads in one forward pass."""
_LOGITS = 4096
"""How many ids have logits in memory at the same time."""


def chunks(row_tokens: int) -> int:
    """Returns how many chunks the logits of rows of that length are computed in.

    The number is the same in every process.
    """
    return -(-row_tokens // _LOGITS)


class CausalLM(Protocol):
    """The parts of a transformers model that the loss needs; see `compatibility.check_structure`."""

    @property
    def model(self) -> Callable[..., Any]:
        """Maps ids to hidden states."""
        ...

    @property
    def lm_head(self) -> Callable[[torch.Tensor], torch.Tensor]:
        """Maps hidden states to logits."""
        ...

    def set_attn_implementation(self, attn_implementation: str) -> None:
        """Chooses the attention by name."""
        ...


class WeightedLM(nn.Module):
    """A causal LM whose forward pass returns its loss: the sum over the learned ids, weighted by kind.

    The caller gives a `scale` that the sum is divided by, so that an id has the same influence in
    every batch. Logits are computed for learned ids only, in `chunks` parts of which one is in
    memory at a time: all logits of a large vocabulary together would be larger than the model.
    """

    def __init__(self, model: nn.Module, chunks: int = 1) -> None:
        super().__init__()
        self.model = model
        self._chunks = chunks

    @property
    def _lm(self) -> CausalLM:
        return cast(CausalLM, self.model)

    def forward(
        self, batch: MicroBatch, weights: torch.Tensor, scale: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the loss, and sums and counts of unweighted losses by kind, shape [2, kinds]."""
        hidden, targets, kinds = self._learned(batch)
        if self._chunks == 1:
            losses = self._losses(hidden, targets)
        else:
            parts = zip(
                hidden.tensor_split(self._chunks), targets.tensor_split(self._chunks), strict=True
            )
            losses = torch.cat(
                [
                    cast(torch.Tensor, checkpoint(self._losses, *p, use_reentrant=False))
                    for p in parts
                ]
            )
        sums = torch.zeros(2, len(weights), device=losses.device)
        sums[0].index_add_(0, kinds, losses.detach())
        sums[1].index_add_(0, kinds, torch.ones_like(losses))
        return (losses * weights[kinds]).sum() / scale, sums

    @torch.no_grad()
    def measure(self, batch: MicroBatch, kinds: int) -> torch.Tensor:
        """Returns the sum of losses, the ids predicted right and the ids by kind; shape [3, kinds]."""
        hidden, targets, learned = self._learned(batch)
        sums = torch.zeros(3, kinds, device=hidden.device)
        for h, t, k in zip(
            *(x.tensor_split(self._chunks) for x in (hidden, targets, learned)), strict=True
        ):
            logits = self._lm.lm_head(h).float()
            losses = functional.cross_entropy(logits, t, reduction="none")
            right = (logits.argmax(-1) == t).float()
            for row, values in zip(sums, (losses, right, torch.ones_like(losses)), strict=True):
                row.index_add_(0, k, values)
        return sums

    def _losses(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logits = self._lm.lm_head(hidden).float()
        return functional.cross_entropy(logits, targets, reduction="none")

    def _learned(self, batch: MicroBatch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Returns the hidden states before the learned ids, the learned ids, and their kinds."""
        lm = self._lm
        if isinstance(batch, PackedRow):
            lm.set_attn_implementation(attention.implementation_for(batch.ids.device))
            more = attention.model_inputs(batch)
        else:
            lm.set_attn_implementation("sdpa")
            more = {}
        hidden = lm.model(input_ids=batch.ids, **more).last_hidden_state
        kinds = batch.kinds[:, 1:]
        learned = kinds != READ
        return hidden[:, :-1][learned], batch.ids[:, 1:][learned], kinds[learned]


@dataclass(frozen=True, slots=True)
class Measurement:
    """Loss and accuracy over the learned ids of held-out examples."""

    loss: float
    """The mean loss of an id."""
    accuracy: float
    """The share of ids that are predicted right."""
    decisions: float
    """The share of decisions that are predicted right."""
    by_role: dict[str, float]
    """The mean loss by role."""

    @classmethod
    def from_sums(cls, sums: torch.Tensor) -> Measurement:
        """Returns the measurement from `WeightedLM.measure`, summed over batches and processes."""
        loss, right, count = (row.sum().item() for row in sums)
        decisions = sums[:, DECISION:].sum(1)
        return cls(
            loss / max(1.0, count),
            right / max(1.0, count),
            (decisions[1] / decisions[2].clamp(min=1)).item(),
            mean_by_role(sums[0], sums[2]),
        )


def mean_by_role(losses: torch.Tensor, counts: torch.Tensor) -> dict[str, float]:
    """Returns the mean loss of each role, and of decisions, from sums by kind.

    A role without ids is left out.
    """
    kinds = {name: slice(k, k + 1) for k, name in enumerate(ROLES, PLAN)}
    named = {**kinds, "decisions": slice(DECISION, None)}
    return {
        name: (losses[kind].sum() / counts[kind].sum()).item()
        for name, kind in named.items()
        if counts[kind].sum() > 0
    }
