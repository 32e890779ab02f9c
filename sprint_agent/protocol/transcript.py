"""The text of a whole run, written from its parts and read back. Models are trained on such texts.

A `Transcript` has a text and its pieces, each of which is tokenized separately, as in the runtime.
`parse` reads the text back: `parse(t.text).text == t.text`, byte for byte. It reads turns with the
runtime's own parser, so it accepts exactly the turns that a run accepts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from sprint_agent.protocol.tags import (
    ACCEPTED,
    NONE_ACCEPTED,
    PLANNER_STOPS,
    AnswerClosed,
    Malformed,
    Piece,
    PlanClosed,
    TurnEvent,
    TurnParser,
    execution_tag,
    fault_of_answer,
    line_end,
    opening,
    sync,
)
from sprint_agent.result import Verdict

_OPENING = re.compile(r"<Question>\n(.*?)\n</Question>\n<think>\n", re.DOTALL)
_CLOSING = re.compile(r"\n</Final_answer>\n</think>\n\Z")


@dataclass(frozen=True, slots=True)
class StageText:
    """The text of one stage."""

    turn: str
    """The planner's turn, up to the closing tag of its plan."""
    executions: tuple[str, ...]
    """The texts of the executions, in prompt order."""
    verdict: Verdict | None = None
    """What the check of the stage decided, None if there was no check."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """The text of a whole run. A sequential chain of thought is a transcript without stages."""

    question: str
    stages: tuple[StageText, ...]
    answer: str
    """The planner's last turn, up to the closing tag of the answer."""

    @property
    def pieces(self) -> list[Piece]:
        """The parts of the text, each of which is tokenized separately."""
        pieces = [Piece("opening", opening(self.question))]
        for number, stage in enumerate(self.stages, 1):
            pieces.append(Piece("plan", stage.turn))
            pieces += sync(number, stage.turn, stage.executions, stage.verdict)
        pieces.append(Piece("answer", self.answer))
        pieces.append(Piece("glue", f"{line_end(self.answer)}</Final_answer>\n</think>\n"))
        return pieces

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(piece.text for piece in self.pieces)


@dataclass(frozen=True, slots=True)
class Unfinished:
    """The text of a run that has not ended."""

    question: str
    stages: tuple[StageText, ...]
    """The stages that are complete."""
    rest: str
    """The text after the last of them."""


def parse_unfinished(text: str) -> Unfinished:
    """Reads the text of a run that has not ended.

    Raises:
        ValueError: The text does not begin as the text of a run.
    """
    opened = _OPENING.match(text)
    if not opened:
        raise ValueError("not a transcript: it does not begin with a question")
    stages: list[StageText] = []
    at = opened.end()
    while (read := _parse_stage(text, at, len(stages) + 1)) is not None:
        stage, at = read
        stages.append(stage)
    return Unfinished(opened.group(1), tuple(stages), text[at:])


def parse(text: str) -> Transcript:
    """Reads the text of a transcript. The text of the result is `text` again, byte for byte.

    Raises:
        ValueError: The text is not one that a `Transcript` writes, or a run would not accept its turns.
    """
    run, closed = parse_unfinished(text), _CLOSING.search(text)
    if not closed:
        raise ValueError("not a transcript: its final answer is missing")
    answer = text[len(text) - len(run.rest) : closed.start() + 1]
    transcript = Transcript(run.question, run.stages, answer)
    if transcript.text != text:
        pairs = enumerate(zip(text, transcript.text, strict=False))
        at = next((n for n, (read, written) in pairs if read != written), len(text))
        raise ValueError(f"not a transcript: it is not written as one at character {at}")
    for number, stage in enumerate(run.stages, 1):
        if reason := _mistake_in_plan(stage):
            raise ValueError(f"not a transcript: stage {number} cannot be run, because {reason}")
    if reason := _mistake_in_answer(answer):
        raise ValueError(f"not a transcript: its answer cannot be read, because {reason}")
    return transcript


def _mistake_in_plan(stage: StageText) -> str:
    """Returns why a run would not make this stage of this turn, "" if it would."""
    *prompts, last = _read_turn(stage.turn, "</Plan_")
    if isinstance(last, Malformed):
        return last.reason
    if not isinstance(last, PlanClosed):
        return "its turn is an answer"
    if len(prompts) != len(stage.executions):
        return f"its plan has {len(prompts)} prompts and {len(stage.executions)} executions"
    return ""


def _mistake_in_answer(turn: str) -> str:
    """Returns why a run would not answer with this turn, "" if it would."""
    match _read_turn(turn, "</Final_answer>"):
        case [AnswerClosed(text=text)]:
            return fault_of_answer(text) or ""
        case [*_, Malformed(reason=reason)]:
            return reason
        case _:
            return "its turn is a plan"


def _read_turn(turn: str, stop: str) -> list[TurnEvent]:
    """Reads a whole turn as a run does, in which `stop` ends it. The list is not empty."""
    for early in PLANNER_STOPS:
        if (at := turn.find(early)) >= 0:
            return [Malformed(f"{early} ends the turn before its end", at)]
    parser = TurnParser()
    events = parser.feed(turn) + parser.end(stop)
    return events or [Malformed("the turn is neither a plan nor an answer", len(turn))]


def _parse_stage(text: str, at: int, number: int) -> tuple[StageText, int] | None:
    """Reads stage `number`, which begins at `at`. Returns it and its end, None if it is not complete."""
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
