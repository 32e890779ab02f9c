"""Boxes: the last one counts, and escaped braces belong to its content."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprint_agent.protocol.boxes import Box, last_box


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("\\boxed{1} \\boxed{ \\frac{1}{2} } so", "\\frac{1}{2}"),
        ("\\boxed{\\{1, 2\\}}", "\\{1, 2\\}"),
        ("\\boxed{\\{1}", "\\{1"),
        ("\\boxed{\\left\\{ 1 \\right.}", "\\left\\{ 1 \\right."),
        ("\\boxed{\\left. 1 \\right\\}} {", "\\left. 1 \\right\\}"),
        ("\\boxed{a \\\\} }", "a \\\\"),
        ("\\boxed{\\boxed{5}}", "5"),
        ("\\fbox{a} \\boxed {5}", "5"),
        ("\\boxed{}", ""),
    ],
)
def test_the_last_box_counts(text: str, content: str) -> None:
    assert last_box(text) == Box(content, closed=True)


@pytest.mark.parametrize(
    ("text", "content"),
    [("\\boxed{1} \\boxed{2", "2"), ("\\boxed{", ""), ("\\boxed{{}\\}", "{}\\}")],
)
def test_a_box_may_be_open(text: str, content: str) -> None:
    assert last_box(text) == Box(content, closed=False)


@pytest.mark.parametrize("text", ["", "boxed{1}", "\\boxed", "\\boxed 5"])
def test_there_may_be_none(text: str) -> None:
    assert last_box(text) is None


@given(st.text(alphabet="{}\\ab", max_size=12))
def test_its_braces_are_balanced(inner: str) -> None:
    box = last_box("\\boxed{" + inner)
    assert box is not None
    bare = box.content.replace("\\\\", "").replace("\\{", "").replace("\\}", "")
    assert not box.closed or bare.count("{") == bare.count("}")


@pytest.mark.parametrize("piece", ["\\boxed{", "{", "}", "\\", "\\{", "\\boxed {", "\\boxed{}"])
def test_the_time_per_character_is_flat(piece: str) -> None:
    def seconds(characters: int) -> float:
        text = "\\boxed{" + piece * (characters // len(piece))
        start = time.process_time()
        last_box(text)
        return time.process_time() - start

    # A quadratic reader would take 100 times as long for each character.
    assert seconds(1_000_000) / 100 < 20 * max(seconds(10_000), 0.001)
