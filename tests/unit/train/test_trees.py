"""Trees contain the contexts of inference, shared ids once, with equal losses and gradients."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest

pytest.importorskip("deepspeed")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Qwen3ForCausalLM

from curate.countdown import CountdownData, run_sample, runs, search_sample, trajectories
from curate.pack.stages import Packed
from sprint_agent.testing import CharTokenizer
from tests.curated import SMALL
from train.countdown import model as models
from train.countdown.curriculum import Course, Schedule, batches_of
from train.data.packing import PackedRow, pack_row
from train.data.padding import Batch
from train.data.rows import DECISION, EXECUTION, PLAN, PROMPT, READ, Row
from train.data.trees import Branch, Tree, TreeBuilder
from train.errors import TrainingError
from train.model import attention
from train.model.attention import block_mask
from train.model.flops import attended_pairs
from train.model.loss import WeightedLM

VOCABULARY = 128
WEIGHTS = torch.tensor([0.0, 1.0, 1.0, 0.5, 1.0, 3.0])


def tiny(seed: int) -> Qwen3ForCausalLM:
    shape = models.ModelShape(hidden=32, layers=2, heads=4, key_value_heads=2, feed_forward=48)
    model = models.build(shape, VOCABULARY, 0, seed)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        # The output matrices of layers start at zero, so attention would have no effect.
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, 0.0, 0.2, generator=generator)
    return model


def rows(least: int) -> st.SearchStrategy[Row]:
    ids = st.lists(
        st.tuples(st.integers(1, VOCABULARY - 1), st.integers(0, DECISION)),
        min_size=least,
        max_size=12,
    )
    # The first id of a row is not learned: there is no id before it to predict it from.
    return ids.map(
        lambda pairs: Row(tuple(i for i, _ in pairs), (READ, *(k for _, k in pairs[1:])))
    )


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    trunk = draw(rows(1))
    ends = st.integers(1, len(trunk.ids))
    made = draw(st.lists(st.builds(Branch, ends, rows(1)), max_size=4))
    return Tree(trunk, tuple(made))


def loss_of(model: WeightedLM, batch: object) -> torch.Tensor:
    return model(batch, WEIGHTS, 1.0)[0]


def gradients(model: WeightedLM) -> list[torch.Tensor]:
    found = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    return found


def expanded(model: WeightedLM, given: list[Tree]) -> torch.Tensor:
    """Returns the loss of one row for each context, which is the slow way."""
    total = torch.zeros(())
    for row in (row for tree in given for row in tree.rows):
        batch = Batch(torch.tensor([row.ids]), torch.tensor([row.kinds]))
        total = total + loss_of(model, batch)
    return total


@pytest.fixture(autouse=True)
def few_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets attention take several steps, although the rows are short."""
    monkeypatch.setattr(attention, "_ROWS", 5)


@settings(max_examples=40, deadline=None)
@given(st.lists(trees(), min_size=1, max_size=3), st.integers(0, 3), st.integers(1, 4))
def test_a_packed_row_has_the_loss_and_the_gradients_of_its_contexts(
    given: list[Tree], seed: int, chunks: int
) -> None:
    model = WeightedLM(tiny(seed), chunks)
    # Padding has no weight, and no id sees it.
    branched = loss_of(model, pack_row(given, sum(map(len, given)) + 5 * (seed % 2)))
    if not branched.requires_grad or not any(k for t in given for r in t.rows for k in r.kinds):
        return
    branched.backward()
    one = gradients(model)
    slow = expanded(WeightedLM(model.model), given)
    slow.backward()
    other = gradients(model)
    assert torch.allclose(branched, slow, rtol=1e-5, atol=1e-5)
    for a, b in zip(one, other, strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-5 * float(b.abs().max() + 1))


def test_a_model_with_dropout_in_attention_is_refused() -> None:
    made = pack_row([Tree(Row((1, 2, 3), (READ, PLAN, PLAN)))])
    model = tiny(0)
    model.config.attention_dropout = 0.1
    layers: Any = model.model.layers
    for layer in layers:
        layer.self_attn.attention_dropout = 0.1
    model.set_attn_implementation("branched")
    with pytest.raises(TrainingError, match="attention_dropout"):
        model.train()(made.ids, position_ids=made.positions, segments=made.segments)


def sees(made: PackedRow) -> torch.Tensor:
    """Returns which ids see which by the segments: True at [query, key]."""
    seen = torch.zeros(made.tokens, made.tokens, dtype=torch.bool)
    for s in made.segments:
        for query in range(s.start, s.end):
            seen[query, s.root : s.root + s.seen] = True
            seen[query, s.start : query + 1] = True
    return seen


@settings(max_examples=25, deadline=None)
@given(st.lists(trees(), min_size=1, max_size=3))
def test_the_mask_for_a_gpu_equals_the_segments(given: list[Tree]) -> None:
    made = pack_row(given)
    mask, seen = block_mask(made), sees(made)
    everyone = torch.arange(made.tokens)
    rule = mask.mask_mod(torch.tensor(0), torch.tensor(0), everyone[:, None], everyone[None, :])
    assert torch.equal(rule, seen)
    assert attended_pairs(made) == int(seen.sum())
    assert mask.shape[-2:] == (made.tokens, made.tokens)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_flex_attention_equals_attention_by_segments() -> None:
    given = [
        Tree(
            Row(tuple(range(1, 61)), (READ, *[PLAN] * 59)),
            (Branch(20, Row(tuple(range(50, 90)), (READ, *[EXECUTION] * 39))),),
        )
    ] * 2
    made = pack_row(given)
    model = tiny(0)
    with torch.no_grad():
        model.set_attn_implementation("branched")
        one = model(made.ids, position_ids=made.positions, segments=made.segments).logits
        model.set_attn_implementation("flex_attention")
        with torch.compiler.set_stance("force_eager"):
            other = model(
                made.ids, position_ids=made.positions, attention_mask=block_mask(made)
            ).logits
    assert torch.allclose(one, other, atol=1e-4)


def numbers(name: str) -> tuple[int, int]:
    """Returns the stage and the number in the name of an execution."""
    stage, number = map(int, name.split("."))
    return stage, number


@pytest.fixture(scope="module")
def packed() -> list[Packed]:
    return list(trajectories(CountdownData(spaces=SMALL, trajectories=60), "train"))


def test_the_trees_of_runs_contain_their_contexts(packed: list[Packed]) -> None:
    data = CountdownData(spaces=SMALL, trajectories=60, runs=8)
    builder = TreeBuilder(CharTokenizer())
    branches = stopped = 0
    for number, run in enumerate(runs(packed, data)):
        sample = run_sample(run, data, len, number)
        tree = builder.tree(sample)
        assert tree.trunk == builder.planner(sample.transcript)
        for (name, text), row in zip(sample.executions.items(), tree.rows[1:], strict=True):
            stage, k = map(int, name.split("."))
            slow = builder.executor(sample.transcript, stage, k, text)
            assert row == slow
            branches += 1
            stopped += sample.transcript.stages[stage - 1].executions[k - 1] != text
        assert tree.longest == max(len(row.ids) for row in tree.rows)
    assert branches > 20
    assert stopped > 0


def test_the_trunk_ends_with_the_last_branch_if_the_planner_is_not_learned(
    packed: list[Packed],
) -> None:
    builder = TreeBuilder(CharTokenizer())
    for run in packed[:20]:
        sample = search_sample(run)
        tree = builder.tree(sample)
        read = max(branch.at for branch in tree.branches)
        assert tree.trunk == builder.planner(sample.transcript).prefix(read)
        assert {PLAN, PROMPT} <= set(tree.trunk.kinds) <= {READ, PLAN, PROMPT}
        for (name, text), row in zip(sample.executions.items(), tree.rows[1:], strict=True):
            assert row == builder.executor(sample.transcript, *numbers(name), text)


def test_shared_ids_are_stored_once(packed: list[Packed]) -> None:
    data = CountdownData(spaces=SMALL, trajectories=60, runs=8)
    characters = CharTokenizer()
    builder = TreeBuilder(characters)
    samples = (run_sample(run, data, len, n) for n, run in enumerate(runs(packed, data)))
    late = [s for s in samples if len(s.executions) > 6]
    assert late
    for sample in late:
        tree = builder.tree(sample)
        # Each branch is stored without the trunk before it, which ends after its own prompt.
        shared = sum(branch.at for branch in tree.branches)
        assert len(tree) == sum(len(row.ids) for row in tree.rows) - shared
        for name, branch in zip(sample.executions, tree.branches, strict=True):
            text = characters.decode(tree.trunk.ids[: branch.at])
            assert text.rstrip("\n-<").endswith(f"</prompt_{name}>")


def test_a_course_of_trees_has_its_share_of_the_budget() -> None:
    schedule = Schedule(tokens=100, batch_tokens=10)
    course = Course(0.0, [Tree(Row((1, 2), (0, 1)), (Branch(1, Row((3, 4, 5), (0, 1, 5))),))] * 4)
    assert course.weight(WEIGHTS) == pytest.approx((1 + 1 + 3) / 5)
    made = [batch for _, batch in islice(batches_of([course], schedule), 99)]
    assert [batch.tokens for batch in made] == [10] * 10
