"""Rendering: packed stages into the text of a run, by the runtime's own grammar.

A trajectory can be rendered as a run whose stages wait for all of their executions (the paper's), or
as one whose stages end at the first success, as `first_success` makes them at inference: the plan is
cut after the last prompt that was closed by then, and what was still running stands as stopped.

With `notes`, a plan says what it stands on, as the paper's do: what the trajectory remarked on earlier
executions (`Observation about execution_1.1: …`), and which of them a train of thought draws on
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
"""Reads the answer that an execution claims to have found; None where it claims none."""

Openings = Mapping[int, str]
"""What a component's train of thought begins with, by the component's number."""


def sequential(given: Trajectory) -> Transcript:
    """The trajectory as it was written: one turn, no stages. This is what the RFT model learns."""
    text = tags.escape(given.text)
    return Transcript(given.question, (), text + _answer(text, given.answer))


def undivided(given: Trajectory) -> Transcript:
    """A run that hands nothing on: one plan without prompts. It teaches when not to split."""
    plan = tags.plan(1, [tags.escape(given.text.strip())])
    return Transcript(given.question, (StageText(plan, ()),), tags.answer(given.answer))


def whole(packed: Packed) -> Transcript:
    """A run whose stages wait for all of their executions, with notes. Its answer is the reference."""
    given = packed.annotated.trajectory
    openings, rest = _notes(packed)
    stages = [_whole(number, stage, openings) for number, stage in enumerate(packed.stages, 1)]
    return Transcript(given.question, tuple(stages), rest + tags.answer(given.answer))


def waiting(packed: Packed, claim: Claim) -> Transcript:
    """A run whose stages wait for all of their executions, without notes."""
    return _transcript(packed, [_whole(n, s) for n, s in enumerate(packed.stages, 1)], claim)


def first_success(
    packed: Packed,
    claim: Claim,
    length: Callable[[str], int],
    delay: Callable[[], int],
) -> Transcript:
    """A run whose stages end at the first execution that claims an answer, without notes.

    Time is counted in tokens: an executor starts when its prompt is closed, `delay()` tokens late,
    and writes as fast as the planner does. `length` is a text's length in tokens. What `claim` reads
    no answer from was not accepted, whatever it says; what it reads is the check's remark.
    """
    stages: list[StageText] = []
    for number, stage in enumerate(packed.stages, 1):
        tasks = [c for c in stage if c.prompt]
        closed = [length(turn(number, stage, k)) for k in range(1, len(tasks) + 1)]
        ends = [at + delay() + length(t.execution) for at, t in zip(closed, tasks, strict=True)]
        claims = ((end, k) for k, end in enumerate(ends) if claim(tasks[k].execution) is not None)
        hits = sorted(claims)
        if not hits:
            stages.append(replace(_whole(number, stage), verdict=Verdict(None) if tasks else None))
            continue
        moment, accepted = hits[0]
        written = sum(at <= moment for at in closed)
        executions = tuple(
            task.execution if end <= moment else tags.STOPPED
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
    """What the planner writes for a stage; with `prompts`, up to the end of so many of them."""
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


def _whole(number: int, stage: Sequence[Component], openings: Openings | None = None) -> StageText:
    executions = tuple(c.execution for c in stage if c.prompt)
    return StageText(turn(number, stage, openings=openings), executions)


def _notes(packed: Packed) -> tuple[Openings, str]:
    """What opens each train of thought, and the remarks behind which no plan stands any more."""
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
    found = claimed(stages[-1], claim) if stages else None
    answer = found and claim(found)
    return Transcript(given.question, tuple(stages), tags.answer(answer or given.answer))


def claimed(stage: StageText, claim: Claim) -> str | None:
    """The execution that a stage's answer comes from: the accepted one, or the first that claims one."""
    if stage.verdict and stage.verdict.accepted:
        return stage.executions[stage.verdict.accepted - 1]
    return next((text for text in stage.executions if claim(text) is not None), None)
