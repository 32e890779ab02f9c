"""Layouts of records: where the public datasets keep a question, its answer, and the trajectories on it.

Paths are dotted: `meta.problem` is a field within a field, `turns.0` the first of a list, and
`messages.assistant` what that role says in a talk of one question and one reply.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from curate.drops import Dropped, Reason
from curate.trajectory import Trajectory

_TAGS = (("<think>", "</think>"), ("<|begin_of_thought|>", "<|end_of_thought|>"))
_ROLES = {
    "user": frozenset(("user", "human")),
    "assistant": frozenset(("assistant", "gpt", "model")),
}
_BOX = re.compile(r"\\f?box(?:ed)?\s?\{")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_LONGEST_ANSWER = 500
"""Characters; a longer text is a solution, and not the answer that it comes to."""

_MISSING = object()


@dataclass(frozen=True, slots=True)
class Written:
    """Where a record has a trajectory, or a list of them; the other paths lead to lists then too.

    `thinking` is its text. `tagged` says that a record in which no tags of thinking stand has none;
    else such a text is all thinking. `solution` is what was said behind it, where it stands apart, and
    `claimed` the answer alone. `verdicts` are the dataset's own, of which one suffices; `complete` and
    `finish` say whether it was cut off.
    """

    thinking: str
    tagged: bool = False
    solution: str = ""
    claimed: str = ""
    verdicts: tuple[str, ...] = ()
    complete: str = ""
    finish: str = ""


@dataclass(frozen=True, slots=True)
class Layout:
    """How records are laid out.

    A record whose fields are all of `known_by` is of this layout. Of `questions` and `answers` the first
    that a record has counts. Where there is no answer and `own_answer` holds, what a trajectory claims
    stands for it, and grading it says nothing.
    """

    name: str
    known_by: frozenset[str]
    questions: tuple[str, ...]
    answers: tuple[str, ...]
    written: tuple[Written, ...]
    own_answer: bool = False

    @property
    def fields(self) -> frozenset[str]:
        """The fields at the top of a record that are read."""
        paths = [*self.questions, *self.answers]
        for one in self.written:
            paths += [
                one.thinking,
                one.solution,
                one.claimed,
                *one.verdicts,
                one.complete,
                one.finish,
            ]
        return frozenset(path.partition(".")[0] for path in paths if path)


def _talk(name: str, field: str) -> Layout:
    return Layout(
        name=name,
        known_by=frozenset((field,)),
        questions=("problem", f"{field}.user"),
        answers=("answer", "ground_truth_solution", "solution"),
        written=(Written(f"{field}.assistant", tagged=True, verdicts=("correct",)),),
        own_answer=True,
    )


OPENR1 = Layout(
    name="openr1",
    known_by=frozenset(("problem", "generations")),
    questions=("problem",),
    answers=("answer",),
    written=(
        Written(
            "generations",
            tagged=True,
            verdicts=("correctness_math_verify", "correctness_llama"),
            complete="is_reasoning_complete",
            finish="finish_reasons",
        ),
    ),
)
S1K = Layout(
    name="s1k",
    known_by=frozenset(("question", "deepseek_thinking_trajectory")),
    questions=("question",),
    answers=("solution",),
    written=tuple(
        Written(f"{by}_thinking_trajectory", solution=f"{by}_attempt", verdicts=(f"{by}_grade",))
        for by in ("deepseek", "gemini")
    ),
)
OPENTHOUGHTS_METADATA = Layout(
    name="openthoughts-metadata",
    known_by=frozenset(("problem", "deepseek_reasoning")),
    questions=("problem",),
    answers=("ground_truth_solution",),
    written=(Written("deepseek_reasoning", solution="deepseek_solution"),),
    own_answer=True,
)
PLAIN = Layout(
    name="plain",
    known_by=frozenset(("question", "text", "answer")),
    questions=("question",),
    answers=("answer",),
    written=(Written("text", claimed="claimed", verdicts=("verdict",)),),
)

LAYOUTS: Mapping[str, Layout] = {
    layout.name: layout
    # The more telling fields first: OpenR1 has `messages` too.
    for layout in (
        OPENR1,
        S1K,
        OPENTHOUGHTS_METADATA,
        PLAIN,
        _talk("openthoughts", "conversations"),
        _talk("messages", "messages"),
    )
}
"""The known layouts by name, in the order in which they are tried."""


def of_fields(*, question: str, trajectory: str, answer: str = "") -> Layout:
    """A layout by the paths of its fields. Without `answer`, a trajectory's own stands for it."""
    answers = (answer,) if answer else ()
    return Layout(
        "fields", frozenset(), (question,), answers, (Written(trajectory),), own_answer=not answer
    )


def detect(fields: Collection[str]) -> Layout | None:
    """The known layout that records with these fields have; None where there is none."""
    return next((known for known in LAYOUTS.values() if known.known_by <= set(fields)), None)


def extract(record: Mapping[str, Any], layout: Layout) -> Iterator[Trajectory | Dropped]:
    """The trajectories of a record, in order, and in place of each that it has not, the reason why."""
    found = False
    for written in layout.written:
        texts = _at(record, written.thinking)
        if texts is _MISSING and len(layout.written) > 1:
            continue
        found = True
        for at in range(len(texts)) if _is_list(texts) else (None,):
            try:
                yield _trajectory(record, layout, written, at)
            except Dropped as why:
                yield why
    if not found or (_is_list(texts) and not texts):
        yield Dropped(Reason.EMPTY, f"nothing at {layout.written[0].thinking!r}")


def last_box(text: str) -> str:
    """What stands in the last `\\boxed{…}` of `text`; "" where there is none, or it is not closed."""
    start = max((found.end() for found in _BOX.finditer(text)), default=None)
    if start is None:
        return ""
    depth = 1
    for brace in _BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return text[start : brace.start()].strip()
    return ""


def _trajectory(
    record: Mapping[str, Any], layout: Layout, written: Written, at: int | None
) -> Trajectory:
    def value(path: str) -> Any:
        return _entry(_at(record, path), at) if path else None

    question = next((q for path in layout.questions if (q := _text(_at(record, path)))), "")
    if not question.strip():
        raise Dropped(
            Reason.UNREADABLE, f"no question at {' or '.join(map(repr, layout.questions))}"
        )
    if value(written.complete) is False or value(written.finish) == "length":
        raise Dropped(Reason.TRUNCATED, "the dataset says that it was cut off")
    text = _text(value(written.thinking))
    if not text.strip():
        raise Dropped(Reason.EMPTY, f"no text at {written.thinking!r}")
    thought, said = _parted(text, written.tagged)
    said += _text(value(written.solution))
    claimed = _text(value(written.claimed)).strip() or last_box(said) or last_box(thought)
    answer = _reference(record, layout) or (claimed if layout.own_answer else "")
    if not answer:
        raise Dropped(Reason.UNREADABLE, f"no answer at {' or '.join(layout.answers) or 'its end'}")
    verdict = _verdict([value(path) for path in written.verdicts])
    for part in (question, thought, answer, claimed):
        _check_unicode(part)
    return Trajectory(question, thought, answer, claimed=claimed, verdict=verdict)


def _parted(text: str, tagged: bool) -> tuple[str, str]:
    """The thinking, without its tags, and what was said behind it."""
    for opening, closing in _TAGS:
        opens, closes = text.count(opening), text.count(closing)
        if not opens and not closes:
            continue
        if opens > 1 or closes > 1:
            raise Dropped(Reason.UNREADABLE, f"{opening} or {closing} stands there more than once")
        if not closes:
            raise Dropped(Reason.TRUNCATED, f"no {closing}")
        # A chat template writes the opening tag, so that a reply may lack it.
        before, _, rest = text.rpartition(opening)
        thought, closed, said = rest.partition(closing)
        if before.strip() or not closed:
            raise Dropped(Reason.UNREADABLE, f"text before {opening}")
        if not thought.strip():
            raise Dropped(Reason.EMPTY, f"nothing between {opening} and {closing}")
        return thought.strip(), said
    if tagged:
        raise Dropped(Reason.EMPTY, "no thinking between tags")
    return text, ""


def _reference(record: Mapping[str, Any], layout: Layout) -> str:
    for path in layout.answers:
        text = _text(_at(record, path)).strip()
        if text:
            short = text if len(text) <= _LONGEST_ANSWER and "\n\n" not in text else ""
            return last_box(text) or short
    return ""


def _verdict(given: Sequence[object]) -> bool | None:
    words: dict[object, bool] = {"yes": True, "no": False, True: True, False: False}
    # Of numbers, 1 would pass for True.
    known = [
        words.get(v.lower() if isinstance(v, str) else v)
        for v in given
        if isinstance(v, bool | str)
    ]
    return True if True in known else False if False in known else None


def _at(record: object, path: str) -> Any:
    for step in path.split("."):
        if isinstance(record, Mapping):
            record = record.get(step, _MISSING)
        elif _is_list(record) and step.isdecimal():
            record = _entry(record, int(step))
        elif _is_list(record) and step in _ROLES:
            record = _said(record, _ROLES[step])
        else:
            return _MISSING
    return record


def _said(turns: Sequence[Any], roles: frozenset[str]) -> object:
    """What is said in the one turn of a role; nothing where a talk has more of them."""
    texts: list[object] = []
    for turn in turns:
        if isinstance(turn, Mapping) and str(turn.get("role", turn.get("from"))) in roles:
            texts.append(turn.get("content", turn.get("value")))
    return texts[0] if len(texts) == 1 else _MISSING


def _entry(value: Any, at: int | None) -> Any:
    if at is None or not _is_list(value):
        return value
    return value[at] if at < len(value) else _MISSING


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return json.dumps(value) if is_number else ""


def _check_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Dropped(Reason.UNREADABLE, f"half a character at {error.start}") from error
