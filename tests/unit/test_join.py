"""Which executions end a stage."""

from __future__ import annotations

from collections.abc import Coroutine

import pytest

from sprint_agent import Execution, first_success
from sprint_agent.engine import TokenUsage
from sprint_agent.result import ExecutionStatus


def execution(status: ExecutionStatus = "done") -> Execution:
    return Execution(1, 1, "model", status, "text", TokenUsage(), started=0.0, ended=1.0)


@pytest.mark.parametrize(
    ("decision", "verdict"),
    [(True, ""), (False, None), ("", ""), ("found 42", "found 42")],
)
def test_the_check_decides(decision: bool | str, verdict: str | None) -> None:
    assert first_success(lambda _: decision).verdict(execution()) == verdict


def test_the_check_gets_the_execution() -> None:
    checked: list[Execution] = []
    done = execution()
    first_success(lambda e: bool(checked.append(e))).verdict(done)
    assert checked == [done]


@pytest.mark.parametrize("status", ["failed", "stopped"])
def test_the_check_is_not_asked_about_an_execution_that_is_not_done(
    status: ExecutionStatus,
) -> None:
    def check(_: Execution) -> bool:
        raise AssertionError("the check was asked")

    assert first_success(check).verdict(execution(status)) is None


def test_an_error_of_the_check_is_raised() -> None:
    def check(_: Execution) -> bool:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        first_success(check).verdict(execution())


@pytest.mark.parametrize("decision", [1, 0, 0.5, [], ["yes"], object(), b"yes"])
def test_what_is_no_decision_is_refused(decision: object) -> None:
    with pytest.raises(TypeError, match=f"returned {type(decision).__name__}: return True or"):
        first_success(lambda _: decision).verdict(execution())  # type: ignore[arg-type, return-value]


def test_none_does_not_accept() -> None:
    assert first_success(lambda _: None).verdict(execution()) is None


def test_an_async_check_is_to_be_awaited() -> None:
    async def check(_: Execution) -> bool:
        return True

    verdict = first_success(check).verdict(execution())
    assert isinstance(verdict, Coroutine)
    verdict.close()
