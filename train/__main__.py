"""Fine-tune a causal LM on rendered trajectories."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

# This must be set before DeepSpeed is imported: without a GPU, DeepSpeed must not look for one.
if not torch.cuda.is_available():
    os.environ.setdefault("DS_ACCELERATOR", "cpu")

import cyclopts

from sprint_agent.countdown import PuzzleSpace
from train.config import Layout, read_settings
from train.countdown import recipe as recipes
from train.countdown.model import SHAPES, Size
from train.errors import TrainingError
from train.finetune import budget_of as read_budget
from train.finetune import finetune
from train.loop import distributed

app = cyclopts.App(
    name="python -m train", help=__doc__, default_parameter=cyclopts.Parameter(negative=())
)


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
    """Fine-tune a causal LM on samples. Run the command again to resume from the last checkpoint.

    On several GPUs, start it with `deepspeed --num_gpus 8 --module train sft`. On several machines,
    add `--hostfile`.

    Parameters
    ----------
    config
        TOML file, such as those in train/configs. The other options override its entries.
    model
        Hugging Face folder or name of the model to start from.
    train
        Files of samples from `python -m curate` to train on.
    validation
        Files of samples from `python -m curate` to measure, but not to train on.
    out
        Output folder for the checkpoints, the log and the trained model.
    layout
        How a run becomes rows. branched: a tree of the contexts of inference. linear: one sequence,
        as in the paper. expanded: one row for each context, which is slow.
    budget_of
        Folder of a finished training. This training gets the same budget, for a fair baseline.
    equal
        With --budget-of: train on as many ids (tokens), or for as many updates.
    """
    lists = {
        "data.train": [str(path) for path in train or ()],
        "data.validation": [str(path) for path in validation or ()],
    }
    single = {"model": model, "out": out and str(out), "data.layout": layout}
    changes: dict[str, Any] = {k: v for k, v in {**lists, **single}.items() if v}
    if budget_of is not None:
        changes |= read_budget(budget_of, equal)
    finetune(read_settings(config, changes))
    distributed.stop()


@app.command
def countdown(
    *,
    out: Path = Path("runs/countdown"),
    part: Literal["both", "shared", "sprint", "rft"] = "both",
    size: Size = "medium",
    numbers: list[str] | None = None,
    trajectories: int | None = None,
    tokens: int | None = None,
    threads: int | None = None,
) -> None:
    """Make the Countdown models from scratch: data, tokenizer, SPRINT model and RFT model.

    RFT is the baseline: it trains on the same trajectories without splitting. Run the command again
    to resume.

    Parameters
    ----------
    out
        Output folder for data, checkpoints and models. Files that it already contains are reused.
    part
        What to train: both models, only the part of the training that they share, or only the rest
        of one model's training.
    size
        Size of the models: 0.4, 1.4 or 4.0 million parameters.
    numbers
        Puzzles to train on: how many numbers a puzzle has (from 1 to 13), or COUNT:HIGH for numbers
        from 1 to HIGH, such as 4:99. Repeat the option for several kinds in equal parts. By
        default, those of the recipe.
    trajectories
        Number of trajectories that both models learn from. By default, that of the recipe.
    tokens
        Budget of each model, in training tokens. By default, that of the recipe.
    threads
        Number of CPU threads. By default, all cores. The two models train at the same time, and
        each uses half of the threads.
    """
    recipe = _recipe(size, numbers or (), trajectories, tokens)
    recipes.prepare(recipe, out)
    if part == "both":
        puzzles = [f"--numbers={each}" for each in numbers or ()]
        options = {"--size": size, "--trajectories": trajectories, "--tokens": tokens}
        given = [f"{name}={value}" for name, value in options.items() if value is not None]
        recipes.both(out, threads or os.cpu_count() or 2, [*puzzles, *given])
        return
    if threads:
        torch.set_num_threads(threads)
    recipes.train(recipe, out, part, lambda line: print(line, flush=True))


def _recipe(
    size: Size, numbers: Sequence[str], trajectories: int | None, tokens: int | None
) -> recipes.Recipe:
    """Returns the recipe with the given changes."""
    recipe = recipes.Recipe(shape=SHAPES[size])
    data, schedule = recipe.data, recipe.schedule
    if numbers:
        try:
            spaces = tuple((PuzzleSpace.parse(each), 1) for each in numbers)
        except ValueError as error:
            raise TrainingError(str(error)) from error
        data = replace(data, spaces=spaces)
    if trajectories is not None:
        data = data.drawn_from(trajectories)
    if tokens is not None:
        schedule = replace(schedule, tokens=tokens)
    return replace(recipe, data=data, schedule=schedule)


def main(arguments: list[str]) -> None:
    """Runs a command. An error ends it with one line and exit status 2."""
    # DeepSpeed's launcher puts the process's number first. The environment contains it too.
    given = [word for word in arguments if not word.startswith("--local_rank")]
    try:
        app(given)
    except (TrainingError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error


if __name__ == "__main__":
    main(sys.argv[1:])
