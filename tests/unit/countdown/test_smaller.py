"""Nested runs: an executor asks a smaller puzzle, which a nested run solves."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.countdown import CountdownData, run_sample, searcher, trajectories
from curate.render import turn
from sprint_agent import Limits, Sampling, Sprint
from sprint_agent.countdown import (
    Puzzle,
    PuzzleSpace,
    Smaller,
    claim,
    evaluate,
    generate,
    solved,
    solver,
    verify,
)
from sprint_agent.protocol import tags
from sprint_agent.testing import ScriptedEngine
from tests.script import execution_of

pytestmark = pytest.mark.anyio
EXECUTION = """\
= a 9 - b 7 = 2, c 5, d 3, e 3.
Use 5, 3, 3 and 2 to make 24.
"""
FIVE = CountdownData(trajectories=12, spaces=((PuzzleSpace(count=5), 1),))

ONE = replace(solver.LIMITS, concurrency=1)


def agent(engine: ScriptedEngine) -> Sprint:
    """Returns the agent of the solver. Its tokens are characters here."""
    return solver.agent(engine, sampling=Sampling(max_tokens=10_000))


class Ideal:
    """A model that has learned everything, and writes like the searcher."""

    def __init__(self) -> None:
        self.questions: list[str] = []

    def __call__(self, prompt: str) -> str:
        question = re.search(r"<Question>\n(.*)\n", prompt)
        assert question is not None
        puzzle = Puzzle.parse(question[1])
        number = execution_of(prompt)
        if number is not None:
            stage, place = number
            found = searcher.search(searcher.openings(puzzle)[stage - 1][place - 1], puzzle.target)
            smaller = Smaller.read(found.text)
            return (smaller.text if smaller else found.text) + "</execution_"
        accepted = re.search(r"^Accepted: (.*)$", prompt, re.MULTILINE)
        if accepted:
            return tags.answer(accepted[1]) + "</Final_answer>"
        if prompt.endswith(tags.force_answer()):
            return "I don't know.\n</Final_answer>"
        return self.plan(puzzle, prompt.count("</Execution_") + 1)

    def plan(self, puzzle: Puzzle, stage: int) -> str:
        self.questions.append(puzzle.question)
        tasks = [o.task for o in searcher.openings(puzzle)[stage - 1]]
        prompts = [tags.prompt(stage, k, task) for k, task in enumerate(tasks, 1)]
        head = searcher.announcements(puzzle)[stage - 1].strip()
        return tags.plan(stage, [head, *prompts]) + f"</Plan_{stage}>"


@pytest.mark.parametrize(
    "puzzle", [*islice(generate(PuzzleSpace(count=5), "test", 3), 12)], ids=str
)
async def test_five_numbers_are_solved_by_nested_runs(puzzle: Puzzle) -> None:
    model = Ideal()
    async with agent(ScriptedEngine(model)) as solving:
        result = await solving.solve(puzzle.question, join=solved(puzzle))
    assert verify(result.answer or "", puzzle)
    assert len(set(model.questions)) > 1
    accepted = next(e for e in result.stages[-1].executions if claim(e.text) == result.answer)
    assert accepted.text.splitlines()[1].startswith("Use ")
    assert accepted.usage.completion_tokens > len(accepted.text)


async def test_the_tokens_of_a_smaller_puzzle_count_against_the_run() -> None:
    puzzle = next(generate(PuzzleSpace(count=5), "test", 3))
    model = Ideal()
    async with agent(ScriptedEngine(model)) as solving:
        whole = await solving.solve(puzzle.question, join=solved(puzzle), limits=ONE)
        plan = whole.stages[0].usage.completion_tokens
        # Enough for the plan and the first question, but not for all of the nested run's plan.
        limits = replace(ONE, tokens=plan + 300)
        model.questions.clear()
        result = await solving.solve(puzzle.question, join=solved(puzzle), limits=limits)
    assert result.limit == "tokens"
    assert plan < result.usage.completion_tokens <= plan + 300
    assert len(set(model.questions)) > 1


async def test_an_execution_with_an_invalid_question_is_kept_as_written() -> None:
    def says(prompt: str) -> str:
        if execution_of(prompt):
            return "= a 9 - b 7 = 2, c 5, d 3, e 3.\nUse 5 and 0 to make 24.\n</execution_"
        if "</Execution_1>" in prompt:
            return "<Final_answer>\nnone\n</Final_answer>"
        return "<Plan_1>\n<prompt_1.1> a - b </prompt_1.1>\n</Plan_1>"

    async with agent(ScriptedEngine(says)) as solving:
        result = await solving.solve(Puzzle((9, 7, 5, 3, 3), 24).question)
    assert result.stages[0].executions[0].text.endswith("Use 5 and 0 to make 24.\n")


async def test_nesting_ends() -> None:
    def always_asks(prompt: str) -> str:
        if execution_of(prompt):
            return EXECUTION + "</execution_"
        if prompt.endswith(tags.force_answer()) or "</Execution_1>" in prompt:
            return tags.answer("none") + "</Final_answer>"
        return "<Plan_1>\n<prompt_1.1> a - b </prompt_1.1>\n</Plan_1>"

    engine = ScriptedEngine(always_asks)
    async with agent(engine) as solving:
        await solving.solve(Puzzle((9, 7, 5, 3, 3), 24).question, limits=Limits(executions=20))
    assert len(engine.requests) < 10


class TestSmaller:
    def test_it_is_read_from_an_execution(self) -> None:
        smaller = Smaller.read(EXECUTION + "None.\n")
        assert smaller == Smaller(EXECUTION, Puzzle((5, 3, 3, 2), 24), 2, "9 - 7")

    @pytest.mark.parametrize(
        "text", ["", "None.\n", "= a 9 - b 9, no use.\nNone.\n", EXECUTION.rstrip("\n")]
    )
    def test_other_executions_have_no_question(self, text: str) -> None:
        assert Smaller.read(text) is None

    def test_the_operation_replaces_its_result_once(self) -> None:
        smaller = Smaller(EXECUTION, Puzzle((2, 2, 12, 22), 24), 2, "9 - 7")
        whole, line = smaller.answered("22 + ((2 * 12) / 2) - 10")
        assert whole == "22 + (((9 - 7) * 12) / 2) - 10"
        assert claim(line) == whole

    @given(st.integers(0, 10_000))
    def test_an_answer_keeps_its_value(self, seed: int) -> None:
        puzzle = next(generate(PuzzleSpace(count=4), "train", seed))
        written = searcher.write(puzzle)
        assert written is not None
        result = puzzle.numbers[-1]
        smaller = Smaller(EXECUTION, puzzle, result, f"{result + 3} - 3")
        assert evaluate(smaller.answered(written[1])[0]) == puzzle.target


def test_executors_learn_only_to_ask() -> None:
    for number, packed in enumerate(trajectories(FIVE, "train")):
        sample = run_sample(packed, FIVE, len, number)
        asked = [text for text in sample.executions.values() if "Use " in text]
        assert asked
        assert all(text.endswith(".\n") and claim(text) is None for text in asked)
        assert all(text.count("\n") == 2 for text in asked)


async def test_a_run_of_the_runtime_matches_the_training_data() -> None:
    packed = next(trajectories(FIVE, "train"))
    puzzle = Puzzle.parse(packed.annotated.trajectory.question)
    async with agent(ScriptedEngine(Ideal())) as solving:
        # One execution at a time: if several succeed, a run takes the first one in time.
        result = await solving.solve(puzzle.question, limits=ONE)
    stage = result.stages[0]
    assert turn(1, packed.stages[0]) in result.text
    assert [e.text for e in stage.executions] == [c.execution for c in packed.stages[0][1:]]


def test_a_sequential_search_solves_a_smaller_puzzle_in_place() -> None:
    packed = next(trajectories(FIVE, "train"))
    text = packed.annotated.trajectory.text
    asked = re.findall(r"^Use .*\n(. \d+, . \d+, . \d+, . \d+ to \d+\.)$", text, re.MULTILINE)
    assert len(asked) == text.count("Use ")
    assert claim(text.splitlines()[-1]) == packed.annotated.trajectory.answer
