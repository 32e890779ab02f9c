"""Grading: whether the answer that a trajectory claims is the right one."""

from __future__ import annotations

import importlib.util
import re
import unicodedata
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

from curate.drops import Dropped, Reason
from curate.grade.math_pool import Checkers
from curate.trajectory import Trajectory
from sprint_agent.countdown import Puzzle, verify
from sprint_agent.errors import QuestionError

Name = Literal["mathematics", "countdown", "exact", "given", "none"]

_LONGEST = 2000
"""Characters of an answer that is still compared as mathematics."""

_BLANK = r"(?:\s|\\[,;:!]|\\ |\\left(?![a-z])|\\right(?![a-z])|\\q?quad(?![a-z]))"
_SPACING = re.compile(rf"{_BLANK}+")
_THOUSANDS = re.compile(rf"(?<![\w.,^])\d{{1,3}}(?:{_BLANK}+\d{{3}})+(?!\d|{_BLANK}*[/⁄])")
_RAISED = ("<super>", "<sub>", "<fraction>")
"""What characters stand for that are no other way to write the same: 10² is not 102."""
_WORDS = re.compile(r"\\(?:text|textbf|mathrm|mbox)\{([^{}]*)\}")
_AROUND = re.compile(r"\A(?:\$+|\\\(|\\\[)|(?:\$+|\\\)|\\\])\Z")


class Grader(Protocol):
    """Says whether a trajectory came to the right answer."""

    async def grade(self, given: Trajectory) -> bool:
        """Raises Dropped where that cannot be said."""
        ...


class Exact:
    """The claimed answer is written as the reference is, but for blanks and what LaTeX puts around."""

    async def grade(self, given: Trajectory) -> bool:
        """Raises Dropped where nothing is claimed, or there is no reference."""
        return normal(_claimed(given)) == normal(_reference(given))


@dataclass(frozen=True, slots=True)
class Mathematics:
    """The claimed answer and the reference are equal as mathematics, however they are written."""

    checkers: Checkers

    async def grade(self, given: Trajectory) -> bool:
        """Raises Dropped where nothing is claimed, or the two cannot be compared."""
        claimed, answer = _claimed(given), _reference(given)
        if normal(claimed) == normal(answer):
            return True
        longest = max(len(claimed), len(answer))
        if longest > _LONGEST:
            raise Dropped(Reason.UNGRADED, f"an answer of {longest} characters")
        same = await self.checkers.same(answer, claimed)
        if same is None:
            shown = f"{claimed[:80]!r} and {answer[:80]!r}"
            raise Dropped(Reason.UNGRADED, f"{shown} cannot be compared as mathematics")
        return same


class Countdown:
    """The claimed answer solves the puzzle; the reference does not matter."""

    async def grade(self, given: Trajectory) -> bool:
        """Raises Dropped where nothing is claimed, or the question is no puzzle."""
        try:
            puzzle = Puzzle.parse(given.question)
        except QuestionError as error:
            raise Dropped(Reason.UNGRADED, str(error)) from error
        return verify(_claimed(given), puzzle)


class Given:
    """The dataset says so."""

    async def grade(self, given: Trajectory) -> bool:
        """Raises Dropped where it says nothing."""
        if given.verdict is None:
            raise Dropped(Reason.UNGRADED, "the dataset has no verdict")
        return given.verdict


class Ungraded:
    """Every answer is taken for right."""

    async def grade(self, given: Trajectory) -> bool:
        """True."""
        return True


@asynccontextmanager
async def grader(name: Name, processes: int = 2) -> AsyncGenerator[Grader]:
    """The grader of that name. Mathematics are compared in up to so many processes, gone at the end.

    Raises ImportError where what it stands on is not installed.
    """
    match name:
        case "mathematics":
            if importlib.util.find_spec("math_verify") is None:
                raise ImportError(
                    "grading needs math-verify: from a checkout, pip install -e '.[curate]'"
                )
            async with Checkers(processes) as checkers:
                yield Mathematics(checkers)
        case "countdown":
            yield Countdown()
        case "exact":
            yield Exact()
        case "given":
            yield Given()
        case "none":
            yield Ungraded()


def normal(answer: str) -> str:
    """An answer without what does not tell it from others: blanks, dollars, `\\text`, a full stop.

    A blank between digits tells, as in 3 1/2, unless it sets thousands apart.
    """
    text = _AROUND.sub("", _plain_signs(answer.strip().rstrip(".")))
    text = _THOUSANDS.sub(lambda found: _SPACING.sub("", found[0]), _WORDS.sub(r"\1", text))
    return _SPACING.sub(_between, text).replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac")


def _plain_signs(text: str) -> str:
    """The text by NFKC, but for what is raised, lowered, or a fraction in one sign."""
    signs = {
        ord(sign): unicodedata.normalize("NFKC", sign)
        for sign in set(text)
        if not unicodedata.decomposition(sign).startswith(_RAISED)
    }
    return unicodedata.normalize("NFC", text.translate(signs))


def _between(blanks: re.Match[str]) -> str:
    """What is left of blanks: one, between digits."""
    text, start, end = blanks.string, blanks.start(), blanks.end()
    return " " if text[start - 1 : start].isdecimal() and text[end : end + 1].isdecimal() else ""


def _claimed(given: Trajectory) -> str:
    if not given.claimed:
        raise Dropped(Reason.UNGRADED, "it claims no answer")
    return given.claimed


def _reference(given: Trajectory) -> str:
    if not given.answer:
        raise Dropped(Reason.UNGRADED, "there is no reference answer")
    return given.answer
