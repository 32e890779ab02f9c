"""Grading: the same answer in another form is correct, and a hostile answer is only wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.countdown import symbolic
from curate.drops import Dropped, Reason
from curate.grade import math_pool
from curate.grade.graders import Grader, GraderName, grader, normalize
from curate.grade.math_pool import MathPoolError
from curate.trajectory import Trajectory
from sprint_agent.countdown import Puzzle

pytestmark = pytest.mark.anyio

PUZZLE = Puzzle((3, 5, 7, 11), 24)


def claiming(claimed: str, answer: str = "4", verdict: bool | None = None) -> Trajectory:
    return Trajectory("What is 2 + 2?", "So.", answer, claimed=claimed, verdict=verdict)


async def graded(name: GraderName, trajectory: Trajectory) -> bool:
    async with grader(name) as one:
        return await one.grade(trajectory)


async def reason(one: Grader, trajectory: Trajectory) -> Reason:
    with pytest.raises(Dropped) as why:
        await one.grade(trajectory)
    return why.value.reason


class TestWithoutProcesses:
    @pytest.mark.parametrize(
        ("claimed", "answer", "right"),
        [
            ("4", "4", True),
            (" $4$. ", "4", True),
            ("\\dfrac{1}{2}", "\\frac{1}{2}", True),
            ("\\left( 1,\\, 2 \\right)", "(1,2)", True),
            ("\\text{Tuesday}", "Tuesday", True),
            ("\\(４\\)", "4", True),
            ("1 464", "1464", True),
            ("1\\,000\\;000", "1000000", True),
            ("2 x", "2x", True),
            ("3 \\frac{1}{2}", "3\\frac{1}{2}", True),
            ("10²", "10²", True),
            ("\\log_2 8", "\\log_28", False),
            ("3 1/2", "31/2", False),
            ("3\\ 1/2", "31/2", False),
            ("3 125/250", "3125/250", False),
            ("12 34", "1234", False),
            ("10²", "102", False),
            ("x₁", "x1", False),
            ("3½", "31⁄2", False),
            ("5", "4", False),
            ("x", "X", False),
            ("\\leftarrow", "arrow", False),
        ],
    )
    async def test_exact(self, claimed: str, answer: str, right: bool) -> None:
        assert await graded("exact", claiming(claimed, answer)) is right

    @given(st.text(max_size=30))
    @settings(deadline=None)
    def test_normalizing_twice_changes_nothing(self, text: str) -> None:
        assert normalize(f" {text} ") == normalize(text)

    async def test_given(self) -> None:
        assert await graded("given", claiming("", verdict=True)) is True
        assert await graded("given", claiming("4", verdict=False)) is False
        async with grader("given") as one:
            assert await reason(one, claiming("4")) is Reason.UNGRADED

    async def test_none(self) -> None:
        assert await graded("none", claiming("")) is True

    async def test_countdown(self) -> None:
        found = symbolic.trajectory(PUZZLE)
        assert found is not None
        assert await graded("countdown", found) is True
        async with grader("countdown") as one:
            for wrong in ("3 + 5", "9**9**9", "(" * 1_000_000):
                other = Trajectory(PUZZLE.question, "So.", found.answer, claimed=wrong)
                assert await one.grade(other) is False
            assert await reason(one, claiming("4")) is Reason.UNGRADED

    @pytest.mark.parametrize("name", ["exact", "mathematics", "countdown"])
    async def test_nothing_claimed(self, name: GraderName) -> None:
        async with grader(name) as one:
            nothing = Trajectory(PUZZLE.question, "So.", "4")
            assert await reason(one, nothing) is Reason.UNGRADED

    async def test_equal_texts_and_long_ones_start_no_process(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(math_pool, "_WORKER", Path("there is none"))
        async with grader("mathematics") as one:
            assert await one.grade(claiming("$ 4 $")) is True
            for long in ("{" * 1_000_000, "(" * 2001, "9" * 5000):
                assert await reason(one, claiming(long)) is Reason.UNGRADED
                assert await reason(one, claiming("4", long)) is Reason.UNGRADED
            with pytest.raises(MathPoolError):
                await one.grade(claiming("5"))

    async def test_a_missing_library_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(ImportError, match=r"'\.\[curate\]'"):
            async with grader("mathematics"):
                pass
