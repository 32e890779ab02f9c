"""Grading: the same answer in other words is right, and no answer takes the machine down."""

from __future__ import annotations

import contextlib
import signal
import sys
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import psutil
import pytest
from anyio.abc import Process
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.countdown import symbolic
from curate.drops import Dropped, Reason
from curate.grade import math_pool
from curate.grade.graders import Grader, GraderName, MathGrader, grader, normalize
from curate.grade.math_pool import MathPool, MathPoolError
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


def children() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


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
    def test_normal_is_so_for_good(self, text: str) -> None:
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

    async def test_what_is_not_installed_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(ImportError, match=r"'\.\[curate\]'"):
            async with grader("mathematics"):
                pass


async def test_mathematics(monkeypatch: pytest.MonkeyPatch) -> None:
    # Computing time alone is bounded here: how busy the machine is shall not decide.
    monkeypatch.setattr(math_pool, "_WALL_TIME_FACTOR", 100)
    pairs = {
        ("0.5", "\\frac{1}{2}"): True,
        ("1 + x", "x+1"): True,
        ("\\sqrt{12}", "2\\sqrt{3}"): True,
        ("1,000", "1000"): True,
        ("5, 3", "3, 5"): True,
        ("5", "x = 5"): True,
        ("6", "5"): False,
        ("(1,2)", "[1,2]"): False,
        ("31/2", "3 1/2"): False,
    }
    async with MathPool(1, seconds=3) as pool:
        one = MathGrader(pool)
        for (claimed, answer), right in pairs.items():
            assert await one.grade(claiming(claimed, answer)) is right, (claimed, answer)
        for unread in ("\\frac{", "\\", "}" * 50, "{" * 500, "?"):
            assert await reason(one, claiming(unread)) is Reason.UNGRADED, unread
        assert len(children()) == 1
        for hostile in (
            "9**9**9",
            "9^{9^{9^{9}}}",
            "(" * 900 + ")" * 900,
            "\\sqrt{" * 300 + "}" * 300,
        ):
            # Wrong or not to be said; what matters is that it comes to an end.
            with contextlib.suppress(Dropped):
                assert await one.grade(claiming(hostile)) is False
        assert await one.grade(claiming("8/2")) is True
    assert not children()


# A process that does as it is told, in place of the one that compares.
_STAND_IN = """
import json, os, sys, time
print("ready", flush=True)
for line in sys.stdin:
    reference, claimed = json.loads(line)
    if claimed == "stuck":
        open(f"{sys.argv[0]}.{os.getpid()}", "w").close()
        time.sleep(600)
    if claimed == "die":
        os._exit(1)
    print(json.dumps(reference == claimed), flush=True)
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "stand_in.py"
    path.write_text(_STAND_IN)
    monkeypatch.setattr(math_pool, "_WORKER", path)
    kept: list[Process] = []

    async def open_process(*args: Any, **more: Any) -> Process:
        # What is kept here is not ended by being forgotten.
        kept.append(await open_it(*args, **more))
        return kept[-1]

    open_it = anyio.open_process
    monkeypatch.setattr(anyio, "open_process", open_process)
    return path


class TestProcesses:
    async def test_one_that_is_stuck_or_dies_is_replaced(
        self, stand_in: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(math_pool, "_WALL_TIME_FACTOR", 2)
        async with MathPool(1, seconds=1) as pool:
            assert await pool.equal("a", "a") is True
            (first,) = children()
            for claimed in ("stuck", "die"):
                with pytest.raises(Dropped) as why:
                    await pool.equal("a", claimed)
                assert why.value.reason is Reason.UNGRADED
                assert not children()
            assert await pool.equal("a", "b") is False
            (second,) = children()
            assert second.pid != first.pid
        assert not children()

    async def test_there_are_as_many_as_there_may_be(self, stand_in: Path) -> None:
        async with MathPool(2) as pool:
            async with anyio.create_task_group() as group:
                for _ in range(20):
                    group.start_soon(pool.equal, "a", "a")
            assert 1 <= len(children()) <= 2
        assert not children()

    @pytest.mark.parametrize("moment", ["at work", "starting"])
    async def test_none_is_left_when_cancelled(self, stand_in: Path, moment: str) -> None:
        def stuck() -> list[Path]:
            return list(stand_in.parent.glob("stand_in.py.*"))

        if moment == "starting":
            await anyio.Path(stand_in).write_text("import time; time.sleep(600)")
        async with MathPool(3) as pool:
            async with anyio.create_task_group() as group:
                for _ in range(3):
                    group.start_soon(pool.equal, "a", "stuck")
                with anyio.fail_after(300):
                    # Nothing tells when they are that far.
                    while len(children()) < 3 or (moment == "at work" and len(stuck()) < 3):  # noqa: ASYNC110
                        await anyio.sleep(0.05)
                group.cancel_scope.cancel()
            assert not children()

    async def test_none_is_left_when_cancelled_at_once(self, stand_in: Path) -> None:
        async with MathPool(3) as pool, anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(pool.equal, "a", "stuck")
            await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        assert not children()

    async def test_one_that_does_not_start(self, stand_in: Path) -> None:
        await anyio.Path(stand_in).write_text("raise SystemExit(1)")
        async with MathPool() as pool:
            with pytest.raises(MathPoolError):
                await pool.equal("a", "b")
        assert not children()


async def test_a_child_ends_itself_where_nobody_else_does() -> None:
    child = Path(math_pool.__file__).with_name("math_worker.py")
    ended = await anyio.run_process(
        [sys.executable, "-P", str(child), str(2 * 1024**3), "1"],
        # No sum of it is known, and it is looked for a long time.
        input=b'["1", "9^{9^{9}} + \\\\int_0^1 x^{x^{x}} dx"]\n',
        check=False,
    )
    assert ended.returncode == -signal.SIGXCPU
