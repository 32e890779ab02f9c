"""The page: what it shows, and that no data can act in it."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from curate import report
from curate.drops import Reason
from curate.pack.leaks import Leak
from tests import curated
from tests.curated import CHAIN, HAND_WRITTEN
from tests.unit.curate.report_kit import PageReader, count, text_of

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&]]></style></svg>{{ 7 * 7 }}"


def test_the_page_shows_the_numbers(tmp_path: Path) -> None:
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


def test_the_cost_is_shown(tmp_path: Path) -> None:
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


def test_every_step_links_to_a_text_of_the_page(tmp_path: Path) -> None:
    read = PageReader()
    read.feed(report.write(curated.write(tmp_path, HAND_WRITTEN), count).read_text())
    ids = [value for name, value in read.attributes if name == "id"]
    links = {value for name, value in read.attributes if name == "href"}
    assert len(ids) == len(set(ids))
    assert len(links) > 20
    assert links <= {f"#{value}" for value in ids}


def test_hostile_trajectories_are_shown_as_text(tmp_path: Path) -> None:
    shown = HOSTILE
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
    read = PageReader()
    read.feed(written)
    assert {"script", "img"}.isdisjoint(read.tags)
    assert not [name for name, _ in read.attributes if name.startswith("on")]
    assert all(v.startswith("#t") for name, v in read.attributes if name == "href")
    assert not [name for name, _ in read.attributes if name == "src"]
    assert "{{ 7 * 7 }}" in written
    assert html.escape(shown, quote=False)[:40] in written


def test_nothing_is_fetched(tmp_path: Path) -> None:
    written = report.write(curated.write(tmp_path, HAND_WRITTEN), count).read_text()
    assert "default-src 'none'" in written
    assert not re.search(r"https?:|url\(|@import|<link|<script", written)


def test_the_same_folder_makes_the_same_page(tmp_path: Path) -> None:
    pages: list[bytes] = []
    for name in ("a", "b"):
        curated.write(tmp_path / name, HAND_WRITTEN, curated.dropped([("read", Reason.EMPTY, 2)]))
        pages += [report.write(tmp_path / name, count).read_bytes() for _ in range(2)]
    assert len(set(pages)) == 1


def test_a_folder_without_kept_trajectories(tmp_path: Path) -> None:
    shown = text_of(report.write(curated.write(tmp_path, []), count))
    assert "Nothing was kept" in shown
    assert "Parallelization ratio –" in shown
    lost = curated.dropped([("grade", Reason.WRONG, 2)])
    shown = text_of(report.write(curated.write(tmp_path, [], lost), count))
    assert "Kept 0 0 % of those read" in shown


def test_a_folder_with_unsplit_trajectories_only(tmp_path: Path) -> None:
    shown = text_of(report.write(curated.write(tmp_path, [CHAIN]), count))
    assert "kept unsplit" in shown
    assert "Example 1 of the kept trajectories" in shown


def test_a_run_that_answered_at_once(tmp_path: Path) -> None:
    shown = text_of(report.write(curated.write(tmp_path, [curated.run("What?", "4", [])]), count))
    assert "the run answered at once" in shown


def test_a_corrupt_or_missing_file_is_named_and_no_file_is_left(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"selected\.jsonl"):
        report.write(tmp_path, count)
    (tmp_path / "selected.jsonl").write_text("{\n")
    with pytest.raises(ValueError, match=r"selected\.jsonl, line 1"):
        report.write(tmp_path, count)
    assert [path.name for path in tmp_path.iterdir()] == ["selected.jsonl"]
