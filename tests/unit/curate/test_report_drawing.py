"""Drawings: what is drawn of a trajectory, and the layout of boxes, lines and texts."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from curate import select
from curate.candidate import Candidate
from curate.pack.leaks import Leak
from curate.report import examples, wrap
from curate.report.drawing import Item, Link, draw
from curate.report.order import crossings, ordered
from tests.curated import QUARTIC, RUN, TRIANGLE
from tests.unit.curate.report_kit import count


def view(candidate: Candidate) -> examples.ExampleView:
    found = select.measure(candidate.transcript, count)
    return examples.view(1, examples.Example("key", 0, candidate, found))


def test_a_packed_trajectory_is_drawn_by_stages_without_implied_edges() -> None:
    drawn = view(QUARTIC)
    columns = {box.item.number: box.item.column for box in drawn.drawing.boxes}
    assert columns == {"1": 0, "2": 0, "3": 0, "4": 0, "5": 1, "6": 1, "7": 2}
    assert len(drawn.drawing.lines) == 8
    assert {box.item.number for box in drawn.drawing.boxes if not box.item.executes} == {
        "1",
        "7",
    }


def test_an_edge_of_the_leak_check_is_marked() -> None:
    drawn = view(TRIANGLE)
    assert [line.added for line in drawn.drawing.lines if line.added] == [
        "step 4 uses 84, which step 2 found"
    ]


def test_it_is_drawn_even_if_others_imply_it() -> None:
    assert TRIANGLE.packed is not None
    packed = replace(TRIANGLE.packed, leaks=(Leak(7, 2, "84"),))
    drawn = view(Candidate(packed))
    assert [line.added for line in drawn.drawing.lines if line.added] == [
        "step 7 uses 84, which step 2 found"
    ]


def test_a_run_is_drawn_by_its_plans_and_prompts() -> None:
    drawn = view(RUN)
    assert [box.item.number for box in drawn.drawing.boxes] == [
        "1",
        "1.1",
        "1.2",
        "1.3",
        "2",
        "2.1",
    ]
    # From each plan to its prompts, and from the first stage's prompts to the second plan.
    assert len(drawn.drawing.lines) == 3 + 3 + 1
    assert [e.learned for e in drawn.stages[0].executions] == [True, True, False]


def test_boxes_do_not_overlap_and_are_within_the_drawing() -> None:
    items = [Item(str(n), "word " * n, "", n % 3, n % 2 == 0, "") for n in range(60)]
    links = [Link(n, m) for n in range(60) for m in range(n + 1, 60) if (n + m) % 7 == 2]
    forward = [link for link in links if items[link.source].column <= items[link.target].column]
    drawn = draw(items, forward, ["a", "b", "c"])
    for column in range(3):
        boxes = sorted((b for b in drawn.boxes if b.item.column == column), key=lambda b: b.y)
        assert all(a.y + a.height < b.y for a, b in pairwise(boxes))
    assert all(b.x >= 0 and b.x + b.width <= drawn.width for b in drawn.boxes)
    assert all(b.y >= 0 and b.y + b.height <= drawn.height for b in drawn.boxes)


def test_lines_are_untangled() -> None:
    following: dict[Hashable, list[Hashable]] = {f"a{n}": [f"b{5 - n}"] for n in range(6)}
    columns = [[f"a{n}" for n in range(6)], [f"b{n}" for n in range(6)]]
    assert crossings(columns, following) == 15
    across = [(source, target) for source, targets in following.items() for target in targets]
    assert crossings(ordered(columns, across, []), following) == 0


def test_a_step_is_below_what_it_needs_in_its_stage() -> None:
    found = ordered([["x", "y", "z"]], [], [("z", "x"), ("y", "x")])
    assert found == [["y", "z", "x"]]


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=80), st.integers(1, 4))
def test_lines_of_text_fit(text: str, most: int) -> None:
    lines = wrap.lines(text, 10.0, most)
    assert len(lines) <= most
    assert all(wrap.width(line) <= 10.0 for line in lines)
