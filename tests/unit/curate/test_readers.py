"""Readers: every layout by its fields, every broken record reported, nothing lost in silence."""

from __future__ import annotations

import gzip
import json
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.drops import Reason, SkippedRecord
from curate.read import sources
from curate.read.layouts import LAYOUTS, OPENR1, PLAIN, detect, last_box, of_fields
from curate.read.shards import Shard, in_shard
from curate.read.sources import Dataset, SourceError, read
from curate.trajectory import Trajectory

THOUGHT = "<think>\nSo 2 + 2.\n</think>\n\nIt is $\\boxed{4}$."

OPENR1_RECORD: dict[str, Any] = {
    "problem": "What is 2 + 2?",
    "solution": "Add.",
    "answer": "4",
    "uuid": "a",
    "generations": [THOUGHT, "<think>Hm.</think> \\boxed{5}", "<think>Wait", "no tags \\boxed{4}"],
    "is_reasoning_complete": [True, True, False, True],
    "correctness_math_verify": [True, False, False, None],
    "correctness_llama": [None, False, False, False],
    "finish_reasons": ["stop", "stop", "length", None],
    "messages": [{"role": "user", "content": "Not this."}],
}
S1K_RECORD: dict[str, Any] = {
    "question": "What is 2 + 2?",
    "solution": "We add.\n\nSo \\boxed{4}.",
    "cot_type": "math",
    "deepseek_thinking_trajectory": "So 2 + 2.",
    "deepseek_attempt": "\\boxed{4}",
    "deepseek_grade": "Yes",
    "gemini_thinking_trajectory": "Hm.",
    "gemini_attempt": "\\boxed{5}",
    "gemini_grade": "No",
}


def written(folder: Path, *records: object, name: str = "part.jsonl") -> Path:
    path = folder / name
    lines = [json.dumps(r) if not isinstance(r, str) else r for r in records]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def only(found: Iterator[Trajectory | SkippedRecord]) -> Trajectory:
    (one,) = found
    assert isinstance(one, Trajectory), one
    return one


def why(found: Iterator[Trajectory | SkippedRecord]) -> tuple[str, Reason]:
    (one,) = found
    assert isinstance(one, SkippedRecord), one
    assert one.detail
    return one.source, one.reason


def plain(**changed: object) -> dict[str, object]:
    return {"question": "Q?", "text": "So.", "answer": "4", **changed}


class TestLayouts:
    def test_openr1(self, tmp_path: Path) -> None:
        right, wrong, cut, bare = read(written(tmp_path, OPENR1_RECORD))
        assert right == Trajectory(
            "What is 2 + 2?", "So 2 + 2.", "4", "part.jsonl:1", claimed="4", verdict=True
        )
        assert isinstance(wrong, Trajectory)
        assert (wrong.source, wrong.claimed, wrong.verdict) == ("part.jsonl:1#2", "5", False)
        assert isinstance(cut, SkippedRecord)
        assert (cut.source, cut.reason) == ("part.jsonl:1#3", Reason.TRUNCATED)
        assert isinstance(bare, SkippedRecord)
        assert (bare.source, bare.reason) == ("part.jsonl:1#4", Reason.EMPTY)

    def test_openr1_takes_the_second_judge_where_the_first_says_no(self, tmp_path: Path) -> None:
        record = {**OPENR1_RECORD, "generations": [THOUGHT], "correctness_math_verify": [False]}
        assert (
            only(read(written(tmp_path, {**record, "correctness_llama": [True]}))).verdict is True
        )
        unjudged = {**record, "correctness_math_verify": None, "correctness_llama": []}
        assert only(read(written(tmp_path, unjudged))).verdict is None

    def test_openr1_without_an_answer_is_not_graded_by_itself(self, tmp_path: Path) -> None:
        record = {**OPENR1_RECORD, "generations": [THOUGHT], "answer": None}
        assert why(read(written(tmp_path, record))) == ("part.jsonl:1", Reason.UNREADABLE)

    @pytest.mark.parametrize(
        "cut", [{"finish_reasons": ["length"]}, {"is_reasoning_complete": [False]}]
    )
    def test_openr1_says_what_was_cut_off(self, tmp_path: Path, cut: dict[str, Any]) -> None:
        record = {**OPENR1_RECORD, "generations": [THOUGHT], **cut}
        assert why(read(written(tmp_path, record))) == ("part.jsonl:1", Reason.TRUNCATED)

    @pytest.mark.parametrize("generations", [[], None, "", 5])
    def test_openr1_without_generations(self, tmp_path: Path, generations: object) -> None:
        record = {**OPENR1_RECORD, "generations": generations, "is_reasoning_complete": None}
        assert why(read(written(tmp_path, record))) == ("part.jsonl:1", Reason.EMPTY)

    @pytest.mark.parametrize(
        "reply",
        [
            "<|begin_of_thought|>\n\nSo 2.\n\n<|end_of_thought|>\n\n"
            "<|begin_of_solution|>\n\n\\boxed{4}\n\n<|end_of_solution|>",
            "<think>\nSo 2.\n</think>\n\\boxed{4}",
            "So 2.\n</think>\n\\boxed{4}",
            "<think>So 2.</think>\\boxed{3} and then \\boxed{4}",
        ],
    )
    @pytest.mark.parametrize(
        "talk",
        [
            lambda q, a: {
                "conversations": [{"from": "user", "value": q}, {"from": "assistant", "value": a}]
            },
            lambda q, a: {
                "conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": a}]
            },
            lambda q, a: {
                "messages": [
                    {"role": "system", "content": "Think."},
                    {"role": "user", "content": q},
                    {"role": "assistant", "content": a},
                ]
            },
        ],
    )
    def test_openthoughts(self, tmp_path: Path, reply: str, talk: Any) -> None:
        found = only(read(written(tmp_path, {"system": "S", **talk("What is 2 + 2?", reply)})))
        assert (found.question, found.text, found.answer) == ("What is 2 + 2?", "So 2.", "4")
        assert found.claimed == "4"
        assert found.verdict is None

    def test_openthoughts_with_a_reference(self, tmp_path: Path) -> None:
        talk = [{"from": "user", "value": "Long Q"}, {"from": "assistant", "value": THOUGHT}]
        record = {
            "conversations": talk,
            "problem": "Q?",
            "solution": "So \\boxed{7}.",
            "correct": False,
        }
        found = only(read(written(tmp_path, record)))
        assert (found.question, found.answer, found.claimed, found.verdict) == (
            "Q?",
            "7",
            "4",
            False,
        )

    def test_openthoughts_metadata(self, tmp_path: Path) -> None:
        record = {"problem": "Q?", "deepseek_reasoning": "So.", "deepseek_solution": "\\boxed{4}"}
        found = only(read(written(tmp_path, {**record, "ground_truth_solution": "\\boxed{5}"})))
        assert (found.text, found.answer, found.claimed) == ("So.", "5", "4")

    @pytest.mark.parametrize("turns", [[], [("user", "Q?")] * 2 + [("assistant", THOUGHT)]])
    def test_a_talk_of_more_turns_has_no_question(self, tmp_path: Path, turns: list[Any]) -> None:
        record = {"messages": [{"role": r, "content": c} for r, c in turns]}
        assert why(read(written(tmp_path, record)))[1] is Reason.UNREADABLE

    def test_s1k(self, tmp_path: Path) -> None:
        first, second = read(written(tmp_path, S1K_RECORD))
        assert first == Trajectory(
            "What is 2 + 2?", "So 2 + 2.", "4", "part.jsonl:1", claimed="4", verdict=True
        )
        assert isinstance(second, Trajectory)
        assert (second.source, second.claimed, second.verdict) == ("part.jsonl:1#2", "5", False)

    def test_s1k_with_a_solution_that_is_no_answer(self, tmp_path: Path) -> None:
        first, _ = read(written(tmp_path, {**S1K_RECORD, "solution": "We prove.\n\nSo it is."}))
        assert isinstance(first, SkippedRecord)
        short, _ = read(written(tmp_path, {**S1K_RECORD, "solution": 128}))
        assert isinstance(short, Trajectory)
        assert short.answer == "128"

    def test_plain(self, tmp_path: Path) -> None:
        text = "So.\nIt is \\boxed{\\frac{1}{2}}.\n"
        found = only(read(written(tmp_path, plain(text=text, answer=0.5))))
        assert found == Trajectory("Q?", text, "0.5", "part.jsonl:1", claimed="\\frac{1}{2}")

    def test_fields_by_path(self, tmp_path: Path) -> None:
        layout = of_fields(question="meta.q", trajectory="runs.1.text", answer="meta.a")
        record = {"meta": {"q": "Q?", "a": 4}, "runs": [{}, {"text": THOUGHT}]}
        found = only(read(written(tmp_path, record), layout))
        assert (found.question, found.text, found.answer) == ("Q?", "So 2 + 2.", "4")
        own = of_fields(question="q", trajectory="t")
        assert only(read(written(tmp_path, {"q": "Q?", "t": "So \\boxed{5}"}), own)).answer == "5"
        assert why(read(written(tmp_path, {"q": "Q?", "t": "So"}), own))[1] is Reason.UNREADABLE

    def test_each_is_required_its_fields(self) -> None:
        for name, layout in LAYOUTS.items():
            assert layout.name == name
            assert detect(layout.required | {"more"}) is layout
        assert detect(OPENR1_RECORD) is OPENR1
        assert detect({"text"}) is None

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("", Reason.EMPTY),
            (" \n", Reason.EMPTY),
            ("<think>\n</think>\\boxed{4}", Reason.EMPTY),
            ("<think>So", Reason.TRUNCATED),
            ("<think>a</think>b<think>c</think>", Reason.UNREADABLE),
            ("<think>a</think>b</think>c", Reason.UNREADABLE),
            ("a<think>b</think>", Reason.UNREADABLE),
            ("a</think>b<think>c", Reason.UNREADABLE),
        ],
    )
    def test_thinking_that_cannot_be_told_apart(
        self, tmp_path: Path, text: str, reason: Reason
    ) -> None:
        assert why(read(written(tmp_path, plain(text=text)))) == ("part.jsonl:1", reason)


class TestBoxes:
    @pytest.mark.parametrize(
        ("text", "wanted"),
        [
            ("\\boxed{1} \\boxed{ \\frac{1}{2} } so", "\\frac{1}{2}"),
            ("\\boxed{\\{1, 2\\}}", "\\{1, 2\\}"),
            ("\\boxed{\\{1}", "\\{1"),
            ("\\boxed{\\boxed{5}}", "5"),
            ("\\fbox{a} \\boxed {5}", "5"),
            ("\\boxed{1} \\boxed{2", ""),
            ("boxed{1}", ""),
            ("", ""),
        ],
    )
    def test_the_last_one(self, text: str, wanted: str) -> None:
        assert last_box(text) == wanted

    @given(st.text(alphabet="{}\\ab", max_size=12))
    @settings(deadline=None)
    def test_what_it_finds_is_balanced(self, inner: str) -> None:
        found = last_box("\\boxed{" + inner)
        bare = found.replace("\\\\", "").replace("\\{", "").replace("\\}", "")
        assert bare.count("{") == bare.count("}")

    def test_a_million_boxes(self) -> None:
        assert last_box("\\boxed{" * 150_000) == ""
        assert last_box("\\boxed{" + "{" * 500_000 + "}" * 500_000 + "}").startswith("{{")


class TestBrokenFiles:
    def test_what_is_broken_is_reported_and_the_rest_is_read(self, tmp_path: Path) -> None:
        path = tmp_path / "part.jsonl"
        good = json.dumps(plain()).encode()
        lines = [
            b"\xef\xbb\xbf" + good + b"\r",
            b"{",
            b"\xff\xfe",
            b"[1]",
            b"",
            b"  \r",
            b"[" * 100_000,
            b'{"a": ' + b"9" * 5000 + b"}",
            json.dumps(plain(text="half \ud800")).encode(),
            json.dumps({"half \ud800": 1}).encode(),
            json.dumps(plain(question=" ")).encode(),
            good.replace(b'"4"', b"NaN"),
            good,
        ]
        path.write_bytes(b"\n".join(lines))
        found = list(read(path))
        assert [f.source for f in found if isinstance(f, Trajectory)] == [
            "part.jsonl:1",
            "part.jsonl:12",
            "part.jsonl:13",
        ]
        lost = [f for f in found if isinstance(f, SkippedRecord)]
        assert [f.source.partition(":")[2] for f in lost] == [
            "2",
            "3",
            "4",
            "7",
            "8",
            "9",
            "10",
            "11",
        ]
        assert {f.reason for f in lost} == {Reason.UNREADABLE}
        assert all(f.detail.encode() and "\n" not in f.detail for f in lost)

    def test_a_huge_line(self, tmp_path: Path) -> None:
        path = written(tmp_path, plain(text="So. " * 13_000_000), plain())
        first, second = read(path)
        assert isinstance(first, Trajectory)
        assert len(first.text) == 52_000_000
        assert isinstance(second, Trajectory)

    def test_a_line_that_is_too_long(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sources, "_LONGEST_LINE", 1000)
        path = written(tmp_path, plain(text="x" * 5000), plain(), plain(text="x" * 5000))
        first, second, third = read(path)
        assert isinstance(first, SkippedRecord)
        assert isinstance(third, SkippedRecord)
        assert "longer" in first.detail
        assert isinstance(second, Trajectory)
        assert second.source == "part.jsonl:2"

    def test_memory_holds_a_record_at_a_time(self, tmp_path: Path) -> None:
        path = written(tmp_path, *[plain(text="x" * 100_000)] * 200)
        tracemalloc.start()
        try:
            assert sum(isinstance(f, Trajectory) for f in read(path)) == 200
            assert tracemalloc.get_traced_memory()[1] < 3_000_000
        finally:
            tracemalloc.stop()

    def test_gzip_and_where_it_breaks_off(self, tmp_path: Path) -> None:
        path = tmp_path / "part.jsonl.gz"
        whole = gzip.compress(
            b"".join(json.dumps(plain(n=n)).encode() + b"\n" for n in range(5000))
        )
        path.write_bytes(whole)
        assert sum(isinstance(f, Trajectory) for f in read(path)) == 5000
        path.write_bytes(whole[: len(whole) // 2])
        *read_before, last = read(path)
        assert read_before
        assert isinstance(last, SkippedRecord)
        assert last.reason is Reason.UNREADABLE
        assert last.source == f"part.jsonl.gz:{len(read_before) + 1}"

    def test_a_file_that_is_gzip_by_its_name_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "part.jsonl.gz"
        path.write_bytes(b'{"question": "Q?"}')
        with pytest.raises(SourceError, match=r"part\.jsonl\.gz is not compressed by gzip"):
            list(read(path))
        path.write_bytes(b"")
        assert list(read(path)) == []

    def test_a_source_that_is_none(self, tmp_path: Path) -> None:
        for path in (tmp_path / "none.jsonl", tmp_path, written(tmp_path, "x", name="x.parquet")):
            with pytest.raises(SourceError):
                list(read(path))


class TestParquet:
    def write(self, path: Path, columns: dict[str, Any]) -> Path:
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pyarrow.table(columns), path, row_group_size=50)
        return path

    def test_rows(self, tmp_path: Path) -> None:
        columns = {name: [value] * 130 for name, value in OPENR1_RECORD.items()}
        found = list(read(self.write(tmp_path / "a.parquet", columns)))
        assert len(found) == 130 * 4
        assert found[-4] == Trajectory(
            "What is 2 + 2?", "So 2 + 2.", "4", "a.parquet:130", claimed="4", verdict=True
        )
        assert [f.source for f in found[:4]] == [
            "a.parquet:1",
            *(f"a.parquet:1#{k}" for k in (2, 3, 4)),
        ]

    def test_a_row_without_text_and_one_that_is_not_utf8(self, tmp_path: Path) -> None:
        pyarrow = pytest.importorskip("pyarrow")
        texts = pyarrow.array([b"So.", b"\xff\xfe", None], pyarrow.binary()).view(pyarrow.string())
        columns = {"question": ["Q?"] * 3, "text": texts, "answer": [4, 4, 4]}
        first, second, third = read(self.write(tmp_path / "a.parquet", columns))
        assert isinstance(first, Trajectory)
        assert isinstance(second, SkippedRecord)
        assert (second.source, second.reason) == ("a.parquet:2", Reason.UNREADABLE)
        assert isinstance(third, SkippedRecord)
        assert (third.source, third.reason) == ("a.parquet:3", Reason.EMPTY)

    def test_only_what_is_needed_is_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: set[str] = set()
        path = self.write(tmp_path / "a.parquet", {k: [v] for k, v in plain(more="x").items()})
        extract = sources.extract
        monkeypatch.setattr(
            sources, "extract", lambda r, layout: seen.update(r) or extract(r, layout)
        )
        list(read(path))
        assert seen == {"question", "text", "answer"}

    def test_unknown_columns(self, tmp_path: Path) -> None:
        path = self.write(tmp_path / "a.parquet", {"a": [1, 2]})
        assert [type(f) for f in read(path)] == [SkippedRecord, SkippedRecord]
        assert [type(f) for f in read(path, PLAIN)] == [SkippedRecord, SkippedRecord]


class TestDatasets:
    def test_streamed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[object] = []

        def load_dataset(*args: object, **more: object) -> Iterator[dict[str, object]]:
            asked.extend((*args, more))
            yield plain()
            yield {}
            raise ConnectionError("gone")

        library = ModuleType("datasets")
        monkeypatch.setattr(library, "load_dataset", load_dataset, raising=False)
        monkeypatch.setitem(sys.modules, "datasets", library)
        rows = read(Dataset("org/name", "test"))
        first, second = next(rows), next(rows)
        assert asked == ["org/name", {"split": "test", "streaming": True}]
        assert isinstance(first, Trajectory)
        assert first.source == "name:1"
        assert isinstance(second, SkippedRecord)
        with pytest.raises(SourceError, match="org/name: gone"):
            next(rows)

    @pytest.mark.parametrize(
        ("source", "extra"), [(Dataset("org/name"), "datasets"), (Path("a.parquet"), "curate")]
    )
    def test_what_is_not_installed_is_named(
        self,
        source: Path | Dataset,
        extra: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        written(tmp_path, plain(), name="a.parquet")
        for name in ("datasets", "pyarrow", "pyarrow.parquet"):
            monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(SourceError, match=rf"need .*'\.\[{extra}\]'"):
            list(read(source))


class TestShards:
    @given(st.text(), st.integers(1, 50))
    @settings(deadline=None)
    def test_each_key_is_in_exactly_one(self, key: str, count: int) -> None:
        assert sum(in_shard(key, Shard(number, count)) for number in range(1, count + 1)) == 1

    def test_they_are_of_about_one_size_and_the_same_everywhere(self) -> None:
        sizes = [sum(in_shard(str(k), Shard(n, 4)) for k in range(2000)) for n in range(1, 5)]
        assert sum(sizes) == 2000
        assert min(sizes) > 400
        assert [k for k in range(20) if in_shard(str(k), Shard(1, 4))] == [5, 11, 13, 16, 18]

    def test_trajectories_on_one_question_stay_together(self) -> None:
        one, other = Trajectory("Q  a?", "x", "1"), Trajectory("Q a?\n", "y", "2")
        for number in range(1, 4):
            shard = Shard(number, 3)
            assert in_shard(one.question_key, shard) == in_shard(other.question_key, shard)

    def test_as_text(self) -> None:
        assert Shard.parse(" 2/8") == Shard(2, 8)

    @pytest.mark.parametrize(
        "text", ["", "0/2", "3/2", "1", "1/2/3", "-1/2", "a/b", "1/0", "1/99999999"]
    )
    def test_no_shard(self, text: str) -> None:
        with pytest.raises(ValueError, match="shard"):
            Shard.parse(text)
