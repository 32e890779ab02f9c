"""The text of a whole run, written from its parts and read back: what models are trained on.

A `Transcript` has a text, and the pieces of it that are tokenized on their own, as the runtime does it.
`parse` reads the text back: `parse(t.text).text == t.text`, byte for byte.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from sprint_agent.protocol.tags import (
    ACCEPTED,
    NONE_ACCEPTED,
    Piece,
    execution_tag,
    line_end,
    opening,
    sync,
)
from sprint_agent.result import Verdict

_OPENING = re.compile(r"<Question>\n(.*?)\n</Question>\n<think>\n", re.DOTALL)
_CLOSING = re.compile(r"\n</Final_answer>\n</think>\n\Z")


@dataclass(frozen=True, slots=True)
class StageText:
    """One stage: the planner's turn (up to its plan's closing tag) and its executions in order.

    `verdict` is what the check of the stage decided, None if there was no check.
    """

    turn: str
    executions: tuple[str, ...]
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class Transcript:
    """The text of a whole run. `answer` is the planner's last turn, up to the answer's closing tag.

    A sequential chain of thought is a transcript without stages.
    """

    question: str
    stages: tuple[StageText, ...]
    answer: str

    @property
    def pieces(self) -> list[Piece]:
        """The stretches that make up the text, each to be tokenized on its own."""
        pieces = [Piece("opening", opening(self.question))]
        for number, stage in enumerate(self.stages, 1):
            pieces.append(Piece("plan", stage.turn))
            pieces += sync(number, stage.turn, stage.executions, stage.verdict)
        pieces.append(Piece("answer", self.answer))
        pieces.append(Piece("glue", f"{line_end(self.answer)}</Final_answer>\n</think>\n"))
        return pieces

    @property
    def text(self) -> str:
        """The whole text of the run."""
        return "".join(piece.text for piece in self.pieces)


@dataclass(frozen=True, slots=True)
class Unfinished:
    """The text of a run under way, with its whole stages; `rest` stands behind the last of them."""

    question: str
    stages: tuple[StageText, ...]
    rest: str


def parse_unfinished(text: str) -> Unfinished:
    """Reads the text of a run that is under way. ValueError where `text` does not begin as one."""
    opened = _OPENING.match(text)
    if not opened:
        raise ValueError("not a transcript: it does not begin with a question")
    stages: list[StageText] = []
    at = opened.end()
    while (found := _parse_stage(text, at, len(stages) + 1)) is not None:
        stage, at = found
        stages.append(stage)
    return Unfinished(opened.group(1), tuple(stages), text[at:])


def parse(text: str) -> Transcript:
    """Reads the text of a transcript, whose text is `text` again, byte for byte.

    Raises ValueError where `text` is not such a text.
    """
    run, closed = parse_unfinished(text), _CLOSING.search(text)
    if not closed:
        raise ValueError("not a transcript: its final answer is missing")
    answer = text[len(text) - len(run.rest) : closed.start() + 1]
    transcript = Transcript(run.question, run.stages, answer)
    if transcript.text != text:
        raise ValueError(f"not a transcript: stage {len(run.stages) + 1} does not read as one")
    return transcript


def _parse_stage(text: str, at: int, number: int) -> tuple[StageText, int] | None:
    head = f"</Plan_{number}>\n\n<Execution_{number}>\n"
    tail = f"</Execution_{number}>\n\n"
    middle = text.find(head, at)
    end = text.find(tail, middle)
    if middle < 0 or end < 0:
        return None
    executions: list[str] = []
    verdict: Verdict | None = None
    start = middle + len(head)
    while True:
        count = len(executions) + 1
        mark, checked = (f"{execution_tag(number, count, a)}\n" for a in (None, count))
        close = f"\n</execution_{number}.{count}>\n"
        stop = text.find(close, start, end)
        if text.startswith(checked, start):
            mark = checked
        if stop < 0 or not text.startswith(mark, start):
            break
        if mark == checked:
            verdict = Verdict(count)
        executions.append(text[start + len(mark) : stop + 1])
        start = stop + len(close) + 1
    last = text[start - 1 : end]
    if executions and last == NONE_ACCEPTED:
        verdict = Verdict(None)
    if verdict and verdict.accepted and last.startswith(ACCEPTED) and last.endswith("\n"):
        verdict = replace(verdict, remark=last[len(ACCEPTED) : -1])
    return StageText(text[at:middle], tuple(executions), verdict), end + len(tail)
