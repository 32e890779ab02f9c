"""Rendering: packed stages into the text of a run, by the runtime's own grammar.

A trajectory can be rendered as a run whose stages wait for all of their executions (the paper's), or
as one whose stages end at the first success, as `first_success` makes them at inference: the plan is
cut after the last prompt that was closed by then, and what was still running stands as stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from curate.pack import Packed
from curate.trajectory import Component
from sprint_agent import grammar
from sprint_agent.transcript import StageText, Transcript

Claim = Callable[[str], str | None]
"""Reads the answer that an execution claims to have found; None where it claims none."""


def sequential(packed: Packed) -> Transcript:
    """The trajectory as it was written: one turn, no stages. This is what the RFT model learns."""
    given = packed.annotated.trajectory
    return Transcript(given.question, (), given.text + grammar.answer(given.answer))


def waiting(packed: Packed, claim: Claim) -> Transcript:
    """A run whose stages wait for all of their executions."""
    return _transcript(packed, [_whole(n, s) for n, s in enumerate(packed.stages, 1)], claim)


def first_success(
    packed: Packed, claim: Claim, length: Callable[[str], int], delay: Callable[[], int]
) -> Transcript:
    """A run whose stages end at the first execution that claims an answer.

    Time is counted in tokens: an executor starts when its prompt is closed, `delay()` tokens late,
    and writes as fast as the planner does. `length` is a text's length in tokens.
    """
    stages: list[StageText] = []
    for number, stage in enumerate(packed.stages, 1):
        tasks = [c for c in stage if c.prompt]
        closed = [length(turn(number, stage, k)) for k in range(1, len(tasks) + 1)]
        ends = [at + delay() + length(t.execution) for at, t in zip(closed, tasks, strict=True)]
        hits = [end for end, t in zip(ends, tasks, strict=True) if claim(t.execution) is not None]
        if not hits:
            stages.append(_whole(number, stage))
            continue
        moment = min(hits)
        written = sum(at <= moment for at in closed)
        executions = tuple(
            task.execution if end <= moment else grammar.STOPPED
            for task, end in zip(tasks[:written], ends[:written], strict=True)
        )
        plan = turn(number, stage)
        cut = plan if length(plan) <= moment else turn(number, stage, written)
        stages.append(StageText(cut, executions))
    return _transcript(packed, stages, claim)


def turn(number: int, stage: Sequence[Component], prompts: int | None = None) -> str:
    """What the planner writes for a stage; with `prompts`, up to the end of so many of them."""
    trains: list[str] = []
    written = 0
    for component in stage:
        thought = component.plan.strip()
        if component.prompt:
            written += 1
            task = grammar.prompt(number, written, component.prompt)
            thought = f"{thought}\n{task}" if thought else task
        trains.append(thought)
        if prompts is not None and written == prompts:
            return grammar.plan(number, trains).rstrip("\n")
    return grammar.plan(number, trains)


def _whole(number: int, stage: Sequence[Component]) -> StageText:
    return StageText(turn(number, stage), tuple(c.execution for c in stage if c.prompt))


def _transcript(packed: Packed, stages: Sequence[StageText], claim: Claim) -> Transcript:
    given = packed.annotated.trajectory
    claims = (claim(text) for text in (stages[-1].executions if stages else ()))
    answer = next((found for found in claims if found is not None), given.answer)
    return Transcript(given.question, tuple(stages), grammar.answer(answer))
