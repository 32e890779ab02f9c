"""What a terminal shows of a run: as it happens, resumed, and from a trace that was resumed."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from rich.console import Console

from sprint_agent import (
    EngineError,
    Event,
    ExecutionEnded,
    Limits,
    PlanText,
    RunResumed,
    Sprint,
    StageEnded,
    Trace,
    events,
    executor,
    first_success,
)
from sprint_agent.cli.view import RunView
from sprint_agent.engine import Sampling, TokenUsage
from sprint_agent.result import Execution
from sprint_agent.testing import Reply, ScriptedEngine
from tests.script import Continuing, Scripted, answer, plan

pytestmark = pytest.mark.anyio


def shown(view: RunView, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(view)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def view_of(happened: Iterable[Event]) -> RunView:
    view = RunView()
    for event in happened:
        view.feed(event)
    return view


async def live(agent: Sprint, path: Path | None = None) -> list[Event]:
    async with agent.stream("What?", trace=path) as run:
        return [event async for event in run]


def cut(path: Path, after: Callable[[Event], bool]) -> None:
    """Cuts a trace off after the first event of a kind, as a kill does."""
    ends = [number for number, event in enumerate(Trace.read(path).events) if after(event)]
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[: ends[0] + 2]))  # the first line is a header


def without_resumption(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("resumed after")]


class TestResumed:
    """A resumed run looks like one that was never cut off, live and from its trace."""

    SCRIPT = Continuing([f"So. {plan('half', 'rest')}", plan("again", stage=2), answer("5")])

    @pytest.mark.parametrize(
        "after",
        [
            lambda e: isinstance(e, PlanText),
            lambda e: isinstance(e, events.PromptReady),
            lambda e: isinstance(e, events.ExecutionText),
            lambda e: isinstance(e, ExecutionEnded),
            lambda e: isinstance(e, StageEnded),
            lambda e: isinstance(e, StageEnded) and e.stage.number == 2,
            lambda e: isinstance(e, events.AnswerText),
        ],
    )
    @pytest.mark.parametrize("chunk", [1, 7])
    async def test_wherever_it_was_cut_off(
        self, tmp_path: Path, after: Callable[[Event], bool], chunk: int
    ) -> None:
        path = tmp_path / "run.jsonl"
        agent = Sprint(ScriptedEngine(self.SCRIPT, chunk=chunk))
        expected = shown(view_of(await live(agent, path)))
        assert "Plan 1  So.  2 prompts" in expected
        cut(path, after)
        async with agent.stream_resume(path) as run:
            resumed = shown(view_of([event async for event in run]))
        assert "resumed after" in resumed
        assert without_resumption(resumed) == expected.splitlines()
        replayed = shown(view_of(Trace.read(path).events))
        assert "resumed after" in replayed
        assert without_resumption(replayed) == expected.splitlines()

    async def test_executions_that_a_limit_stopped_run_again(self, tmp_path: Path) -> None:
        path = tmp_path / "run.jsonl"
        turns: list[str | Reply] = [plan("one"), answer("1")]
        hanging = Scripted(turns, {(1, 1): Reply("did", hang=True)})
        limited = Sprint(ScriptedEngine(hanging), limits=Limits(deadline=0.2))
        assert "■ 1.1" in shown(view_of(await live(limited, path)))
        async with Sprint(ScriptedEngine(Continuing([plan("one"), answer("1")]))).stream_resume(
            path
        ) as run:
            await run.result()
        happened = Trace.read(path).events
        at = next(k for k, event in enumerate(happened) if isinstance(event, RunResumed))
        assert "▶ 1.1" in shown(view_of(happened[: at + 1]))
        after = shown(view_of(happened))
        assert "✓ 1.1" in after
        assert "did 1.1" in after

    async def test_a_stage_that_is_planned_again(self, tmp_path: Path) -> None:
        """The resumed run has another join policy, and so its second plan is another."""
        path = tmp_path / "run.jsonl"

        def script(prompt: str) -> str:
            accepted = "accepted" in prompt
            if "</Execution_2>" in prompt:
                return answer("old" if accepted else "new")
            if "</Execution_1>" in prompt:
                old, new = plan("pay: b", "pay: c", stage=2), plan("pay: d", stage=2)
                return f"Old. {old}" if accepted else f"New. {new}"
            return plan("pay: a")

        @executor
        async def pay(what: str) -> str:
            return f"paid {what}"

        def check(execution: Execution) -> bool:
            return execution.stage == 1

        agent = Sprint(ScriptedEngine(script, chunk=1000), executors=[pay])
        async with agent.stream("What?", trace=path, join=first_success(check)) as run:
            assert (await run.result()).answer == "old"
        cut(path, lambda event: isinstance(event, events.AnswerText))
        before = shown(view_of(Trace.read(path).events))
        for words in ("Plan 2  Old.  2 prompts", "paid b", "paid c", "Answer  old"):
            assert words in before
        async with agent.stream_resume(path) as run:
            assert (await run.result()).answer == "new"
        happened = Trace.read(path).events
        after = shown(view_of(happened))
        for words in ("paid a", "Plan 2  New.  1 prompt", "paid d", "Answer  new"):
            assert words in after
        for words in ("Old", "paid b", "paid c", "Answer  old"):
            assert words not in after
        # When the planner begins to write stage 2 again, the answer of before is not shown.
        at = next(k for k, e in enumerate(happened) if isinstance(e, PlanText) and "New" in e.text)
        assert "Answer" not in shown(view_of(happened[: at + 1]))


class TestRewritten:
    """What the planner or an execution wrote in a call that failed is not shown."""

    async def test_a_plan_that_is_sent_again(self) -> None:
        failed = [Reply("Bad idea. ", error=_transient()), f"Good. {plan('one')}", answer("5")]
        happened = await live(Sprint(ScriptedEngine(Scripted(failed), chunk=1000)))
        text = shown(view_of(happened))
        assert "Plan 1  Good.  1 prompt" in text
        assert "Bad idea" not in text

    async def test_a_plan_that_is_continued_after_its_last_complete_prompt(self) -> None:
        whole = f"Good. {plan('one', 'two')}"
        kept = whole[: whole.index("two")]
        turns = [Reply(kept, error=_transient()), "<prompt_1.2> two </prompt_1.2></Plan_1>"]
        happened = await live(Sprint(ScriptedEngine(Scripted([*turns, answer("5")]), chunk=1000)))
        assert any(isinstance(event, events.CallRetried) for event in happened)
        assert "Plan 1  Good.  2 prompts" in shown(view_of(happened))

    async def test_a_plan_that_is_repaired(self) -> None:
        turns: list[str | Reply] = [
            "<Plan_1>\nBad idea. <prompt_1.1> one </Plan_1>",
            plan("one"),
            answer("5"),
        ]
        happened = await live(Sprint(ScriptedEngine(Scripted(turns), chunk=1000)))
        assert any(isinstance(event, events.PlanRepaired) for event in happened)
        text = shown(view_of(happened))
        assert "✓ 1.1" in text
        assert "Bad idea" not in text

    async def test_an_execution_and_an_answer_that_are_sent_again(self) -> None:
        first = [Reply("wrong", error=_transient())]

        def script(prompt: str) -> str | Reply:
            if prompt.endswith("<execution_1.1>\n"):
                return first.pop() if first else "right\n</execution_"
            if "</Execution_1>" not in prompt:
                return plan("one")
            failed.append("answer")
            torn = Reply(answer("torn"), error=_transient())
            return torn if len(failed) == 1 else answer("5")

        failed: list[str] = []
        happened = await live(Sprint(ScriptedEngine(script, chunk=1000)))
        ends = [k for k, event in enumerate(happened) if isinstance(event, ExecutionEnded)]
        before = shown(view_of(happened[: ends[0]]))
        assert "right" in before
        assert "wrong" not in before
        assert "Answer  5" in shown(view_of(happened))
        assert "torn" not in shown(view_of(happened))


def _transient() -> Exception:
    return EngineError("the server is busy", transient=True, retry_after=0.0)


def begun(stage: int, call: int) -> list[Event]:
    """The planner of a stage calls the engine."""
    return [
        events.CallStarted(0.0, call, stage, None, "digest", Sampling(), ()),
        PlanText(0.0, stage, f"<Plan_{stage}>\nCall {call}.", (), call),
    ]


def test_later_stages_are_hidden_until_they_are_planned_again_too() -> None:
    """A trace does not repeat what both plans have in common, such as the prompt of stage 2."""
    view = view_of(
        [
            *begun(1, 1),
            events.PromptReady(0.0, 1, 1, "first", "model"),
            *begun(2, 2),
            events.PromptReady(0.0, 2, 1, "second", "model"),
            RunResumed(1.0),
            *begun(1, 3),
        ]
    )
    text = shown(view)
    assert "Plan 1  Call 3." in text
    assert "Plan 2" not in text
    for event in begun(2, 4):
        view.feed(event)
    text = shown(view)
    assert "Plan 2  Call 4.  1 prompt" in text
    assert "second" in text


def test_an_execution_that_writes_is_running() -> None:
    usage = TokenUsage(0, 0)
    stopped = Execution(1, 1, "model", "stopped", "stopped", usage, started=0.0, ended=0.0)
    view = view_of([*begun(1, 1), events.PromptReady(0.0, 1, 1, "task", "model")])
    view.feed(ExecutionEnded(0.0, stopped))
    assert "■ 1.1" in shown(view)
    view.feed(events.ExecutionText(0.0, 1, 1, "again", (), 2))
    assert "▶ 1.1" in shown(view)


async def test_the_execution_that_was_accepted_is_marked() -> None:
    script = Scripted([plan("one", "two"), answer("5")])
    agent = Sprint(ScriptedEngine(script, chunk=1000), join=first_success(lambda e: e.number == 2))
    happened = await live(agent)
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system="standard")
    console.print(view_of(happened))
    assert isinstance(console.file, io.StringIO)
    borders = [line for line in console.file.getvalue().splitlines() if "╰" in line]
    bold_green = "\x1b[1;32m╰"
    assert borders[0].count(bold_green) == 1
    assert borders[0].index(bold_green) > borders[0].index("╰")


@pytest.mark.parametrize(("width", "beside"), [(20, 1), (64, 1), (65, 2), (100, 3), (140, 4)])
def test_executions_share_the_width(width: int, beside: int) -> None:
    prompts: list[Event] = [PlanText(0.0, 1, "<Plan_1>", (), 1)]
    prompts += [events.PromptReady(0.0, 1, number, "task", "model") for number in range(1, 9)]
    lines = shown(view_of(prompts), width).splitlines()
    titles = [line for line in lines if "╭" in line]
    assert titles[0].count("╭") == beside
    assert all(len(line.rstrip()) <= width for line in lines)
    assert len(titles[0].rstrip()) > width - beside


def test_a_name_is_not_read_as_markup() -> None:
    """The planner may write any name, also one that no executor has."""
    ready = events.PromptReady(0.0, 1, 1, "[/red] task", "[/red]")
    text = shown(view_of([PlanText(0.0, 1, "<Plan_1>", (), 1), ready]))
    assert "· 1.1 [/red]" in text
    assert "[/red] task" in text


def test_events_of_a_damaged_trace_are_shown() -> None:
    """A call that never began, and an execution without its prompt."""
    text = events.ExecutionText(0.0, 1, 2, "wrote this", (), 7)
    retried = events.CallRetried(0.0, 7, "busy", 0.1)
    view = view_of([retried, PlanText(0.0, 1, "<Plan_1>", (), 1), text])
    assert "wrote this" in shown(view)


def test_nothing_is_shown_before_the_planner_writes() -> None:
    """A run that fails before shows its error alone."""
    called = events.CallStarted(0.0, 1, 1, None, "digest", Sampling(), ())
    view = view_of([RunResumed(3.0), events.RunStarted(0.0, "What?"), called])
    assert shown(view) == ""
    view.feed(PlanText(0.0, 1, "So", (), 1))
    assert shown(view).splitlines() == ["What?", "resumed after 3.00 s"]
