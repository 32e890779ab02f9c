"""The Countdown recipe: data, tokenizer, model and training of SPRINT and RFT, from nothing.

Both models come from the same trajectories, start from the same weights and have the same budget of
tokens; they differ in how the trajectories are rendered. RFT reads them as they were written. SPRINT
does so too for the first part of its budget, and learns to plan and execute in the rest: like the
models of the paper, it is a sequential reasoner before. That part is both methods', and is made once.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from transformers import PreTrainedModel

from curate import samples
from curate.countdown import (
    CountdownData,
    drilled,
    rft_sample,
    rft_samples,
    run_sample,
    sprint_samples,
    trajectories,
)
from curate.pack.stages import Packed
from sprint_agent.countdown import Split
from sprint_agent.tokenizer import FileTokenizer
from train import request
from train.countdown import curriculum, tokenizer
from train.countdown import model as models
from train.countdown.curriculum import Course, Examples, Schedule
from train.data.rows import DECISION
from train.data.trees import Tree, TreeBuilder
from train.errors import TrainingError
from train.loop import distributed
from train.loop.distributed import Place
from train.loop.loop import Plan, Step, Update, Watcher
from train.loop.loop import train as fit
from train.model.loss import Measured

Method = Literal["sprint", "rft"]
METHODS: tuple[Method, ...] = ("sprint", "rft")
Part = Literal["shared", "sprint", "rft"]
"""A training: the part that both methods share, or what one of them adds to it."""
VALIDATION = 100
VALIDATION_SUFFIX = "-validation"
EVERY = 1000
"""Updates between two measurements, each with a checkpoint."""
_LOOK = 0.5
"""Seconds between two looks at processes that train."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that decides what comes out.

    `sequential` is the share of SPRINT's budget in which it still reads sequential trajectories, and
    `parallel_weights` are those of its decisions afterwards. From the share `calibrated` on, RFT's
    decisions weigh no more than other ids: heavier, they teach it to claim hits that are none, which
    ends its search, while a check passes by an executor's.
    `decisions` are patterns of what has loss weights of its own: a hit, and whether one number divides
    another; then how the numbers are named, the expressions that follow from a hit, and whether the
    planner answers or opens another stage. They stand once in hundreds of ids, and without them a search
    is lost.
    """

    data: CountdownData = CountdownData()
    shape: models.ModelShape = models.ModelShape()
    schedule: Schedule = Schedule(tokens=40_000_000, decision_weights=((0.0, (4.0, 4.0)),))
    sequential: float = 0.35
    parallel_weights: tuple[float, float] = (3.0, 8.0)
    calibrated: float = 0.6
    vocabulary: int = 2048
    decisions: tuple[str, str] = (
        r" yes|= [a-f] \d+ / .*|(?m:^\d+ / \d+ =|(?:(?<=high)|(?<=low))(?:\.$|, / \d+ \w+\.$))",
        r"(?<=Answer: ).*|(?<=\\boxed\{).*|^<(?:Plan_[2-9]|Final_answer)>|(?m:^a \d+, .* to \d+\.$)",
    )


def prepare(recipe: Recipe, folder: Path) -> None:
    """Writes the tokenizer and both methods' samples to `folder`, where they are missing.

    Raises TrainingError where they were made by another recipe.
    """
    request.check(folder, asdict(recipe))
    if (folder / f"rft{VALIDATION_SUFFIX}.jsonl").exists():
        return
    request.keep(folder, asdict(recipe))
    packed = list(trajectories(recipe.data, "train"))
    trained = tokenizer.train(_texts(packed[:3000], recipe.data), recipe.vocabulary)
    tokenizer.save(trained, folder / "tokenizer", recipe.shape.context_length)
    held_out = recipe.data.scaled(VALIDATION)
    _write(packed, recipe.data, FileTokenizer(trained), folder, "train")
    validation = list(trajectories(held_out, "validation"))
    _write(validation, held_out, FileTokenizer(trained), folder, "validation")


def _write(
    packed: Sequence[Packed], data: CountdownData, reader: FileTokenizer, folder: Path, split: Split
) -> None:
    def length(text: str) -> int:
        return len(reader.encode(text))

    suffix = VALIDATION_SUFFIX if split == "validation" else ""
    drills = drilled(data, split)
    sprint = sprint_samples(packed, drills, data, length)
    samples.write(sprint, folder / f"sprint{suffix}.jsonl")
    samples.write(rft_samples(packed, drills), folder / f"rft{suffix}.jsonl")


def _texts(packed: Sequence[Packed], data: CountdownData) -> Iterator[str]:
    for number, trajectory in enumerate(packed):
        for sample in (run_sample(trajectory, data, len, number), rft_sample(trajectory)):
            yield from (piece.text for piece in sample.transcript.pieces)


def read_trees(
    path: Path, builder: TreeBuilder, longest: int, enough: int
) -> tuple[list[Tree], int]:
    """The trees of a file of samples, and how many were dropped for a context longer than `longest`.

    It stops reading at `enough` ids: more would not be seen within the budget.
    """
    kept: list[Tree] = []
    dropped = read = 0
    for sample in samples.read(path):
        if read >= enough:
            break
        made = builder.tree(sample)
        if made.longest > longest:
            dropped += 1
            continue
        kept.append(made)
        read += len(made)
    return kept, dropped


def train(recipe: Recipe, folder: Path, part: Part, say: Callable[[str], None]) -> None:
    """Makes one part of a training on prepared data; a method's ends in its Hugging Face folder.

    A method goes on from the shared part where that was made before, and else begins from nothing.
    Raises TrainingError.
    """
    reader = FileTokenizer.load(folder / "tokenizer")
    builder = TreeBuilder(reader, recipe.decisions)
    budget = recipe.schedule.tokens

    def read(name: str) -> Examples:
        path = folder / f"{name}.jsonl"
        kept, dropped = read_trees(path, builder, recipe.shape.context_length, budget)
        say(f"{name}: {len(kept)} samples, {dropped} that are too long were dropped")
        return kept if name.startswith("sprint") else [tree.trunk for tree in kept]

    courses = [Course(0.0, read("rft"))]
    if part == "sprint":
        courses.append(Course(recipe.sequential, read("sprint")))
    held_out = read(f"{'sprint' if part == 'sprint' else 'rft'}{VALIDATION_SUFFIX}")
    end = reader.encode(tokenizer.END)[0]
    model = models.build(recipe.shape, reader.vocab_size, end, recipe.schedule.seed)
    checkpoints = begin(folder, part)
    schedule = _schedule(recipe, part)
    until = recipe.sequential if part == "shared" else 1.0
    plan = Plan(
        curriculum.deepspeed_config(schedule), checkpoints, EVERY, DECISION + len(recipe.decisions)
    )
    measured = list(curriculum.batched(held_out, schedule.batch_tokens, seed=0))
    distributed.start()
    stream = curriculum.updates(courses, schedule, until)
    fit(model, stream, measured, plan, _Report(part, say))
    if part != "shared":
        _export(model, recipe, folder / "tokenizer", folder / part)


def begin(folder: Path, part: Part) -> Path:
    """The folder of a part's checkpoints: a method begins with those of the shared part.

    It appears when they are all copied.
    """
    checkpoints, shared = folder / f"{part}.checkpoints", folder / "shared.checkpoints"
    if part != "shared" and shared.exists() and not checkpoints.exists():
        partial = folder / f"{part}.checkpoints.partial"
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(shared, partial)
        partial.rename(checkpoints)
    return checkpoints


class _Report(Watcher):
    """Says a line at each measurement."""

    def __init__(self, part: Part, say: Callable[[str], None]) -> None:
        self._part = part
        self._say = say
        self._seconds = 0.0
        self._tokens = 0

    def stepped(self, step: Step, update: Update) -> None:
        self._seconds += step.seconds
        self._tokens += update.tokens

    def measured(self, place: Place, found: Measured) -> None:
        speed = self._tokens / self._seconds
        said = {"tokens": place.tokens, "tokens_per_second": round(speed), **asdict(found)}
        self._say(f"{self._part}: {json.dumps(said)}")


def _schedule(recipe: Recipe, part: Part) -> Schedule:
    """The schedule of a training: up to the end of the shared part, it is the same for both methods."""
    later: dict[Part, tuple[tuple[float, tuple[float, ...]], ...]] = {
        "shared": (),
        "sprint": ((recipe.sequential, recipe.parallel_weights),),
        "rft": ((recipe.calibrated, (1.0, 1.0)),),
    }
    weights = (*recipe.schedule.decision_weights, *later[part])
    return replace(recipe.schedule, decision_weights=weights)


def _export(model: PreTrainedModel, recipe: Recipe, words: Path, out: Path) -> None:
    """Writes a trained model in the Hugging Face layout, with its tokenizer and its recipe."""
    with distributed.exporting(out):
        model.to(torch.float32).save_pretrained(out)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (out / name).write_bytes((words / name).read_bytes())
        (out / "recipe.json").write_text(json.dumps(asdict(recipe), indent=2) + "\n")


def both(folder: Path, threads: int, arguments: Sequence[str]) -> None:
    """Makes both methods' models on prepared data, in processes of their own.

    The shared part has all `threads`; then the methods go side by side, each on half of them. Raises
    TrainingError as soon as one fails; the other has its checkpoints.
    """
    command = [sys.executable, "-m", "train", "countdown", "--out", str(folder), *arguments]
    if not any((folder / f"{method}.checkpoints").exists() for method in METHODS):
        _side_by_side(("shared",), [*command, "--threads", str(threads)])
    _side_by_side(METHODS, [*command, "--threads", str(max(1, threads // 2))])


def _side_by_side(parts: Sequence[Part], command: Sequence[str]) -> None:
    processes = {part: subprocess.Popen([*command, "--part", part]) for part in parts}
    try:
        while True:
            ended = {part: process.poll() for part, process in processes.items()}
            for part, status in ended.items():
                if status:
                    raise TrainingError(
                        f"the training of {part} ended with exit status {status}, as it says above: "
                        f"start again to go on"
                    )
            if None not in ended.values():
                return
            time.sleep(_LOOK)
    finally:
        for process in processes.values():
            process.terminate()
            process.wait()
