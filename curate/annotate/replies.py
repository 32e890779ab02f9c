"""Reading a model's answers: the JSON in them, and the rules that it has to hold to.

Nothing is mended here. What breaks a rule is Dropped with words that tell the model what it did.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from typing import Any, TypeVar

import msgspec

from curate.drops import Dropped, Reason
from curate.pack.leaks import Leak
from curate.trajectory import Component

_PARTS = ("plan", "execution", "comment")
_NUMBER = r"\d{1,9}"
"""A sentence's. Numbers without bound are more than Python reads."""
_SPAN = rf"{_NUMBER}\s*(?:[-–]\s*{_NUMBER}\s*)?"
_RANGES = re.compile(rf"\s*{_SPAN}(?:,\s*{_SPAN})*", re.ASCII)
_RANGE = re.compile(rf"({_NUMBER})\s*(?:[-–]\s*({_NUMBER}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Step:
    description: str
    plan: str
    prompt: str
    execution: str
    comment: str


@dataclass(frozen=True, slots=True)
class _Steps:
    components: list[_Step]


@dataclass(frozen=True, slots=True)
class _Need:
    number: int
    parents: list[int]


@dataclass(frozen=True, slots=True)
class _Needs:
    components: list[_Need]


@dataclass(frozen=True, slots=True)
class _Use:
    component: int
    of: int
    value: str


@dataclass(frozen=True, slots=True)
class _Uses:
    uses: list[_Use]


_Answer = TypeVar("_Answer", _Steps, _Needs, _Uses)


def components(answer: str, pieces: Sequence[str]) -> tuple[Component, ...]:
    """The components that an answer finds in a trajectory's sentences, without their parents.

    Raises Dropped where a sentence stands in no component or in two, where components or the sentences
    of one do not stand in the order of the text, or where one does not work on its prompt.
    """
    found: list[Component] = []
    owner: dict[int, int] = {}
    began = 0
    for number, step in enumerate(_read(answer, _Steps).components, 1):
        cited = {name: _cited(number, name, getattr(step, name), len(pieces)) for name in _PARTS}
        for sentence in chain.from_iterable(cited.values()):
            if sentence in owner:
                other = owner[sentence]
                both = f"components {other} and {number}" if other != number else f"{number} twice"
                raise Dropped(Reason.OVERLAP, f"sentence {sentence} stands in {both}")
            owner[sentence] = number
        began = _ordered(number, cited, began)
        if bool(cited["execution"]) != bool(step.prompt.strip()):
            which = (
                "a prompt but no execution" if step.prompt.strip() else "an execution but no prompt"
            )
            raise Dropped(Reason.BAD_COMPONENT, f"component {number} has {which}")
        texts = {name: "".join(pieces[n - 1] for n in cited[name]) for name in _PARTS}
        described = step.description.strip()
        found.append(Component(number, prompt=step.prompt, description=described, **texts))
    missing = [n for n in range(1, len(pieces) + 1) if n not in owner]
    if missing:
        raise Dropped(Reason.MISSING, f"no component holds {_named(missing)}")
    return tuple(found)


def with_parents(answer: str, given: Sequence[Component]) -> tuple[Component, ...]:
    """The components with the parents that an answer gives them.

    Raises Dropped where a component is missing or named twice, or where an edge does not point to a
    component that stands before.
    """
    parents: dict[int, frozenset[int]] = {}
    numbers = {component.number for component in given}
    for need in _read(answer, _Needs).components:
        if need.number not in numbers or need.number in parents:
            what = "is named twice" if need.number in parents else "does not exist"
            raise Dropped(Reason.NOT_IN_GRAPH, f"component {need.number} {what}")
        for parent in need.parents:
            _earlier(need.number, parent, numbers)
        parents[need.number] = frozenset(need.parents)
    missing = sorted(numbers - parents.keys())
    if missing:
        listed = ", ".join(map(str, missing))
        raise Dropped(Reason.NOT_IN_GRAPH, f"no parents are given for component {listed}")
    return tuple(replace(component, parents=parents[component.number]) for component in given)


def leaks(answer: str, stages: Sequence[Sequence[Component]]) -> tuple[Leak, ...]:
    """The uses that an answer names. Raises Dropped where they are not between siblings."""
    stage_of = {c.number: at for at, stage in enumerate(stages) for c in stage}
    found: list[Leak] = []
    for use in _read(answer, _Uses).uses:
        _earlier(use.component, use.of, set(stage_of))
        if stage_of.get(use.component) != stage_of[use.of]:
            raise Dropped(
                Reason.UNKNOWN_PARENT,
                f"component {use.of} does not stand in one group with {use.component}",
            )
        found.append(Leak(use.component, use.of, use.value))
    return tuple(found)


def _earlier(number: int, parent: int, numbers: set[int]) -> None:
    if parent not in numbers:
        raise Dropped(Reason.UNKNOWN_PARENT, f"component {number} needs {parent}, which is none")
    if parent >= number:
        raise Dropped(Reason.CYCLE, f"component {number} needs {parent}, which is not before it")


def _cited(number: int, part: str, ranges: str, count: int) -> list[int]:
    if not ranges.strip():
        return []
    where = f"the {part} of component {number}"
    if not _RANGES.fullmatch(ranges):
        raise Dropped(Reason.MALFORMED, f'{where} is {ranges[:60]!r}, not ranges such as "4-6, 8"')
    cited: list[int] = []
    for first, last in _RANGE.findall(ranges):
        start, end = int(first), int(last or first)
        if not 1 <= start <= end <= count:
            raise Dropped(
                Reason.UNKNOWN_SENTENCE,
                f"{where} cites {first}-{last or first} of {count} sentences",
            )
        cited += range(start, end + 1)
    return cited


def _ordered(number: int, cited: dict[str, list[int]], began: int) -> int:
    """Where a component begins, which must be behind `began`."""
    order = [sentence for part in _PARTS for sentence in cited[part]]
    if not order:
        raise Dropped(Reason.BAD_COMPONENT, f"component {number} holds no sentence")
    if order != sorted(order):
        raise Dropped(
            Reason.DISORDER,
            f"in component {number} the sentences of plan, execution and comment do not follow "
            "each other",
        )
    if order[0] < began:
        raise Dropped(
            Reason.DISORDER, f"component {number} begins before component {number - 1} does"
        )
    return order[0]


def _named(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:8]))
    more = f" and {len(numbers) - 8} more" if len(numbers) > 8 else ""
    return f"sentence {shown}{more}"


def _read(answer: str, kind: type[_Answer]) -> _Answer:
    """The first JSON object in `answer` that is of `kind`; models set talk and fences around it."""
    cause: Exception | None = None
    for value in _objects(answer):
        try:
            found = msgspec.convert(value, kind, strict=False)
            # What has no UTF-8 cannot be kept. (msgspec's own encoder takes no number of any size.)
            json.dumps(asdict(found), ensure_ascii=False).encode()
            return found
        except (msgspec.ValidationError, UnicodeEncodeError) as error:
            cause = cause or error
    said = f"{cause}" if cause else "there is no whole JSON object in it"
    if isinstance(cause, UnicodeEncodeError):
        said = "there is half a character in it"
    raise Dropped(Reason.MALFORMED, said) from cause


def _objects(text: str) -> list[Any]:
    decoder = json.JSONDecoder()
    found: list[Any] = []
    at = text.find("{")
    while at >= 0:
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            at = text.find("{", at + 1)
            continue
        found.append(value)
        at = text.find("{", end)
    return found
