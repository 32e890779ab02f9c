"""Picks the trajectories that the page draws, and collects what it shows of each."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from curate import select
from curate.candidate import Candidate
from curate.pack import graph
from curate.pack.stages import Packed
from curate.report.drawing import Drawing, Item, Link, draw
from curate.trajectory import Component
from sprint_agent.protocol import tags
from sprint_agent.protocol.transcript import StageText, Transcript

EXAMPLES = 10
"""How many trajectories are shown."""


class Example(NamedTuple):
    """A kept trajectory that may be shown."""

    key: str
    """The trajectory's key, which is a digest."""
    position: int
    """The position among the kept trajectories, counted from 0."""
    candidate: Candidate
    metrics: select.RunMetrics


@dataclass(slots=True)
class ExamplePicker:
    """Picks `EXAMPLES` trajectories: those with the smallest keys.

    Keys are digests, so the choice is random, but the same on every machine. The last one is unsplit
    if there is an unsplit one. The others have several prompts in a stage as far as there are such.
    Only the trajectories that may still be picked are kept in memory.
    """

    _parallel: list[Example] = field(default_factory=list[Example])
    _chains: list[Example] = field(default_factory=list[Example])
    _unsplit: list[Example] = field(default_factory=list[Example])
    _seen: int = 0

    def add(self, candidate: Candidate, metrics: select.RunMetrics) -> None:
        """Considers a trajectory."""
        if candidate.unsplit:
            group = self._unsplit
        else:
            group = self._parallel if max(metrics.prompts, default=0) > 1 else self._chains
        example = Example(candidate.trajectory.key, self._seen, candidate, metrics)
        insort(group, example, key=lambda one: (one.key, one.position))
        del group[EXAMPLES:]
        self._seen += 1

    @property
    def picked(self) -> tuple[Example, ...]:
        """The picked trajectories: parallel ones first, unsplit ones last."""
        last = self._unsplit[:1]
        divided = (self._parallel + self._chains)[: EXAMPLES - len(last)]
        return (*divided, *self._unsplit[: EXAMPLES - len(divided)])


@dataclass(frozen=True, slots=True)
class PlanPart:
    """A part of a plan's text: thought, a tag, or the text of a prompt."""

    kind: Literal["thought", "tag", "prompt"]
    text: str


@dataclass(frozen=True, slots=True)
class ExecutionView:
    """An execution, as the page shows it."""

    id: str
    name: str
    """Its number, such as "1.3"."""
    step: int | None
    """The number of its component. None if there is no component."""
    prompt: str
    text: str
    learned: bool
    """Whether the model learns its text."""


@dataclass(frozen=True, slots=True)
class StageView:
    """A stage, as the page shows it."""

    id: str
    number: int
    plan: tuple[PlanPart, ...]
    executions: tuple[ExecutionView, ...]


@dataclass(frozen=True, slots=True)
class ExampleView:
    """A trajectory, as the page shows it."""

    id: str
    kind: Literal["divided", "unsplit", "run"]
    """How it got its stages: by packing, not at all, or as a run of the runtime."""
    question: str
    answer: str
    source: str
    metrics: select.RunMetrics
    drawing: Drawing
    stages: tuple[StageView, ...]
    added: tuple[str, ...]
    """The reasons of the edges that the leak check added."""


def view(number: int, example: Example) -> ExampleView:
    """Returns what the page shows of the `number`-th example, counted from 1."""
    candidate = example.candidate
    name = f"t{number}"
    packed, transcript = candidate.packed, candidate.transcript
    drawing = (
        _graph(name, packed, candidate.unsplit) if packed is not None else _run(name, transcript)
    )
    given = candidate.trajectory
    return ExampleView(
        id=name,
        kind="unsplit" if candidate.unsplit else "run" if packed is None else "divided",
        question=given.question.strip(),
        answer=given.answer,
        source=given.source,
        metrics=example.metrics,
        drawing=drawing,
        stages=tuple(_stages(name, candidate, transcript)),
        added=tuple(_added(packed).values()) if packed is not None else (),
    )


def _stages(name: str, candidate: Candidate, transcript: Transcript) -> Iterator[StageView]:
    learned = candidate.sample.executions.keys()
    for number, stage in enumerate(transcript.stages, 1):
        steps: list[int] = []
        if candidate.packed is not None and not candidate.unsplit:
            steps = [c.number for c in candidate.packed.stages[number - 1] if c.prompt]
        executions = tuple(
            ExecutionView(
                id=f"{name}-e{number}.{k}",
                name=f"{number}.{k}",
                step=steps[k - 1] if steps else None,
                prompt=prompt,
                text=text.strip("\n"),
                learned=f"{number}.{k}" in learned,
            )
            for k, (prompt, text) in enumerate(_prompts(stage), 1)
        )
        yield StageView(f"{name}-s{number}", number, tuple(_plan_parts(stage.turn)), executions)


def _prompts(stage: StageText) -> list[tuple[str, str]]:
    """Returns the prompts of a stage, each with its execution."""
    events = tags.TurnParser().feed(stage.turn)
    prompts = [event.text for event in events if isinstance(event, tags.PromptClosed)]
    return list(zip(prompts, stage.executions, strict=False))


def _plan_parts(turn: str) -> Iterator[PlanPart]:
    """Splits the text of a plan into thought, tags and prompts."""
    at, kind = 0, "thought"
    for tag in tags.Scanner().feed(turn):
        if turn[at : tag.start]:
            yield PlanPart("prompt" if kind == "prompt" else "thought", turn[at : tag.start])
        yield PlanPart("tag", turn[tag.start : tag.end])
        at, kind = tag.end, "prompt" if tag.name == "prompt" and not tag.closing else "thought"
    if turn[at:].strip():
        yield PlanPart("thought", turn[at:])


def _graph(name: str, packed: Packed, unsplit: bool) -> Drawing:
    """Draws the graph of a packed trajectory, with a column for each stage."""
    placed = [(c, n, at) for n, stage in enumerate(packed.stages) for at, c in enumerate(stage)]
    placed.sort(key=lambda entry: entry[0].number)
    components = [component for component, _, _ in placed]
    position = {component.number: n for n, component in enumerate(components)}
    items: list[Item] = []
    for component, stage, at in placed:
        task = sum(bool(c.prompt) for c in packed.stages[stage][: at + 1])
        target = f"{name}-e{stage + 1}.{task}" if component.prompt else f"{name}-s{stage + 1}"
        items.append(_item(component, stage, f"{name}-s1" if unsplit else target))
    added = _added(packed)
    # An edge that the leak check added is drawn even if other edges imply it.
    edges = sorted({*graph.build(components).edges, *added})
    links = [Link(position[of], position[by], added.get((of, by), "")) for of, by in edges]
    return draw(items, links, [f"Stage {n}" for n in range(1, len(packed.stages) + 1)])


def _item(component: Component, stage: int, target: str) -> Item:
    parts = (component.description, component.prompt, component.plan, component.execution)
    text = next((part for part in parts if part.strip()), "")
    needs = ", ".join(str(parent) for parent in sorted(component.parents)) or "no other step"
    does = "done by an executor" if component.prompt else "done by the planner alone"
    lines = [f"Step {component.number}, stage {stage + 1}, {does}; needs {needs}"]
    if not component.visited:
        lines.append("Announced in the trajectory, but not reached")
    lines += [component.description.strip()] if component.description.strip() else []
    lines += [f"Prompt: {component.prompt.strip()}"] if component.prompt else []
    tooltip = "\n".join(lines)
    return Item(str(component.number), text, tooltip, stage, bool(component.prompt), target)


def _added(packed: Packed) -> dict[tuple[int, int], str]:
    """Returns the edges that the leak check added, each with its reason."""
    return {
        (
            leak.of,
            leak.component,
        ): f"step {leak.component} uses {leak.value}, which step {leak.of} found"
        for leak in packed.leaks
    }


def _run(name: str, transcript: Transcript) -> Drawing:
    """Draws the stages of a run: each plan with its prompts below it, then the next plan."""
    items: list[Item] = []
    links: list[Link] = []
    ends: list[int] = []
    for n, stage in enumerate(transcript.stages):
        plan = len(items)
        links += [Link(end, plan) for end in ends]
        thought = next(
            (s.text for s in _plan_parts(stage.turn) if s.kind == "thought" and s.text.strip()), ""
        )
        items.append(
            Item(f"{n + 1}", thought or "Plan", f"Plan {n + 1}", n, False, f"{name}-s{n + 1}")
        )
        ends = [plan]
        for k, (prompt, _) in enumerate(_prompts(stage), 1):
            number = f"{n + 1}.{k}"
            items.append(
                Item(number, prompt, f"Prompt {number}: {prompt}", n, True, f"{name}-e{number}")
            )
            links.append(Link(plan, len(items) - 1))
            ends = [*(end for end in ends if end != plan), len(items) - 1]
    return draw(items, links, [f"Stage {n}" for n in range(1, len(transcript.stages) + 1)])
