"""Budgets of tokens, executions and cost: no limit is exceeded, and finished work is returned."""

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


def granted(budget: Budget, prompt_tokens: int, wanted: int) -> Grant:
    """Returns what the budget grants to a call that does not have to wait."""
    grant = budget.reserve(prompt_tokens, wanted)
    assert grant is not None
    return grant


class TestLedger:
    def test_without_a_limit_everything_can_be_reserved(self) -> None:
        ledger = Ledger[int](None)
        ledger.reserve(1_000)
        assert ledger.left is None
        assert ledger.attainable(7) == 7

    def test_what_is_reserved_is_not_left(self) -> None:
        ledger = Ledger(10)
        assert ledger.left == 10
        ledger.reserve(4)
        assert ledger.left == 6
        ledger.reserve(6)
        assert ledger.left == 0

    def test_what_a_call_did_not_use_is_left_again(self) -> None:
        ledger = Ledger(10)
        ledger.reserve(8)
        ledger.settle(8, 3)
        assert ledger.left == 7

    def test_what_is_spent_is_gone(self) -> None:
        ledger = Ledger(10)
        ledger.spend(4)
        assert (ledger.left, ledger.attainable(10)) == (6, 6)

    def test_it_is_never_negative_what_is_left(self) -> None:
        ledger = Ledger(10)
        ledger.spend(15)
        assert ledger.left == 0
        assert ledger.attainable(4) == -5
        money = Ledger(1.5)
        money.spend(2.0)
        assert money.left == 0.0

    def test_while_a_call_runs_everything_may_come_back(self) -> None:
        ledger = Ledger(10)
        ledger.reserve(8)
        assert ledger.attainable(10) == 10
        ledger.settle(8, 8)
        assert ledger.attainable(10) == 2
        assert ledger.attainable(1) == 1

    def test_every_running_call_counts(self) -> None:
        ledger = Ledger(10)
        ledger.reserve(2)
        ledger.reserve(2)
        ledger.settle(2, 2)
        assert ledger.attainable(10) == 10
        ledger.settle(2, 2)
        assert ledger.attainable(10) == 6

    def test_the_tighter_ledger_bounds_what_is_left(self) -> None:
        outer = Ledger(10)
        assert Ledger(4, outer).left == 4
        assert Ledger(14, outer).left == 10
        assert Ledger(None, outer).left == 10
        assert Ledger(4, Ledger[int](None)).left == 4
        assert Ledger(None, Ledger[int](None)).left is None

    def test_what_is_taken_is_taken_from_all_ledgers_around(self) -> None:
        outer = Ledger(10)
        inner = Ledger(None, Ledger(8, outer))
        inner.reserve(5)
        assert (outer.left, inner.left) == (5, 3)
        inner.settle(5, 1)
        assert (outer.left, inner.left) == (9, 7)
        inner.spend(2)
        assert (outer.left, inner.left) == (7, 5)

    def test_running_calls_of_a_nested_ledger_count_in_the_ledger_around(self) -> None:
        outer = Ledger(10)
        inner = Ledger(None, outer)
        inner.reserve(6)
        inner.reserve(3)
        inner.settle(6, 6)
        assert outer.attainable(10) == 10
        inner.settle(3, 3)
        assert outer.attainable(10) == 1
        assert inner.attainable(10) == 1

    def test_running_calls_around_do_not_widen_a_nested_ledger(self) -> None:
        outer = Ledger(10)
        inner = Ledger(4, outer)
        outer.reserve(8)
        assert inner.left == 2
        assert inner.attainable(10) == 4


class TestGrants:
    """What `Budget.reserve` grants. A prompt token costs 2, a generated one costs 10."""

    def test_without_limits_all_is_granted(self) -> None:
        assert Budget(Limits()).reserve(5, 100) == Grant(100, 0.0, None)
        assert Budget(Limits(), PRICES).reserve(5, 100) == Grant(100, 1_010.0, None)

    def test_an_exact_fit_of_tokens_is_not_cut(self) -> None:
        assert Budget(Limits(tokens=10)).reserve(5, 10) == Grant(10, 0.0, None)

    def test_the_last_tokens_are_granted(self) -> None:
        budget = Budget(Limits(tokens=10))
        assert budget.reserve(0, 11) == Grant(10, 0.0, "tokens")
        assert Budget(Limits(tokens=1)).reserve(0, 2) == Grant(1, 0.0, "tokens")

    def test_a_call_waits_if_a_running_one_may_give_tokens_back(self) -> None:
        budget = Budget(Limits(tokens=10))
        first = granted(budget, 0, 8)
        assert budget.tokens_left == 2
        assert budget.reserve(0, 3) is None
        assert budget.reserve(0, 2) == Grant(2, 0.0, None)
        budget.settle(first, 0, 5, 0)
        assert budget.tokens_left == 3

    def test_no_token_is_left(self) -> None:
        budget = Budget(Limits(tokens=10))
        grant = granted(budget, 0, 10)
        budget.settle(grant, 0, 10, 0)
        with pytest.raises(BudgetExhausted, match=r"^the run's limit on tokens is reached$"):
            budget.reserve(0, 1)

    def test_nothing_is_granted_to_a_call_for_nothing(self) -> None:
        with pytest.raises(BudgetExhausted) as raised:
            Budget(Limits()).reserve(0, 0)
        assert raised.value.limit == "tokens"

    def test_an_exact_fit_of_cost_is_not_cut(self) -> None:
        assert Budget(Limits(cost=30), PRICES).reserve(5, 2) == Grant(2, 30.0, None)
        assert Budget(Limits(cost=39), PRICES).reserve(5, 2) == Grant(2, 30.0, None)

    def test_what_is_not_affordable_is_cut(self) -> None:
        assert Budget(Limits(cost=30), PRICES).reserve(5, 3) == Grant(2, 30.0, "cost")
        assert Budget(Limits(cost=39), PRICES).reserve(5, 3) == Grant(2, 30.0, "cost")

    def test_little_money_buys_cheap_tokens(self) -> None:
        cheap = Prices(prompt=0.0, completion=0.25e6)
        assert Budget(Limits(cost=0.5), cheap).reserve(9, 9) == Grant(2, 0.5, "cost")

    @pytest.mark.parametrize("prompt", [13, 15, 16, 100])
    def test_a_prompt_may_use_up_the_cost(self, prompt: int) -> None:
        with pytest.raises(BudgetExhausted) as raised:
            Budget(Limits(cost=30), PRICES).reserve(prompt, 1)
        assert raised.value.limit == "cost"

    def test_the_tighter_limit_is_named(self) -> None:
        both = Budget(Limits(tokens=5, cost=40), PRICES)
        assert both.reserve(0, 9) == Grant(4, 40.0, "cost")
        both = Budget(Limits(tokens=5, cost=60), PRICES)
        assert both.reserve(0, 9) == Grant(5, 50.0, "tokens")
        both = Budget(Limits(tokens=5, cost=50), PRICES)
        assert both.reserve(0, 9) == Grant(5, 50.0, "tokens")

    def test_free_tokens_are_limited_by_their_prompt_alone(self) -> None:
        free = Prices(prompt=1e6, completion=0.0)
        assert Budget(Limits(cost=5), free).reserve(5, 9) == Grant(9, 5.0, None)
        with pytest.raises(BudgetExhausted, match="cost"):
            Budget(Limits(cost=5), free).reserve(6, 9)

    def test_a_call_waits_if_a_running_one_may_give_cost_back(self) -> None:
        budget = Budget(Limits(cost=99), PRICES)
        first = granted(budget, 10, 5)
        assert first == Grant(5, 70.0, None)
        assert budget.reserve(0, 4) is None
        # 6 of the prompt's 10 tokens were cached, 2 of 5 tokens were generated: 8 + 6 + 20. 65 are left.
        budget.settle(first, 10, 2, 6)
        assert budget.reserve(0, 7) == Grant(6, 60.0, "cost")

    def test_a_limit_on_cost_needs_prices(self) -> None:
        with pytest.raises(ValueError, match=r"^a limit on cost needs prices: Sprint\(…, prices="):
            Budget(Limits(cost=1))


class TestNestedBudgets:
    def test_it_has_its_own_limits(self) -> None:
        outer = Budget(Limits(tokens=10, executions=5, cost=90), PRICES)
        assert outer.nested(Limits(tokens=4)).reserve(0, 9) == Grant(4, 40.0, "tokens")
        assert outer.nested(Limits(tokens=4)).tokens_left == 4
        assert Budget(Limits(), PRICES).nested(Limits(cost=25)).reserve(0, 9) == Grant(
            2, 20.0, "cost"
        )

    def test_it_is_within_the_budget_around(self) -> None:
        outer = Budget(Limits(tokens=10, cost=90), PRICES)
        inner = outer.nested(Limits(tokens=40)).nested(Limits())
        assert inner.reserve(0, 9) == Grant(9, 90.0, None)
        assert (outer.tokens_left, inner.tokens_left) == (1, 1)
        # All of the cost is reserved, by a call of another run.
        assert outer.reserve(0, 1) is None

    def test_it_may_not_be_within_prices_that_are_not_known(self) -> None:
        with pytest.raises(ValueError, match="needs prices"):
            Budget(Limits()).nested(Limits(cost=1))

    def test_its_executions_count_around(self) -> None:
        outer = Budget(Limits(executions=3))
        inner = outer.nested(Limits(executions=2))
        inner.begin_execution()
        inner.begin_execution()
        with pytest.raises(BudgetExhausted, match=r"^the run's limit on executions is reached$"):
            inner.begin_execution()
        outer.begin_execution()
        with pytest.raises(BudgetExhausted) as raised:
            outer.begin_execution()
        assert raised.value.limit == "executions"

    def test_without_a_limit_any_number_of_executions_begin(self) -> None:
        budget = Budget(Limits())
        for _ in range(100):
            budget.begin_execution()


class TestResumedBudgets:
    def test_what_was_used_before_is_taken_off(self) -> None:
        budget = Budget(Limits(tokens=10, cost=98, executions=2), PRICES)
        # 4 tokens, 2 of 5 prompt tokens cached: 6 + 2 + 40. 50 are left.
        budget.resume(prompt_tokens=5, used=4, cached_tokens=2, executions=1)
        assert budget.tokens_left == 6
        assert budget.reserve(0, 6) == Grant(5, 50.0, "cost")
        budget.begin_execution()
        with pytest.raises(BudgetExhausted):
            budget.begin_execution()

    def test_more_may_have_been_used_than_the_limits_allow_now(self) -> None:
        budget = Budget(Limits(tokens=10, executions=2))
        budget.resume(prompt_tokens=0, used=15, cached_tokens=0, executions=3)
        assert budget.tokens_left == 0
        with pytest.raises(BudgetExhausted, match="tokens"):
            budget.reserve(0, 1)
        with pytest.raises(BudgetExhausted, match="executions"):
            budget.begin_execution()

    def test_of_cost_too(self) -> None:
        budget = Budget(Limits(cost=10), PRICES)
        budget.resume(prompt_tokens=0, used=2, cached_tokens=0, executions=0)
        with pytest.raises(BudgetExhausted, match="cost"):
            budget.reserve(0, 1)


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
    """Calls on a chain of budgets. Every third one ends at once, the others at the end."""
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
        # After the last end, no call is told to wait.
        with suppress(BudgetExhausted):
            grant = granted(budget, 0, 1000)
            end(budget, grant, 0, 0)
    assert tokens is None or generated <= tokens
    assert cost is None or spent <= cost
    if tokens is not None:
        assert outer.tokens_left == tokens - generated


@given(
    st.none() | st.integers(0, 40),
    st.lists(st.none() | st.integers(0, 40), max_size=3),
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 20), st.integers(0, 20)), max_size=20),
)
def test_ledgers_within_ledgers_are_never_overdrawn(
    budget: int | None, budgets: list[int | None], calls: list[tuple[int, int, int]]
) -> None:
    """Calls on a chain of ledgers, all of which run until the last one was reserved."""
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
        # If no call runs, no more than what is left can be reserved later.
        assert ledgers[depth].left in (None, ledgers[depth].attainable(1000))
    if budget is not None:
        assert ledgers[0].left == budget - sum(used for _, _, used in open_calls)
