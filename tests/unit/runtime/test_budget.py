"""Budgets of tokens, executions and cost: nothing is overshot, and what was finished is handed back."""

from __future__ import annotations

from contextlib import suppress

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprint_agent import Limits, NestedExecutor, Prices, Sprint
from sprint_agent.errors import BudgetExhausted
from sprint_agent.runtime.budget import Budget, Grant, Ledger
from sprint_agent.testing import Reply, ScriptedEngine
from tests.script import Scripted, answer, plan

PRICES = Prices(prompt=2e6, completion=10e6, cached=1e6)
"""Two a token of a prompt, one where it is cached, ten a token of an answer."""


def two_stages() -> Scripted:
    turns: list[str | Reply] = [plan("a", "b"), plan("c", "d", stage=2), answer("42")]
    return Scripted(turns)


@pytest.mark.anyio
class TestExecutions:
    @pytest.mark.parametrize("bound", [1, 2, 3])
    async def test_no_more_begin_than_the_limit(self, bound: int) -> None:
        agent = Sprint(ScriptedEngine(two_stages()), limits=Limits(executions=bound))
        result = await agent.solve("What?")
        assert result.limit == "executions"
        assert result.answer is None
        assert sum(len(stage.prompts) for stage in result.stages) == bound

    async def test_as_many_as_the_limit_are_no_failure(self) -> None:
        agent = Sprint(ScriptedEngine(two_stages()), limits=Limits(executions=4))
        assert (await agent.solve("What?")).answer == "42"

    async def test_those_of_nested_runs_count(self) -> None:
        inner: list[str | Reply] = [plan("x", "y"), answer("inner")]
        outer: list[str | Reply] = [plan("solve: deep", "b"), answer("outer")]

        def script(prompt: str) -> str | Reply:
            return (inside if "deep\n</Question>" in prompt else outside)(prompt)

        for bound, reached in [(4, None), (3, "executions")]:
            inside, outside = Scripted(inner), Scripted(outer)
            agent = Sprint(
                ScriptedEngine(script),
                executors=[NestedExecutor()],
                limits=Limits(executions=bound),
            )
            result = await agent.solve("What?")
            (nested, _) = result.stages[0].executions
            assert nested.status == ("failed" if reached else "done")
            assert result.answer == "outer"


@pytest.mark.anyio
class TestTokens:
    """Ten executions, each of which may take `max_tokens`, and takes twenty."""

    @staticmethod
    def engine() -> ScriptedEngine:
        return ScriptedEngine(Scripted([plan(*"abcdefghij"), answer("42")]))

    @pytest.mark.parametrize("bound", [900, 2_000, 8_000, 20_000, 50_000])
    async def test_calls_wait_for_what_others_have_reserved(self, bound: int) -> None:
        result = await Sprint(self.engine(), limits=Limits(tokens=bound)).solve("What?")
        assert result.answer == "42"
        assert [e.status for e in result.stages[0].executions] == ["done"] * 10
        assert result.usage.completion_tokens <= bound

    async def test_of_cost_too(self) -> None:
        whole = await Sprint(self.engine(), prices=PRICES).solve("What?")
        assert whole.cost is not None
        agent = Sprint(self.engine(), prices=PRICES, limits=Limits(cost=1.2 * whole.cost))
        result = await agent.solve("What?")
        assert [e.status for e in result.stages[0].executions] == ["done"] * 10
        assert result.cost is not None
        assert result.cost <= 1.2 * whole.cost

    async def test_where_nothing_is_left_an_execution_fails(self) -> None:
        engine = self.engine()
        # Enough for the plan and the first three executions.
        plan_tokens = len(plan(*"abcdefghij")) - len("1>")
        tokens = plan_tokens + 3 * (len("did 1.1\n") + 12) + 2
        result = await Sprint(engine, limits=Limits(tokens=tokens)).solve("What?")
        assert result.limit == "tokens"
        assert result.usage.completion_tokens <= tokens
        statuses = [e.status for e in result.stages[0].executions]
        assert statuses.count("done") >= 3
        assert "failed" in statuses

    async def test_a_run_that_is_cancelled_while_calls_wait_leaves_nothing(self) -> None:
        said = anyio.Event()
        hangs = Reply("on", sets=said, hang=True)
        turns: list[str | Reply] = [plan("a", "b"), answer("42")]
        engine = ScriptedEngine(Scripted(turns, {(1, 1): hangs, (1, 2): hangs}))
        agent = Sprint(engine, limits=Limits(tokens=9_000))
        async with anyio.create_task_group() as group:
            group.start_soon(agent.solve, "What?")
            await said.wait()
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        assert len(engine.requests) == 2
        assert engine.in_flight == 0


@pytest.mark.anyio
class TestCost:
    async def test_a_limit_on_cost_needs_prices(self) -> None:
        agent = Sprint(ScriptedEngine(two_stages()), limits=Limits(cost=1.0))
        with pytest.raises(ValueError, match="prices"):
            await agent.solve("What?")

    async def test_a_run_says_what_it_cost(self) -> None:
        result = await Sprint(ScriptedEngine(two_stages()), prices=PRICES).solve("What?")
        used = result.usage
        fresh = used.prompt_tokens - used.cached_tokens
        assert result.cost == 2 * fresh + used.cached_tokens + 10 * used.completion_tokens
        assert result.to_json()["cost"] == result.cost
        assert (await Sprint(ScriptedEngine(two_stages())).solve("What?")).cost is None

    async def test_it_is_never_overshot(self) -> None:
        whole = await Sprint(ScriptedEngine(two_stages()), prices=PRICES).solve("What?")
        assert whole.cost is not None
        for share in range(1, 20):
            limits = Limits(cost=whole.cost * share / 20)
            engine = ScriptedEngine(two_stages())
            result = await Sprint(engine, limits=limits, prices=PRICES).solve("What?")
            assert result.cost is not None
            assert result.cost <= whole.cost * share / 20
            assert (result.limit == "cost") == (result.answer is None)


CALLS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 30), st.integers(1, 30), st.integers(0, 30))
)


@settings(deadline=None)
@given(
    st.none() | st.integers(1, 60),
    st.none() | st.integers(1, 400),
    st.none() | st.integers(1, 60),
    CALLS,
)
def test_budgets_within_budgets_are_never_overdrawn(
    tokens: int | None, cost: int | None, inner: int | None, calls: list[tuple[int, int, int, int]]
) -> None:
    """Calls on a chain of budgets, every third one ended at once, the others at the end."""
    outer = Budget(Limits(tokens=tokens, cost=cost), PRICES)
    chain = [outer, middle := outer.nested(Limits(tokens=inner)), middle.nested(Limits())]
    spent = generated = 0
    open_calls: list[tuple[Budget, Grant, int, int]] = []

    def end(budget: Budget, grant: Grant, prompt: int, used: int) -> None:
        budget.settle(grant, prompt, used, 0)

    for number, (depth, prompt, wanted, written) in enumerate(calls):
        try:
            grant = chain[depth].reserve(prompt, wanted)
        except BudgetExhausted:
            continue
        if grant is None:
            assert open_calls
            continue
        assert 1 <= grant.tokens <= wanted
        assert (grant.bound is None) == (grant.tokens == wanted)
        used = min(written, grant.tokens)
        spent += 2 * prompt + 10 * used
        generated += used
        if number % 3 == 0:
            end(chain[depth], grant, prompt, used)
        else:
            open_calls.append((chain[depth], grant, prompt, used))
    while open_calls:
        end(*open_calls.pop())
    for budget in chain:
        # Behind the last end, nobody is told to wait any more.
        with suppress(BudgetExhausted):
            found = budget.reserve(0, 1000)
            assert found is not None
            end(budget, found, 0, 0)
    assert tokens is None or generated <= tokens
    assert cost is None or spent <= cost
    if tokens is not None:
        assert outer.tokens_left == tokens - generated


def test_prices_count_a_million_tokens() -> None:
    assert Prices(prompt=3.0, completion=15.0).cost(1_000_000, 2_000_000) == 33.0
    assert Prices(prompt=3.0, completion=15.0, cached=0.3).cost(2_000_000, 0, 1_000_000) == 3.3


@given(
    st.none() | st.integers(0, 40),
    st.lists(st.none() | st.integers(0, 40), max_size=3),
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 20), st.integers(0, 20)), max_size=20),
)
def test_ledgers_within_ledgers_are_never_overdrawn(
    budget: int | None, budgets: list[int | None], calls: list[tuple[int, int, int]]
) -> None:
    """Calls on a chain of ledgers, all under way until the last was reserved."""
    ledgers = [Ledger(budget)]
    for inner in budgets:
        ledgers.append(Ledger(inner, ledgers[-1]))
    open_calls: list[tuple[int, int, int]] = []
    for at, wanted, used in calls:
        depth = min(at, len(ledgers) - 1)
        left = ledgers[depth].left
        granted = wanted if left is None else min(wanted, left)
        ledgers[depth].reserve(granted)
        assert ledgers[depth].left == (None if left is None else left - granted)
        open_calls.append((depth, granted, min(used, granted)))
    for depth, granted, used in open_calls:
        ledgers[depth].settle(granted, used)
    for depth, bound in enumerate([budget, *budgets]):
        spent = sum(used for deep, _, used in open_calls if deep >= depth)
        assert bound is None or spent <= bound
        # With no call under way, what is left is all that can be had.
        assert ledgers[depth].left in (None, ledgers[depth].attainable(1000))
    if budget is not None:
        assert ledgers[0].left == budget - sum(used for _, _, used in open_calls)
