"""The tags: how a plan, its prompts and their executions are written, read and kept apart.

A run is one growing text (the paper, section 3):

    <Question>\\n…\\n</Question>\\n<think>\\n            opening
    <Plan_1>\\n…<prompt_1.1> task </prompt_1.1>\\n      the planner writes
    </Plan_1>\\n\\n<Execution_1>\\n<execution_1.1>\\n     glue
    …\\n                                               an executor wrote
    </execution_1.1>\\n</Execution_1>\\n\\n              glue
    <Final_answer>\\n\\boxed{…}\\n                      the planner writes
    </Final_answer>

Everything here is pure: text in, values out. `TurnParser` reads one turn of the planner while it is
being written, piece by piece, and says at each closing tag what may start. Only the planner's own text
is ever parsed. What it reports does not depend on how the text was cut into pieces. (`transcript` reads
and writes the text of a whole run.)

Where a check may end a stage, the execution that it accepted says so, `<execution_1.1 accepted>`, and
the stage's last line says what the check found there, if it told, or that it accepted none. (The
paper's stages wait for all, and know no checks.)

What comes from elsewhere (an executor, a task) passes through `escape`, so that no tag in it can end
a run or start a task.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sprint_agent.result import Verdict

PLANNER_STOPS = ("</Plan_", "<Execution_", "</Final_answer>", "</think>")
EXECUTOR_STOPS = ("</execution_", "</Execution_", "</think>")
SEPARATOR = "\n-----\n"
"""The line of dashes between two trains of thought of a plan."""
STOPPED = "Stopped.\n"
"""What stands for an execution that was still running when its stage ended."""
NONE_ACCEPTED = "No execution was accepted.\n"
"""The last line of a stage whose check accepted none of its executions."""
ACCEPTED = "Accepted: "
"""What the last line of a stage begins with, whose check said what it found."""

_TAG = re.compile(
    r"<(?P<close>/?)(?:"
    r"(?P<stage_tag>Plan|Execution)_(?P<stage>\d{1,4})"
    r"|(?P<part_tag>prompt|(?P<execution>execution))_(?P<of>\d{1,4})\.(?P<number>\d{1,4})"
    r"(?:[ ]executor=\"(?P<executor>[\w.\-]{1,64})\")?(?(execution)(?:[ ]accepted)?)"
    r"|(?P<plain_tag>Final_answer|think|Question)"
    r")>",
    re.ASCII,
)
_LONGEST_TAG = 120

_NAMES = r"(?:plan|execution|prompt)_|final_answer|think|question"
_LOOKALIKE = re.compile(rf"<(?=\s*/?\s*(?:{_NAMES}))|<(?=/?[a-z_]{{0,12}}\Z)", re.IGNORECASE)
_BOXED = re.compile(r"\\boxed\{")


Role = Literal["opening", "plan", "glue", "execution", "answer"]
"""Whose text a piece is: the question's, the planner's (plan, answer), an executor's, or ours."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a run's text that is tokenized on its own."""

    role: Role
    text: str


# --- writing ------------------------------------------------------------------------------------


def escape(text: str) -> str:
    """`text` with every tag, look-alike of one and unfinished tag at its end made harmless.

    Only the `<` that begins one becomes `&lt;`; comparisons, HTML and code stay as they are.
    """
    return _LOOKALIKE.sub("&lt;", text)


def opening(question: str) -> str:
    """The text that a run starts from."""
    return f"<Question>\n{escape(question.strip())}\n</Question>\n<think>\n"


def prompt(stage: int, number: int, task: str, executor: str | None = None) -> str:
    """A task as the planner writes it, tags included."""
    name = f' executor="{executor}"' if executor else ""
    return f"<prompt_{stage}.{number}{name}> {escape(task.strip())} </prompt_{stage}.{number}>"


def plan(stage: int, trains: Sequence[str]) -> str:
    """A whole plan as the planner writes it, up to its closing tag."""
    return f"<Plan_{stage}>\n{SEPARATOR.join(trains)}\n"


def answer(text: str) -> str:
    """The last turn as the planner writes it, up to its closing tag."""
    return f"<Final_answer>\n\\boxed{{{text}}}\n"


def force_answer() -> str:
    """What opens the last turn where the planner is not free to open another plan."""
    return "<Final_answer>\n"


def execution_opening(stage: int, number: int) -> str:
    """What follows the closing tag of a prompt in the context of its executor."""
    return f"\n{execution_tag(stage, number)}\n"


def execution_tag(stage: int, number: int, accepted: int | None = None) -> str:
    """The tag before an execution in the planner's context; it says so where a check accepted it."""
    return f"<execution_{stage}.{number}{' accepted' if number == accepted else ''}>"


def sync(
    stage: int,
    turn: str,
    executions: Sequence[str],
    verdict: Verdict | None = None,
) -> list[Piece]:
    """What joins a stage's executions to the context, in prompt order, after the planner's turn.

    Glue and executions alternate, as each is tokenized on its own. The executions are escaped here.
    `verdict` is what the check of the stage decided, None if there was no check. The planner is told,
    since it cannot see what was checked.
    """
    glue = f"{line_end(turn)}</Plan_{stage}>\n\n<Execution_{stage}>\n"
    if not executions:
        return [Piece("glue", f"{glue}There is no prompt to execute.\n</Execution_{stage}>\n\n")]
    pieces: list[Piece] = []
    accepted = verdict.accepted if verdict else None
    for number, text in enumerate(executions, 1):
        safe = escape(text)
        pieces.append(Piece("glue", f"{glue}{execution_tag(stage, number, accepted)}\n"))
        pieces.append(Piece("execution", safe))
        glue = f"{line_end(safe)}</execution_{stage}.{number}>\n\n"
    pieces.append(Piece("glue", f"{glue[:-1]}{_last_line(verdict)}</Execution_{stage}>\n\n"))
    return pieces


def _last_line(verdict: Verdict | None) -> str:
    """The last line of a stage, "" if there is nothing to say."""
    if verdict is None:
        return ""
    if verdict.accepted is None:
        return NONE_ACCEPTED
    said = " ".join(verdict.remark.split())
    return f"{ACCEPTED}{escape(said)}\n" if said else ""


def failed(reason: str) -> str:
    """What stands for an execution that failed: it tells the planner why."""
    return f"Failed: {reason}\n"


def line_end(text: str) -> str:
    """The line break that `text` lacks at its end, if it does."""
    return "" if text.endswith("\n") else "\n"


# --- reading: tags ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tag:
    """One tag in a text: its name, whether it closes, its numbers, and where it stands."""

    name: str
    closing: bool
    numbers: tuple[int, ...]
    executor: str | None
    start: int
    end: int


class Scanner:
    """Finds tags in a text that comes in pieces. A tag is reported once it is complete."""

    def __init__(self) -> None:
        self._tail = ""
        self._offset = 0

    def feed(self, text: str) -> list[Tag]:
        """The tags that `text` completes, with offsets into all that was fed."""
        self._tail += text
        tags: list[Tag] = []
        done = 0
        for match in _TAG.finditer(self._tail):
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
    """A prompt is complete and may start. `end` is the offset behind its closing tag."""

    numbers: tuple[int, ...]
    text: str
    executor: str | None
    end: int


@dataclass(frozen=True, slots=True)
class PlanClosed:
    """The plan is complete."""

    end: int


@dataclass(frozen=True, slots=True)
class AnswerClosed:
    """The final answer is complete. `text` is all that stands between its tags."""

    text: str


@dataclass(frozen=True, slots=True)
class Malformed:
    """The turn cannot be run from `at` on, for `reason`. Nothing after it is read."""

    reason: str
    at: int


TurnEvent = PromptClosed | PlanClosed | AnswerClosed | Malformed
TurnState = Literal["free", "plan", "prompt", "answer", "done"]


class TurnParser:
    """Reads one turn of the planner: free thought, then a plan or the final answer.

    `feed` pieces, then `end` once. With `forced` the turn starts inside the final answer.
    """

    def __init__(self, *, forced: bool = False) -> None:
        self.state: TurnState = "answer" if forced else "free"
        self.text = ""
        self._scanner = Scanner()
        self._open: Tag | None = None
        self._answer_start = 0

    def feed(self, text: str) -> list[TurnEvent]:
        """What `text` completes, in order."""
        if self.state == "done":
            return []
        self.text += text
        read = (self._step(tag) for tag in self._scanner.feed(text))
        return [event for event in read if event is not None]

    def end(self, stop: str | None) -> list[TurnEvent]:
        """What the end of the turn completes; `stop` is the stop string that ended it, if any.

        A plan or an answer may be ended by its stop string or by the model's own end, but an open
        prompt never closes this way: it was cut off.
        """
        state, self.state = self.state, "done"
        at = len(self.text)
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
            return self._fail(f"a tag of {tag.name} stands outside of a plan", tag.start)
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
        return self._fail(f"a plan holds a tag of {tag.name} where none can be", tag.start)

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


def boxed(text: str) -> str:
    """The content of the last `\\boxed{…}` in `text`, braces balanced; all of it if there is none."""
    matches = list(_BOXED.finditer(text))
    if not matches:
        return text.strip()
    start = matches[-1].end()
    depth = 1
    for at in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 0:
            return text[start:at].strip()
    return text[start:].strip()
