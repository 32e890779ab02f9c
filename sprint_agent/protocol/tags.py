"""The tags: how a plan, its prompts and their executions are written, read and kept apart.

A run is one growing text (the paper, section 3):

    <Question>\\n…\\n</Question>\\n<think>\\n            opening
    <Plan_1>\\n…<prompt_1.1> task </prompt_1.1>\\n      the planner writes
    </Plan_1>\\n\\n<Execution_1>\\n<execution_1.1>\\n     glue
    …\\n                                               an executor wrote
    </execution_1.1>\\n</Execution_1>\\n\\n              glue
    <Final_answer>\\n\\boxed{…}\\n                      the planner writes
    </Final_answer>

Everything here is pure: text in, values out. `TurnParser` reads one turn of the planner piece by piece
while it is being written, and reports at each closing tag what may start. Only the planner's own text
is ever parsed. The reports do not depend on how the text was cut into pieces. (`transcript` reads and
writes the text of a whole run.)

If a check can end the stage, the tag of the execution that it accepted says so, as in
`<execution_1.1 accepted>`. The last line of the stage contains the remark of the check, if it made one,
or says that no execution was accepted. (The paper has no checks: its stages wait for all executions.)

Text from elsewhere (of an executor, of a task) passes through `escape`, so that no tag in it can end a
run or start a task.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sprint_agent.protocol.boxes import last_box
from sprint_agent.protocol.escaping import escape
from sprint_agent.result import Verdict

PLANNER_STOPS = ("</Plan_", "<Execution_", "</Final_answer>", "</think>")
EXECUTOR_STOPS = ("</execution_", "</Execution_", "</think>")
SEPARATOR = "\n-----\n"
"""The line of dashes between two trains of thought in a plan."""
STOPPED = "Stopped.\n"
"""The text of an execution that was still running when its stage ended."""
NONE_ACCEPTED = "No execution was accepted.\n"
"""The last line of a stage if its check accepted no execution."""
ACCEPTED = "Accepted: "
"""The beginning of the last line of a stage if its check made a remark."""

TAG = re.compile(
    r"<(?P<close>/?)(?:"
    r"(?P<stage_tag>Plan|Execution)_(?P<stage>\d{1,4})"
    r"|(?P<part_tag>prompt|(?P<execution>execution))_(?P<of>\d{1,4})\.(?P<number>\d{1,4})"
    r"(?:[ ]executor=\"(?P<executor>[\w.\-]{1,64})\")?(?(execution)(?:[ ]accepted)?)"
    r"|(?P<plain_tag>Final_answer|think|Question)"
    r")>",
    re.ASCII,
)
_LONGEST_TAG = 120

_PLANNING = ("Plan", "prompt", "execution", "Execution")
"""The names of tags that no final answer may contain."""


Role = Literal["opening", "plan", "glue", "execution", "answer"]
"""Who wrote a piece: the user (opening), the planner (plan, answer), an executor, the runtime (glue)."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a run's text that is tokenized separately."""

    role: Role
    text: str


# --- writing ------------------------------------------------------------------------------------


def opening(question: str) -> str:
    """Returns the text that a run starts with."""
    return f"<Question>\n{escape(question.strip())}\n</Question>\n<think>\n"


def prompt(stage: int, number: int, task: str, executor: str | None = None) -> str:
    """Returns a task as the planner writes it, tags included."""
    name = f' executor="{executor}"' if executor else ""
    return f"<prompt_{stage}.{number}{name}> {escape(task.strip())} </prompt_{stage}.{number}>"


def plan(stage: int, trains: Sequence[str]) -> str:
    """Returns a whole plan as the planner writes it, up to its closing tag (which is glue)."""
    return f"<Plan_{stage}>\n{SEPARATOR.join(trains)}\n"


def answer(text: str) -> str:
    """Returns the last turn as the planner writes it, up to its closing tag (which is glue)."""
    return f"<Final_answer>\n\\boxed{{{escape(text)}}}\n"


def force_answer() -> str:
    """Returns the opening of the last turn if the planner must answer and may not open another plan."""
    return "<Final_answer>\n"


def execution_opening(stage: int, number: int) -> str:
    """Returns the text after the closing tag of a prompt in the context of its executor."""
    return f"\n{execution_tag(stage, number)}\n"


def execution_tag(stage: int, number: int, accepted: int | None = None) -> str:
    """Returns the opening tag of an execution in the planner's context.

    `accepted` is the number of the execution that the check accepted. Its tag says so.
    """
    return f"<execution_{stage}.{number}{' accepted' if number == accepted else ''}>"


def sync(
    stage: int,
    turn: str,
    executions: Sequence[str],
    verdict: Verdict | None = None,
) -> list[Piece]:
    """Returns the text that follows the planner's `turn`: the executions, in prompt order, and glue.

    Glue and executions alternate, since each is tokenized separately. The executions are trimmed and
    escaped here.
    `verdict` is what the check of the stage decided, None if there was no check. The text tells it to
    the planner, because the planner cannot see what was checked.
    """
    glue = f"{line_end(turn)}</Plan_{stage}>\n\n<Execution_{stage}>\n"
    if not executions:
        return [Piece("glue", f"{glue}There is no prompt to execute.\n</Execution_{stage}>\n\n")]
    pieces: list[Piece] = []
    accepted = verdict.accepted if verdict else None
    for number, text in enumerate(executions, 1):
        safe = escape(trimmed(text))
        pieces.append(Piece("glue", f"{glue}{execution_tag(stage, number, accepted)}\n"))
        pieces.append(Piece("execution", safe))
        glue = f"{line_end(safe)}</execution_{stage}.{number}>\n\n"
    pieces.append(Piece("glue", f"{glue[:-1]}{_last_line(verdict)}</Execution_{stage}>\n\n"))
    return pieces


def _last_line(verdict: Verdict | None) -> str:
    """Returns the last line of a stage, "" if there is nothing to say."""
    if verdict is None:
        return ""
    if verdict.accepted is None:
        return NONE_ACCEPTED
    remark = " ".join(verdict.remark.split())
    return f"{ACCEPTED}{escape(remark)}\n" if remark else ""


def failed(reason: str) -> str:
    """Returns the text of an execution that failed. It tells the planner why."""
    return f"Failed: {reason}\n"


def trimmed(text: str) -> str:
    """Returns an execution's text without the blanks at its ends. One line break at its end stays.

    Plans and prompts have no such blanks, and training and inference must agree on executions too.
    """
    inner = text.strip()
    ends_line = "\n" in text[len(text.rstrip()) :]
    return f"{inner}\n" if inner and ends_line else inner


def line_end(text: str) -> str:
    """Returns a line break if `text` does not end with one, else ""."""
    return "" if text.endswith("\n") else "\n"


# --- reading: tags ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tag:
    """One tag in a text."""

    name: str
    """For example `Plan`, `prompt` or `Final_answer`."""
    closing: bool
    numbers: tuple[int, ...]
    """`(stage,)` of a plan, `(stage, number)` of a prompt or an execution, `()` of other tags."""
    executor: str | None
    """The executor that a prompt names."""
    start: int
    """The offset of the tag in the text."""
    end: int
    """The offset after the tag."""


class Scanner:
    """Finds tags in a text that arrives in pieces. A tag is reported when it is complete."""

    def __init__(self) -> None:
        self._tail = ""
        self._offset = 0

    def feed(self, text: str) -> list[Tag]:
        """Returns the tags that `text` completes. Offsets are relative to all text that was fed."""
        self._tail += text
        tags: list[Tag] = []
        done = 0
        for match in TAG.finditer(self._tail):
            tags.append(_tag(match, self._offset))
            done = match.end()
        last = self._tail.rfind("<", done)
        keep = len(self._tail)
        if last >= 0 and keep - last < _LONGEST_TAG:
            keep = last
        self._offset += keep
        self._tail = self._tail[keep:]
        return tags


def _tag(match: re.Match[str], offset: int) -> Tag:
    groups = match.groupdict()
    name = groups["stage_tag"] or groups["part_tag"] or groups["plain_tag"]
    numbers = [groups[key] for key in ("stage", "of", "number")]
    return Tag(
        name=name,
        closing=bool(groups["close"]),
        numbers=tuple(int(n) for n in numbers if n is not None),
        executor=groups["executor"],
        start=offset + match.start(),
        end=offset + match.end(),
    )


# --- reading: a turn of the planner -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PromptClosed:
    """A prompt is complete and may start."""

    numbers: tuple[int, ...]
    """The stage and the number, as the planner wrote them."""
    text: str
    executor: str | None
    """The executor that the prompt names, None if it names none."""
    end: int
    """The offset after its closing tag."""


@dataclass(frozen=True, slots=True)
class PlanClosed:
    """The plan is complete."""

    end: int
    """The offset before its closing tag."""


@dataclass(frozen=True, slots=True)
class AnswerClosed:
    """The final answer is complete."""

    text: str
    """All text between its tags."""


@dataclass(frozen=True, slots=True)
class Malformed:
    """The turn cannot be run. Nothing after this event is read."""

    reason: str
    at: int
    """The offset from which it cannot be run."""


TurnEvent = PromptClosed | PlanClosed | AnswerClosed | Malformed
TurnState = Literal["free", "plan", "prompt", "answer", "done"]


class TurnParser:
    """Reads one turn of the planner: free thought, then a plan or the final answer.

    Call `feed` for each piece, then `end` once. If `forced`, the turn starts inside the final answer.
    """

    def __init__(self, *, forced: bool = False) -> None:
        self.state: TurnState = "answer" if forced else "free"
        self._parts: list[str] = []
        self._length = 0
        self._scanner = Scanner()
        self._open: Tag | None = None
        self._answer_start = 0

    @property
    def text(self) -> str:
        """All text that was read."""
        # Joined only if it is needed: a string that grows piece by piece is copied for each piece.
        self._parts = ["".join(self._parts)]
        return self._parts[0]

    def feed(self, text: str) -> list[TurnEvent]:
        """Returns what `text` completes, in order."""
        if self.state == "done":
            return []
        self._parts.append(text)
        self._length += len(text)
        steps = (self._step(tag) for tag in self._scanner.feed(text))
        return [event for event in steps if event is not None]

    def end(self, stop: str | None) -> list[TurnEvent]:
        """Returns what the end of the turn completes. `stop` is the stop string that ended it, if any.

        A stop string or the end of the model's output may end a plan or an answer. An open prompt is
        never closed this way: it was cut off.
        """
        state, self.state = self.state, "done"
        at = self._length
        if state == "prompt" and self._open is not None:
            return [Malformed("a prompt has no closing tag", self._open.start)]
        if state == "plan":
            return [PlanClosed(at)]
        if state == "answer":
            return [AnswerClosed(self.text[self._answer_start :])]
        if state == "free" and stop in ("</Plan_", "<Execution_"):
            return [Malformed("a plan was closed that had not been opened", at)]
        return []

    def _step(self, tag: Tag) -> TurnEvent | None:
        match self.state:
            case "free":
                return self._free(tag)
            case "plan":
                return self._in_plan(tag)
            case "prompt":
                return self._in_prompt(tag)
            case "answer":
                return self._in_answer(tag)
            case "done":
                return None

    def _free(self, tag: Tag) -> TurnEvent | None:
        if tag.name == "Plan" and not tag.closing:
            self.state = "plan"
        elif tag.name == "Final_answer" and not tag.closing:
            self.state, self._answer_start = "answer", tag.end
        elif tag.name in ("prompt", "execution", "Execution"):
            return self._fail(f"the tag {tag.name} is outside of a plan", tag.start)
        return None

    def _in_plan(self, tag: Tag) -> TurnEvent | None:
        if tag.name == "prompt" and not tag.closing:
            self.state, self._open = "prompt", tag
            return None
        if tag.name == "Plan" and tag.closing:
            self.state = "done"
            return PlanClosed(tag.start)
        if tag.name in ("think", "Question"):
            return None
        return self._fail(f"a plan contains the tag {tag.name}, which it must not", tag.start)

    def _in_prompt(self, tag: Tag) -> TurnEvent | None:
        start = self._open
        assert start is not None
        if tag.name == "prompt" and tag.closing and tag.numbers == start.numbers:
            self.state, self._open = "plan", None
            text = self.text[start.end : tag.start].strip()
            return PromptClosed(start.numbers, text, start.executor, tag.end)
        return self._fail("a prompt was not closed by its own closing tag", start.start)

    def _in_answer(self, tag: Tag) -> TurnEvent | None:
        if tag.name == "Final_answer" and tag.closing:
            self.state = "done"
            return AnswerClosed(self.text[self._answer_start : tag.start])
        return None

    def _fail(self, reason: str, at: int) -> Malformed:
        self.state = "done"
        return Malformed(reason, at)


def fault_of_answer(text: str) -> str | None:
    """Returns how a final answer departs from the format, None if it does not."""
    if not boxed(text):
        return "the final answer is empty"
    found = [tag.name for tag in Scanner().feed(text) if tag.name in _PLANNING]
    return f"the final answer contains the tag {found[0]}, which it must not" if found else None


def boxed(text: str) -> str:
    """Returns the content of the last `\\boxed{…}` in `text`, up to the brace that closes it.

    Returns all of `text` if it contains no box.
    """
    box = last_box(text)
    return text.strip() if box is None else box.content
