"""Checks that a model can be fine-tuned. Other models would silently learn a different loss.

The loss takes the output of `lm_head` as the logits, of the hidden states that `model` returns for
a packed row with our attention. `check_structure` and `check_context` read from a model's
configuration whether that is possible. `check_logits` lets the model read a tree, and each context
of the tree separately, and compares the logits.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from train.data.packing import pack_row
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
_WINDOWS = {"sliding_attention": "sliding_window", "chunked_attention": "attention_chunk_size"}
"""Layers that see only a part of a context, and the name of its length in a configuration."""
_FIXED_ROPE = ("default", "linear", "llama3", "yarn", "proportional")
"""Rotary embeddings whose frequencies do not depend on the positions in a row."""
_TOLERANCE = {torch.float32: 1e-3}
_TOLERANCE_IN_HALF = 0.2
"""How much logits may differ, as a share of their norm. In 16 bits, sums are rounded, and the
choice of experts depends on them."""
_TREE = Tree(
    Row(tuple(range(1, 21)), (READ,) * 20), (Branch(9, Row(tuple(range(21, 31)), (READ,) * 10)),)
)


def check_structure(model: Any) -> None:
    """Checks that a model has the parts that training needs, and nothing random.

    Raises:
        TrainingError: a part is missing, or there is dropout.
    """
    missing = [name for name in _PARTS if not hasattr(model, name)]
    missing += [f"config.{name}" for name in _CONFIGURED if not hasattr(model.config, name)]
    if missing:
        raise _unsupported(model, f"it has no {', '.join(missing)}")
    for name in _CONFIGURED:
        value = getattr(model.config, name)
        if not isinstance(value, int) or value < 1:
            raise _unsupported(model, f"the {name} in its config.json is {value!r}")
    dropouts = [
        name for name, part in model.named_modules() if isinstance(part, nn.Dropout) and part.p
    ]
    if dropouts:
        raise _unsupported(
            model, f"it has dropout ({dropouts[0]}): set the dropouts in its config.json to 0"
        )


def check_vocabulary(model: Any, rows: Iterable[Row]) -> None:
    """Checks that a model knows all ids of rows.

    Raises:
        TrainingError: the tokenizer made an id that the model does not have.
    """
    known = int(model.get_input_embeddings().num_embeddings)
    largest = max((max(row.ids) for row in rows if row.ids), default=0)
    if largest >= known:
        raise _unsupported(
            model,
            f"its tokenizer makes the id {largest}, but it has only {known} ids: give the tokenizer "
            f"that belongs to the model",
        )


def check_context(model: Any, longest: int) -> None:
    """Checks that all layers see the whole of a context of `longest` ids, and nothing beside it.

    Raises:
        TrainingError: a layer sees only a part of it, or is of an unknown type. Or what it sees
            depends on the other contexts in a row.
    """
    # If a configuration does not list its layers, its window applies to all of them.
    layers = set(getattr(model.config, "layer_types", None) or ["sliding_attention"])
    other = layers - {"full_attention", *_WINDOWS}
    if other:
        raise _unsupported(model, f"it has layers with {', '.join(sorted(other))}")
    for name in (_WINDOWS[kind] for kind in layers if kind in _WINDOWS):
        window = getattr(model.config, name, None)
        if window and window < longest:
            raise _unsupported(
                model, f"its {name} is {window}, but the longest context has {longest} ids"
            )
    for rope in _ropes(model.config):
        kind = rope.get("rope_type") or rope.get("type") or "default"
        unchanged = _original_context(model.config, rope)
        if kind not in _FIXED_ROPE and longest > unchanged:
            raise _unsupported(
                model,
                f"its rotary embedding ({kind}) depends on the other contexts in a row if one has more "
                f"than {unchanged:,} ids, and the longest has {longest:,}: set [data] row_tokens = "
                f"{unchanged}",
            )


def _ropes(config: Any) -> list[dict[str, Any]]:
    """Returns the parameters of a model's rotary embeddings: one, or one for each type of layer."""
    given = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    nested = [each for each in given.values() if isinstance(each, dict)]
    return nested or [given]


def _original_context(config: Any, rope: dict[str, Any]) -> int:
    """Returns the longest context, in ids, for which a rotary embedding keeps its frequencies."""
    name = "original_max_position_embeddings"
    return int(rope.get(name) or getattr(config, name, None) or config.max_position_embeddings)


@torch.no_grad()
def check_logits(model: Any, device: torch.device) -> None:
    """Checks that a model's own logits are those that the loss is computed from.

    Under ZeRO 3, all processes must call it together, after DeepSpeed has taken over the model.

    Raises:
        TrainingError: the logits differ, or the model cannot read a tree.
    """
    outputs: list[torch.Tensor] = []
    hook = model.lm_head.register_forward_hook(lambda *call: outputs.append(call[-1]))
    try:
        trunk, branch = (_read(model, row.ids, device) for row in _TREE.rows)
        unscaled = len(outputs) == 2 and torch.equal(outputs[0].float(), trunk.float())
        expected = torch.cat([trunk, branch[:, _TREE.branches[0].at :]], 1)
        logits = _read_tree(model, device)
    except TrainingError:
        raise
    except Exception as cause:
        line = str(cause).strip().split("\n")[0]
        raise _unsupported(model, f"it cannot read a tree: {line}") from cause
    finally:
        hook.remove()
    if not expected.isfinite().all():
        raise _unsupported(model, "its logits are not finite: its weights are damaged")
    if not unscaled:
        raise _unsupported(model, "it scales or caps the output of its lm_head")
    difference = float((logits - expected).float().norm() / expected.float().norm())
    # Written so that a difference of NaN is refused too.
    if not difference <= _TOLERANCE.get(logits.dtype, _TOLERANCE_IN_HALF):
        raise _unsupported(
            model, f"its logits for a tree differ by {difference:.0%} from those of the contexts"
        )


def _read(model: Any, ids: tuple[int, ...], device: torch.device) -> torch.Tensor:
    return model(input_ids=torch.tensor([ids], device=device), use_cache=False).logits


def _read_tree(model: Any, device: torch.device) -> torch.Tensor:
    # FlexAttention's kernel would have to be compiled for this length, so it is not used here.
    model.set_attn_implementation(ATTENTION)
    packed = pack_row([_TREE]).to(device)
    more = {"position_ids": packed.positions, "segments": packed.segments}
    return model.lm_head(model.model(input_ids=packed.ids, **more).last_hidden_state)


def _unsupported(model: Any, why: str) -> TrainingError:
    return TrainingError(
        f"{type(model).__name__} cannot be fine-tuned here: {why}; docs/training.md lists the "
        f"supported models"
    )
