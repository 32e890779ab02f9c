"""Checks that an engine keeps the promises of `sprint_agent.engine`, for authors of engines.

    async with MyEngine() as engine:
        report = await check_engine(engine, prompts)
    assert report.ok, str(report)

It needs no test framework. Every check is greedy or seeded and generates few tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import anyio

from sprint_agent.engine import Engine
from sprint_agent.retry import retrying
from sprint_agent.testing.checks import CHECKS, Bench, BrokenPromise, Check, NotApplicable


@dataclass(frozen=True, slots=True)
class ConformanceReport:
    """What `check_engine` found."""

    passed: tuple[str, ...] = ()
    """The names of the checks that passed."""
    failed: tuple[tuple[str, str], ...] = ()
    """The name of each check that failed, and why."""
    skipped: tuple[tuple[str, str], ...] = ()
    """The name of each check that does not apply to the engine, and why.

    For example, an engine that takes text has no ids to check.
    """

    @property
    def ok(self) -> bool:
        """True if no check failed."""
        return not self.failed

    def __str__(self) -> str:
        lines = [f"failed  {name}: {why}" for name, why in self.failed]
        lines += [f"skipped {name}: {why}" for name, why in self.skipped]
        return "\n".join([*lines, *(f"passed  {name}" for name in self.passed)])


async def check_engine(
    engine: Engine,
    prompts: Sequence[tuple[int, ...] | str],
    *,
    checks: Sequence[Check] | None = None,
    patience: float = 60.0,
) -> ConformanceReport:
    """Runs the checks one after another on an engine that was entered.

    A broken engine makes checks fail. It never makes this function raise. A check in which a call fails
    for a moment (`EngineError.transient`) is tried again, as a run tries a call again.

    Args:
        engine: The engine to check.
        prompts: One or more prompts, ids or text as the engine takes them. The greedy answer to the
            first should have at least 8 characters, and better 24 tokens.
        checks: The checks to run. The default is all of `CHECKS`.
        patience: The most seconds for each check. A check that takes longer fails.
    """
    bench = Bench(engine, tuple(prompts), patience)
    passed: list[str] = []
    failed: list[tuple[str, str]] = []
    skipped: list[tuple[str, str]] = []
    for check in CHECKS if checks is None else checks:
        name = check.__name__
        try:
            with anyio.fail_after(patience):
                await _try(check, bench)
        except NotApplicable as reason:
            skipped.append((name, str(reason)))
        except BrokenPromise as reason:
            failed.append((name, str(reason)))
        except TimeoutError:
            failed.append((name, f"took longer than {patience:g} s"))
        except Exception as error:
            failed.append((name, f"raised {type(error).__name__}: {error}"))
        else:
            passed.append(name)
    return ConformanceReport(tuple(passed), tuple(failed), tuple(skipped))


async def _try(check: Check, bench: Bench) -> None:
    async for attempt in retrying(left=lambda: bench.patience, spread=lambda: 0.0):
        with attempt:
            await check(bench)
