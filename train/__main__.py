"""`python -m train`: fine-tunes a causal LM on rendered trajectories."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

# Before DeepSpeed is imported: without a GPU it must not look for one.
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("DS_ACCELERATOR", "cpu")

import cyclopts

from sprint_agent.countdown import PuzzleSpace
from train.countdown import recipe as recipes
from train.countdown.model import SHAPES, Size
from train.data.trees import Layout
from train.errors import TrainingError
from train.finetune import finetune, like
from train.loop import distributed

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
    finetune(config.read(config, changes))
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
    """Make the Countdown models from nothing: data, tokenizer, SPRINT and RFT.

    Parameters
    ----------
    out
        The folder for data, checkpoints and models. What stands there already is not made again.
    part
        What to train: both models, or the part of their training that they share, or what one adds.
    size
        How large the models are: 0.4, 1.4 or 4.0 million parameters.
    numbers
        How many numbers a puzzle has (of 1 to 13), or how many and up to which: 4:99. Given more than
        once, as many puzzles of each; in place of the recipe's.
    trajectories
        How many trajectories both learn from, in place of the recipe's.
    tokens
        The budget of each model, in training tokens, in place of the recipe's.
    threads
        CPU threads, all cores by default. The models are trained side by side, each on half of them.
    """
    recipe = _recipe(size, numbers or (), trajectories, tokens)
    recipes.prepare(recipe, out)
    if part == "both":
        drawn = [f"--numbers={each}" for each in numbers or ()]
        sized = {"--size": size, "--trajectories": trajectories, "--tokens": tokens}
        given = [f"{name}={value}" for name, value in sized.items() if value is not None]
        recipes.both(out, threads or os.cpu_count() or 2, [*drawn, *given])
        return
    if threads:
        torch.set_num_threads(threads)
    recipes.train(recipe, out, part, lambda line: print(line, flush=True))


def _recipe(
    size: Size, numbers: Sequence[str], trajectories: int | None, tokens: int | None
) -> recipes.Recipe:
    """The recipe, but for what was asked for."""
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
