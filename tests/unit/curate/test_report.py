"""The report: its numbers and drawings, and that no data can act in the page."""

from __future__ import annotations

import html
import json
import re
import time
from collections.abc import Hashable
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import report, select
from curate.candidate import Candidate
from curate.countdown import CountdownData, trajectories
from curate.drops import Reason
from curate.pack.leaks import Leak
from curate.report import examples, histogram, page, summary, wrap
from curate.report.drawing import Item, Link, draw
from curate.report.order import crossings, ordered
from curate.trajectory import Trajectory
from tests import curated
from tests.curated import CHAIN, HAND_WRITTEN, QUARTIC, RUN, TRIANGLE


def count(text: str) -> int:
    return len(text.split())


def text_of(path: Path) -> str:
    """Returns the text of the page as a reader sees it, without styles."""
    read = _Reader()
    read.feed(path.read_text(encoding="utf-8"))
    return re.sub(r"\s+", " ", " ".join(read.texts))


class _Reader(HTMLParser):
    """Collects the texts, the names of the elements, and the attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] != ["style"]:
            self.texts.append(data)


def summarized(*candidates: Candidate) -> summary.KeptSummary:
    kept = summary.KeptSummary()
    for candidate in candidates:
        kept.add(candidate, select.measure(candidate.transcript, count))
    return kept


class TestSummary:
    def test_the_numbers_of_examples_written_by_hand(self) -> None:
        kept = summarized(*HAND_WRITTEN)
        found = [select.measure(c.transcript, count) for c in HAND_WRITTEN]
        assert (kept.count, kept.divided, kept.unsplit) == (5, 4, 1)
        assert (kept.leaks, kept.mended) == (1, 1)
        assert sum(kept.tokens) == sum(f.tokens for f in found)
        # There are 3, 3, 4 and 2 stages, with 3+2+0, 2+3+0, 3+2+2+0 and 3+1 prompts.
        assert kept.mean_stages == 3
        assert kept.mean_prompts == pytest.approx(21 / 12)
        assert kept.parallel_stages == pytest.approx(8 / 12)
        assert kept.mean_ratio == pytest.approx((5 / 3 + 5 / 3 + 7 / 4 + 4 / 2) / 4)
        assert kept.mean_steps_ratio == pytest.approx((7 / 3 + 7 / 3 + 11 / 4 + 4 / 2) / 4)
        divided = [f for c, f in zip(HAND_WRITTEN, found, strict=True) if not c.unsplit]
        share = sum(f.sequential_tokens for f in divided) / sum(f.tokens for f in divided)
        assert kept.critical_share == pytest.approx(share)

    def test_losses_are_in_the_order_of_the_steps(self) -> None:
        records = curated.dropped(
            [("select", Reason.RATIO, 4), ("grade", Reason.UNGRADED, 1), ("grade", Reason.WRONG, 2)]
        )
        found = summary.losses(summary.count_dropped(records), 3)
        assert [(losses.step, losses.count, losses.left) for losses in found] == [
            ("grade", 3, 7),
            ("select", 4, 3),
        ]
        assert found[0].reasons == (("wrong answer", 2), ("answer could not be checked", 1))

    def test_the_page_shows_them(self, tmp_path: Path) -> None:
        lost = curated.dropped([("grade", Reason.WRONG, 1200), ("pack", Reason.LEAK, 2)])
        shown = text_of(report.write(curated.write(tmp_path, HAND_WRITTEN, lost), count))
        assert "Read 1,207" in shown
        assert "Kept 5 0.4 % of those read" in shown
        assert "Dropped 1,202" in shown
        assert "Kept unsplit 1" in shown
        assert "wrong answer 1,200 99.4 %" in shown
        assert "Prompts per stage 1.75 on average; 66.7 % of the stages have several" in shown
        assert "Leaks mended 1 edge added in 1 trajectory" in shown
        assert "There is no cost.json : no model was asked" in shown

    def test_the_cost_is_shown(self, tmp_path: Path) -> None:
        curated.write(tmp_path, HAND_WRITTEN)
        answers = {"count": 31, "input": 9123, "output": 19}
        spent = {"dollars": 0.0123, "other": [], "models": {"m<1>": answers}}
        (tmp_path / "cost.json").write_text(json.dumps(spent))
        shown = text_of(report.write(tmp_path, count))
        assert "Cost $0.0123" in shown
        assert "Answers 31" in shown
        assert "m<1> 31 9,123 19" in shown
        (tmp_path / "cost.json").write_text(json.dumps(spent | {"dollars": None}))
        assert "Cost – no prices were given" in text_of(report.write(tmp_path, count))
        (tmp_path / "cost.json").write_text("[]")
        with pytest.raises(ValueError, match="not a cost report"):
            report.write(tmp_path, count)

    @pytest.mark.parametrize(
        ("part", "shown"),
        [
            (None, "–"),
            (0, "0 %"),
            (1, "100 %"),
            (0.57, "57.0 %"),
            (1e-6, "< 0.1 %"),
            (1 - 1e-6, "> 99.9 %"),
        ],
    )
    def test_shares_are_not_rounded_to_0_or_100_percent(
        self, part: float | None, shown: str
    ) -> None:
        assert page.percent(part) == shown

    def test_large_numbers_are_shortened(self) -> None:
        assert page.compact(9_999_999) == "9,999,999"
        assert page.compact(12_345_678) == "12.3 M"
        assert page.compact(123_456_789_012) == "123.5 G"


class TestHistograms:
    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.integers(0, 10**6), min_size=1))
    def test_the_label_of_a_bin_contains_its_integers(self, values: list[int]) -> None:
        into = histogram.bins(values, whole=True)
        assert into.count <= 16
        for value in values:
            low, _, high = into.name(into.of(value)).replace(",", "").partition("–")
            assert int(low) <= value <= int(high or low)

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.fractions(0, 60, max_denominator=11), min_size=1))
    def test_the_label_of_a_bin_contains_its_ratios(self, values: list[float]) -> None:
        held = [float(value) for value in values]
        into = histogram.bins(held, whole=False)
        assert into.count <= 16
        for value in held:
            low, _, high = into.name(into.of(value)).partition("–")
            assert float(low) - 1e-6 <= value < float(high) + 1e-6

    def test_bars_count_all_values(self) -> None:
        values = {1: 4, 2: 20_000, 9: 1}
        chart = histogram.chart("t", "n", "a", "u", values, histogram.bins(values, whole=True))
        assert [bar.count for bar in chart.bars] == [4, 20_000, 0, 0, 0, 0, 0, 0, 1]
        assert max(bar.height for bar in chart.bars) <= chart.base
        assert all(bar.x + bar.width <= chart.right for bar in chart.bars)


class TestDrawing:
    def test_a_packed_trajectory_is_drawn_by_stages_without_implied_edges(self) -> None:
        drawn = self.view(QUARTIC)
        columns = {box.item.number: box.item.column for box in drawn.drawing.boxes}
        assert columns == {"1": 0, "2": 0, "3": 0, "4": 0, "5": 1, "6": 1, "7": 2}
        assert len(drawn.drawing.lines) == 8
        assert {box.item.number for box in drawn.drawing.boxes if not box.item.executes} == {
            "1",
            "7",
        }

    def test_an_edge_of_the_leak_check_is_marked(self) -> None:
        drawn = self.view(TRIANGLE)
        assert [line.added for line in drawn.drawing.lines if line.added] == [
            "step 4 uses 84, which step 2 found"
        ]

    def test_it_is_drawn_even_if_others_imply_it(self) -> None:
        assert TRIANGLE.packed is not None
        packed = replace(TRIANGLE.packed, leaks=(Leak(7, 2, "84"),))
        drawn = self.view(Candidate(packed))
        assert [line.added for line in drawn.drawing.lines if line.added] == [
            "step 7 uses 84, which step 2 found"
        ]

    def test_a_run_is_drawn_by_its_plans_and_prompts(self) -> None:
        drawn = self.view(RUN)
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

    def test_every_step_links_to_a_text_of_the_page(self, tmp_path: Path) -> None:
        read = _Reader()
        read.feed(report.write(curated.write(tmp_path, HAND_WRITTEN), count).read_text())
        ids = [value for name, value in read.attributes if name == "id"]
        links = {value for name, value in read.attributes if name == "href"}
        assert len(ids) == len(set(ids))
        assert len(links) > 20
        assert links <= {f"#{value}" for value in ids}

    def test_boxes_do_not_overlap_and_are_within_the_drawing(self) -> None:
        items = [Item(str(n), "word " * n, "", n % 3, n % 2 == 0, "") for n in range(60)]
        links = [Link(n, m) for n in range(60) for m in range(n + 1, 60) if (n + m) % 7 == 2]
        forward = [link for link in links if items[link.source].column <= items[link.target].column]
        drawn = draw(items, forward, ["a", "b", "c"])
        for column in range(3):
            boxes = sorted((b for b in drawn.boxes if b.item.column == column), key=lambda b: b.y)
            assert all(a.y + a.height < b.y for a, b in pairwise(boxes))
        assert all(b.x >= 0 and b.x + b.width <= drawn.width for b in drawn.boxes)
        assert all(b.y >= 0 and b.y + b.height <= drawn.height for b in drawn.boxes)

    def test_lines_are_untangled(self) -> None:
        following: dict[Hashable, list[Hashable]] = {f"a{n}": [f"b{5 - n}"] for n in range(6)}
        columns = [[f"a{n}" for n in range(6)], [f"b{n}" for n in range(6)]]
        assert crossings(columns, following) == 15
        across = [(source, target) for source, targets in following.items() for target in targets]
        assert crossings(ordered(columns, across, []), following) == 0

    def test_a_step_is_below_what_it_needs_in_its_stage(self) -> None:
        found = ordered([["x", "y", "z"]], [], [("z", "x"), ("y", "x")])
        assert found == [["y", "z", "x"]]

    @settings(max_examples=60, deadline=None)
    @given(st.text(max_size=80), st.integers(1, 4))
    def test_lines_of_text_fit(self, text: str, most: int) -> None:
        lines = wrap.lines(text, 10.0, most)
        assert len(lines) <= most
        assert all(wrap.width(line) <= 10.0 for line in lines)

    @staticmethod
    def view(candidate: Candidate) -> examples.ExampleView:
        found = select.measure(candidate.transcript, count)
        return examples.view(1, examples.Example("key", 0, candidate, found))


class TestPage:
    HOSTILE = (
        "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&]]></style></svg>{{ 7 * 7 }}"
    )

    def test_hostile_trajectories_are_shown_as_text(self, tmp_path: Path) -> None:
        shown = self.HOSTILE
        components = [
            curated.plan(1, shown, shown),
            curated.task(2, shown, shown, shown, shown, 1),
            curated.task(3, shown, shown, shown, "", 1),
            replace(curated.task(4, shown, shown, shown, shown, 2), comment=shown),
        ]
        packed = curated.candidate(shown, shown, components, [Leak(4, 3, shown)], source=shown)
        ran = curated.run(shown, shown, [(shown, [(shown, shown), (shown, shown)])])
        whole = curated.candidate(f"{shown}!", shown, components, unsplit=True, source=shown)
        (tmp_path / "cost.json").write_text(json.dumps({"models": {shown: {}}}))
        written = report.write(curated.write(tmp_path, [packed, ran, whole]), count).read_text()
        read = _Reader()
        read.feed(written)
        assert {"script", "img"}.isdisjoint(read.tags)
        assert not [name for name, _ in read.attributes if name.startswith("on")]
        assert all(v.startswith("#t") for name, v in read.attributes if name == "href")
        assert not [name for name, _ in read.attributes if name == "src"]
        assert "{{ 7 * 7 }}" in written
        assert html.escape(shown, quote=False)[:40] in written

    def test_nothing_is_fetched(self, tmp_path: Path) -> None:
        written = report.write(curated.write(tmp_path, HAND_WRITTEN), count).read_text()
        assert "default-src 'none'" in written
        assert not re.search(r"https?:|url\(|@import|<link|<script", written)

    def test_the_same_folder_makes_the_same_page(self, tmp_path: Path) -> None:
        pages: list[bytes] = []
        for name in ("a", "b"):
            curated.write(
                tmp_path / name, HAND_WRITTEN, curated.dropped([("read", Reason.EMPTY, 2)])
            )
            pages += [report.write(tmp_path / name, count).read_bytes() for _ in range(2)]
        assert len(set(pages)) == 1

    def test_a_folder_without_kept_trajectories(self, tmp_path: Path) -> None:
        shown = text_of(report.write(curated.write(tmp_path, []), count))
        assert "Nothing was kept" in shown
        assert "Parallelization ratio –" in shown
        lost = curated.dropped([("grade", Reason.WRONG, 2)])
        shown = text_of(report.write(curated.write(tmp_path, [], lost), count))
        assert "Kept 0 0 % of those read" in shown

    def test_a_folder_with_unsplit_trajectories_only(self, tmp_path: Path) -> None:
        shown = text_of(report.write(curated.write(tmp_path, [CHAIN]), count))
        assert "kept unsplit" in shown
        assert "Example 1 of the kept trajectories" in shown

    def test_a_run_that_answered_at_once(self, tmp_path: Path) -> None:
        shown = text_of(
            report.write(curated.write(tmp_path, [curated.run("What?", "4", [])]), count)
        )
        assert "the run answered at once" in shown

    def test_a_corrupt_or_missing_file_is_named_and_no_file_is_left(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"selected\.jsonl"):
            report.write(tmp_path, count)
        (tmp_path / "selected.jsonl").write_text("{\n")
        with pytest.raises(ValueError, match=r"selected\.jsonl, line 1"):
            report.write(tmp_path, count)
        assert [path.name for path in tmp_path.iterdir()] == ["selected.jsonl"]


class TestExamplePicker:
    def test_the_choice_does_not_depend_on_the_order(self) -> None:
        candidates = [self.named(QUARTIC, n) for n in range(40)] + [self.named(CHAIN, 1)]
        picked = [self.picked(candidates), self.picked(candidates[::-1])]
        keys = [[example[0] for example in run] for run in picked]
        assert keys[0] == keys[1]
        assert keys[0][:9] == sorted(c.trajectory.key for c in candidates[:-1])[:9]

    def test_parallel_ones_come_first_and_one_is_unsplit(self) -> None:
        parallel = [self.named(QUARTIC, n) for n in range(3)]
        chains = [replace(self.named(CHAIN, n), unsplit=False) for n in range(4)]
        unsplit = [self.named(CHAIN, n) for n in range(10, 20)]
        found = [c for _, _, c, _ in self.picked([*unsplit, *chains, *parallel])]
        assert len(found) == 10
        assert all(c in parallel for c in found[:3])
        assert all(c in chains for c in found[3:7])
        assert all(c.unsplit for c in found[7:])
        many = [self.named(QUARTIC, n) for n in range(30)]
        assert [c.unsplit for _, _, c, _ in self.picked([*unsplit, *many])] == [False] * 9 + [True]

    def test_a_report_on_five_thousand_takes_a_bounded_time(self, tmp_path: Path) -> None:
        made = [
            Candidate(packed)
            for packed in trajectories(
                CountdownData(spaces=curated.SMALL, trajectories=25), "train"
            )
        ]
        many = (self.named(candidate, n) for n in range(200) for candidate in made)
        curated.write(tmp_path, many)
        start = time.process_time()
        path = report.write(tmp_path, len)
        assert time.process_time() - start < 60
        assert "Kept 5,000" in text_of(path)
        assert path.stat().st_size < 1_000_000

    @staticmethod
    def named(candidate: Candidate, n: int) -> Candidate:
        """Returns the same trajectory with another question, and so with another key."""
        packed = candidate.packed
        assert packed is not None
        told = packed.annotated.trajectory
        other = Trajectory(f"{told.question} ({n})", told.text, told.answer, told.source)
        annotated = replace(packed.annotated, trajectory=other)
        return replace(candidate, packed=replace(packed, annotated=annotated))

    @staticmethod
    def picked(candidates: list[Candidate]) -> tuple[examples.Example, ...]:
        picks = examples.ExamplePicker()
        for candidate in candidates:
            picks.add(candidate, select.measure(candidate.transcript, count))
        return picks.picked
