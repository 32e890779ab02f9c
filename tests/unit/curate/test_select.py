"""Selection: the metrics of a run, the limits on them, and shares that every machine agrees on."""

from __future__ import annotations

import pytest

from curate.candidate import Candidate
from curate.drops import Dropped, Reason
from curate.pack.leak_free import Packing, pack_leak_free
from curate.select import RunMetrics, Selection, best, check, held_out, in_share, measure, rank
from curate.trajectory import Annotated, Component, Trajectory
from sprint_agent.protocol.transcript import StageText, Transcript

pytestmark = pytest.mark.anyio


def test_ratio_stages_and_length_are_limited() -> None:
    metrics = RunMetrics(stages=2, steps=5, prompts=(3, 1), tokens=100, sequential_tokens=60)
    assert (metrics.executions_ratio, metrics.steps_ratio) == (2.0, 2.5)
    check(metrics, Selection(least_ratio=2.0, most_stages=2, longest=100))
    for wanted, reason in [
        (Selection(least_ratio=2.1), Reason.RATIO),
        (Selection(least_ratio=2.6, ratio="steps"), Reason.RATIO),
        (Selection(most_stages=1), Reason.STAGES),
        (Selection(longest=99), Reason.LENGTH),
    ]:
        with pytest.raises(Dropped) as caught:
            check(metrics, wanted)
        assert caught.value.reason is reason


async def test_metrics_are_the_papers() -> None:
    components = (
        Component(1, prompt="a", execution="A" * 50),
        Component(2, plan="Go.", prompt="b", execution="B" * 9),
        Component(3, plan="End.", parents=frozenset({1})),
    )
    given = Annotated(Trajectory("What?", "", "7"), components)
    run = Candidate(await pack_leak_free(given, Packing(shortest_execution=1))).transcript
    metrics = measure(run, len)
    assert (metrics.stages, metrics.steps, metrics.prompts) == (2, 3, (2, 0))
    first = run.stages[0].turn
    path = first.index("</prompt_1.1>") + len("</prompt_1.1>") + 50
    assert metrics.sequential_tokens == (
        max(path, len(first)) + len(run.stages[1].turn) + len(run.answer)
    )


@pytest.mark.parametrize(("tail", "work"), [(500, 500), (5, 500), (500, 5)])
def test_the_rest_of_a_plan_is_written_beside_the_executions(tail: int, work: int) -> None:
    turn = f"<Plan_1>\na <prompt_1.1> b </prompt_1.1>\n{'c' * tail}\n"
    run = Transcript("What?", (StageText(turn, ("d" * work,)),), "e")
    begun = turn.index("</prompt_1.1>") + len("</prompt_1.1>")
    assert measure(run, len).sequential_tokens == max(len(turn), begun + work) + 1


def test_a_divided_trajectory_is_better_than_an_unsplit_one() -> None:
    parallel = RunMetrics(1, 4, (4,), 100, 40)
    shorter = RunMetrics(1, 4, (4,), 100, 39)
    less = RunMetrics(1, 2, (2,), 90, 30)
    wanted = Selection()
    ranks = [
        rank(shorter, wanted, True, "b"),
        rank(parallel, wanted, True, "a"),
        rank(parallel, wanted, True, "b"),
        rank(less, wanted, True, "a"),
        rank(parallel, wanted, False, "a"),
    ]
    assert ranks == sorted(ranks)


def test_the_first_of_equally_good_ones_is_the_best() -> None:
    equal = (0, -2.0, 10, "key")
    assert best([(0, "q", equal), (1, "q", equal), (2, "other", equal)]) == {"q": 0, "other": 2}


def test_shares_are_the_same_everywhere() -> None:
    inside = [in_share(f"key {n}", 0.1, "validation") for n in range(2000)]
    assert 150 < sum(inside) < 250
    assert in_share("any", 1.0, "x")
    assert not in_share("any", 0.0, "x")
    # These are pinned: another machine must make the same choice.
    assert [n for n in range(20) if in_share(f"key {n}", 0.2, "validation")] == [0, 7, 14, 15, 19]


@pytest.mark.parametrize("count", [2, 3, 6, 50])
@pytest.mark.parametrize("share", [0.001, 0.05, 0.5, 0.999])
def test_of_two_questions_one_is_held_out_and_one_is_left(count: int, share: float) -> None:
    for salt in range(20):
        keys = [f"{salt} {n}" for n in range(count)]
        held = held_out(keys, share)
        assert 0 < len(held) < count
        assert held_out(keys[::-1], share) == held
        # A larger share holds out the same questions and others.
        assert held <= held_out(keys, 1.0)
        wanted = {key for key in keys if in_share(key, share, "validation")}
        assert len(wanted ^ held) <= 1


def test_without_a_choice_nothing_is_held_out() -> None:
    assert held_out(["a"], 0.05) == frozenset()
    assert held_out([], 0.05) == frozenset()
    assert held_out(["a", "b"], 0.0) == frozenset()
    assert held_out(["a", "b"], 1.0) == {"a", "b"}


def test_shards_hold_out_what_one_process_would() -> None:
    keys = [f"key {n}" for n in range(60)]
    parts = [held_out(keys[n::30], 0.05, is_shard=True) for n in range(30)]
    assert frozenset[str]().union(*parts) == held_out(keys, 0.05)
