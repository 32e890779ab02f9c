"""Reads a model's answers: finds their JSON, and checks it against the rules of the prompts.

Nothing is corrected here. An answer that breaks a rule raises Dropped. The detail of the error tells
the model what it did wrong, because the annotator sends it back.
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
"""The number of a sentence. It is bounded because Python refuses to convert very long digit strings."""
_SPAN = rf"{_NUMBER}\s*(?:[-–]\s*{_NUMBER}\s*)?"
_THOUGHT_NAMES = r"(?:seed:)?(?:think(?:ing)?|thought|reason(?:ing)?|analysis|scratchpad)"
_THOUGHT_MARK = re.compile(
    rf"(?P<opens><{_THOUGHT_NAMES}>|<\|begin_of_thought\|>|\[THINK\]|◁think▷"
    r"|<\|channel\|>analysis<\|message\|>)"
    rf"|</{_THOUGHT_NAMES}>|<\|end_of_thought\|>|\[/THINK\]|◁/think▷"
    r"|<\|channel\|>final(?:\s?<\|constrain\|>\w{1,20})?<\|message\|>",
    re.IGNORECASE,
)
"""How models mark the beginning and the end of what they think, before they answer."""
_RANGES = re.compile(rf"\s*{_SPAN}(?:,\s*{_SPAN})*", re.ASCII)
_OBJECT = re.compile(r'\{(?=\s*+["}])')
"""The beginning of a JSON object, which a brace of a formula is not."""
_MOST_FAILURES = 1_000
"""After this many objects that are not complete, no further one is read: each may take long."""
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
    """Returns the components in which an answer groups the sentences, without their parents.

    Raises:
        Dropped: if a sentence belongs to no component or to two, if the components or the sentences of
            one component are not in the order of the text, or if a component has only one of a prompt
            and an execution.
    """
    found: list[Component] = []
    owner: dict[int, int] = {}
    start = 0
    for number, step in enumerate(_read(answer, _Steps).components, 1):
        cited = {name: _cited(number, name, getattr(step, name), len(pieces)) for name in _PARTS}
        _claim(number, cited, owner)
        start = _checked_start(number, cited, start)
        if bool(cited["execution"]) != bool(step.prompt.strip()):
            which = (
                "a prompt but no execution" if step.prompt.strip() else "an execution but no prompt"
            )
            raise Dropped(Reason.BAD_COMPONENT, f"component {number} has {which}")
        texts = {name: "".join(pieces[n - 1] for n in cited[name]) for name in _PARTS}
        found.append(
            Component(
                number,
                plan=texts["plan"],
                prompt=step.prompt,
                execution=texts["execution"],
                comment=texts["comment"],
                description=step.description.strip(),
            )
        )
    missing = [n for n in range(1, len(pieces) + 1) if n not in owner]
    if missing:
        raise Dropped(Reason.MISSING, f"no component contains {_listed(missing)}")
    return tuple(found)


def with_parents(answer: str, given: Sequence[Component]) -> tuple[Component, ...]:
    """Returns the components with the parents that an answer gives them.

    Raises:
        Dropped: if a component is missing or named twice, or if a parent is not an earlier component.
    """
    parents: dict[int, frozenset[int]] = {}
    numbers = {component.number for component in given}
    for need in _read(answer, _Needs).components:
        if need.number not in numbers or need.number in parents:
            problem = "is named twice" if need.number in parents else "does not exist"
            raise Dropped(Reason.NOT_IN_GRAPH, f"component {need.number} {problem}")
        for parent in need.parents:
            _check_earlier(need.number, parent, numbers)
        parents[need.number] = frozenset(need.parents)
    missing = sorted(numbers - parents.keys())
    if missing:
        listed = ", ".join(map(str, missing))
        raise Dropped(Reason.NOT_IN_GRAPH, f"no parents are given for component {listed}")
    return tuple(replace(component, parents=parents[component.number]) for component in given)


def leaks(answer: str, stages: Sequence[Sequence[Component]]) -> tuple[Leak, ...]:
    """Returns the uses that an answer names.

    Raises:
        Dropped: if a use is not between two components of the same stage.
    """
    stage_of = {c.number: at for at, stage in enumerate(stages) for c in stage}
    found: list[Leak] = []
    for use in _read(answer, _Uses).uses:
        _check_earlier(use.component, use.of, set(stage_of))
        if stage_of.get(use.component) != stage_of[use.of]:
            raise Dropped(
                Reason.UNKNOWN_PARENT,
                f"components {use.of} and {use.component} are not in the same group",
            )
        found.append(Leak(use.component, use.of, use.value))
    return tuple(found)


def _claim(number: int, cited: dict[str, list[int]], owner: dict[int, int]) -> None:
    """Assigns the cited sentences to component `number`. Each may belong to one component only."""
    for sentence in chain.from_iterable(cited.values()):
        if sentence in owner:
            other = owner[sentence]
            where = (
                f"in components {other} and {number}"
                if other != number
                else f"twice in component {number}"
            )
            raise Dropped(Reason.OVERLAP, f"sentence {sentence} is {where}")
        owner[sentence] = number


def _check_earlier(number: int, parent: int, numbers: set[int]) -> None:
    if parent not in numbers:
        raise Dropped(
            Reason.UNKNOWN_PARENT, f"component {number} needs {parent}, which does not exist"
        )
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
                f"{where} cites {first}-{last or first}, and the sentences are 1-{count}",
            )
        cited += range(start, end + 1)
    return cited


def _checked_start(number: int, cited: dict[str, list[int]], previous: int) -> int:
    """Returns the first sentence of a component, given that of the component before it.

    Raises:
        Dropped: if the component has no sentence, or if the sentences or components are not in order.
    """
    order = [sentence for part in _PARTS for sentence in cited[part]]
    if not order:
        raise Dropped(Reason.BAD_COMPONENT, f"component {number} contains no sentence")
    if order != sorted(order):
        raise Dropped(
            Reason.DISORDER,
            f"in component {number} the sentences of plan, execution and comment are not in order",
        )
    if order[0] < previous:
        raise Dropped(
            Reason.DISORDER, f"component {number} begins before component {number - 1} does"
        )
    return order[0]


def _listed(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:8]))
    more = f" and {len(numbers) - 8} more" if len(numbers) > 8 else ""
    return f"sentence {shown}{more}"


def _read(answer: str, kind: type[_Answer]) -> _Answer:
    """Returns the last JSON object in `answer` that is of `kind`, after what the model thought.

    Models write text and code fences around their JSON, which are ignored. Before their answer they
    may write drafts of it.

    Raises:
        Dropped: if there is no such object.
    """
    cause: Exception | None = None
    for value in reversed(_objects(answer)):
        try:
            found = msgspec.convert(value, kind, strict=False)
            # A text without UTF-8 could not be kept. msgspec's own encoder rejects large integers,
            # which are not the concern here.
            json.dumps(asdict(found), ensure_ascii=False).encode()
            return found
        except (msgspec.ValidationError, UnicodeEncodeError) as error:
            cause = cause or error
    problem = f"{cause}" if cause else "it contains no complete JSON object"
    if isinstance(cause, UnicodeEncodeError):
        problem = "it contains an unpaired surrogate"
    raise Dropped(Reason.MALFORMED, problem) from cause


def _objects(text: str) -> list[Any]:
    """Returns the JSON objects in a text, in order, without those that the model thought of.

    Raises:
        Dropped: if the text ends inside the thought.
    """
    decoder = json.JSONDecoder()
    found: list[tuple[int, int, Any]] = []
    failures = at = 0
    while failures < _MOST_FAILURES and (begun := _OBJECT.search(text, at)) is not None:
        try:
            value, at = decoder.raw_decode(text, begun.start())
        except (ValueError, RecursionError):
            failures, at = failures + 1, begun.end()
            continue
        found.append((begun.start(), at, value))
    # A marker inside an object is a part of the object's text.
    marks = [
        mark
        for mark in _THOUGHT_MARK.finditer(text)
        if not any(start < mark.start() < end for start, end, _ in found)
    ]
    if marks and marks[-1]["opens"]:
        raise Dropped(
            Reason.MALFORMED, f"the text after {marks[-1][0]} is a thought without an end"
        )
    answered = marks[-1].end() if marks else 0
    return [value for start, _, value in found if start >= answered]
