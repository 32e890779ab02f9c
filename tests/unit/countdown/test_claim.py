"""Claims: the boxed answer of an execution, and whether it is right."""

from __future__ import annotations

import time

import pytest

from sprint_agent import Sprint
from sprint_agent.countdown import Puzzle, claim, right_claim, solved
from sprint_agent.testing import ScriptedEngine
from tests.script import answer, execution_of, plan

PUZZLE = Puzzle((3, 5, 7, 11), 24)
RIGHT = "(7 - 3) * (11 - 5)"


@pytest.mark.parametrize(
    ("execution", "expected"),
    [
        ("", None),
        ("None.\n", None),
        (f"Answer: \\boxed{{{RIGHT}}}", RIGHT),
        (f"first\nAnswer: \\boxed{{ {RIGHT} }}\nlast\n", RIGHT),
        (f"\\boxed{{{RIGHT}}} and more", None),
        ("\\boxed{}", None),
        ("\\boxed{1}\n\\boxed{2}", "1"),
    ],
)
def test_a_claim_is_the_first_boxed_end_of_a_line(execution: str, expected: str | None) -> None:
    assert claim(execution) == expected


@pytest.mark.parametrize("piece", ["\\boxed{", "}", "\\boxed{\n", "\\boxed{}\n", "\n", "\\boxed{}"])
def test_the_time_per_character_is_flat(piece: str) -> None:
    def seconds(characters: int) -> float:
        text = piece * (characters // len(piece)) + "x"
        start = time.process_time()
        claim(text)
        return time.process_time() - start

    # A quadratic reader would take 100 times as long for each character.
    assert seconds(1_000_000) / 100 < 20 * max(seconds(10_000), 0.001)


@pytest.mark.parametrize(
    ("claimed", "expected"), [(RIGHT, RIGHT), ("3 + 5 + 7 + 11", None), ("24", None)]
)
def test_only_a_right_claim_is_returned(claimed: str, expected: str | None) -> None:
    assert right_claim(f"\\boxed{{{claimed}}}", PUZZLE) == expected
    assert right_claim("None.\n", PUZZLE) is None


@pytest.mark.anyio
@pytest.mark.parametrize(("claimed", "right"), [(RIGHT, True), ("3 + 5 + 7 + 11", False)])
async def test_a_right_claim_ends_the_stage(claimed: str, right: bool) -> None:
    """Prompt 2 makes the claim. The planner is told it if it is right."""

    def script(context: str) -> str:
        number = execution_of(context)
        if number is None:
            return answer("done") if "<Execution_1>" in context else plan("a", "b")
        text = f"\\boxed{{{claimed}}}" if number == (1, 2) else "None."
        return f"{text}\n</execution_"

    result = await Sprint(ScriptedEngine(script)).solve(PUZZLE.question, join=solved(PUZZLE))
    assert (f"Accepted: {claimed}" in result.text) == right
