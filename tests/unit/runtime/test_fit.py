"""Results are fitted to what the context has left."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprint_agent import Sampling, Sprint, Task, executor
from sprint_agent.runtime.fit import fit
from sprint_agent.testing import ScriptedEngine
from tests.script import Scripted, answer, plan

_LEFT_OUT = re.compile(r"\n\[(\d+) more characters left out: the context is full\]\Z")


def list_of(text: str) -> list[int]:
    return list(map(ord, text))


def test_what_fits_stays_as_it_is() -> None:
    texts = ("a" * 10, "", "b" * 20)
    assert fit(texts, 30, list_of) == texts
    assert fit((), 0, list_of) == ()


def note(left_out: int) -> str:
    return f"\n[{left_out} more characters left out: the context is full]"


def test_the_longest_is_cut_and_says_so() -> None:
    short, long = fit(("a" * 10, "b" * 500), 110, list_of)
    assert short == "a" * 10
    assert long == "b" * 48 + note(452)
    assert len(short + long) == 110


def test_what_a_short_one_leaves_goes_to_the_others() -> None:
    first, second, third = fit(("a" * 10, "b" * 500, "c" * 500), 310, list_of)
    assert first == "a" * 10
    assert len(second) == len(third) == 150


def test_a_text_whose_beginning_has_more_tokens_fits_too() -> None:
    def encode(text: str) -> list[int]:
        return list_of(text.replace("#", "#" * 10))

    (text,) = fit(("#" * 100 + "a" * 900,), 600, encode)
    assert len(encode(text)) <= 600
    assert text.startswith("#" * 40)


def test_without_room_only_the_notes_remain() -> None:
    for room in (0, -5):
        assert fit(("a" * 9,), room, list_of) == (note(9),)


def test_without_a_tokenizer_lengths_are_estimated() -> None:
    (text,) = fit(("a" * 1000,), 124, None)
    assert 150 < text.count("a") < 250


@given(st.lists(st.integers(0, 400), max_size=8), st.integers(0, 1000))
def test_all_together_fit(lengths: list[int], room: int) -> None:
    texts = ["x" * length for length in lengths]
    total = 0
    for text, before in zip(fit(texts, room, list_of), texts, strict=True):
        kept = before
        if (left_out := _LEFT_OUT.search(text)) is not None:
            kept = text[: left_out.start()]
            assert len(before) - len(kept) == int(left_out[1])
        assert before.startswith(kept)
        assert left_out or text == before
        # A note without any text is the least that a result can be.
        total += len(text) if kept else 0
    assert total <= room


@pytest.mark.anyio
async def test_three_long_results_leave_room_for_the_answer() -> None:
    """Three results of 30,000 characters, and a context of 16,000 ids."""

    @executor
    async def page(task: Task) -> str:
        """Reads a page."""
        return task.prompt[0] * 30_000

    engine = ScriptedEngine(
        Scripted([plan("page: a", "page: b", "c"), answer("42")]), context_length=16_000
    )
    result = await Sprint(engine, executors=[page]).solve("What?")
    assert result.answer == "42"
    first, second, third = result.stages[0].executions
    for long in (first, second):
        assert long.text in result.text
        assert _LEFT_OUT.search(long.text)
        assert 3_000 < len(long.text) < 8_000
    assert third.text == "did 1.3\n"
    prompts = [engine.prompt_text(request) for request in engine.requests]
    # A quarter of the context is left for the planner's turn.
    assert len(prompts[-1]) <= 12_000


@pytest.mark.anyio
async def test_without_a_known_context_nothing_is_cut() -> None:
    turns = [plan("a"), answer("42")]
    engine = ScriptedEngine(Scripted(list(turns), {(1, 1): "x" * 50_000}), chunk=1_000)
    result = await Sprint(engine, sampling=Sampling(max_tokens=60_000)).solve("What?")
    assert result.stages[0].executions[0].text == "x" * 50_000
