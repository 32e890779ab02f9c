"""A sample with three executions, and what its rows contain, for several tests."""

from __future__ import annotations

from curate.samples import Sample
from sprint_agent.protocol import tags
from sprint_agent.protocol.transcript import StageText, Transcript
from sprint_agent.testing import CharTokenizer
from train.data.rows import Row

TASK = tags.prompt(1, 1, "add 数")
HALVE = tags.prompt(1, 2, "halve")
CHECK = tags.prompt(2, 1, "check")
SAMPLE = Sample(
    Transcript(
        "How much?",
        (
            StageText(tags.plan(1, ["First.", TASK + "\n", HALVE]), ("ab\n", "cd\n")),
            StageText(tags.plan(2, ["Then.", CHECK]), ("ef\n",)),
        ),
        tags.answer("7"),
    ),
    executions={"1.1": "ab\n", "1.2": "cd\n", "2.1": "ef\n"},
)
CHARS = CharTokenizer()


def text_of(rows: list[Row], kind: int) -> str:
    """Returns the text of the ids of one kind."""
    return "".join(
        CHARS.decode([i])
        for row in rows
        for i, k in zip(row.ids, row.kinds, strict=True)
        if k == kind
    )
