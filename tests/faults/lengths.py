"""Searches for hostile texts: fragments that, repeated, take more time for each character."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import pkgutil
import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from types import ModuleType
from typing import Any

from curate.drops import Dropped
from sprint_agent import SprintError

Reader = Callable[[str], object]

SIZE = 4_000
"""Characters of the texts with which the search is made."""
GROWTH = 8
"""How many times longer a suspicious text is made."""
_QUADRATIC = GROWTH**0.6
"""A reader may take this many times more for each character of the longer text. It would take GROWTH
times more if its time were quadratic. The allowance is for noise."""


@dataclass(frozen=True, slots=True)
class Hostile:
    """A text of any length: fragments, repeated."""

    before: str
    unit: str
    after: str

    def text(self, size: int) -> str:
        return self.before + self.unit * (size // len(self.unit) + 1) + self.after


def hostile_texts(alphabet: Sequence[str], rounds: int, seed: int) -> Iterator[Hostile]:
    """Yields each fragment repeated, then random combinations of fragments."""
    draw = random.Random(seed)
    for fragment in alphabet:
        yield Hostile("", fragment, "")
    for _ in range(rounds):
        before, unit, after = (
            "".join(draw.choice(alphabet) for _ in range(draw.choice(counts)))
            for counts in ((0, 0, 1, 2, 3), (1, 1, 2, 2, 3, 4), (0, 0, 1))
        )
        yield Hostile(before, unit, after)


def find_slow(reader: Reader, texts: Iterator[Hostile], enough: float) -> list[str]:
    """Returns the texts for which a reader's time for each character grows with the length.

    Texts for which it takes less than `enough` seconds a character at SIZE are not looked at again.
    """
    slow: list[str] = []
    for hostile in texts:
        if seconds(reader, hostile.text(SIZE)) < enough * SIZE:
            continue
        long = hostile.text(SIZE * GROWTH)
        growth = seconds(reader, long) / GROWTH / shortest(reader, hostile.text(SIZE))
        if growth > _QUADRATIC:
            # Once more: another process may have been at work.
            growth = shortest(reader, long) / GROWTH / shortest(reader, hostile.text(SIZE))
        if growth > _QUADRATIC:
            slow.append(f"{hostile}: {growth:.0f} times the time a character")
    return slow


def shortest(reader: Reader, text: str) -> float:
    return min(seconds(reader, text) for _ in range(3))


def seconds(reader: Reader, text: str) -> float:
    """Returns the processor time that a reader takes, also if it refuses the text."""
    before = time.process_time()
    with contextlib.suppress(ValueError, SprintError, Dropped):
        reader(text)
    return max(time.process_time() - before, 1e-7)


# --- patterns -------------------------------------------------------------------------------------


def modules(*packages: ModuleType) -> Iterator[ModuleType]:
    """Yields the modules of packages, without those whose requirements are not installed."""
    for package in packages:
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if found.name.endswith("__main__"):
                continue
            try:
                yield importlib.import_module(found.name)
            except (ImportError, SystemExit):
                continue


def patterns(*packages: ModuleType) -> dict[str, tuple[re.Pattern[str], Reader]]:
    """Returns the compiled patterns of packages, each with a reader that uses it as its module does."""
    found: dict[str, tuple[re.Pattern[str], Reader]] = {}
    for module in modules(*packages):
        for name, value in vars(module).items():
            if isinstance(value, re.Pattern) and isinstance(value.pattern, str):
                source = inspect.getsource(module)
                methods = set(re.findall(rf"\b{name}\.(\w+)\(", source)) or {"finditer"}
                found[f"{module.__name__}.{name}"] = (value, _user(value, methods))
    return found


def _user(pattern: re.Pattern[str], methods: set[str]) -> Reader:
    def read(text: str) -> None:
        for method in methods & {"search", "match", "fullmatch", "split"}:
            getattr(pattern, method)(text)
        if methods & {"finditer", "findall", "sub"}:
            for _ in pattern.finditer(text):
                pass

    return read


def fragments(pattern: re.Pattern[str]) -> list[str]:
    """Returns texts that parts of a pattern match, alone and one after the other."""
    parts: list[str] = []
    _collect(parser.parse(pattern.pattern, pattern.flags), parts)
    joined = "".join(part for part in parts if len(part) == 1)
    runs = (joined[at : at + n] for at in range(len(joined)) for n in (2, 3, 5, 8))
    return sorted({*filter(None, parts), *filter(None, runs), *" \na1\\{}é"})


_SAMPLES = {
    codes.CATEGORY_DIGIT: "1",
    codes.CATEGORY_SPACE: " ",
    codes.CATEGORY_WORD: "a",
    codes.CATEGORY_NOT_WORD: "-",
}


def _collect(tree: Any, parts: list[str]) -> None:
    """Collects a text for each part of a parsed pattern, and for each group as a whole."""
    for code, value in tree:
        if code is codes.LITERAL:
            parts.append(chr(value))
        elif code in (codes.NOT_LITERAL, codes.ANY):
            parts.append("x")
        elif code is codes.IN:
            parts += _of_class(value)
        else:
            for inner in _inner(code, value):
                group: list[str] = []
                _collect(inner, group)
                parts += [*group, "".join(group[:12])]


def _of_class(items: Any) -> list[str]:
    found: list[str] = []
    for code, value in items:
        if code is codes.LITERAL:
            found.append(chr(value))
        elif code is codes.RANGE:
            found.append(chr(value[0]))
        else:
            found.append(_SAMPLES.get(value, "a"))
    return found


def _inner(code: Any, value: Any) -> Iterator[Any]:
    if code is codes.BRANCH:
        yield from value[1]
    elif code is codes.SUBPATTERN:
        yield value[3]
    elif code in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
        yield value[2]
    elif code in (codes.ASSERT, codes.ASSERT_NOT):
        yield value[1]
    elif code is codes.ATOMIC_GROUP:
        yield value
    elif code is codes.GROUPREF_EXISTS:
        yield from (branch for branch in value[1:] if branch)
