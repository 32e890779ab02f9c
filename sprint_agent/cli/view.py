"""A run on a terminal: the plan as it grows, the executors side by side, the answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from rich.columns import Columns
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from sprint_agent import events
from sprint_agent.protocol.tags import boxed
from sprint_agent.result import Result

_MARKS = {
    "waiting": ("·", "dim"),
    "running": ("▶", "cyan"),
    "done": ("✓", "green"),
    "failed": ("✗", "red"),
    "stopped": ("■", "yellow"),
}
_LINES = 2
_PANEL_WIDTH = 38


@dataclass
class _ExecutionView:
    title: str
    task: str
    state: str = "waiting"
    text: str = ""
    won: bool = False
    runs: dict[int, RunView] = field(default_factory=dict[int, "RunView"])

    def render(self) -> RenderableType:
        mark, style = _MARKS[self.state]
        lines = self.text.splitlines()[-_LINES:]
        shown = Text(no_wrap=True, overflow="ellipsis")
        shown.append(self.task + "\n", style="bold")
        shown.append("\n".join([*lines, *[""] * (_LINES - len(lines))]), style="dim")
        border = "bold green" if self.won else style
        return Panel(
            shown,
            title=f"[{style}]{mark} {self.title}[/]",
            title_align="left",
            width=_PANEL_WIDTH,
            border_style=border,
        )


@dataclass
class _StageView:
    number: int
    thought: str = ""
    executions: dict[int, _ExecutionView] = field(default_factory=dict[int, _ExecutionView])

    def render(self) -> RenderableType:
        thought = self.thought.split("<prompt_", 1)[0].replace(f"<Plan_{self.number}>", "")
        lines = [line for line in thought.splitlines() if line.strip("- ")]
        head = Text(f"Plan {self.number}  ", style="bold magenta")
        head.append(" ".join(lines), style="default")
        if self.executions:
            head.append(f"  {len(self.executions)} prompts", style="dim")
        panels = (execution.render() for execution in self.executions.values())
        nested = (run for execution in self.executions.values() for run in execution.runs.values())
        return Group(head, Columns(panels), *(Padding(run, (0, 0, 0, 4)) for run in nested))


class RunView:
    """What a terminal shows of a run; fed with its events, it can be rendered at any time."""

    def __init__(self) -> None:
        self._question = ""
        self._stages: dict[int, _StageView] = {}
        self._answer = ""

    def feed(self, event: events.Event) -> None:
        """Takes the next event of the run."""
        match event:
            case events.RunStarted():
                self._question = event.question
            case events.PlanText():
                self._stage(event.stage).thought += event.text
            case events.PromptReady():
                title = f"{event.stage}.{event.number}"
                if event.executor != "model":
                    title += f" {event.executor}"
                view = _ExecutionView(title, event.text)
                self._stage(event.stage).executions[event.number] = view
            case events.ExecutionStarted():
                self._execution(event.stage, event.number).state = "running"
            case events.ExecutionText():
                self._execution(event.stage, event.number).text += event.text
            case events.ExecutionEnded():
                self._ended(event)
            case events.StageEnded():
                if event.stage.accepted is not None:
                    self._execution(event.stage.number, event.stage.accepted.number).won = True
            case events.AnswerText():
                self._answer += event.text
            case events.NestedEvent():
                where = event.path[0]
                runs = self._execution(where.stage, where.number).runs
                runs.setdefault(where.run, RunView()).feed(event.inner)
            case _:
                pass

    def _ended(self, event: events.ExecutionEnded) -> None:
        execution = event.execution
        view = self._execution(execution.stage, execution.number)
        view.state = execution.status
        if execution.status != "stopped":
            view.text = execution.text

    def _stage(self, number: int) -> _StageView:
        return self._stages.setdefault(number, _StageView(number))

    def _execution(self, stage: int, number: int) -> _ExecutionView:
        return self._stage(stage).executions[number]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self._stages or self._answer:
            yield Text(self._question, style="bold")
        yield from self._planned()
        if self._answer:
            text = boxed(self._answer.replace("<Final_answer>", ""))
            yield Text(f"Answer  {text}", style="bold magenta")

    def _planned(self) -> Iterable[RenderableType]:
        return (view.render() for view in self._stages.values() if view.executions)


def summary(result: Result, verdict: str | None) -> RenderableType:
    """The end of a run: the answer, whether it was checked, and what it cost."""
    usage = result.usage
    table = Table.grid(padding=(0, 2))
    table.add_row("answer", Text(_answer(result), style="bold"))
    if verdict is not None:
        table.add_row("checked", Text(verdict, style="green" if verdict == "right" else "red"))
    table.add_row("total tokens", f"{usage.completion_tokens:,}")
    table.add_row("sequential tokens", f"{usage.sequential_tokens:,}")
    table.add_row("wall time", f"{result.seconds:.2f} s")
    return table


def _answer(result: Result) -> str:
    if result.answer is None:
        return f"none: the limit {result.limit} was reached"
    return result.answer or "empty: the planner wrote nothing there"
