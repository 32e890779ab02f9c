"""The command `sprint`: solve a question, resume a run, show a run again.

Exit status: 0 for an answer, which must be right if it can be checked. 1 for a wrong answer or none.
2 if the question cannot be asked or run, with one line that says what to do.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Annotated, NoReturn

import anyio

from sprint_agent import __version__
from sprint_agent.agent import Sprint
from sprint_agent.cli.terminal import replace_unencodable, visible
from sprint_agent.countdown import Puzzle, explain
from sprint_agent.errors import SprintError, TraceError
from sprint_agent.extras import install_hint
from sprint_agent.result import Result
from sprint_agent.run import Run
from sprint_agent.traces.trace import Trace


def _fail(message: object) -> NoReturn:
    print(f"sprint: {visible(' '.join(str(message).split()))}", file=sys.stderr)
    raise SystemExit(2)


try:
    import cyclopts
    from rich.console import Console
    from rich.live import Live

    from sprint_agent.cli.config_file import read_config
    from sprint_agent.cli.options import OUTPUT, RunOptions
    from sprint_agent.cli.view import RunView, summary
except ImportError as error:
    _fail(f"{error.name} is not installed: {install_hint('cli,local')}")

_REFRESHES = 12
"""How often a second the terminal is redrawn."""

_Begin = Callable[[], AbstractAsyncContextManager[Run]]
_Options = Annotated[RunOptions, cyclopts.Parameter(name="*")]

app = cyclopts.App(
    name="sprint",
    help="A reasoning model plans, and executors work on the parts of the plan at the same time.",
    version=__version__,
    config=read_config,
    default_parameter=cyclopts.Parameter(negative=()),
    suppress_keyboard_interrupt=False,
)


@app.command(sort_key=1)
def solve(
    question: str,
    /,
    *,
    options: _Options = RunOptions(),
    trace: Annotated[Path | None, cyclopts.Parameter(group=OUTPUT)] = None,
) -> int:
    """Solve a question. Without --engine, it must be a Countdown puzzle.

    Parameters
    ----------
    question
        For example "Use 3, 5, 7 and 11 to make 24."
    trace
        Write the run to this file while it runs, for sprint resume and sprint replay.
    """
    puzzle = options.puzzle(question)
    agent = options.agent(puzzle)
    asked = puzzle.question if puzzle else question
    return _finish(agent, lambda: agent.stream(asked, trace=trace), puzzle, as_json=options.json)


@app.command(sort_key=2)
def resume(
    trace: Path,
    /,
    *,
    options: _Options = RunOptions(),
) -> int:
    """Continue a run that was cut off or ended by a limit.

    Nothing that its trace contains is generated again. The trace is continued in the same file. Give
    the options with which the run began. The limits may be others. They count from the beginning of
    the run.

    Parameters
    ----------
    trace
        The file to which the run was written (sprint solve --trace FILE).
    """
    recorded = Trace.read(trace)
    if recorded.result is not None and recorded.result.limit is None:
        _fail(f"the run of {trace} has ended: sprint replay {trace} shows it")
    puzzle = options.puzzle(recorded.question)
    agent = options.agent(puzzle)
    return _finish(agent, lambda: agent.stream_resume(trace), puzzle, as_json=options.json)


@app.command(sort_key=3)
def replay(trace: Path, /, *, speed: float = 1.0) -> int:
    """Show a run again.

    Parameters
    ----------
    trace
        The file to which the run was written (sprint solve --trace FILE).
    speed
        How many times faster than it ran.
    """
    if not speed > 0:
        _fail(f"the speed must be above 0, not {speed:g}")
    recorded = Trace.read(trace)
    if not recorded.events:
        _fail(f"the trace {trace} ends before its run began: start the run again")
    anyio.run(_replay, recorded, speed)
    if recorded.result is None:
        ended = f"failed ({recorded.error})" if recorded.error else "was cut off"
        after = f"{recorded.seconds:.2f} s"
        _fail(f"the run {ended} after {after}: sprint resume {trace} continues it")
    _print(recorded.result, None, as_json=False)
    return int(recorded.result.answer is None)


async def _replay(recorded: Trace, speed: float) -> None:
    view = RunView()
    began = anyio.current_time()
    with _live(view, Console()):
        for event in recorded.events:
            await anyio.sleep_until(began + event.at / speed)
            view.feed(event)


def _finish(agent: Sprint, begin: _Begin, puzzle: Puzzle | None, *, as_json: bool) -> int:
    """Runs to the end and prints the result. Returns the exit status."""
    incomplete: TraceError | None = None
    try:
        result = anyio.run(_run, agent, begin, not as_json)
    except TraceError as error:
        if error.result is None:
            raise
        result, incomplete = error.result, error
    except SprintError as error:
        if as_json and error.result is not None:
            print(json.dumps({**error.result.to_json(), "error": str(error)}))
        raise
    mistake = explain(result.answer or "", puzzle) if puzzle else None
    verdict = f"wrong: {mistake}" if mistake else "right"
    _print(result, verdict if puzzle else None, as_json=as_json)
    if incomplete is not None:
        _fail(incomplete)
    return int(result.answer is None or mistake is not None)


async def _run(agent: Sprint, begin: _Begin, watched: bool) -> Result:
    if not watched:
        async with begin() as run:
            return await run.result()
    console = Console()
    async with AsyncExitStack() as stack:
        with console.status("opening the engine …"):
            await stack.enter_async_context(agent)
        view = RunView()
        with _live(view, console):
            async with begin() as run:
                async for event in run:
                    view.feed(event)
                return await run.result()


def _live(view: RunView, console: Console) -> Live:
    return Live(view, console=console, refresh_per_second=_REFRESHES, vertical_overflow="visible")


def _print(result: Result, verdict: str | None, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(result.to_json()))
        return
    console = Console()
    console.print()
    console.print(summary(result, verdict))


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs the command `sprint` and exits."""
    replace_unencodable()
    try:
        status = app(
            arguments, exit_on_error=False, print_error=False, result_action="return_value"
        )
    except (SprintError, cyclopts.CycloptsError) as error:
        _fail(error)
    except KeyboardInterrupt:
        # The run has been cancelled and has cleaned up. A thread that still loads a model would be
        # waited for by Python's own exit.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(130)
    raise SystemExit(status)


if __name__ == "__main__":
    main()
