"""The Countdown recipe: data, tokenizer, model and training of SPRINT and RFT, from scratch.

Both models train on the same trajectories, start from the same weights and have the same budget of
tokens. They differ in how the trajectories are rendered. RFT reads them as they were written.
SPRINT does so in the first part of its budget, and learns to plan and to execute in the rest: like
the models of the paper, it is a sequential reasoner first. Both methods share that first part,
which is trained once.
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
from train.config import check_run_record, write_run_record
from train.countdown import curriculum, tokenizer
from train.countdown import model as models
from train.countdown.curriculum import Course, Examples, Schedule
from train.data.rows import DECISION
from train.data.trees import Tree, TreeBuilder
from train.errors import TrainingError
from train.loop import distributed
from train.loop.checkpoints import TrainingState
from train.loop.export import exporting, save
from train.loop.loop import Plan, Step, TrainingObserver
from train.loop.loop import train as run_training
from train.loop.schedule import Update
from train.model.loss import Measurement

Method = Literal["sprint", "rft"]
METHODS: tuple[Method, ...] = ("sprint", "rft")
Part = Literal["shared", "sprint", "rft"]
"""A training: the part that both methods share, or the rest of one method's training."""
VALIDATION = 100
"""The number of validation trajectories."""
VALIDATION_SUFFIX = "-validation"
EVERY = 1000
"""Updates between two measurements, each with a checkpoint."""
_POLL_SECONDS = 0.5
"""Time between two checks whether the training processes have ended."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides the result."""

    data: CountdownData = CountdownData()
    shape: models.ModelShape = models.ModelShape()
    schedule: Schedule = Schedule(tokens=40_000_000, decision_weights=((0.0, (4.0, 4.0)),))
    sequential: float = 0.35
    """The share of SPRINT's budget in which it still reads sequential trajectories."""
    parallel_weights: tuple[float, float] = (3.0, 8.0)
    """The weights of SPRINT's decisions after that share."""
    calibrated: float = 0.6
    """The share of RFT's budget after which its decisions have the weight of other ids. With a
    higher weight they teach RFT to claim hits that are wrong, which ends its search. A wrong claim
    by one of SPRINT's executors does no such harm, because the check refuses it."""
    vocabulary: int = 2048
    decisions: tuple[str, str] = (
        r" yes|= [a-f] \d+ / .*|(?m:^\d+ / \d+ =|(?:(?<=high)|(?<=low))(?:\.$|, / \d+ \w+\.$))",
        r"(?<=Answer: ).*|(?<=\\boxed\{).*|^<(?:Plan_[2-9]|Final_answer)>|(?m:^a \d+, .* to \d+\.$)",
    )
    """Regular expressions of the ids that have their own loss weights. The first matches a hit, and
    whether one number divides another. The second matches the names of the numbers, the expressions
    that follow from a hit, and whether the planner answers or opens another stage. Such ids occur
    once in hundreds of ids, and a search fails if they are wrong."""


def prepare(recipe: Recipe, folder: Path) -> None:
    """Writes the tokenizer and the samples of both methods to `folder`, unless they are there already.

    Raises:
        TrainingError: `folder` was prepared with a different recipe.
    """
    check_run_record(folder, asdict(recipe))
    if (folder / f"rft{VALIDATION_SUFFIX}.jsonl").exists():
        return
    write_run_record(folder, asdict(recipe))
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
    """Returns the trees of a file of samples, and how many samples were dropped.

    A sample is dropped if it has a context of more than `longest` ids. Reading stops after `enough`
    ids, because the budget is too small for more.
    """
    kept: list[Tree] = []
    dropped = read = 0
    for sample in samples.read(path):
        if read >= enough:
            break
        tree = builder.tree(sample)
        if tree.longest > longest:
            dropped += 1
            continue
        kept.append(tree)
        read += len(tree)
    return kept, dropped


def train(recipe: Recipe, folder: Path, part: Part, say: Callable[[str], None]) -> None:
    """Trains one part on prepared data. The training of a method ends with its Hugging Face folder.

    A method resumes from the shared part if that was trained before, and otherwise starts from
    scratch. Each line of the report is passed to `say`.

    Raises:
        TrainingError: the training cannot start or continue.
    """
    reader = FileTokenizer.load(folder / "tokenizer")
    builder = TreeBuilder(reader, recipe.decisions)
    budget = recipe.schedule.tokens

    def read(name: str) -> Examples:
        path = folder / f"{name}.jsonl"
        kept, dropped = read_trees(path, builder, recipe.shape.context_length, budget)
        say(f"{name}: {len(kept)} samples, {dropped} were dropped because they are too long")
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
    run_training(model, stream, measured, plan, _Report(part, say))
    if part != "shared":
        _export(model, recipe, folder / "tokenizer", folder / part)


def begin(folder: Path, part: Part) -> Path:
    """Returns the folder of a part's checkpoints. A method starts with a copy of the shared part's.

    The folder appears only when the copy is complete.
    """
    checkpoints, shared = folder / f"{part}.checkpoints", folder / "shared.checkpoints"
    if part != "shared" and shared.exists() and not checkpoints.exists():
        partial = folder / f"{part}.checkpoints.partial"
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(shared, partial)
        partial.rename(checkpoints)
    return checkpoints


class _Report(TrainingObserver):
    """Passes a line to `say` at each measurement."""

    def __init__(self, part: Part, say: Callable[[str], None]) -> None:
        self._part = part
        self._say = say
        self._seconds = 0.0
        self._tokens = 0

    def on_step(self, step: Step, update: Update) -> None:
        self._seconds += step.seconds
        self._tokens += update.tokens

    def on_measurement(self, state: TrainingState, measurement: Measurement) -> None:
        speed = round(self._tokens / self._seconds)
        line = {"tokens": state.tokens, "tokens_per_second": speed, **asdict(measurement)}
        self._say(f"{self._part}: {json.dumps(line)}")


def _schedule(recipe: Recipe, part: Part) -> Schedule:
    """Returns the schedule of a part. It is the same for both methods until the shared part ends."""
    later: dict[Part, tuple[tuple[float, tuple[float, ...]], ...]] = {
        "shared": (),
        "sprint": ((recipe.sequential, recipe.parallel_weights),),
        "rft": ((recipe.calibrated, (1.0, 1.0)),),
    }
    weights = (*recipe.schedule.decision_weights, *later[part])
    return replace(recipe.schedule, decision_weights=weights)


def _export(model: PreTrainedModel, recipe: Recipe, tokenizer_folder: Path, out: Path) -> None:
    """Writes a trained model in the Hugging Face layout, with its tokenizer and its recipe."""
    with exporting(out):
        save(model.float(), out)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (out / name).write_bytes((tokenizer_folder / name).read_bytes())
        (out / "recipe.json").write_text(json.dumps(asdict(recipe), indent=2) + "\n")


def both(folder: Path, threads: int, arguments: Sequence[str]) -> None:
    """Trains the models of both methods on prepared data, in child processes.

    The shared part uses all `threads`. Then the methods train at the same time, and each uses half
    of the threads.

    Raises:
        TrainingError: a training failed. The other one is stopped at once and keeps its
            checkpoints.
    """
    command = [sys.executable, "-m", "train", "countdown", "--out", str(folder), *arguments]
    if not any((folder / f"{method}.checkpoints").exists() for method in METHODS):
        _at_the_same_time(("shared",), [*command, "--threads", str(threads)])
    _at_the_same_time(METHODS, [*command, "--threads", str(max(1, threads // 2))])


def _at_the_same_time(parts: Sequence[Part], command: Sequence[str]) -> None:
    processes = {part: subprocess.Popen([*command, "--part", part]) for part in parts}
    try:
        while True:
            ended = {part: process.poll() for part, process in processes.items()}
            for part, status in ended.items():
                if status:
                    raise TrainingError(
                        f"the training of {part} ended with exit status {status}; its error is above: "
                        f"start again to resume"
                    )
            if None not in ended.values():
                return
            time.sleep(_POLL_SECONDS)
    finally:
        for process in processes.values():
            process.terminate()
            process.wait()
