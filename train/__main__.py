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
    method: Literal["both", "sprint", "rft"] = "both",
    tokens: int | None = None,
    threads: int | None = None,
) -> None:
    """Make the Countdown models from nothing: data, tokenizer, SPRINT and RFT.

    Parameters
    ----------
    out
        The folder for data, checkpoints and models.
    method
        Which model to train. Both are trained side by side, each on half of the cores.
    tokens
        The budget of each model, in training tokens, in place of the recipe's.
    threads
        CPU threads of each training.
    """
    recipe = recipes.Recipe()
    if tokens is not None:
        recipe = replace(recipe, schedule=replace(recipe.schedule, tokens=tokens))
    recipes.prepare(recipe, out)
    if method == "both":
        threads = threads or max(1, (os.cpu_count() or 2) // 2)
        given = ["--out", str(out), "--threads", str(threads)]
        recipes.side_by_side([*given, *(["--tokens", str(tokens)] if tokens else [])])
        return
    if threads:
        torch.set_num_threads(threads)
    print(recipes.train(recipe, out, method, lambda line: print(line, flush=True)))


if __name__ == "__main__":
    app()
