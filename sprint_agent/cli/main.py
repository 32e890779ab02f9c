"""`sprint`: solve a question on the command line.

Exit status: 0 for an answer (a right one, where it can be checked), 1 for a wrong answer or none,
2 for what could not be asked or run, with one line on what to do.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import anyio

from sprint_agent.agent import Sprint
from sprint_agent.countdown import Puzzle, SmallerPuzzle, explain
from sprint_agent.countdown import solver as countdown
from sprint_agent.engine import Sampling
from sprint_agent.errors import QuestionError, SprintError, TraceError
from sprint_agent.join import Join
from sprint_agent.limits import Limits
from sprint_agent.result import Result
from sprint_agent.traces.trace import Trace


def _fail(message: object) -> NoReturn:
    print(f"sprint: {' '.join(str(message).split())}", file=sys.stderr)
    raise SystemExit(2)


try:
    import cyclopts
    from rich.console import Console
    from rich.live import Live

    from sprint_agent.cli.view import RunView, summary
except ImportError as cause:
    _fail(f"{cause.name} is not installed: pip install 'sprint-agent[cli,local]'")

app = cyclopts.App(name="sprint", help="A reasoning model plans, executors run side by side.")


@app.command
def solve(
    question: str,
    /,
    *,
    engine: str | None = None,
    dispatch: Literal["tag", "stage"] = "tag",
    sequential: Annotated[bool, cyclopts.Parameter(negative=())] = False,
    json: Annotated[bool, cyclopts.Parameter(negative=())] = False,
    trace: Path | None = None,
) -> int:
    """Solve a question; with the shipped model, a Countdown puzzle.

    Parameters
    ----------
    question
        Such as "Use 3, 5, 7 and 11 to make 24."
    engine
        In place of the shipped model: the URL of an SGLang server, openai+URL#MODEL for a chat model
        on an OpenAI-compatible server, or the folder of a model.
    dispatch
        Start an executor when its prompt is complete (tag), or when the whole plan is (stage).
    sequential
        Run the same plan with one executor at a time, to see what running side by side is worth.
    json
        Print the result as one JSON object.
    trace
        Record the run to this file, for `sprint replay`.
    """
    puzzle = _puzzle(question, required=engine is None)
    limits = Limits() if engine else countdown.LIMITS
    greedy = Sampling(temperature=0.0) if engine else countdown.SAMPLING
    agent = Sprint(
        engine or countdown.MODEL,
        executors=(SmallerPuzzle(),) if puzzle else (),
        limits=replace(limits, concurrency=1) if sequential else limits,
        dispatch="stage" if sequential else dispatch,
        sampling=greedy if puzzle else Sampling(),
    )
    join: Join = countdown.solved(puzzle) if puzzle else "all"
    lost: TraceError | None = None
    try:
        asked = puzzle.question if puzzle else question
        result = anyio.run(_run, agent, asked, join, not json, trace)
    except TraceError as error:
        if error.result is None:
            raise
        result, lost = error.result, error
    wrong = explain(result.answer or "", puzzle) if puzzle else None
    _show(result, wrong, checked=puzzle is not None, as_json=json)
    if lost is not None:
        _fail(lost)
    return int(result.answer is None or wrong is not None)


@app.command
def replay(trace: Path, /, *, speed: float = 1.0) -> int:
    """Show a recorded run again.

    Parameters
    ----------
    trace
        The file that a run was recorded to (`solve --trace FILE`).
    speed
        How many times as fast as it was.
    """
    if speed <= 0:
        _fail(f"the speed must be above 0, not {speed:g}")
    recorded = Trace.read(trace)
    if not recorded.events:
        _fail(f"the run of {trace} had not begun when the trace ended: start the run anew")
    anyio.run(_replay, recorded, speed)
    if recorded.result is None:
        _fail(f"the run was cut off after {recorded.seconds:.2f} s: go on with it by Sprint.resume")
    _show(recorded.result, None, checked=False, as_json=False)
    return int(recorded.result.answer is None)


async def _replay(recorded: Trace, speed: float) -> None:
    view = RunView()
    began = anyio.current_time()
    with Live(view, console=Console(), refresh_per_second=12, vertical_overflow="visible"):
        for event in recorded.events:
            await anyio.sleep_until(began + event.at / speed)
            view.feed(event)


def _puzzle(question: str, *, required: bool) -> Puzzle | None:
    if not question.strip():
        raise QuestionError("the question is empty: ask one, such as " + _EXAMPLE)
    try:
        return Puzzle.parse(question)
    except QuestionError:
        if required:
            raise
        return None


_EXAMPLE = "'Use 3, 5, 7 and 11 to make 24.'"


async def _run(
    agent: Sprint, question: str, join: Join, watched: bool, trace: Path | None
) -> Result:
    if not watched:
        return await agent.solve(question, join=join, trace=trace)
    console = Console()
    async with AsyncExitStack() as stack:
        with console.status("loading the model …"):
            await stack.enter_async_context(agent)
        view = RunView()
        with Live(view, console=console, refresh_per_second=12, vertical_overflow="visible"):
            async with agent.stream(question, join=join, trace=trace) as run:
                async for event in run:
                    view.feed(event)
                return await run.result()


def _show(result: Result, wrong: str | None, *, checked: bool, as_json: bool) -> None:
    if as_json:
        print(json.dumps(result.to_json()))
        return
    verdict = (f"wrong: {wrong}" if wrong else "right") if checked else None
    console = Console()
    console.print()
    console.print(summary(result, verdict))


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The command `sprint`."""
    try:
        status = app(
            arguments, exit_on_error=False, print_error=False, result_action="return_value"
        )
    except (SprintError, cyclopts.CycloptsError) as error:
        _fail(error)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    raise SystemExit(status)


if __name__ == "__main__":
    main()
