"""Layouts of records: where datasets store a question, its answer and its trajectories.

The layouts of public datasets are known by name. Any other record is read by the usual names of fields.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from curate.drops import Dropped, Reason
from curate.read.claims import claim
from curate.read.fields import MISSING as _MISSING
from curate.read.fields import at as _at
from curate.read.fields import entry as _entry
from curate.read.fields import is_list as _is_list
from curate.read.fields import text as _text
from curate.read.references import reference
from curate.trajectory import Trajectory

_TAGS = (("<think>", "</think>"), ("<|begin_of_thought|>", "<|end_of_thought|>"))


@dataclass(frozen=True, slots=True)
class TrajectoryFields:
    """The paths of a trajectory and of what belongs to it.

    If `thinking` leads to a list of trajectories, the other paths lead to lists too.
    """

    thinking: str
    """The text of the trajectory."""
    tagged: bool = False
    """Whether a trajectory must be in thinking tags. If not, a text without tags is all thinking."""
    solution: str = ""
    """What was said after the thinking, if that is a separate field."""
    claimed: str = ""
    """The claimed answer alone."""
    verdicts: tuple[str, ...] = ()
    """The dataset's verdicts. One positive verdict is enough."""
    complete: str = ""
    """Whether the trajectory is complete. False means that it was cut off."""
    finish: str = ""
    """Why the generation ended. "length" means that it was cut off."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How records are laid out."""

    name: str
    required: frozenset[str]
    """A record that has all of these fields has this layout."""
    questions: tuple[str, ...]
    """The paths of the question. The first one that a record has counts."""
    answers: tuple[str, ...]
    """The paths of the reference answer. The first one that a record has counts."""
    trajectories: tuple[TrajectoryFields, ...]
    own_answer: bool = False
    """Whether the claimed answer replaces a missing reference. Grading is then meaningless."""

    @property
    def fields(self) -> frozenset[str]:
        """The top-level fields of a record that are read."""
        paths = [*self.questions, *self.answers]
        for one in self.trajectories:
            paths += [
                one.thinking,
                one.solution,
                one.claimed,
                *one.verdicts,
                one.complete,
                one.finish,
            ]
        return frozenset(path.partition(".")[0] for path in paths if path)


def _conversation(name: str, field: str) -> Layout:
    return Layout(
        name=name,
        required=frozenset((field,)),
        questions=("problem", f"{field}.user"),
        answers=("answer", "ground_truth_solution", "solution"),
        trajectories=(TrajectoryFields(f"{field}.assistant", tagged=True, verdicts=("correct",)),),
        own_answer=True,
    )


OPENR1 = Layout(
    name="openr1",
    required=frozenset(("problem", "generations")),
    questions=("problem",),
    answers=("answer",),
    trajectories=(
        TrajectoryFields(
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
    required=frozenset(("question", "deepseek_thinking_trajectory")),
    questions=("question",),
    answers=("solution",),
    trajectories=tuple(
        TrajectoryFields(
            f"{by}_thinking_trajectory", solution=f"{by}_attempt", verdicts=(f"{by}_grade",)
        )
        for by in ("deepseek", "gemini")
    ),
)
OPENTHOUGHTS_METADATA = Layout(
    name="openthoughts-metadata",
    required=frozenset(("problem", "deepseek_reasoning")),
    questions=("problem",),
    answers=("ground_truth_solution",),
    trajectories=(TrajectoryFields("deepseek_reasoning", solution="deepseek_solution"),),
    own_answer=True,
)
PLAIN = Layout(
    name="plain",
    required=frozenset(("question", "text", "answer")),
    questions=("question",),
    answers=("answer",),
    trajectories=(TrajectoryFields("text", claimed="claimed", verdicts=("verdict",)),),
)

_CONVERSATIONS = ("messages", "conversations", "conversation", "dialogue", "dialog", "chat")
_QUESTIONS = ("question", "problem", "prompt", "query", "instruction", "input")
_ANSWERS = (
    *("answer", "reference_answer", "expected_answer", "correct_answer", "ground_truth"),
    *("final_answer", "gold", "target", "reward_model.ground_truth", "solution"),
)
_THOUGHTS = (
    *("reasoning_content", "reasoning", "thinking", "thinking_trajectories", "model_reasoning"),
    *("reasoning_trace", "think", "chain_of_thought", "cot"),
)
_REPLIES = (
    *("content", "response", "output", "completion", "model_answer", "attempt", "generation"),
    *("generated_solution", "generated_text", "text"),
)
"""The usual names of fields, the most usual first. A reply may contain its thought in tags."""

LAYOUTS: Mapping[str, Layout] = {
    layout.name: layout
    # The more specific fields come first, because OpenR1 has `messages` too.
    for layout in (
        OPENR1,
        S1K,
        OPENTHOUGHTS_METADATA,
        PLAIN,
        _conversation("openthoughts", "conversations"),
        _conversation("messages", "messages"),
    )
}
"""The known layouts by name, in the order in which they are tried."""


def of_fields(*, question: str, trajectory: str, answer: str = "") -> Layout:
    """Returns a layout with these paths.

    Without `answer`, the answer that a trajectory claims counts as the reference.
    """
    return Layout(
        name="fields",
        required=frozenset(),
        questions=(question,),
        answers=(answer,) if answer else (),
        trajectories=(TrajectoryFields(trajectory),),
        own_answer=not answer,
    )


def detect(fields: Collection[str]) -> Layout | None:
    """Returns the layout of records with these fields, None if it is unknown."""
    known = next((known for known in LAYOUTS.values() if known.required <= set(fields)), None)
    if known is not None and not known.required <= {*_CONVERSATIONS}:
        return known
    # A thought in a separate field is not in the conversation.
    return _usual_names(fields, _THOUGHTS) or known or _usual_names(fields, _REPLIES)


def _usual_names(fields: Collection[str], thoughts: Collection[str]) -> Layout | None:
    """Returns a layout of the usual names among the fields, None if they do not suffice.

    Args:
        thoughts: which fields may contain the trajectory.
    """
    talks = [name for name in _CONVERSATIONS if name in fields]
    asked = [*(name for name in _QUESTIONS if name in fields), *talks]
    # A question may be a list of messages.
    questions = (*(f"{name}.user" for name in asked), *(n for n in asked if n not in talks))
    replies = [name for name in _REPLIES if name in fields]
    tagged = thoughts is _REPLIES
    thought = next((name for name in thoughts if name in fields), None)
    if tagged and thought is None and talks:
        thought = f"{talks[0]}.assistant"
    if thought is None or not asked:
        return None
    solution = "" if tagged else next(iter(replies), "answer" if "answer" in fields else "")
    found = TrajectoryFields(thought, tagged=tagged, solution=solution, verdicts=("correct",))
    return Layout("usual names", frozenset(), questions, _ANSWERS, (found,), own_answer=True)


def extract(record: Mapping[str, Any], layout: Layout) -> Iterator[Trajectory | Dropped]:
    """Yields the trajectories of a record in order, and for an unusable one the reason instead."""
    paths = [fields.thinking for fields in layout.trajectories]
    any_field = False
    for fields in layout.trajectories:
        texts = _at(record, fields.thinking)
        if texts is _MISSING and len(paths) > 1:
            continue
        any_field = True
        if _is_list(texts) and not texts:
            yield Dropped(Reason.EMPTY, f"no text in the field {fields.thinking!r}")
        for at in range(len(texts)) if _is_list(texts) else (None,):
            try:
                yield _trajectory(record, layout, fields, at)
            except Dropped as why:
                yield why
    if not any_field:
        yield Dropped(Reason.EMPTY, f"no text in the field {' or '.join(map(repr, paths))}")


def _trajectory(
    record: Mapping[str, Any], layout: Layout, fields: TrajectoryFields, at: int | None
) -> Trajectory:
    def value(path: str) -> Any:
        return _entry(_at(record, path), at) if path else None

    question = next((q for path in layout.questions if (q := _text(_at(record, path)))), "")
    if not question.strip():
        raise Dropped(
            Reason.UNREADABLE,
            f"no question in the field {' or '.join(map(repr, layout.questions))}",
        )
    if value(fields.complete) is False or value(fields.finish) == "length":
        raise Dropped(Reason.TRUNCATED, "the dataset says that the trajectory was cut off")
    text = _text(value(fields.thinking))
    if not text.strip():
        raise Dropped(Reason.EMPTY, f"no text in the field {fields.thinking!r}")
    thought, reply = _split_thinking(text, fields.tagged)
    reply += _text(value(fields.solution))
    # What a thought claims may have been rejected later. It counts only if there is no reply.
    claimed = _text(value(fields.claimed)).strip() or claim(reply if reply.strip() else thought)
    answer = _reference(record, layout) or (claimed if layout.own_answer else "")
    if not answer:
        where = f"in the field {' or '.join(layout.answers)}" if layout.answers else "at the end"
        raise Dropped(Reason.UNREADABLE, f"no answer {where}")
    verdict = _verdict([value(path) for path in fields.verdicts])
    for part in (question, thought, answer, claimed):
        _check_unicode(part)
    return Trajectory(question, thought, answer, claimed=claimed, verdict=verdict)


def _split_thinking(text: str, tagged: bool) -> tuple[str, str]:
    """Returns the thinking without its tags, and the reply after it."""
    for opening, closing in _TAGS:
        opens, closes = text.count(opening), text.count(closing)
        if not opens and not closes:
            continue
        if opens > 1 or closes > 1:
            raise Dropped(Reason.UNREADABLE, f"{opening} or {closing} occurs more than once")
        if not closes:
            raise Dropped(Reason.TRUNCATED, f"no {closing}")
        # The opening tag may be missing in a reply, because a chat template can write it.
        before, _, rest = text.rpartition(opening)
        thought, closed, reply = rest.partition(closing)
        if before.strip() or not closed:
            raise Dropped(Reason.UNREADABLE, f"text before {opening}")
        if not thought.strip():
            raise Dropped(Reason.EMPTY, f"nothing between {opening} and {closing}")
        return thought.strip(), reply
    if tagged:
        raise Dropped(Reason.EMPTY, "the text has no thinking tags")
    return text, ""


def _reference(record: Mapping[str, Any], layout: Layout) -> str:
    for path in layout.answers:
        if text := reference(_text(_at(record, path))):
            return text
    return ""


def _verdict(given: Sequence[object]) -> bool | None:
    words: dict[object, bool] = {"yes": True, "no": False, True: True, False: False}
    # Numbers are excluded, because 1 equals True.
    known = [
        words.get(v.lower() if isinstance(v, str) else v)
        for v in given
        if isinstance(v, bool | str)
    ]
    return True if True in known else False if False in known else None


def _check_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Dropped(
            Reason.UNREADABLE, f"an unpaired surrogate at character {error.start}"
        ) from error
