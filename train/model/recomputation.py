"""Gradient checkpointing: the backward pass computes a layer's activations again."""

from __future__ import annotations

from typing import Any

from train.errors import TrainingError


def enable_recomputation(model: Any) -> None:
    """Turns gradient checkpointing on for each layer. It takes effect while the model is in train mode.

    Raises:
        TrainingError: the model does not support it.
    """
    # The newer name exists since transformers 5.20, the older one is deprecated since then.
    enable = getattr(model, "activation_checkpointing_enable", None)
    try:
        (enable or model.gradient_checkpointing_enable)({"use_reentrant": False})
    except ValueError as cause:
        raise TrainingError(
            f"{cause} Set gradient_checkpointing = false, or use another model"
        ) from cause
