"""The layouts of records: each is detected by its fields, and unusable records have a reason."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curate.drops import Reason, SkippedRecord
from curate.read.layouts import LAYOUTS, OPENR1, detect, of_fields
from curate.read.sources import read
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

    def test_openr1_one_positive_verdict_is_enough(self, tmp_path: Path) -> None:
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
    def test_openr1_marks_what_was_cut_off(self, tmp_path: Path, cut: dict[str, Any]) -> None:
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
    def test_a_conversation_of_several_turns_has_no_question(
        self, tmp_path: Path, turns: list[Any]
    ) -> None:
        record = {"messages": [{"role": r, "content": c} for r, c in turns]}
        assert why(read(written(tmp_path, record)))[1] is Reason.UNREADABLE

    def test_s1k(self, tmp_path: Path) -> None:
        first, second = read(written(tmp_path, S1K_RECORD))
        assert first == Trajectory(
            "What is 2 + 2?", "So 2 + 2.", "4", "part.jsonl:1", claimed="4", verdict=True
        )
        assert isinstance(second, Trajectory)
        assert (second.source, second.claimed, second.verdict) == ("part.jsonl:1#2", "5", False)

    @pytest.mark.parametrize("by", ["deepseek", "gemini"])
    def test_s1k_with_an_empty_list(self, tmp_path: Path, by: str) -> None:
        record = {**S1K_RECORD, f"{by}_thinking_trajectory": []}
        kinds = {type(item): item for item in read(written(tmp_path, record))}
        assert isinstance(kinds[Trajectory], Trajectory)
        skipped = kinds[SkippedRecord]
        assert isinstance(skipped, SkippedRecord)
        assert (skipped.reason, by in skipped.detail) == (Reason.EMPTY, True)

    def test_s1k_with_a_long_solution(self, tmp_path: Path) -> None:
        """A long reference is one. It cannot be compared with much, but other graders need none."""
        proof = "We prove.\n\n" + "So it is. " * 200
        first, _ = read(written(tmp_path, {**S1K_RECORD, "solution": proof}))
        assert isinstance(first, Trajectory)
        assert first.answer == proof.strip()
        short, _ = read(written(tmp_path, {**S1K_RECORD, "solution": 128}))
        assert isinstance(short, Trajectory)
        assert short.answer == "128"

    @pytest.mark.parametrize("answer", [None, "", " ", float("nan"), "NaN", "nan", "proof", "N/A"])
    def test_a_missing_reference(self, tmp_path: Path, answer: object) -> None:
        record = written(tmp_path, plain(answer=answer))
        assert why(read(record)) == ("part.jsonl:1", Reason.UNREADABLE)

    @pytest.mark.parametrize(
        ("reply", "claimed"),
        [
            ("**Answer: B**", "B"),
            ("The answer is 4.", "4"),
            ("So it is\n**4**", "4"),
            ("It is \\boxed{5", ""),
            ("It is \\boxed{}", ""),
            ("I cannot say.", ""),
        ],
    )
    def test_what_a_reply_claims(self, tmp_path: Path, reply: str, claimed: str) -> None:
        """Whatever the thought claimed may have been rejected."""
        text = f"<think>Maybe \\boxed{{4}}.</think>{reply}"
        assert only(read(written(tmp_path, plain(text=text)))).claimed == claimed

    def test_a_thought_without_a_reply_claims_its_own_answer(self, tmp_path: Path) -> None:
        text = "<think>So \\boxed{4}.</think>\n"
        assert only(read(written(tmp_path, plain(text=text)))).claimed == "4"

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

    def test_each_is_detected_by_its_fields(self) -> None:
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
    def test_thinking_with_wrong_tags_has_a_reason(
        self, tmp_path: Path, text: str, reason: Reason
    ) -> None:
        assert why(read(written(tmp_path, plain(text=text)))) == ("part.jsonl:1", reason)
