"""Fields of a record: where thoughts, replies and answers are, and how values become text."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from curate.read.fields import MISSING, at, text
from curate.read.sources import read
from curate.trajectory import Trajectory
from tests.unit.curate.test_layouts import only, plain, written

THOUGHT = "<think>\nSo.\n</think>\n\\boxed{4}"
ASKED = {"role": "user", "content": "Q?"}
REPLIED = {"role": "assistant", "content": "\\boxed{4}", "reasoning_content": "So."}
TAGGED = {"role": "assistant", "content": THOUGHT}
PARTS = {
    "role": "assistant",
    "content": [{"type": "thinking", "thinking": "So."}, {"type": "text", "text": "\\boxed{4}"}],
}


@pytest.mark.parametrize(
    "record",
    [
        {"messages": [ASKED, REPLIED]},
        {"messages": [ASKED, {**TAGGED, "reasoning_content": None}]},
        {"messages": [{"role": "system", "content": "S"}, ASKED, PARTS]},
        {"messages": [[ASKED, TAGGED]]},
        {"messages": json.dumps([ASKED, REPLIED])},
        {"conversations": [{"from": "human", "value": "Q?"}, {"from": "gpt", "value": THOUGHT}]},
        {"conversation": [{"role": "User", "text": "Q?"}, {"role": "Assistant", "text": THOUGHT}]},
        [ASKED, TAGGED],
        {"prompt": [ASKED], "completion": [TAGGED]},
        {"prompt": "Q?", "completion": THOUGHT},
        {"prompt": "Q?", "response": THOUGHT},
        {"instruction": "Q?", "output": THOUGHT},
        {"input": "Q?", "output": THOUGHT},
        {"problem": "Q?", "generated_solution": THOUGHT, "expected_answer": "4"},
        {"question": "Q?", "reasoning_content": "So.", "content": "\\boxed{4}"},
        {"question": "Q?", "reasoning": "So.", "answer": "4"},
        {"query": "Q?", "thinking": "So.", "response": "\\boxed{4}"},
        {"messages": [ASKED], "reasoning": "So.", "answer": "4", "model": "m"},
        {"question": "Q?", "thinking_trajectories": ["So."], "attempt": "\\boxed{4}"},
        {"question": "Q?", "model_reasoning": "So.", "reference_answer": "4"},
        {
            "prompt": [ASKED],
            "reward_model": {"ground_truth": '["4"]'},
            "response": THOUGHT,
        },
    ],
)
def test_the_usual_forms_are_read(record: Any, tmp_path: Path) -> None:
    for found in read(written(tmp_path, record, record)):
        assert isinstance(found, Trajectory), found
        assert (found.question, found.text, found.answer) == ("Q?", "So.", "4")


def test_what_a_record_lacks_is_said(tmp_path: Path) -> None:
    records = [{"prompt": "Q?", "response": "no tags"}, {"messages": [ASKED] * 2}, {"prompt": "Q?"}]
    found = list(read(written(tmp_path, *records)))
    details = [item.detail for item in found if not isinstance(item, Trajectory)]
    assert [d.partition(" in ")[0] for d in details] == [
        "the text has no thinking tags",
        "no question",
        "no known layout has the fields prompt",
    ]


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (["4"], "4"),
        ('["4"]', "4"),
        ([4], "4"),
        (["4", "4"], "4"),
        (["4", "5"], "4, 5"),
        ("[1, 2]", "[1, 2]"),
        ('["4"', '["4"'),
        ([[1, 2], [3, 4]], ""),
        ([], ""),
        ([None], ""),
        (Decimal("4.00"), "4"),
        (Decimal("400"), "400"),
        (Decimal("0.50"), "0.5"),
        (Decimal("1E+2"), "100"),
        (b"4", "4"),
        (True, "True"),
        (4, "4"),
        (0.5, "0.5"),
        (None, ""),
        ({"a": 1}, ""),
        (MISSING, ""),
    ],
)
def test_values_as_text(value: object, wanted: str) -> None:
    assert text(value) == wanted


@pytest.mark.parametrize("answer", [["4"], '["4"]', [4], 4])
def test_an_answer_in_a_list(answer: object, tmp_path: Path) -> None:
    assert only(read(written(tmp_path, plain(answer=answer)))).answer == "4"


def test_paths() -> None:
    record = {"a": {"b": [1, {"c": 2}]}, "m": [ASKED, ASKED]}
    assert at(record, "a.b.1.c") == 2
    assert at(record, "a.b.7") is MISSING
    assert at(record, "a.x") is MISSING
    assert at(record, "m.user") is MISSING
    assert at({"m": "[" * 100_000}, "m.user") is MISSING
