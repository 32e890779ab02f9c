"""`python -m train`: fine-tunes a causal LM on rendered trajectories."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

# Before DeepSpeed is imported: without a GPU it must not look for one.
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("DS_ACCELERATOR", "cpu")

import cyclopts

from train import countdown as recipes
from train import engine, settings
from train.errors import TrainingError
from train.finetune import finetune, like
from train.model import SHAPES, Size
from train.trees import Layout

app = cyclopts.App(name="python -m train", help=__doc__)


@app.command
def sft(
    *,
    config: Path,
    model: str | None = None,
    train: list[Path] | None = None,
    validation: list[Path] | None = None,
    out: Path | None = None,
    layout: Layout | None = None,
    budget_of: Path | None = None,
    equal: Literal["tokens", "updates"] = "tokens",
) -> None:
    """Fine-tune a causal LM on samples. Started again, it goes on from its last checkpoint.

    On several GPUs: deepspeed --num_gpus 8 --module train sft --config …, and with --hostfile on
    several machines.

    Parameters
    ----------
    config
        A TOML file, such as those in train/configs; what else is given here comes before it.
    model
        A Hugging Face folder or name to start from.
    train
        Files of samples, as `python -m curate` writes them.
    validation
        Files of samples that are measured and not learned.
    out
        The folder of checkpoints, log and, at the end, the model.
    layout
        How a run becomes rows: branched (as inference sees it), linear (one sequence, the paper's), or
        expanded (a row for each context; slow).
    budget_of
        The folder of a finished training whose budget this one gets, for a fair baseline.
    equal
        Of which kind that budget is: as many ids, or as many updates.
    """
    lists = {
        "data.train": [str(path) for path in train or ()],
        "data.validation": [str(path) for path in validation or ()],
    }
    single = {"model": model, "out": out and str(out), "data.layout": layout}
    changes: dict[str, Any] = {k: v for k, v in {**lists, **single}.items() if v}
    if budget_of is not None:
        changes |= like(budget_of, equal)
    finetune(settings.read(config, changes))
    engine.stop()


@app.command
def countdown(
    *,
    out: Path = Path("runs/countdown"),
    part: Literal["both", "shared", "sprint", "rft"] = "both",
    size: Size = "medium",
    trajectories: int | None = None,
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
    size
        How large the models are: 0.4, 1.4 or 4.0 million parameters.
    trajectories
        How many trajectories both learn from, in place of the recipe's.
    tokens
        The budget of each model, in training tokens, in place of the recipe's.
    threads
        CPU threads, all cores by default. The models are trained side by side, each on half of them.
    """
    recipe = recipes.Recipe(shape=SHAPES[size])
    if trajectories is not None:
        recipe = replace(recipe, data=recipe.data.scaled(trajectories))
    if tokens is not None:
        recipe = replace(recipe, schedule=replace(recipe.schedule, tokens=tokens))
    recipes.prepare(recipe, out)
    if part == "both":
        budget = ["--tokens", str(tokens)] if tokens else []
        data = ["--trajectories", str(trajectories)] if trajectories else []
        recipes.both(out, threads or os.cpu_count() or 2, ["--size", size, *data, *budget])
        return
    if threads:
        torch.set_num_threads(threads)
    recipes.train(recipe, out, part, lambda line: print(line, flush=True))


def main(arguments: list[str]) -> None:
    """Runs a command; what cannot be done ends in one line, with exit status 2."""
    # DeepSpeed's launcher puts the process's number first; it says the same in the environment.
    given = [word for word in arguments if not word.startswith("--local_rank")]
    try:
        app(given)
    except (TrainingError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error


if __name__ == "__main__":
    main(sys.argv[1:])
