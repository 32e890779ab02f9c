"""Renders packed stages as the text of a run, with the runtime's own grammar.

There are two kinds of runs. In the paper's, a stage waits for all of its executions. In the other, a
stage ends at the first success, as `first_success` ends it at inference: the plan is cut after the last
prompt that was closed by then, and executions that were still running are marked as stopped.

`with_notes` renders plans as in the paper: they contain the trajectory's remarks on earlier executions
(`Observation about execution_1.1: …`), and each train of thought names the executions that it uses
(`Based on execution_1.1, execution_1.2:`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from curate.pack.stages import Packed
from curate.trajectory import Component, Trajectory
from sprint_agent.protocol import tags
from sprint_agent.protocol.transcript import StageText, Transcript
from sprint_agent.result import Verdict

Claim = Callable[[str], str | None]
"""Returns the answer that an execution claims to have found, or None if it claims none."""

Openings = Mapping[int, str]
"""The first lines of each component's train of thought, by the component's number."""


def sequential(given: Trajectory) -> Transcript:
    """Renders the trajectory as it was written: one turn, no stages.

    This is what the RFT model learns.
    """
    text = tags.escape(given.text)
    return Transcript(given.question, (), text + _answer(text, given.answer))


def unsplit(given: Trajectory) -> Transcript:
    """Renders the trajectory as one plan without prompts. It teaches when not to split."""
    plan = tags.plan(1, [tags.escape(given.text.strip())])
    return Transcript(given.question, (StageText(plan, ()),), tags.answer(given.answer))


def with_notes(packed: Packed) -> Transcript:
    """Renders a run whose stages wait for all of their executions, with notes.

    Its answer is the reference answer.
    """
    given = packed.annotated.trajectory
    openings, rest = _notes(packed)
    stages = [_all_done(number, stage, openings) for number, stage in enumerate(packed.stages, 1)]
    return Transcript(given.question, tuple(stages), rest + tags.answer(given.answer))


def without_notes(packed: Packed, claim: Claim) -> Transcript:
    """Renders a run whose stages wait for all of their executions, without notes."""
    return _transcript(packed, [_all_done(n, s) for n, s in enumerate(packed.stages, 1)], claim)


def first_success(
    packed: Packed,
    claim: Claim,
    length: Callable[[str], int],
    delay: Callable[[], int],
) -> Transcript:
    """Renders a run whose stages end at the first execution that claims an answer, without notes.

    Time is measured in tokens: an executor starts `delay()` tokens after its prompt was closed, and
    writes as fast as the planner does.

    Args:
        claim: what the check would accept. If it reads no answer from an execution, that execution
            was not accepted, whatever its text says. The answer that it reads is the check's remark.
        length: returns how many tokens a text has.
        delay: returns how many tokens an executor starts after its prompt was closed.
    """
    stages: list[StageText] = []
    for number, stage in enumerate(packed.stages, 1):
        tasks = [c for c in stage if c.prompt]
        closed = [length(turn(number, stage, k)) for k in range(1, len(tasks) + 1)]
        ends = [at + delay() + length(t.execution) for at, t in zip(closed, tasks, strict=True)]
        claims = ((end, k) for k, end in enumerate(ends) if claim(tasks[k].execution) is not None)
        hits = sorted(claims)
        if not hits:
            stages.append(
                replace(_all_done(number, stage), verdict=Verdict(None) if tasks else None)
            )
            continue
        moment, accepted = hits[0]
        written = sum(at <= moment for at in closed)
        executions = tuple(
            tags.trimmed(task.execution) if end <= moment else tags.STOPPED
            for task, end in zip(tasks[:written], ends[:written], strict=True)
        )
        plan = turn(number, stage)
        cut = plan if length(plan) <= moment else turn(number, stage, written)
        remark = claim(tasks[accepted].execution) or ""
        stages.append(StageText(cut, executions, Verdict(accepted + 1, remark)))
    return _transcript(packed, stages, claim)


def turn(
    number: int,
    stage: Sequence[Component],
    prompts: int | None = None,
    openings: Openings | None = None,
) -> str:
    """Returns the planner's text for a stage.

    Args:
        prompts: end the text after this many prompts. None returns all of it.
        openings: the notes that begin the trains of thought.
    """
    trains: list[str] = []
    written = 0
    for component in stage:
        lines = [(openings or {}).get(component.number, ""), tags.escape(component.plan.strip())]
        if component.prompt:
            written += 1
            lines.append(tags.prompt(number, written, component.prompt))
        trains.append("\n".join(line for line in lines if line))
        if prompts is not None and written == prompts:
            return tags.plan(number, trains).rstrip("\n")
    return tags.plan(number, trains)


def _all_done(
    number: int, stage: Sequence[Component], openings: Openings | None = None
) -> StageText:
    executions = tuple(tags.trimmed(c.execution) for c in stage if c.prompt)
    return StageText(turn(number, stage, openings=openings), executions)


def _notes(packed: Packed) -> tuple[Openings, str]:
    """Returns the first lines of each train of thought, and the remarks after the last plan."""
    names = {
        component.number: f"execution_{at}.{k}"
        for at, stage in enumerate(packed.stages, 1)
        for k, component in enumerate((c for c in stage if c.prompt), 1)
    }
    openings: dict[int, str] = {}
    remarks: list[str] = []
    for stage in packed.stages:
        for component in stage:
            based = ", ".join(names[p] for p in sorted(component.parents) if p in names)
            lines = [*remarks, *([f"Based on {based}:"] if based else [])]
            openings[component.number] = "\n".join(lines)
            remarks = []
        remarks = [
            f"Observation about {names[c.number]}: {tags.escape(c.comment.strip())}"
            for c in stage
            if c.comment.strip()
        ]
    return openings, "".join(f"{remark}\n" for remark in remarks)


def _answer(text: str, answer: str) -> str:
    return (tags.line_end(text) if text else "") + tags.answer(answer)


def _transcript(packed: Packed, stages: Sequence[StageText], claim: Claim) -> Transcript:
    given = packed.annotated.trajectory
    source = claimed(stages[-1], claim) if stages else None
    answer = source and claim(source)
    return Transcript(given.question, tuple(stages), tags.answer(answer or given.answer))


def claimed(stage: StageText, claim: Claim) -> str | None:
    """Returns the execution that a stage's answer comes from, None if there is none.

    It is the accepted one, or the first that claims an answer.
    """
    if stage.verdict and stage.verdict.accepted:
        return stage.executions[stage.verdict.accepted - 1]
    return next((text for text in stage.executions if claim(text) is not None), None)
