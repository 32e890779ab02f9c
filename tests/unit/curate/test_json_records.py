"""JSON records: one a line, in an array, or one after another, however the text is cut into chunks."""

from __future__ import annotations

import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.drops import Dropped, SkippedRecord
from curate.read import json_records
from curate.read.json_records import records
from curate.read.sources import read
from curate.trajectory import Trajectory
from tests.unit.curate.test_layouts import plain

ONE, TWO = plain(text='{["]}\\'), plain(text='So\n"[{"a": 1}]" \\\\')
BOTH = [ONE["text"], TWO["text"]]


def texts(path: Path, content: str) -> list[str]:
    path.write_text(content, "utf-8")
    return [item.text if isinstance(item, Trajectory) else item.detail for item in read(path)]


@pytest.mark.parametrize(
    "content",
    [
        "[\n" + json.dumps(ONE) + ",\n" + json.dumps(TWO) + "\n]\n",
        json.dumps([ONE, TWO]),
        json.dumps([ONE, TWO], indent=2),
        f"[{json.dumps(ONE)}]\n[{json.dumps(TWO)}]",
        json.dumps(ONE, indent=2) + "\n" + json.dumps(TWO, indent=2),
        json.dumps(ONE, indent=2) + ",\n\n" + json.dumps(TWO, indent=2) + ",\n",
        json.dumps(ONE) + ",\n\n  \n" + json.dumps(TWO) + ",",
        json.dumps(ONE) + "\r\n" + json.dumps(TWO) + "\r\n",
        f"\x1e{json.dumps(ONE)}\n\x1e{json.dumps(TWO)}\n",
        json.dumps({"version": "1", "data": [ONE, TWO]}),
        json.dumps({"version": "1", "data": [ONE, TWO]}, indent=1),
    ],
)
def test_every_record_is_read(content: str, tmp_path: Path) -> None:
    assert texts(tmp_path / "part.json", content) == BOTH


def test_a_broken_record_of_an_array_is_reported_and_the_others_are_read(tmp_path: Path) -> None:
    one, two = json.dumps(ONE), json.dumps(TWO)
    found = texts(tmp_path / "part.json", f"[{one}, 7, {{'a': yes}}, {two}, null]")
    assert [found[0], found[3]] == BOTH
    assert "not a JSON object" in found[1]
    assert "not JSON" in found[2]


def test_an_array_that_is_cut_off(tmp_path: Path) -> None:
    content = json.dumps([ONE, TWO])
    for end in (len(content) - 1, len(content) - 5):
        *good, last = texts(tmp_path / "part.json", content[:end])
        assert good == BOTH[: len(good)]
        assert "ends inside a record" in last


def test_a_broken_first_line_costs_that_line_alone(tmp_path: Path) -> None:
    for broken in ("{", '{"question": ', "{'question': 'Q?'}", "xyz"):
        first, *others = texts(tmp_path / "part.jsonl", f"{broken}\n{json.dumps(ONE)}\n")
        assert "not JSON" in first
        assert others == BOTH[:1]


def test_a_python_dict_is_named(tmp_path: Path) -> None:
    (found,) = texts(tmp_path / "part.jsonl", "{'question': 'Q?'}\n")
    assert "a Python dict: write it by json.dumps" in found


@pytest.mark.parametrize("wrap", ["[{}]", "{}\n"])
def test_a_record_that_is_nested_too_deeply(wrap: str, tmp_path: Path) -> None:
    deep = '{"question": ' + "[" * 100_000 + "]" * 100_000 + "}"
    path = tmp_path / "part.json"
    path.write_text(wrap.replace("{}", deep, 1))
    (found,) = read(path)
    assert isinstance(found, SkippedRecord)
    assert "recursion" in found.detail


def test_one_record_of_an_array_at_a_time_is_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "part.json"
    path.write_text(json.dumps([plain(text="x" * 100_000)] * 200, indent=1))
    tracemalloc.start()
    try:
        assert sum(isinstance(f, Trajectory) for f in read(path)) == 200
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()


def test_a_record_of_an_array_that_is_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_records, "LONGEST_RECORD", 1000)
    assert "longer than 1000" in texts(tmp_path / "a.json", "[{" + " " * 5000)[-1]


_json = st.recursive(
    st.none() | st.integers() | st.text(alphabet='"\\{}[],: a', max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


class _Slow(io.BytesIO):
    """A file that hands out its content in pieces of the given size."""

    size = 1

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(self.size)


@settings(deadline=None)
@given(
    st.lists(st.dictionaries(st.text(max_size=3), _json, max_size=3), max_size=4),
    st.sampled_from([None, 1]),
    st.integers(1, 9),
)
def test_the_chunks_of_an_array_do_not_matter(
    given: list[dict[str, Any]], indent: int | None, size: int
) -> None:
    data = json.dumps(given, indent=indent).encode()
    file = _Slow(data)
    file.size = size
    found = list(records(file, data))
    assert not any(isinstance(one, Dropped) for one in found)
    assert found == given
