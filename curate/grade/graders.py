"""Grading: whether the answer that a trajectory claims is correct."""

from __future__ import annotations

import importlib.util
import re
import unicodedata
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

from curate.drops import Dropped, Reason
from curate.grade.math_pool import MathPool
from curate.trajectory import Trajectory
from sprint_agent.countdown import Puzzle, verify
from sprint_agent.errors import QuestionError

GraderName = Literal["mathematics", "countdown", "exact", "given", "none"]

_LONGEST = 2000
"""The most characters of an answer that is compared as mathematics."""

_BLANK = r"(?:\s|\\[,;:!]|\\ |\\left(?![a-z])|\\right(?![a-z])|\\q?quad(?![a-z]))"
_SPACING = re.compile(rf"{_BLANK}+")
_THOUSANDS = re.compile(rf"(?<![\w.,^])\d{{1,3}}(?:{_BLANK}+\d{{3}})+(?!\d|{_BLANK}*[/⁄])")
_MEANINGFUL = ("<super>", "<sub>", "<fraction>")
"""Unicode decompositions that change the meaning, so they are not applied: 10² is not 102."""
_WORDS = re.compile(r"\\(?:text|textbf|mathrm|mbox)\{([^{}]*)\}")
_AROUND = re.compile(r"\A(?:\$+|\\\(|\\\[)|(?:(?<!\$)\$+|\\\)|\\\])\Z")


class Grader(Protocol):
    """Decides whether a trajectory has the correct answer."""

    async def grade(self, given: Trajectory) -> bool:
        """Returns whether the claimed answer is correct.

        Raises:
            Dropped: that cannot be decided.
        """
        ...


class ExactGrader:
    """Compares the claimed answer with the reference as text.

    White space and LaTeX around the answer do not count.
    """

    async def grade(self, given: Trajectory) -> bool:
        """Returns whether both are the same text.

        Raises:
            Dropped: nothing is claimed, or there is no reference.
        """
        return normalize(_claimed(given)) == normalize(_reference(given))


@dataclass(frozen=True, slots=True)
class MathGrader:
    """Compares the claimed answer with the reference as mathematics, however they are written.

    They are equal only if every character of both was read.
    """

    pool: MathPool

    async def grade(self, given: Trajectory) -> bool:
        """Returns whether both are mathematically equal.

        Raises:
            Dropped: nothing is claimed, or the two cannot be compared.
        """
        claimed, answer = _claimed(given), _reference(given)
        if normalize(claimed) == normalize(answer):
            return True
        longest = max(len(claimed), len(answer))
        if longest > _LONGEST:
            raise Dropped(
                Reason.UNGRADED,
                f"an answer has {longest} characters, at most {_LONGEST} are compared",
            )
        found = await self.pool.compare(answer, claimed)
        if found.outcome == "unknown":
            shown = f"{claimed[:80]!r} and {answer[:80]!r}"
            raise Dropped(Reason.UNGRADED, f"{shown} cannot be compared: {found.reason}")
        return found.outcome == "equal"


class CountdownGrader:
    """Checks that the claimed answer solves the puzzle. The reference does not matter."""

    async def grade(self, given: Trajectory) -> bool:
        """Returns whether the claimed answer solves the puzzle.

        Raises:
            Dropped: nothing is claimed, or the question is not a puzzle.
        """
        try:
            puzzle = Puzzle.parse(given.question)
        except QuestionError as error:
            raise Dropped(Reason.UNGRADED, str(error)) from error
        return verify(_claimed(given), puzzle)


class VerdictGrader:
    """Takes the dataset's own verdict."""

    async def grade(self, given: Trajectory) -> bool:
        """Returns the dataset's verdict.

        Raises:
            Dropped: the dataset has none.
        """
        if given.verdict is None:
            raise Dropped(Reason.UNGRADED, "the dataset has no verdict")
        return given.verdict


class NoGrader:
    """Accepts every answer."""

    async def grade(self, given: Trajectory) -> bool:
        """Returns True."""
        return True


@asynccontextmanager
async def grader(name: GraderName, processes: int = 2) -> AsyncGenerator[Grader]:
    """Opens the grader of that name.

    The one for mathematics uses up to `processes` processes, which end with the block.

    Raises:
        ImportError: a library that the grader needs is not installed.
    """
    match name:
        case "mathematics":
            if importlib.util.find_spec("mpmath") is None:
                raise ImportError(
                    "grading needs mpmath: from a checkout, pip install -e '.[curate]'"
                )
            async with MathPool(processes) as pool:
                yield MathGrader(pool)
        case "countdown":
            yield CountdownGrader()
        case "exact":
            yield ExactGrader()
        case "given":
            yield VerdictGrader()
        case "none":
            yield NoGrader()


def normalize(answer: str) -> str:
    """Removes the differences that do not matter: white space, dollars, `\\text`, a final full stop.

    White space between digits matters, as in 3 1/2, unless it separates thousands.
    """
    text = _AROUND.sub("", _plain_characters(answer.strip().rstrip(".")))
    text = _THOUSANDS.sub(lambda number: _SPACING.sub("", number[0]), _WORDS.sub(r"\1", text))
    return _SPACING.sub(_between, text).replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac")


def _plain_characters(text: str) -> str:
    """Applies NFKC, except to superscripts, subscripts and fractions in one character."""
    plain = {
        ord(character): unicodedata.normalize("NFKC", character)
        for character in set(text)
        if not unicodedata.decomposition(character).startswith(_MEANINGFUL)
    }
    return unicodedata.normalize("NFC", text.translate(plain))


def _between(blanks: re.Match[str]) -> str:
    """Returns one blank if the white space is between digits, and nothing otherwise."""
    text, start, end = blanks.string, blanks.start(), blanks.end()
    return " " if text[start - 1 : start].isdecimal() and text[end : end + 1].isdecimal() else ""


def _claimed(given: Trajectory) -> str:
    if not given.claimed:
        raise Dropped(Reason.UNGRADED, "the trajectory claims no answer")
    return given.claimed


def _reference(given: Trajectory) -> str:
    if not given.answer:
        raise Dropped(Reason.UNGRADED, "there is no reference answer")
    return given.answer
