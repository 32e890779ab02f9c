"""The model's own runs as data: a trace of the runtime becomes a trajectory that is divided already.

Together with a check of the answers and the choice of the best run on each question, this is rejection
sampling: a model learns from its correct runs, and among those from the most parallel ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from curate.drops import Dropped, Reason
from curate.trajectory import Trajectory
from sprint_agent.errors import TraceError
from sprint_agent.protocol import tags
from sprint_agent.protocol.transcript import StageText, Transcript
from sprint_agent.result import Result
from sprint_agent.runtime.router import MODEL
from sprint_agent.traces.trace import Trace


@dataclass(frozen=True, slots=True)
class TracedRun:
    """A run that was read from a trace."""

    trajectory: Trajectory
    transcript: Transcript
    executions: dict[str, str]
    """The texts of the executions that the model finished itself, by number, such as "1.3"."""


def read(path: Path, references: Mapping[str, str]) -> TracedRun:
    """Reads the run in a trace.

    Args:
        references: the correct answers, by the key of the question.

    Raises:
        Dropped: the file is not a trace, or its run has no answer.
    """
    try:
        result = Trace.read(path).result
    except TraceError as error:
        raise Dropped(Reason.UNREADABLE, str(error)) from error
    if result is None or result.answer is None:
        raise Dropped(Reason.EMPTY, "the run has no answer")
    given = Trajectory(result.question, result.text, "", path.name, claimed=result.answer)
    correct = references.get(given.question_key, "")
    return TracedRun(replace(given, answer=correct), transcript(result), own_executions(result))


def transcript(result: Result) -> Transcript:
    """Returns the text of a run, in its parts."""
    stages = tuple(
        StageText(s.plan, tuple(tags.trimmed(e.text) for e in s.executions), s.verdict)
        for s in result.stages
    )
    return Transcript(result.question, stages, _last_turn(result))


def own_executions(result: Result) -> dict[str, str]:
    """Returns the executions that a model can learn from: those that it finished itself."""
    return {
        f"{e.stage}.{e.number}": tags.trimmed(e.text)
        for stage in result.stages
        for e in stage.executions
        if e.status == "done" and e.executor == MODEL
    }


def _last_turn(result: Result) -> str:
    """What the planner wrote after the last stage, up to the closing tag of its answer."""
    if result.stages:
        opened = f"</Execution_{result.stages[-1].number}>\n\n"
        return result.text.rpartition(opened)[2]
    return result.text.partition("<think>\n")[2]
