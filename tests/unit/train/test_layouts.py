"""Layouts of samples: what is learned in each of them, and in which role."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from curate.samples import Sample
from sprint_agent.protocol import tags
from sprint_agent.protocol.transcript import StageText, Transcript
from tests.unit.train.a_sample import CHARS, CHECK, HALVE, SAMPLE, TASK, text_of
from train.config import Layout
from train.data.rows import ANSWER, EXECUTION, PLAN, PROMPT
from train.data.trees import TreeBuilder


@pytest.mark.parametrize("layout", ["branched", "linear", "expanded"])
def test_every_layout_learns_the_same(layout: Layout) -> None:
    trees = TreeBuilder(CHARS).trees(SAMPLE, layout)
    rows = [row for tree in trees for row in tree.own]
    assert len(rows) == (1 if layout == "linear" else 4)
    assert text_of(rows, PROMPT) == TASK + HALVE + CHECK
    # A stop string is learned up to its last character. The rest of the tag is glue.
    plans = "".join(f"{stage.turn}</Plan_" for stage in SAMPLE.transcript.stages)
    for prompt in (TASK, HALVE, CHECK):
        plans = plans.replace(prompt, "")
    assert text_of(rows, PLAN) == plans
    assert text_of(rows, EXECUTION) == "".join(
        f"{text}\n</execution_" for text in ("ab", "cd", "ef")
    )
    assert text_of(rows, ANSWER) == SAMPLE.transcript.answer + "</Final_answer>"


class Bytes:
    """A tokenizer whose ids are bytes, so that a character may have several ids."""

    vocab_size = 256

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(ids).decode(errors="replace")


def test_roles_are_right_if_a_character_has_several_ids() -> None:
    tree = TreeBuilder(Bytes()).tree(SAMPLE)
    learned = [i for i, k in zip(tree.trunk.ids, tree.trunk.kinds, strict=True) if k == PROMPT]
    assert bytes(learned).decode().startswith(TASK)


def test_a_linear_row_learns_the_executions_that_it_contains() -> None:
    texts = (tags.STOPPED, "a tool's\n", "<think> own\n")
    stage = StageText(tags.plan(1, [TASK, HALVE, TASK.replace("1.1", "1.3")]), texts)
    learned = {"1.1": "what it would have written\n", "1.3": "<think> own\n"}
    sample = Sample(Transcript("q", (stage,), tags.answer("1")), executions=learned)
    (tree,) = TreeBuilder(CHARS).trees(sample, "linear")
    assert text_of([tree.trunk], EXECUTION) == "&lt;think> own\n</execution_"
    assert text_of([tree.trunk], ANSWER)
    (begun,) = TreeBuilder(CHARS).trees(replace(sample, planner=False), "linear")
    assert begun.trunk == tree.trunk.prefix(len(begun.trunk.ids))
    assert text_of([begun.trunk], EXECUTION) == "&lt;think> own\n</execution_"
    assert begun.trunk.kinds[-1] == EXECUTION
