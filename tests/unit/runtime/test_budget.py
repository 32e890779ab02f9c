"""Budgets of tokens, executions and cost: no limit is exceeded, and finished work is returned."""

from __future__ import annotations

from contextlib import suppress

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sprint_agent import Limits, NestedExecutor, Prices, Result, Sprint
from sprint_agent.errors import BudgetExhausted
from sprint_agent.runtime.budget import Budget, Grant, Ledger
from sprint_agent.runtime.scope import Dispatch
from sprint_agent.testing import Reply, ScriptedEngine
from tests.script import Scripted, answer, plan

PRICES = Prices(prompt=2e6, completion=10e6, cached=1e6)
"""Two a token of a prompt, one where it is cached, ten a token of an answer."""


def granted(
    budget: Budget, prompt_tokens: int, wanted: int, *, ahead: int = 16, arrived: int = 0
) -> Grant:
    """Returns what the budget grants to a call that does not have to wait."""
    grant = budget.reserve(prompt_tokens, wanted, ahead, arrived)
    assert grant is not None
    return grant


class TestLedger:
    def test_without_a_limit_everything_can_be_reserved(self) -> None:
        ledger = Ledger[int](None)
        ledger.open(1_000)
        assert ledger.left is None
        assert ledger.attainable(7) == 7

    def test_what_is_reserved_is_not_left(self) -> None:
        ledger = Ledger(10)
        assert ledger.left == 10
        ledger.open(4)
        assert ledger.left == 6
        ledger.open(6)
        assert ledger.left == 0

    def test_what_a_call_did_not_use_is_left_again(self) -> None:
        ledger = Ledger(10)
        ledger.open(8)
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

    def test_a_share_grows(self) -> None:
        ledger = Ledger(10)
        ledger.open(4)
        ledger.grow(3)
        assert ledger.left == 3
        ledger.settle(7, 5)
        assert (ledger.left, ledger.attainable(10)) == (5, 5)

    def test_only_another_running_call_can_free_what_a_call_lacks(self) -> None:
        ledger = Ledger(10)
        ledger.open(6)
        assert ledger.may_free(4)
        assert not ledger.may_free(5)
        ledger.open(4)
        assert ledger.may_free(5)
        with ledger.waiting():
            assert not ledger.may_free(5)
        assert ledger.may_free(5)
        ledger.settle(4, 4)
        assert not ledger.may_free(5)

    def test_a_ledger_around_decides_too_what_may_be_freed(self) -> None:
        outer = Ledger(10)
        inner = Ledger[int](None, outer)
        inner.open(10)
        assert not inner.may_free(1)
        outer.open(0)
        assert inner.may_free(1)

    def test_a_call_that_waits_is_not_counted_on(self) -> None:
        ledger = Ledger(10)
        ledger.open(8)
        with ledger.waiting():
            assert ledger.attainable(10) == 2
        assert ledger.attainable(10) == 10

    def test_while_a_call_runs_everything_may_come_back(self) -> None:
        ledger = Ledger(10)
        ledger.open(8)
        assert ledger.attainable(10) == 10
        ledger.settle(8, 8)
        assert ledger.attainable(10) == 2
        assert ledger.attainable(1) == 1

    def test_every_running_call_counts(self) -> None:
        ledger = Ledger(10)
        ledger.open(2)
        ledger.open(2)
        ledger.settle(2, 2)
        assert ledger.attainable(10) == 8
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
        inner.open(5)
        assert (outer.left, inner.left) == (5, 3)
        inner.settle(5, 1)
        assert (outer.left, inner.left) == (9, 7)
        inner.spend(2)
        assert (outer.left, inner.left) == (7, 5)

    def test_running_calls_of_a_nested_ledger_count_in_the_ledger_around(self) -> None:
        outer = Ledger(10)
        inner = Ledger(None, outer)
        inner.open(6)
        inner.open(3)
        inner.settle(6, 6)
        assert outer.attainable(10) == 4
        inner.settle(3, 3)
        assert outer.attainable(10) == 1
        assert inner.attainable(10) == 1

    def test_running_calls_around_do_not_widen_a_nested_ledger(self) -> None:
        outer = Ledger(10)
        inner = Ledger(4, outer)
        outer.open(8)
        assert inner.left == 2
        assert inner.attainable(10) == 4


class TestGrants:
    """What `Budget.reserve` grants. A prompt token costs 2, a generated one costs 10."""

    def test_without_limits_all_is_granted(self) -> None:
        assert Budget(Limits()).reserve(5, 100, 4) == Grant(100, 0.0, 100, None, 4)
        assert Budget(Limits(), PRICES).reserve(5, 100, 4) == Grant(100, 0.0, 100, None, 4)

    def test_the_first_share_is_what_may_be_on_its_way(self) -> None:
        budget = Budget(Limits(tokens=100), PRICES)
        assert budget.reserve(5, 50, 4) == Grant(4, 50.0, 50, None, 4)
        assert budget.tokens_left == 96

    def test_a_resumed_call_needs_a_share_for_what_arrived_too(self) -> None:
        assert granted(Budget(Limits(tokens=100)), 0, 50, ahead=4, arrived=20).tokens == 24
        assert granted(Budget(Limits(tokens=100)), 0, 50, ahead=4, arrived=60).tokens == 50

    def test_an_exact_fit_of_tokens_is_not_cut(self) -> None:
        assert Budget(Limits(tokens=10)).reserve(5, 10, 16) == Grant(10, 0.0, 10, None, 16)

    def test_the_last_tokens_are_granted(self) -> None:
        assert Budget(Limits(tokens=10)).reserve(0, 11, 16) == Grant(10, 0.0, 10, "tokens", 16)
        assert Budget(Limits(tokens=1)).reserve(0, 2, 16) == Grant(1, 0.0, 1, "tokens", 16)

    def test_a_call_waits_if_a_running_one_may_give_tokens_back(self) -> None:
        budget = Budget(Limits(tokens=10))
        first = granted(budget, 0, 8)
        assert budget.tokens_left == 2
        assert budget.reserve(0, 3, 16) is None
        assert budget.reserve(0, 2, 16) == Grant(2, 0.0, 2, None, 16)
        budget.settle(first, 0, 5, 0)
        assert budget.tokens_left == 3

    def test_calls_run_side_by_side_on_what_all_of_them_could_use_up(self) -> None:
        budget = Budget(Limits(tokens=100))
        calls = [granted(budget, 0, 8_000, ahead=10) for _ in range(10)]
        assert [(call.tokens, call.most, call.bound) for call in calls] == [
            (10, 100, "tokens")
        ] * 10
        assert budget.reserve(0, 8_000, 10) is None

    def test_no_token_is_left(self) -> None:
        budget = Budget(Limits(tokens=10))
        grant = granted(budget, 0, 10)
        budget.settle(grant, 0, 10, 0)
        with pytest.raises(BudgetExhausted, match=r"^the run's limit on tokens is reached$"):
            budget.reserve(0, 1, 16)

    @pytest.mark.parametrize("limits", [Limits(), Limits(tokens=5)])
    def test_nothing_is_granted_to_a_call_for_nothing(self, limits: Limits) -> None:
        with pytest.raises(BudgetExhausted) as raised:
            Budget(limits).reserve(0, 0, 16)
        assert raised.value.limit == "tokens"

    def test_an_exact_fit_of_cost_is_not_cut(self) -> None:
        assert Budget(Limits(cost=30), PRICES).reserve(5, 2, 9) == Grant(2, 30.0, 2, None, 9)
        assert Budget(Limits(cost=39), PRICES).reserve(5, 2, 9) == Grant(2, 30.0, 2, None, 9)

    def test_what_is_not_affordable_is_cut(self) -> None:
        assert Budget(Limits(cost=30), PRICES).reserve(5, 3, 9) == Grant(2, 30.0, 2, "cost", 9)
        assert Budget(Limits(cost=39), PRICES).reserve(5, 3, 9) == Grant(2, 30.0, 2, "cost", 9)

    def test_little_money_buys_cheap_tokens(self) -> None:
        cheap = Prices(prompt=0.0, completion=0.25e6)
        assert Budget(Limits(cost=0.5), cheap).reserve(9, 9, 9) == Grant(2, 0.5, 2, "cost", 9)

    @pytest.mark.parametrize("prompt", [13, 15, 16, 100])
    def test_a_prompt_may_use_up_the_cost(self, prompt: int) -> None:
        with pytest.raises(BudgetExhausted) as raised:
            Budget(Limits(cost=30), PRICES).reserve(prompt, 1, 9)
        assert raised.value.limit == "cost"

    def test_the_tighter_limit_is_named(self) -> None:
        both = Budget(Limits(tokens=5, cost=40), PRICES)
        assert both.reserve(0, 9, 9) == Grant(4, 40.0, 4, "cost", 9)
        both = Budget(Limits(tokens=5, cost=60), PRICES)
        assert both.reserve(0, 9, 9) == Grant(5, 50.0, 5, "tokens", 9)
        both = Budget(Limits(tokens=5, cost=50), PRICES)
        assert both.reserve(0, 9, 9) == Grant(5, 50.0, 5, "tokens", 9)

    def test_free_tokens_are_limited_by_their_prompt_alone(self) -> None:
        free = Prices(prompt=1e6, completion=0.0)
        assert Budget(Limits(cost=5), free).reserve(5, 9, 9) == Grant(9, 5.0, 9, None, 9)
        with pytest.raises(BudgetExhausted, match="cost"):
            Budget(Limits(cost=5), free).reserve(6, 9, 9)

    def test_a_call_waits_if_a_running_one_may_give_cost_back(self) -> None:
        budget = Budget(Limits(cost=99), PRICES)
        first = granted(budget, 10, 5)
        assert first == Grant(5, 70.0, 5, None, 16)
        assert budget.reserve(0, 4, 16) is None
        # 6 of the prompt's 10 tokens were cached, 2 of 5 tokens were generated: 8 + 6 + 20. 65 are left.
        budget.settle(first, 10, 2, 6)
        assert budget.reserve(0, 7, 16) == Grant(6, 60.0, 6, "cost", 16)

    def test_a_prompt_that_cannot_be_paid_yet_waits(self) -> None:
        budget = Budget(Limits(cost=99), PRICES)
        granted(budget, 40, 1)
        assert budget.reserve(10, 1, 16) is None

    def test_a_limit_on_cost_needs_prices(self) -> None:
        with pytest.raises(ValueError, match=r"^a limit on cost needs prices: Sprint\(…, prices="):
            Budget(Limits(cost=1))


class TestShares:
    """How the share of a call grows with its answer."""

    def test_it_stays_ahead_of_what_arrives(self) -> None:
        budget = Budget(Limits(tokens=100))
        grant = granted(budget, 0, 80, ahead=10)
        for arrived in range(1, 81):
            assert budget.extend(grant, arrived)
            assert grant.suffices(arrived)
            assert arrived <= grant.tokens <= min(80, arrived + 20)
        assert budget.tokens_left == 20

    def test_a_share_that_suffices_does_not_grow(self) -> None:
        budget = Budget(Limits(tokens=100))
        grant = granted(budget, 0, 80, ahead=10)
        assert budget.extend(grant, 0)
        assert grant.tokens == 10

    def test_its_cost_grows_too(self) -> None:
        budget = Budget(Limits(cost=1_000), PRICES)
        grant = granted(budget, 5, 80, ahead=10)
        assert budget.extend(grant, 1)
        assert (grant.tokens, grant.cost) == (21, 220.0)
        budget.settle(grant, 5, 1, 0)
        # 20 were spent, and 98 tokens can be paid.
        assert granted(budget, 0, 500).most == 98

    def test_the_last_call_takes_what_it_must(self) -> None:
        budget = Budget(Limits(tokens=15))
        grant = granted(budget, 0, 80, ahead=10)
        assert budget.extend(grant, 3)
        assert (grant.tokens, grant.most) == (15, 15)
        assert budget.extend(grant, 15)

    def test_it_waits_if_another_running_call_may_give_tokens_back(self) -> None:
        budget = Budget(Limits(tokens=20))
        first, second = (granted(budget, 0, 80, ahead=10) for _ in range(2))
        assert not budget.extend(first, 1)
        with budget.waiting(), pytest.raises(BudgetExhausted, match="tokens"):
            budget.extend(second, 1)
        budget.settle(second, 0, 2, 0)
        assert budget.extend(first, 1)
        assert first.tokens == 18

    def test_it_waits_for_cost_too(self) -> None:
        budget = Budget(Limits(cost=200), PRICES)
        first, second = (granted(budget, 0, 80, ahead=10) for _ in range(2))
        assert not budget.extend(first, 1)
        with budget.waiting(), pytest.raises(BudgetExhausted) as raised:
            budget.extend(second, 1)
        assert raised.value.limit == "cost"


class TestNestedBudgets:
    def test_it_has_its_own_limits(self) -> None:
        outer = Budget(Limits(tokens=10, executions=5, cost=90), PRICES)
        assert granted(outer.nested(Limits(tokens=4)), 0, 9) == Grant(4, 40.0, 4, "tokens", 16)
        assert outer.nested(Limits(tokens=4)).tokens_left == 4
        inner = Budget(Limits(), PRICES).nested(Limits(cost=25))
        assert granted(inner, 0, 9) == Grant(2, 20.0, 2, "cost", 16)

    def test_it_is_within_the_budget_around(self) -> None:
        outer = Budget(Limits(tokens=10, cost=90), PRICES)
        inner = outer.nested(Limits(tokens=40)).nested(Limits())
        assert inner.reserve(0, 9, 16) == Grant(9, 90.0, 9, None, 16)
        assert (outer.tokens_left, inner.tokens_left) == (1, 1)
        # All of the cost is reserved, by a call of another run.
        assert outer.reserve(0, 1, 16) is None

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
        assert granted(budget, 0, 6) == Grant(5, 50.0, 5, "cost", 16)
        budget.begin_execution()
        with pytest.raises(BudgetExhausted):
            budget.begin_execution()

    def test_more_may_have_been_used_than_the_limits_allow_now(self) -> None:
        budget = Budget(Limits(tokens=10, executions=2))
        budget.resume(prompt_tokens=0, used=15, cached_tokens=0, executions=3)
        assert budget.tokens_left == 0
        with pytest.raises(BudgetExhausted, match="tokens"):
            budget.reserve(0, 1, 16)
        with pytest.raises(BudgetExhausted, match="executions"):
            budget.begin_execution()

    def test_of_cost_too(self) -> None:
        budget = Budget(Limits(cost=10), PRICES)
        budget.resume(prompt_tokens=0, used=2, cached_tokens=0, executions=0)
        with pytest.raises(BudgetExhausted, match="cost"):
            budget.reserve(0, 1, 16)


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

    async def test_calls_run_at_the_same_time_where_the_budget_suffices(self) -> None:
        """Each call may take 8,000 tokens, and all of them together take 364 + 10 * 20 + 33."""
        reached = [anyio.Event() for _ in range(10)]
        last = reached[-1]
        replies = {
            (1, n): Reply("did", sets=reached[n - 1], after=None if n == 10 else last)
            for n in range(1, 11)
        }
        turns: list[str | Reply] = [plan(*"abcdefghij"), answer("42")]
        engine = ScriptedEngine(Scripted(turns, replies))
        with anyio.fail_after(5):  # the first nine wait for the tenth
            result = await Sprint(engine, limits=Limits(tokens=800)).solve("What?")
        assert result.answer == "42"

    async def test_a_budget_that_suffices_takes_no_time(self) -> None:
        """Eight executions that use some 900 of 5,000 tokens, each of which may take 8,000."""

        async def seconds(limits: Limits) -> float:
            work = {(1, n): Reply("x" * 96, delay=0.004) for n in range(1, 9)}
            turns: list[str | Reply] = [plan(*"abcdefgh"), answer("42")]
            agent = Sprint(ScriptedEngine(Scripted(turns, work)), limits=limits)
            result = await agent.solve("What?")
            assert [e.status for e in result.stages[0].executions] == ["done"] * 8
            return result.seconds

        ratios: list[float] = []
        for _ in range(5):
            free = await seconds(Limits())
            ratios.append(await seconds(Limits(tokens=5_000)) / free)
            if ratios[-1] <= 1.2:
                return
        raise AssertionError(f"the limit made the runs longer by {ratios}")

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
        agent = Sprint(engine, limits=Limits(tokens=tokens), dispatch="stage")
        result = await agent.solve("What?")
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
        # Enough for the plan and for one execution at a time.
        limits = Limits(tokens=len(plan("a", "b")) + 20)
        agent = Sprint(engine, limits=limits, dispatch="stage")
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


class BudgetsInUse(RuleBasedStateMachine):
    """Calls on a chain of budgets, whose tokens arrive in any order. Nothing is ever overdrawn."""

    AHEAD = 6

    @initialize(
        tokens=st.none() | st.integers(1, 60),
        cost=st.none() | st.integers(1, 800),
        inner=st.none() | st.integers(1, 60),
    )
    def begin(self, tokens: int | None, cost: int | None, inner: int | None) -> None:
        outer = Budget(Limits(tokens=tokens, cost=cost), PRICES)
        middle = outer.nested(Limits(tokens=inner))
        self.chain = [outer, middle, middle.nested(Limits())]
        self.tokens, self.cost, self.inner = tokens, cost, inner
        self.calls: list[tuple[int, int, Grant, list[int]]] = []
        """The depth of each open call, its prompt, its grant, and a token for each that arrived."""
        self.ended: list[tuple[int, int, int]] = []
        """The depth of each ended call, its prompt, and how many tokens it generated."""

    @rule(depth=st.integers(0, 2), prompt=st.integers(0, 30), wanted=st.integers(1, 40))
    def call(self, depth: int, prompt: int, wanted: int) -> None:
        try:
            grant = self.chain[depth].reserve(prompt, wanted, self.AHEAD)
        except BudgetExhausted:
            return
        if grant is None:
            assert self.calls, "a call waits, and none runs that could end its wait"
            return
        assert 1 <= grant.tokens <= grant.most <= wanted
        assert (grant.bound is None) == (grant.most == wanted)
        self.calls.append((depth, prompt, grant, []))

    @precondition(lambda self: self.calls)
    @rule(which=st.integers(0, 9), many=st.integers(1, 5))
    def tokens_arrive(self, which: int, many: int) -> None:
        depth, _, grant, arrived = self.calls[which % len(self.calls)]
        many = min(many, grant.most - len(arrived))
        try:
            extended = self.chain[depth].extend(grant, len(arrived) + many)
        except BudgetExhausted:
            self._end(which, 0)
            return
        if extended:
            arrived.extend([0] * many)
        else:
            assert len(self.calls) > 1, "a call waits, and no other runs"

    @precondition(lambda self: self.calls)
    @rule(which=st.integers(0, 9), unseen=st.integers(0, AHEAD))
    def call_ends(self, which: int, unseen: int) -> None:
        self._end(which, unseen)

    def _end(self, which: int, unseen: int) -> None:
        """Ends a call. It generated `unseen` tokens that did not arrive, such as its stop string."""
        depth, prompt, grant, arrived = self.calls.pop(which % len(self.calls))
        generated = min(len(arrived) + unseen, grant.most)
        self.chain[depth].settle(grant, prompt, generated, 0)
        self.ended.append((depth, prompt, generated))

    @invariant()
    def nothing_is_overdrawn(self) -> None:
        if not hasattr(self, "chain"):
            return
        open_calls = [(depth, prompt, len(arrived)) for depth, prompt, _, arrived in self.calls]
        calls = [*self.ended, *open_calls]
        assert self.tokens is None or sum(used for _, _, used in calls) <= self.tokens
        assert self.inner is None or sum(used for d, _, used in calls if d) <= self.inner
        spent = sum(2 * prompt + 10 * used for _, prompt, used in calls)
        assert self.cost is None or spent <= self.cost

    def teardown(self) -> None:
        if not hasattr(self, "chain"):
            return
        while self.calls:
            self._end(0, 0)
        for budget in self.chain:
            # After the last end, no call is told to wait.
            with suppress(BudgetExhausted):
                budget.settle(granted(budget, 0, 1000), 0, 0, 0)
        if self.tokens is not None:
            generated = sum(used for _, _, used in self.ended)
            assert self.chain[0].tokens_left == self.tokens - generated


TestBudgetsInUse = BudgetsInUse.TestCase
TestBudgetsInUse.settings = settings(deadline=None)


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
        ledgers[depth].open(granted)
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


@settings(deadline=None, max_examples=60)
@given(
    lacking=st.integers(0, 80),
    lengths=st.lists(st.integers(0, 90), min_size=1, max_size=6),
    chunk=st.integers(1, 20),
    dispatch=st.sampled_from(["tag", "stage"]),
    hangs=st.booleans(),
)
def test_a_run_never_generates_more_than_its_limit(
    lacking: int, lengths: list[int], chunk: int, dispatch: Dispatch, hangs: bool
) -> None:
    """Whatever its calls want, in deltas of any size, and if one of them never ends.

    The limit lacks a few tokens of what the run needs, so that all calls come to their end.
    """

    def solve(limits: Limits, hang: bool) -> Result:
        work: dict[tuple[int, int], str | Reply] = {
            (1, n): Reply("x" * length + "</execution_", hang=hang and n == 1)
            for n, length in enumerate(lengths, 1)
        }
        turns: list[str | Reply] = [plan(*map(str, lengths)), answer("42")]
        engine = ScriptedEngine(Scripted(turns, work), chunk=chunk)
        result = anyio.run(Sprint(engine, limits=limits, dispatch=dispatch).solve, "What?")
        assert engine.in_flight == 0
        return result

    needed = solve(Limits(), hang=False).usage.completion_tokens
    tokens = max(1, needed - lacking)
    result = solve(Limits(tokens=tokens, deadline=0.2), hang=hangs)
    assert result.usage.completion_tokens <= tokens
    assert (result.answer is None) == (result.limit is not None)
