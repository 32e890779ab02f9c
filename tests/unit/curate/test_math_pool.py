"""The processes that compare answers: one that is stuck is replaced, and none remains."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import psutil
import pytest
from anyio.abc import Process

from curate.drops import Dropped, Reason
from curate.grade import math_pool
from curate.grade.comparison import EQUAL, UNEQUAL
from curate.grade.graders import Grader, MathGrader
from curate.grade.math_pool import MathPool, MathPoolError
from curate.trajectory import Trajectory

pytestmark = pytest.mark.anyio


def claiming(claimed: str, answer: str = "4", verdict: bool | None = None) -> Trajectory:
    return Trajectory("What is 2 + 2?", "So.", answer, claimed=claimed, verdict=verdict)


async def reason(one: Grader, trajectory: Trajectory) -> Reason:
    with pytest.raises(Dropped) as why:
        await one.grade(trajectory)
    return why.value.reason


def children() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


async def test_mathematics(monkeypatch: pytest.MonkeyPatch) -> None:
    # Only computing time is limited here, so that a busy machine does not change the result.
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
        ("7\\text{ km}", "7\\text{ m}"): False,
        ("1/3", "0.3333333333"): False,
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
            # The result may be "wrong" or "unknown". It matters only that the comparison ends.
            with contextlib.suppress(Dropped):
                assert await one.grade(claiming(hostile)) is False
        assert await one.grade(claiming("8/2")) is True
    assert not children()


# A worker for tests: the claimed answer tells it what to do.
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
    print(json.dumps(["equal" if reference == claimed else "unequal", ""]), flush=True)
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "stand_in.py"
    path.write_text(_STAND_IN)
    monkeypatch.setattr(math_pool, "_WORKER", path)
    kept: list[Process] = []

    async def open_process(*args: Any, **more: Any) -> Process:
        # This reference keeps the process alive, so that only the code under test can end it.
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
            assert await pool.compare("a", "a") == EQUAL
            (first,) = children()
            for claimed in ("stuck", "die"):
                with pytest.raises(Dropped) as why:
                    await pool.compare("a", claimed)
                assert why.value.reason is Reason.UNGRADED
                assert not children()
            assert await pool.compare("a", "b") == UNEQUAL
            (second,) = children()
            assert second.pid != first.pid
        assert not children()

    async def test_there_are_at_most_as_many_as_allowed(self, stand_in: Path) -> None:
        async with MathPool(2) as pool:
            async with anyio.create_task_group() as group:
                for _ in range(20):
                    group.start_soon(pool.compare, "a", "a")
            assert 1 <= len(children()) <= 2
        assert not children()

    @pytest.mark.parametrize("moment", ["at work", "starting"])
    async def test_none_remains_after_a_cancellation(self, stand_in: Path, moment: str) -> None:
        def stuck() -> list[Path]:
            return list(stand_in.parent.glob("stand_in.py.*"))

        if moment == "starting":
            await anyio.Path(stand_in).write_text("import time; time.sleep(600)")
        async with MathPool(3) as pool:
            async with anyio.create_task_group() as group:
                for _ in range(3):
                    group.start_soon(pool.compare, "a", "stuck")
                with anyio.fail_after(300):
                    # There is no event to wait for.
                    while len(children()) < 3 or (moment == "at work" and len(stuck()) < 3):  # noqa: ASYNC110
                        await anyio.sleep(0.05)
                group.cancel_scope.cancel()
            assert not children()

    async def test_none_remains_after_a_cancellation_at_once(self, stand_in: Path) -> None:
        async with MathPool(3) as pool, anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(pool.compare, "a", "stuck")
            await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        assert not children()

    async def test_one_that_does_not_start(self, stand_in: Path) -> None:
        await anyio.Path(stand_in).write_text("raise SystemExit(1)")
        async with MathPool() as pool:
            with pytest.raises(MathPoolError):
                await pool.compare("a", "b")
        assert not children()


async def test_a_process_ends_itself_at_its_limit() -> None:
    child = Path(math_pool.__file__).with_name("math_worker.py")
    # Each of the items is compared with most of the others.
    items = [f"\\sin({k}x)+\\tan(x)" * 8 for k in range(10, 70)]
    others = [f"{item}+0" for item in reversed(items)]
    request = json.dumps([",".join(items), ",".join(others)]).encode() + b"\n"
    ended = await anyio.run_process(
        [sys.executable, "-P", str(child), str(2 * 1024**3), "0"], input=request, check=False
    )
    assert ended.returncode == -signal.SIGXCPU
