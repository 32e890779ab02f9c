"""Which models can be fine-tuned: others would learn another loss than their own, without a word.

The loss takes what `lm_head` says for logits, of what `model` makes of a forest by our attention. That
`parts` and `reach` allow it is seen in a model's configuration; `logits` has it read a tree, and each of
the tree's contexts as it would by itself.
"""

from __future__ import annotations

from typing import Any

import torch

from train.data.packing import forest
from train.data.rows import READ, Row
from train.data.trees import Branch, Tree
from train.errors import TrainingError
from train.model.attention import ATTENTION

_PARTS = ("model", "lm_head")
_CONFIGURED = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
)
_STRETCHES = {"sliding_attention": "sliding_window", "chunked_attention": "attention_chunk_size"}
"""Layers that see a stretch of a context alone, and what a configuration calls its length."""
_CLOSE = {torch.float32: 1e-3}
_CLOSE_IN_HALF = 0.2
"""How far logits may be apart, as a share of their norm: sums of 16 bits are rounded, and experts chosen
by them."""
_TREE = Tree(
    Row(tuple(range(1, 21)), (READ,) * 20), (Branch(9, Row(tuple(range(21, 31)), (READ,) * 10)),)
)


def parts(model: Any) -> None:
    """Raises TrainingError where a model is not made of the parts that are trained here."""
    missing = [name for name in _PARTS if not hasattr(model, name)]
    missing += [f"config.{name}" for name in _CONFIGURED if not hasattr(model.config, name)]
    if missing:
        raise _refused(model, f"it has no {', '.join(missing)}")


def reach(model: Any, longest: int) -> None:
    """Raises TrainingError where layers do not see the whole of a context of `longest` ids."""
    # Where layers are not told apart, a window is that of all.
    layers = set(getattr(model.config, "layer_types", None) or ["sliding_attention"])
    other = layers - {"full_attention", *_STRETCHES}
    if other:
        raise _refused(model, f"it has layers with {', '.join(sorted(other))}")
    for name in (_STRETCHES[kind] for kind in layers if kind in _STRETCHES):
        stretch = getattr(model.config, name, None)
        if stretch and stretch < longest:
            raise _refused(model, f"its {name} is {stretch}, and a context has {longest} ids")


@torch.no_grad()
def logits(model: Any, device: torch.device) -> None:
    """Raises TrainingError where a model's own logits are not those that the loss is of.

    Under ZeRO 3, all processes call it together, when DeepSpeed holds the model.
    """
    said: list[torch.Tensor] = []
    hook = model.lm_head.register_forward_hook(lambda *call: said.append(call[-1]))
    try:
        whole, branch = (_read(model, row.ids, device) for row in _TREE.rows)
        plain = len(said) == 2 and torch.equal(said[0].float(), whole.float())
        own = torch.cat([whole, branch[:, _TREE.branches[0].at :]], 1)
        ours = _read_tree(model, device)
    except TrainingError:
        raise
    except Exception as cause:
        line = str(cause).strip().split("\n")[0]
        raise _refused(model, f"it cannot read a tree: {line}") from cause
    finally:
        hook.remove()
    if not plain:
        raise _refused(model, "it scales or caps what its lm_head says")
    apart = float((ours - own).float().norm() / own.float().norm())
    if not apart <= _CLOSE.get(ours.dtype, _CLOSE_IN_HALF):
        raise _refused(model, f"a tree's logits are not those of its contexts ({apart:.0%} apart)")


def _read(model: Any, ids: tuple[int, ...], device: torch.device) -> torch.Tensor:
    return model(input_ids=torch.tensor([ids], device=device), use_cache=False).logits


def _read_tree(model: Any, device: torch.device) -> torch.Tensor:
    # Not by FlexAttention, whose kernel would be compiled for this length.
    model.set_attn_implementation(ATTENTION)
    tree = forest([_TREE]).to(device)
    more = {"position_ids": tree.positions, "segments": tree.segments}
    return model.lm_head(model.model(input_ids=tree.ids, **more).last_hidden_state)


def _refused(model: Any, why: str) -> TrainingError:
    return TrainingError(
        f"{type(model).__name__} cannot be fine-tuned here: {why}; docs/training.md says what can"
    )
