"""Layouts, roles and rows of samples: what is learned, what fits, what has to go."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("deepspeed")

from curate import samples
from curate.samples import Sample
from sprint_agent.protocol import tags
from sprint_agent.protocol.transcript import StageText, Transcript
from sprint_agent.testing import CharTokenizer
from train import config
from train.config import Budget, Data, Rates, Weights
from train.data import load
from train.data.rows import ANSWER, EXECUTION, PLAN, PROMPT, READ, Row
from train.data.trees import Tree, TreeBuilder
from train.errors import TrainingError
from train.loop.schedule import Rows, kind_weights, updates

TASK = tags.prompt(1, 1, "add 数")
HALVE = tags.prompt(1, 2, "halve")
CHECK = tags.prompt(2, 1, "check")
SAMPLE = Sample(
    Transcript(
        "How much?",
        (
            StageText(tags.plan(1, ["First.", TASK + "\n", HALVE]), ("ab\n", "cd\n")),
            StageText(tags.plan(2, ["Then.", CHECK]), ("ef\n",)),
        ),
        tags.answer("7"),
    ),
    executions={"1.1": "ab\n", "1.2": "cd\n", "2.1": "ef\n"},
)
CHARS = CharTokenizer()


def of(rows: list[Row], kind: int) -> str:
    return "".join(
        CHARS.decode([i])
        for row in rows
        for i, k in zip(row.ids, row.kinds, strict=True)
        if k == kind
    )


@pytest.mark.parametrize("layout", ["branched", "linear", "expanded"])
def test_the_same_is_learned_in_every_layout(layout: str) -> None:
    trees = TreeBuilder(CHARS).trees(SAMPLE, layout)  # type: ignore[arg-type]
    rows = [row for tree in trees for row in tree.own]
    assert len(rows) == (1 if layout == "linear" else 4)
    assert of(rows, PROMPT) == TASK + HALVE + CHECK
    # A stop is learned up to its last character: the rest of the tag is glue.
    plans = "".join(f"{stage.turn}</Plan_" for stage in SAMPLE.transcript.stages)
    for prompt in (TASK, HALVE, CHECK):
        plans = plans.replace(prompt, "")
    assert of(rows, PLAN) == plans
    assert of(rows, EXECUTION) == "".join(f"{text}\n</execution_" for text in ("ab", "cd", "ef"))
    assert of(rows, ANSWER) == SAMPLE.transcript.answer + "</Final_answer>"


class Bytes:
    """A tokenizer whose ids are bytes: a character may be parted among several."""

    vocab_size = 256

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, ids: object) -> str:
        return bytes(ids).decode(errors="replace")  # type: ignore[arg-type]


def test_roles_hold_where_characters_are_parted_among_ids() -> None:
    tree = TreeBuilder(Bytes()).tree(SAMPLE)
    learned = [i for i, k in zip(tree.trunk.ids, tree.trunk.kinds, strict=True) if k == PROMPT]
    assert bytes(learned).decode().startswith(TASK)


def test_a_linear_row_learns_what_stands_there_and_is_to_be_learned() -> None:
    texts = (tags.STOPPED, "a tool's\n", "<think> own\n")
    stage = StageText(tags.plan(1, [TASK, HALVE, TASK.replace("1.1", "1.3")]), texts)
    learned = {"1.1": "what it would have written\n", "1.3": "<think> own\n"}
    sample = Sample(Transcript("q", (stage,), tags.answer("1")), executions=learned)
    (tree,) = TreeBuilder(CHARS).trees(sample, "linear")
    assert of([tree.trunk], EXECUTION) == "&lt;think> own\n</execution_"
    assert of([tree.trunk], ANSWER)
    (begun,) = TreeBuilder(CHARS).trees(replace(sample, planner=False), "linear")
    assert begun.trunk == tree.trunk.prefix(len(begun.trunk.ids))
    assert of([begun.trunk], EXECUTION) == "&lt;think> own\n</execution_"
    assert begun.trunk.kinds[-1] == EXECUTION


def write(folder: Path, *given: Sample) -> tuple[Path, ...]:
    samples.write(given, folder / "train.jsonl")
    return (folder / "train.jsonl",)


@pytest.mark.parametrize("layout", ["branched", "linear", "expanded"])
def test_what_is_too_long_is_dropped_or_cut_behind_a_stage_and_counted(
    tmp_path: Path, layout: str
) -> None:
    short = Sample(Transcript("q", (), tags.answer("1")))
    paths = write(tmp_path, SAMPLE, short)
    # The first stage fits, and the second does not.
    longest = max(map(len, TreeBuilder(CHARS).cut(SAMPLE, 1, layout)))  # type: ignore[arg-type]
    data = Data(train=paths, layout=layout, row_tokens=longest)  # type: ignore[arg-type]
    found = load.read(paths, data, CHARS, 10_000)
    assert (found.samples, found.dropped, found.cut) == (2, 1, 0)
    assert len(found.trees) == 1
    data = Data(train=paths, layout=layout, row_tokens=longest, longer="cut")  # type: ignore[arg-type]
    found = load.read(paths, data, CHARS, 10_000)
    assert (found.samples, found.dropped, found.cut) == (2, 0, 1)
    rows = [row for tree in found.trees for row in tree.own]
    assert of(rows, EXECUTION) == "ab\n</execution_cd\n</execution_"
    assert "<Plan_2>" not in "".join(CHARS.decode(row.ids) for row in rows)
    assert "1 too long and cut" in str(found)


def test_a_context_longer_than_the_models_is_too_long(tmp_path: Path) -> None:
    paths = write(tmp_path, SAMPLE)
    trees = TreeBuilder(CHARS).trees(SAMPLE, "branched")
    data = Data(train=paths)
    assert load.read(paths, data, CHARS, trees[0].longest).dropped == 0
    with pytest.raises(TrainingError, match="no sample to train on"):
        load.read(paths, data, CHARS, trees[0].longest - 1)


def test_a_corrupt_sample_is_named_by_its_line(tmp_path: Path) -> None:
    (path,) = write(tmp_path, SAMPLE, SAMPLE)
    path.write_text(path.read_text() + "{\n")
    with pytest.raises(TrainingError, match="line 3"):
        load.read((path,), Data(train=(path,)), CHARS, 10_000)


class Deaf(CharTokenizer):
    def decode(self, ids: object) -> str:
        return super().decode(ids).replace("_", "?")  # type: ignore[arg-type]


def test_a_tokenizer_that_cannot_say_the_tags_is_refused(tmp_path: Path) -> None:
    load.check(CHARS, write(tmp_path, SAMPLE))
    with pytest.raises(TrainingError, match="does not give back"):
        load.check(Deaf(), write(tmp_path, SAMPLE))


def trees(count: int) -> list[Tree]:
    return [
        Tree(Row((k + 1,) * (k % 5 + 2), (READ, *[1 + j % 4 for j in range(k % 5 + 1)])))
        for k in range(count)
    ]


@pytest.mark.parametrize("world", [1, 2, 4])
def test_processes_share_an_updates_rows_and_its_scale(world: int) -> None:
    given = trees(37)
    weights = kind_weights(Weights(plan=2.0, execution=0.5))
    budget = Budget(epochs=2, rows_per_update=4)
    every = [
        list(updates(Rows(given, 8, rank, world, padded=True), budget, Rates(), weights, seed=1))
        for rank in range(world)
    ]
    seen: dict[int, int] = {}
    for parts in zip(*every, strict=True):
        assert len({(part.scale, part.tokens, part.rate) for part in parts}) == 1
        rows = [row for part in parts for row in part.rows]
        assert [len(part.rows) for part in parts] == [4 // world] * world
        weighs = sum(float(weights[row.kinds].sum()) for row in rows)
        assert weighs == pytest.approx(parts[0].scale)
        for row in rows:
            for segment in row.segments:
                first = int(row.ids[0, segment.start])
                seen[first] = seen.get(first, 0) + 1
    assert {number: seen[number] for number in range(1, 38)} == dict.fromkeys(range(1, 38), 2)


@pytest.mark.parametrize("budget", [{"tokens": 300}, {"updates": 9}, {"epochs": 1.5}])
def test_a_budget_is_kept(budget: dict[str, float]) -> None:
    given = trees(50)
    kept = Budget(rows_per_update=3, **budget)  # type: ignore[arg-type]
    weights = kind_weights(Weights())
    made = list(updates(Rows(given, 8, 0, 1, padded=False), kept, Rates(), weights, seed=0))
    tokens = [update.tokens for update in made]
    if kept.updates:
        assert len(made) == 9
    else:
        wanted = kept.tokens or 1.5 * sum(map(len, given))
        assert sum(tokens) >= wanted > sum(tokens[:-1])


@pytest.mark.parametrize("path", sorted(Path("train/configs").glob("*.toml")), ids=lambda p: p.name)
def test_the_configurations_can_be_read(path: Path) -> None:
    told = config.deepspeed_config(config.read(path, {}), 1)
    assert told["gradient_accumulation_steps"] >= 2
    assert "lr" in told["optimizer"]["params"]
