"""A run on a terminal: the plan as it grows, the executors side by side, and the answer."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import chain

from rich.columns import Columns
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from sprint_agent import events
from sprint_agent.cli.terminal import visible
from sprint_agent.protocol.tags import boxed
from sprint_agent.result import Execution, Result, Stage
from sprint_agent.runtime.router import MODEL

_MARKS = {
    "waiting": ("·", "dim"),
    "running": ("▶", "cyan"),
    "done": ("✓", "green"),
    "failed": ("✗", "red"),
    "stopped": ("■", "yellow"),
}
_LINES = 2
"""How many of the last lines of an execution are shown."""
_PANEL_WIDTH = 32
"""The least width of an execution, in characters. The panels of a row share the terminal's width."""
_INDENT = 4
"""By how many characters a nested run is indented."""
_COMPLETE_PROMPT = re.compile(r"</prompt_[\d.]+>")


@dataclass
class _ExecutionView:
    name: str
    executor: str = ""
    """The executor, empty for the model."""
    task: str = ""
    state: str = "waiting"
    texts: dict[int, list[str]] = field(default_factory=dict[int, list[str]])
    """What the execution wrote, in pieces, by the number of the call."""
    result: str | None = None
    accepted: bool = False
    runs: dict[int, RunView] = field(default_factory=dict[int, "RunView"])

    def describe(self, executor: str, task: str) -> None:
        self.task = task
        self.executor = "" if executor == MODEL else executor

    def write(self, event: events.ExecutionText) -> None:
        # An execution that was stopped runs again if its stage is planned again.
        self.state = "running"
        self.texts.setdefault(event.call, []).append(event.text)

    def end(self, execution: Execution) -> None:
        self.state = execution.status
        # The text of an execution that was stopped only says so. What it wrote says more.
        self.result = None if execution.status == "stopped" else execution.text

    def render(self, width: int) -> RenderableType:
        mark, style = _MARKS[self.state]
        written = "".join(chain.from_iterable(self.texts.values()))
        lines = (written if self.result is None else self.result).splitlines()[-_LINES:]
        shown = Text(no_wrap=True, overflow="ellipsis")
        shown.append(visible(self.task) + "\n", style="bold")
        shown.append(visible("\n".join([*lines, *[""] * (_LINES - len(lines))])), style="dim")
        title = f"{self.name} {self.executor}".rstrip()
        border = "bold green" if self.accepted else style
        return Panel(
            shown,
            title=Text(
                visible(f"{mark} {title}"), style=style
            ),  # a name may look like rich's markup
            title_align="left",
            width=width,
            border_style=border,
        )


@dataclass
class _StageView:
    number: int
    plan: list[str] = field(default_factory=list[str])
    """What the planner wrote, in pieces."""
    executions: dict[int, _ExecutionView] = field(default_factory=dict[int, _ExecutionView])
    discarded: bool = False
    """Whether the planner's next call continues the plan, because the last one failed."""
    ended: bool = False
    outdated: bool = False
    """Whether the planner wrote an earlier stage again since."""

    def execution(self, number: int) -> _ExecutionView:
        return self.executions.setdefault(number, _ExecutionView(f"{self.number}.{number}"))

    def begin_call(self) -> None:
        """The planner calls the engine: it continues the plan after a failure, else writes it again."""
        if not self.discarded:
            self.plan.clear()
        self.discarded = self.ended = self.outdated = False

    def discard(self) -> None:
        """Removes what the planner wrote, except for a plan that has complete prompts."""
        self.discarded = True
        if _COMPLETE_PROMPT.search("".join(self.plan)) is None:
            self.plan.clear()

    def resume(self) -> None:
        """Executions that were stopped before the stage ended begin again."""
        for execution in self.executions.values():
            if execution.state == "stopped" and not self.ended:
                execution.state = "running"

    def end(self, stage: Stage) -> None:
        """Shows the stage as it ended, without executions of a plan that was written before."""
        self.ended = True
        before, self.executions = self.executions, {}
        for prompt, execution in zip(stage.prompts, stage.executions, strict=True):
            view = before.get(prompt.number) or self.execution(prompt.number)
            view.describe(execution.executor, prompt.text)
            view.end(execution)
            view.accepted = execution is stage.accepted
            self.executions[prompt.number] = view

    def render(self, width: int) -> RenderableType:
        thought = "".join(self.plan).split("<prompt_", 1)[0].replace(f"<Plan_{self.number}>", "")
        lines = [line.strip() for line in thought.splitlines() if line.strip("- ")]
        count = len(self.executions)
        head = Text("  ").join(
            [
                Text(f"Plan {self.number}", style="bold magenta"),
                *([Text(visible(" ".join(lines)))] if lines else []),
                Text(f"{count} prompt{'s' if count > 1 else ''}", style="dim"),
            ]
        )
        beside = max(1, (width + 1) // (_PANEL_WIDTH + 1))
        panel_width = min(width, (width + 1) // beside - 1)
        panels = [execution.render(panel_width) for execution in self.executions.values()]
        nested = (run for execution in self.executions.values() for run in execution.runs.values())
        return Group(head, Columns(panels), *(Padding(run, (0, 0, 0, _INDENT)) for run in nested))


class RunView:
    """What a terminal shows of a run. It is fed with the run's events and can be rendered at any time.

    The events may be those of a run that is resumed, which begin with RunResumed. They may also be
    those of a trace: there, RunResumed is in the middle, and what follows does not repeat what the
    trace contained before.
    """

    def __init__(self) -> None:
        self._question = ""
        self._stages: dict[int, _StageView] = {}
        self._callers: dict[int, tuple[int, int | None]] = {}
        self._answer: list[str] = []
        self._resumed: float | None = None
        self._written = False
        """Whether the planner wrote anything. Before, a run can fail with one line of error alone."""

    def feed(self, event: events.Event) -> None:
        """Takes the next event of the run."""
        self._written = self._written or isinstance(event, events.PlanText | events.AnswerText)
        match event:
            case events.RunStarted():
                self._question = event.question
            case events.RunResumed():
                self._resume(event.at)
            case events.PlanText():
                self._stage(event.stage).plan.append(event.text)
            case events.PromptReady():
                self._begin(event)
            case events.CallStarted():
                self._call(event)
            case events.CallRetried():
                self._discard(event.call)
            case events.PlanRepaired():
                self._stage(event.stage).discard()
            case events.ExecutionStarted():
                self._stage(event.stage).execution(event.number).state = "running"
            case events.ExecutionText():
                self._stage(event.stage).execution(event.number).write(event)
            case events.ExecutionEnded():
                execution = event.execution
                self._stage(execution.stage).execution(execution.number).end(execution)
            case events.StageEnded():
                self._stage(event.stage.number).end(event.stage)
            case events.AnswerText():
                self._answer.append(event.text)
            case events.NestedEvent():
                parent = event.path[0]
                runs = self._stage(parent.stage).execution(parent.number).runs
                runs.setdefault(parent.run, RunView()).feed(event.inner)
            case _:
                pass

    def _stage(self, number: int) -> _StageView:
        return self._stages.setdefault(number, _StageView(number))

    def _begin(self, event: events.PromptReady) -> None:
        view = _ExecutionView(f"{event.stage}.{event.number}")
        view.describe(event.executor, event.text)
        self._stage(event.stage).executions[event.number] = view

    def _call(self, event: events.CallStarted) -> None:
        self._callers[event.call] = (event.stage, event.number)
        if event.number is not None:
            return
        self._stage(event.stage).begin_call()
        self._answer.clear()
        for number, stage in self._stages.items():
            stage.outdated = stage.outdated or number > event.stage

    def _discard(self, call: int) -> None:
        """Removes what a call wrote that failed."""
        stage, number = self._callers.get(call, (0, 0))
        if number is None:
            self._stage(stage).discard()
        elif stage:
            self._stage(stage).execution(number).texts.pop(call, None)

    def _resume(self, seconds: float) -> None:
        self._resumed = seconds
        for stage in self._stages.values():
            stage.resume()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        stages = [s for s in self._stages.values() if s.executions and not s.outdated]
        if not self._written:
            return
        yield Text(visible(self._question), style="bold")
        if self._resumed is not None:
            yield Text(f"resumed after {self._resumed:.2f} s", style="dim")
        yield from (stage.render(options.max_width) for stage in stages)
        if self._answer:
            text = boxed("".join(self._answer).replace("<Final_answer>", ""))
            yield Text(visible(f"Answer  {text}"), style="bold magenta")


def summary(result: Result, verdict: str | None) -> RenderableType:
    """Returns the end of a run: the answer, the verdict if it was checked, and what the run used."""
    usage = result.usage
    table = Table.grid(padding=(0, 2))
    table.add_row("answer", Text(visible(_answer(result)), style="bold"))
    if result.fault is not None:
        table.add_row("format", Text(visible(result.fault), style="yellow"))
    if verdict is not None:
        table.add_row(
            "checked", Text(visible(verdict), style="green" if verdict == "right" else "red")
        )
    table.add_row("generated tokens", f"{usage.completion_tokens:,}")
    table.add_row("sequential tokens", f"{usage.sequential_tokens:,}")
    table.add_row("wall time", f"{result.seconds:.2f} s")
    return table


def _answer(result: Result) -> str:
    if result.answer is None:
        return f"none: the limit {result.limit} ended the run"
    return result.answer
