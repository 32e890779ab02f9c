"""`python -m train`: fine-tunes a causal LM on rendered trajectories."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Literal

# Before DeepSpeed is imported: without a GPU it must not look for one.
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("DS_ACCELERATOR", "cpu")

import cyclopts

from train import countdown as recipes

app = cyclopts.App(help=__doc__)


@app.command
def countdown(
    *,
    out: Path = Path("runs/countdown"),
    part: Literal["both", "shared", "sprint", "rft"] = "both",
    tokens: int | None = None,
    threads: int | None = None,
) -> None:
    """Make the Countdown models from nothing: data, tokenizer, SPRINT and RFT.

    Parameters
    ----------
    out
        The folder for data, checkpoints and models. What stands there already is not made again.
    part
        What to train: both models, or the part of their training that they share, or what one adds.
    tokens
        The budget of each model, in training tokens, in place of the recipe's.
    threads
        CPU threads, all cores by default. The models are trained side by side, each on half of them.
    """
    recipe = recipes.Recipe()
    if tokens is not None:
        recipe = replace(recipe, schedule=replace(recipe.schedule, tokens=tokens))
    recipes.prepare(recipe, out)
    if part == "both":
        given = ["--tokens", str(tokens)] if tokens else []
        recipes.both(out, threads or os.cpu_count() or 2, given)
        return
    if threads:
        torch.set_num_threads(threads)
    recipes.train(recipe, out, part, lambda line: print(line, flush=True))


if __name__ == "__main__":
    app()
