"""How a text says that it finds something, rather than that it uses it."""

from __future__ import annotations

import re
from dataclasses import dataclass

_EXAMINED = 40
"""How many characters before a value say what the text does with it."""
_FILLER = (
    r"(?:\s|\\,|\\;|\\boxed\{|about|roughly|nearly|almost|exactly|only|just|at most|at least|then|also"
    r"|again|therefore|still|us|a total of|the number|the value|[$({*−-])*\Z"
)
_VERBS = (
    r"(?:=|≈|:(?=\s)|→|\\approx|\\equiv|\\to|\\implies|\\Rightarrow|['’]s\b"
    r"|\b(?:is|are|be|gives?|gets?|got|equals?|makes?|yields?|becomes?|has|have|finds?|found|obtains?"
    r"|leaves?|totals?|costs?|say|to|so|hence|thus|therefore"
)
_PRODUCED = re.compile(rf"{_VERBS}|of)){_FILLER}", re.IGNORECASE)
"""Before a number: `so there are 16`, `a total of 16`."""
_STATED = re.compile(rf"{_VERBS})){_FILLER}", re.IGNORECASE)
"""Before anything else: `it simplifies to x^2`, but not `the roots of x^2`."""
_TRIED = re.compile(
    r"\b(?:try(?:ing)?|test(?:ing)?|check(?:ing)?|suppose|assume|assuming|if"
    r"|for|each|every|any|all|modulo|mod|base|year|case|step|part|question|problem)"
    r"(?:\s|[$({]|that|[a-z]\s?=)*\Z|\\p?mod\{?\s*\Z",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Value:
    """One occurrence of a value in a text."""

    key: str
    """Identifies the value. It is the same for all ways to write it."""
    shown: str
    """The value as the text writes it."""
    at: int
    """The position in the text, in characters."""
    produced: bool
    """Whether the text produces the value here, for example after an equals sign or by defining a name.
    Such a value need not be known before."""
    used: bool = True
    """Whether the text may rely on the value here. If it neither produces nor uses it, as a number in a
    list of trials, it says nothing about where the value comes from."""
    lasting: bool = True
    """Whether other texts are likely to rely on the value if it is produced here. Two texts often have
    the same intermediate result by chance if that is a small number."""


def is_produced(text: str, at: int) -> bool:
    """Returns whether the number at a position is found there."""
    return _PRODUCED.search(text[max(0, at - _EXAMINED) : at]) is not None


def is_stated(text: str, at: int) -> bool:
    """Returns whether the formula or name at a position is found there."""
    return _STATED.search(text[max(0, at - _EXAMINED) : at]) is not None


def is_tried(text: str, at: int) -> bool:
    """Returns whether the value at a position is one that the text chooses itself."""
    return _TRIED.search(text[max(0, at - _EXAMINED) : at]) is not None
