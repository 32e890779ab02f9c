"""The trajectories that are drawn: which they are, and what the page shows of each."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from curate import select
from curate.candidate import Candidate
from curate.pack import graph
from curate.pack.stages import Packed
from curate.report.drawing import Drawing, Item, Link, draw
from curate.trajectory import Component
from sprint_agent.protocol import tags
from sprint_agent.protocol.transcript import StageText, Transcript

EXAMPLES = 10

Example = tuple[str, int, Candidate, select.RunMetrics]
"""A trajectory's key, its position, the trajectory and its figures; sorted by the first two."""


@dataclass(slots=True)
class Picks:
    """Picks `EXAMPLES` trajectories: those of the smallest keys, which are digests. That is by chance,
    yet the same on every machine.

    One of them is undivided if any is; the others have several prompts in a stage as far as there are
    such. No more are held than might be picked.
    """

    _parallel: list[Example] = field(default_factory=list[Example])
    _chains: list[Example] = field(default_factory=list[Example])
    _undivided: list[Example] = field(default_factory=list[Example])
    _seen: int = 0

    def add(self, candidate: Candidate, found: select.RunMetrics) -> None:
        """Takes a trajectory into account."""
        if candidate.undivided:
            held = self._undivided
        else:
            held = self._parallel if max(found.prompts, default=0) > 1 else self._chains
        insort(held, (candidate.trajectory.key, self._seen, candidate, found), key=lambda e: e[:2])
        del held[EXAMPLES:]
        self._seen += 1

    @property
    def picked(self) -> tuple[Example, ...]:
        """The picked ones: parallel ones first, the undivided last."""
        last = self._undivided[:1]
        divided = (self._parallel + self._chains)[: EXAMPLES - len(last)]
        return (*divided, *self._undivided[: EXAMPLES - len(divided)])


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a plan: thought, a tag, or the text of a prompt."""

    kind: Literal["thought", "tag", "prompt"]
    text: str


@dataclass(frozen=True, slots=True)
class Execution:
    """An execution as the page shows it. `step` is the number of its component, if it has one."""

    id: str
    name: str
    step: int | None
    prompt: str
    text: str
    learned: bool


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage as the page shows it."""

    id: str
    number: int
    plan: tuple[Span, ...]
    executions: tuple[Execution, ...]


@dataclass(frozen=True, slots=True)
class View:
    """A trajectory as the page shows it; `kind` says how it came to be divided."""

    id: str
    kind: Literal["divided", "undivided", "run"]
    question: str
    answer: str
    source: str
    figures: select.RunMetrics
    drawing: Drawing
    stages: tuple[Stage, ...]
    added: tuple[str, ...]


def view(number: int, example: Example) -> View:
    """What the page shows of the `number`-th example, counted from 1."""
    _, _, candidate, found = example
    name = f"t{number}"
    packed, transcript = candidate.packed, candidate.transcript
    drawing = (
        _graph(name, packed, candidate.undivided) if packed is not None else _run(name, transcript)
    )
    given = candidate.trajectory
    return View(
        id=name,
        kind="undivided" if candidate.undivided else "run" if packed is None else "divided",
        question=given.question.strip(),
        answer=given.answer,
        source=given.source,
        figures=found,
        drawing=drawing,
        stages=tuple(_stages(name, candidate, transcript)),
        added=tuple(_added(packed).values()) if packed is not None else (),
    )


def _stages(name: str, candidate: Candidate, transcript: Transcript) -> Iterator[Stage]:
    learned = candidate.sample.executions.keys()
    for number, stage in enumerate(transcript.stages, 1):
        steps: list[int] = []
        if candidate.packed is not None and not candidate.undivided:
            steps = [c.number for c in candidate.packed.stages[number - 1] if c.prompt]
        executions = tuple(
            Execution(
                id=f"{name}-e{number}.{k}",
                name=f"{number}.{k}",
                step=steps[k - 1] if steps else None,
                prompt=prompt,
                text=text.strip("\n"),
                learned=f"{number}.{k}" in learned,
            )
            for k, (prompt, text) in enumerate(_prompts(stage), 1)
        )
        yield Stage(f"{name}-s{number}", number, tuple(_spans(stage.turn)), executions)


def _prompts(stage: StageText) -> list[tuple[str, str]]:
    """The prompts of a stage, with their executions."""
    events = tags.TurnParser().feed(stage.turn)
    prompts = [event.text for event in events if isinstance(event, tags.PromptClosed)]
    return list(zip(prompts, stage.executions, strict=False))


def _spans(turn: str) -> Iterator[Span]:
    """A plan, tags and prompts told apart."""
    at, kind = 0, "thought"
    for tag in tags.Scanner().feed(turn):
        if turn[at : tag.start]:
            yield Span("prompt" if kind == "prompt" else "thought", turn[at : tag.start])
        yield Span("tag", turn[tag.start : tag.end])
        at, kind = tag.end, "prompt" if tag.name == "prompt" and not tag.closing else "thought"
    if turn[at:].strip():
        yield Span("thought", turn[at:])


def _graph(name: str, packed: Packed, undivided: bool) -> Drawing:
    """The graph of a packed trajectory, its stages as columns."""
    placed = [(c, n, at) for n, stage in enumerate(packed.stages) for at, c in enumerate(stage)]
    placed.sort(key=lambda entry: entry[0].number)
    components = [component for component, _, _ in placed]
    position = {component.number: n for n, component in enumerate(components)}
    items: list[Item] = []
    for component, stage, at in placed:
        task = sum(bool(c.prompt) for c in packed.stages[stage][: at + 1])
        target = f"{name}-e{stage + 1}.{task}" if component.prompt else f"{name}-s{stage + 1}"
        items.append(_item(component, stage, f"{name}-s1" if undivided else target))
    added = _added(packed)
    # An edge that the check added is drawn even where others come to imply it.
    edges = sorted({*graph.build(components).edges, *added})
    links = [Link(position[of], position[by], added.get((of, by), "")) for of, by in edges]
    return draw(items, links, [f"Stage {n}" for n in range(1, len(packed.stages) + 1)])


def _item(component: Component, stage: int, target: str) -> Item:
    parts = (component.description, component.prompt, component.plan, component.execution)
    text = next((part for part in parts if part.strip()), "")
    needs = ", ".join(str(parent) for parent in sorted(component.parents)) or "nothing before it"
    does = "handed on" if component.prompt else "planner only"
    lines = [f"Step {component.number}, stage {stage + 1}, {does}; needs {needs}"]
    if not component.visited:
        lines.append("Announced by the trajectory, not reached")
    lines += [component.description.strip()] if component.description.strip() else []
    lines += [f"Prompt: {component.prompt.strip()}"] if component.prompt else []
    tooltip = "\n".join(lines)
    return Item(str(component.number), text, tooltip, stage, bool(component.prompt), target)


def _added(packed: Packed) -> dict[tuple[int, int], str]:
    """The edges that the leak check added, and why."""
    return {
        (leak.of, leak.component): f"{leak.component} uses {leak.value}, which {leak.of} found"
        for leak in packed.leaks
    }


def _run(name: str, transcript: Transcript) -> Drawing:
    """The stages of a run as they ran: each plan, its prompts below it, the next plan behind them."""
    items: list[Item] = []
    links: list[Link] = []
    ends: list[int] = []
    for n, stage in enumerate(transcript.stages):
        plan = len(items)
        links += [Link(end, plan) for end in ends]
        thought = next(
            (s.text for s in _spans(stage.turn) if s.kind == "thought" and s.text.strip()), ""
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
