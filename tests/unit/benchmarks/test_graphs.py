"""Packing dependency graphs: random ones keep every promise, and a broken promise is noticed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import __main__ as commands
from benchmarks import graphs
from curate.pack.leak_free import Packing, pack_leak_free
from curate.pack.stages import pack

LABELS = ("planning", "reasoning", "reflection", "fact", "conclusion", "restatement", "example")


@st.composite
def random_graphs(draw: st.DrawFn) -> dict[str, Any]:
    """A graph in the shape of real ones: mostly near needs, sometimes far ones, up to 40 sentences."""
    count = draw(st.integers(1, 40))
    nodes = [[draw(st.integers(1, 90)), draw(st.sampled_from(LABELS))] for _ in range(count)]
    edges: list[list[Any]] = []
    for end in range(1, count):
        near = st.integers(max(0, end - 3), end - 1) | st.integers(0, end - 1)
        edges += [[start, end, "infer"] for start in draw(st.sets(near, max_size=3))]
    return {"nodes": nodes, "edges": edges}


@settings(max_examples=150, deadline=None)
@given(random_graphs(), st.sampled_from([1, 2, 3]), st.booleans())
def test_packing_keeps_its_promises(graph: dict[str, Any], shortest: int, whole: bool) -> None:
    found = graphs.annotated(graph["nodes"], graph["edges"])
    found = graphs.by_paragraph(found) if whole else found
    packed = pack(found, shortest_execution=shortest)
    assert graphs.broken_promises(packed) == []
    mended = anyio.run(pack_leak_free, found, Packing(shortest_execution=shortest))
    assert graphs.broken_promises(mended) == []
    report = graphs.measure(iter([found]), shortest_execution=shortest)
    assert report.stages == report.least_stages


def test_a_broken_promise_is_noticed() -> None:
    nodes = [[20, "planning"], [20, "reasoning"], [20, "reasoning"], [20, "fact"]]
    packed = pack(graphs.annotated(nodes, [[0, 1, ""], [1, 2, ""]]), shortest_execution=1)
    assert [len(stage) for stage in packed.stages] == [3, 1]
    first, second = packed.stages
    beside = replace(packed, stages=((*first, *second), ()))
    assert graphs.broken_promises(beside) == ["3 is not after 2, which it needs"]
    before = replace(packed, stages=(first[::-1], second))
    assert graphs.broken_promises(before) == ["2 is not after 1, which it needs"]
    lost = replace(packed, stages=((first[0], first[1]), second))
    assert len(graphs.broken_promises(lost)) == 2


def test_a_component_may_have_several_sentences() -> None:
    labels = ["planning", "reasoning", "fact", "planning", "planning", "reasoning"]
    found = graphs.annotated([[20, label] for label in labels], [[2, 3, ""], [1, 5, ""]])
    first, second = graphs.by_paragraph(found).components
    assert second.parents == {first.number}
    assert first.plan.count("\n") == 1
    assert second.plan.count("\n") == 2


def test_a_file_of_graphs_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = {"nodes": [[20, "planning"], [30, "reasoning"]], "edges": [[0, 1, "infer"]]}
    path = tmp_path / "graphs.jsonl"
    path.write_text(f"{json.dumps(graph)}\n" * 3)
    commands.graphs(path)
    assert "broken promises" in capsys.readouterr().out
    commands.graphs(path, json=True)
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["graphs"], first["components"], first["broken"]) == (3, 6, [])
    assert second["components"] == 3
