"""Traces of the runtime as trajectories: they are read, and the best on each question is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from curate.candidate import Candidate
from curate.drops import Dropped, DroppedRecord, Reason, SkippedRecord
from curate.files import jsonl
from curate.files.jsonl import Writer
from curate.options import ReadOptions
from curate.read import sources, traces
from curate.read.sources import SourceError
from curate.read.traces import TracedRun
from curate.run import select
from curate.select import Selection
from sprint_agent import Limits, Sprint, Task, executor, first_success
from sprint_agent.protocol.transcript import parse
from sprint_agent.result import Result, Verdict
from sprint_agent.testing import Reply, ScriptedEngine
from tests.script import Continuing, Scripted, answer, plan

pytestmark = pytest.mark.anyio
PARALLEL = [plan("one", "tool: two", "three"), plan("four", stage=2), answer("5")]


@executor
async def tool(task: Task) -> str:
    """Looks up."""
    return "looked up </Final_answer>"


async def traced(path: Path, turns: list[str], question: str = "What?") -> Result:
    agent = Sprint(ScriptedEngine(Continuing(turns)), executors=[tool])
    return await agent.solve(question, trace=path)


async def test_a_run_is_read_back_unchanged(tmp_path: Path) -> None:
    result = await traced(tmp_path / "run.jsonl", PARALLEL)
    run = traces.read(tmp_path / "run.jsonl", {})
    # The learned text closes the tags that the result leaves open.
    assert run.transcript.text == result.text + "</Final_answer>\n</think>\n"
    assert parse(run.transcript.text).text == run.transcript.text
    # A tool wrote execution 1.2, not a model.
    assert run.executions == {"1.1": "did 1.1\n", "1.3": "did 1.3\n", "2.1": "did 2.1\n"}
    assert (run.trajectory.claimed, run.trajectory.answer) == ("5", "")
    sample = Candidate(run=run).sample
    assert (sample.transcript, sample.executions) == (run.transcript, run.executions)


async def test_executions_are_learned_as_the_planner_saw_them(tmp_path: Path) -> None:
    turns: list[str | Reply] = [plan("one"), answer("5")]
    engine = ScriptedEngine(Scripted(turns, {(1, 1): "\n  did it \n\n</execution_"}))
    result = await Sprint(engine).solve("What?", trace=tmp_path / "run.jsonl")
    assert "<execution_1.1>\ndid it\n</execution_1.1>" in result.text
    run = traces.read(tmp_path / "run.jsonl", {})
    assert run.executions == {"1.1": "did it\n"}
    assert run.transcript.stages[0].executions == ("did it\n",)
    assert run.transcript.text == result.text + "</Final_answer>\n</think>\n"


async def test_a_plan_that_a_success_cut_off_remains_cut_off(tmp_path: Path) -> None:
    turns: list[str | Reply] = [Reply(plan("one", "two")[:-12], hang=True), answer("5")]
    engine = ScriptedEngine(Scripted(turns, {(1, 2): Reply("", hang=True)}))
    join = first_success(lambda execution: "did 1.1" in execution.text)
    result = await Sprint(engine).solve("What?", join=join, trace=tmp_path / "run.jsonl")
    run = traces.read(tmp_path / "run.jsonl", {})
    assert run.transcript.stages[0].turn == result.stages[0].plan
    assert not run.transcript.stages[0].turn.endswith("\n")
    assert run.transcript.stages[0].verdict == Verdict(1)
    assert run.transcript.text == result.text + "</Final_answer>\n</think>\n"
    assert run.executions == {"1.1": "did 1.1\n"}


async def test_a_run_without_an_answer_is_reported(tmp_path: Path) -> None:
    agent = Sprint(ScriptedEngine(Continuing(PARALLEL)), executors=[tool])
    await agent.solve("What?", limits=Limits(executions=2), trace=tmp_path / "limit.jsonl")
    whole = tmp_path / "whole.jsonl"
    await traced(whole, PARALLEL)
    (tmp_path / "killed.jsonl").write_text("".join(whole.read_text().splitlines(True)[:-1]))
    (tmp_path / "other.jsonl").write_text('{"question": "What?"}\n')
    for name, reason in [
        ("limit", Reason.EMPTY),
        ("killed", Reason.EMPTY),
        ("other", Reason.UNREADABLE),
    ]:
        with pytest.raises(Dropped) as caught:
            traces.read(tmp_path / f"{name}.jsonl", {})
        assert caught.value.reason is reason
    paths = [str(tmp_path / f"{name}.jsonl") for name in ("limit", "whole", "other")]
    kinds = [type(item) for item in ReadOptions(layout="trace").reader().items(tuple(paths))]
    assert kinds == [SkippedRecord, TracedRun, SkippedRecord]
    with pytest.raises(SourceError, match="no file"):
        list(ReadOptions(layout="trace").reader().items((str(tmp_path / "none.jsonl"),)))


async def test_references_are_the_correct_answers(tmp_path: Path) -> None:
    await traced(tmp_path / "run.jsonl", PARALLEL)
    right = tmp_path / "right.jsonl"
    right.write_text('{"question": "What?", "answer": 7}\n{"question": "Else?", "answer": "1"}\n')
    reader = ReadOptions(layout="trace", references=right).reader()
    (run,) = reader.items((str(tmp_path / "run.jsonl"),))
    assert isinstance(run, TracedRun)
    assert run.trajectory.answer == "7"


async def test_references_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("1", "2", "3"):
        await traced(tmp_path / f"{name}.jsonl", PARALLEL)
    right = tmp_path / "right.jsonl"
    right.write_text('{"question": "What?", "answer": 7}\n')
    seen: list[object] = []
    read = sources.read
    monkeypatch.setattr(
        sources, "read", lambda path, layout: seen.append(path) or read(path, layout)
    )
    reader = ReadOptions(layout="trace", references=right).reader()
    assert len(list(reader.items(tuple(str(tmp_path / f"{n}.jsonl") for n in (1, 2, 3))))) == 3
    assert seen == [right]


async def test_the_most_parallel_run_on_a_question_is_kept(tmp_path: Path) -> None:
    less = [plan("one", "two"), plan("three", stage=2), answer("5")]
    found: list[Candidate] = []
    for number, turns in enumerate((less, PARALLEL, less)):
        path = tmp_path / f"{number}.jsonl"
        await traced(path, turns)
        found.append(Candidate(run=traces.read(path, {})))
    jsonl.write(found, tmp_path / "packed.jsonl")
    with Writer(tmp_path / "selected.jsonl") as kept, Writer(tmp_path / "dropped.jsonl") as dropped:
        select(tmp_path / "packed.jsonl", Selection(), len, kept, dropped)
    assert list(jsonl.read(kept.path, Candidate)) == [found[1]]
    with pytest.raises(ValueError, match="no sequential text"):
        assert found[1].sequential_sample
    reasons = [d.reason for d in jsonl.read(dropped.path, DroppedRecord)]
    assert reasons == [Reason.DUPLICATE] * 2


async def test_a_run_is_never_kept_unsplit(tmp_path: Path) -> None:
    await traced(tmp_path / "run.jsonl", PARALLEL)
    jsonl.write([Candidate(run=traces.read(tmp_path / "run.jsonl", {}))], tmp_path / "packed.jsonl")
    wanted = Selection(least_ratio=99, keep_sequential=1.0)
    with Writer(tmp_path / "selected.jsonl") as kept, Writer(tmp_path / "dropped.jsonl") as dropped:
        select(tmp_path / "packed.jsonl", wanted, len, kept, dropped)
    assert (kept.count, dropped.count) == (0, 1)
