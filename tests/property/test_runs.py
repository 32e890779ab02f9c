"""A run under whatever may happen to it, in any order: plan, finish, fail, break off, kill, resume.

Hypothesis holds the engine's pen: each rule lets one open request take a step. Whatever it does,
the events are well nested, each prompt ends just once, results are in prompt order, and what was
generated is counted once and never generated again.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sprint_agent import EngineError, Result, Sprint, events, first_success
from sprint_agent.engine import Delta, Finish, FinishReason, Request, TokenUsage
from sprint_agent.protocol.tags import execution_tag
from sprint_agent.testing import CharTokenizer

TRIES = 3
WORDS = st.text("ab <>/", max_size=6).map(lambda text: f"w{text}w")


class Held:
    """A request that waits for what it is to answer."""

    def __init__(self, prompt: str) -> None:
        self.prompt = prompt
        self.said = 0
        self.open = True
        self.send, self.receive = anyio.create_memory_object_stream[Any](99)
        opened = list(re.finditer(r"<execution_(\d+)\.(\d+)>\n", prompt))
        inside = opened and f"</execution_{opened[-1][1]}.{opened[-1][2]}>" not in prompt
        self.number = (int(opened[-1][1]), int(opened[-1][2])) if inside else None
        """The stage and number of an execution; None for the planner."""

    def say(self, text: str) -> None:
        self.said += len(text)
        self.send.send_nowait(Delta(text, tuple(map(ord, text))))

    def finish(self, reason: FinishReason, stop: str | None = None) -> int:
        """Ends the answer; returns the tokens that the end itself took."""
        ending = len(stop or "") or 1
        usage = TokenUsage(len(self.prompt), self.said + ending)
        self.send.send_nowait(Finish(reason, usage, stop))
        return ending


class HeldEngine:
    """An engine that says what it is told to, when it is told to."""

    def __init__(self) -> None:
        self.tokenizer = CharTokenizer()
        self.context_length = None
        self.requests: list[Held] = []

    async def __aenter__(self) -> HeldEngine:
        return self

    async def __aexit__(self, *exc: object) -> None:
        pass

    @asynccontextmanager
    async def generate(self, request: Request) -> AsyncGenerator[AsyncIterator[Delta | Finish]]:
        assert not isinstance(request.prompt, str)
        held = Held(self.tokenizer.decode(request.prompt))
        self.requests.append(held)
        try:
            yield self._stream(held)
        finally:
            held.open = False
            held.send.close()
            held.receive.close()

    async def _stream(self, held: Held) -> AsyncIterator[Delta | Finish]:
        async for event in held.receive:
            if isinstance(event, Exception):
                raise event
            yield event


class Runs(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.trace = Path(self.folder.name) / "run.jsonl"
        self.engine = HeldEngine()
        self.seen: list[events.Event] = []
        self.generated = 0
        self.rest = ""
        """What the planner still has to say of the prompt that it is in."""
        self.breaks: Counter[tuple[int, int | None]] = Counter()

    @initialize(ends_early=st.booleans())
    def begin(self, ends_early: bool) -> None:
        join = first_success(lambda e: "hit" in e.text) if ends_early else "all"
        self.agent = Sprint(self.engine, join=join)
        self.task = self.loop.create_task(self.watch(resume=False))
        self.settle()

    async def watch(self, *, resume: bool) -> Result:
        agent, trace = self.agent, self.trace
        context = agent.stream_resume(trace) if resume else agent.stream("What?", trace=trace)
        async with context as run:
            async for event in run:
                self.seen.append(event)
            return await run.result()

    def settle(self) -> None:
        """Lets all tasks go on until each waits for a rule: none needs as many turns of the loop."""

        async def turns() -> None:
            for _ in range(100):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turns())

    # --- what is going on --------------------------------------------------------------------------

    @property
    def planner(self) -> Held | None:
        return next((h for h in self.engine.requests if h.open and h.number is None), None)

    @property
    def working(self) -> list[Held]:
        return [held for held in self.engine.requests if held.open and held.number is not None]

    @property
    def stage(self) -> int:
        return 1 + sum(isinstance(event, events.StageEnded) for event in self.seen)

    @property
    def prompts(self) -> int:
        """How many prompts the planner has closed in this stage."""
        stage = self.stage
        return sum(isinstance(e, events.PromptReady) and e.stage == stage for e in self.seen)

    def say(self, held: Held, text: str) -> None:
        self.generated += len(text)
        held.say(text)
        self.settle()

    # --- the planner -------------------------------------------------------------------------------

    @precondition(lambda self: self.planner and not self.rest and self.prompts < 4)
    @rule(words=WORDS, part=st.floats(0, 1))
    def open_a_prompt(self, words: str, part: float) -> None:
        assert self.planner is not None
        tag = f"prompt_{self.stage}.{self.prompts + 1}"
        text = f"<{tag}> {words.replace('<', '(')} </{tag}>\n"
        text = text if self.prompts else f"<Plan_{self.stage}>\n{text}"
        cut = max(1, round(part * len(text)))
        self.rest = text[cut:]
        self.say(self.planner, text[:cut])

    @precondition(lambda self: self.planner and self.rest)
    @rule()
    def close_the_prompt(self) -> None:
        assert self.planner is not None
        rest, self.rest = self.rest, ""
        self.say(self.planner, rest)

    @precondition(lambda self: self.planner and not self.rest and self.prompts)
    @rule()
    def close_the_plan(self) -> None:
        assert self.planner is not None
        self.generated += self.planner.finish("stop", "</Plan_")
        self.settle()

    @precondition(lambda self: self.planner and not self.rest and not self.prompts)
    @rule()
    def answer(self) -> None:
        assert self.planner is not None
        self.say(self.planner, "<Final_answer>\n\\boxed{42}\n")
        self.generated += self.planner.finish("stop", "</Final_answer>") if self.planner else 0
        self.settle()

    @precondition(lambda self: self.planner and self.breaks[self.stage, None] < TRIES - 1)
    @rule()
    def the_planner_breaks_off(self) -> None:
        assert self.planner is not None
        self.breaks[self.stage, None] += 1
        # It continues after the last complete prompt.
        self.rest = ""
        self.planner.send.send_nowait(EngineError("full", transient=True, retry_after=0.0))
        self.settle()

    # --- the executions ----------------------------------------------------------------------------

    @precondition(lambda self: self.working)
    @rule(which=st.integers(0, 9), words=WORDS)
    def work_on(self, which: int, words: str) -> None:
        self.say(self.working[which % len(self.working)], words)

    @precondition(lambda self: self.working)
    @rule(which=st.integers(0, 9), hit=st.booleans())
    def finish(self, which: int, hit: bool) -> None:
        held = self.working[which % len(self.working)]
        self.say(held, "hit\n" if hit else "none\n")
        self.generated += held.finish("stop", "</execution_")
        self.settle()
        if self.planner is None or self.prompts == 0:
            self.rest = ""

    @precondition(lambda self: self.working)
    @rule(which=st.integers(0, 9))
    def fail(self, which: int) -> None:
        self.working[which % len(self.working)].send.send_nowait(EngineError("broken"))
        self.settle()

    @precondition(lambda self: self.working)
    @rule(which=st.integers(0, 9))
    def break_off(self, which: int) -> None:
        held = self.working[which % len(self.working)]
        assert held.number is not None
        self.breaks[held.number] += 1
        held.send.send_nowait(EngineError("full", transient=True, retry_after=0.0))
        self.settle()

    # --- the process -------------------------------------------------------------------------------

    @precondition(lambda self: not self.task.done())
    @rule(tear=st.booleans())
    def kill_and_resume(self, tear: bool) -> None:
        written = self.trace.read_bytes()
        had = tokens(self.seen)
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            self.loop.run_until_complete(self.task)
        assert not any(held.open for held in self.engine.requests)
        # A process that is killed writes nothing more, or half a line.
        self.trace.write_bytes(written + b'{"event": "Exec' * tear)
        self.seen = []
        self.task = self.loop.create_task(self.watch(resume=True))
        self.settle()
        assert tokens(self.seen) == had

    @precondition(lambda self: self.task.done())
    @rule()
    def nothing_happens_any_more(self) -> None:
        self.settle()
        assert not any(held.open for held in self.engine.requests)

    @invariant()
    def events_are_well_nested(self) -> None:
        check(self.seen)

    @invariant()
    def nothing_is_asked_twice(self) -> None:
        asked = Counter(held.number for held in self.engine.requests if held.open)
        assert all(count == 1 for count in asked.values())

    def teardown(self) -> None:
        try:
            while not self.task.done():
                self.on()
            result = self.task.result()
            check_result(result, self.seen)
            assert result.usage.completion_tokens == self.generated
        finally:
            self.task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                self.loop.run_until_complete(self.task)
            self.loop.close()
            self.folder.cleanup()

    def on(self) -> None:
        """Takes one step towards the end."""
        if self.working:
            self.finish(0, False)
        elif self.rest:
            self.close_the_prompt()
        elif self.prompts:
            self.close_the_plan()
        else:
            self.answer()


def tokens(seen: list[events.Event]) -> int:
    """What was written, except by executions that have ended: a resumed run has those complete."""
    ends = [e.execution for e in seen if isinstance(e, events.ExecutionEnded)]
    ended = {(execution.stage, execution.number) for execution in ends}
    count = 0
    for event in seen:
        match event:
            case events.PlanText() | events.AnswerText():
                count += len(event.text)
            case events.ExecutionText() if (event.stage, event.number) not in ended:
                count += len(event.text)
            case _:
                pass
    return count


def check(seen: list[events.Event]) -> None:
    """Stages one after another; in each, every prompt is ready, begins and ends, in this order, once."""
    stage = 0
    open_stage = False
    ready: set[tuple[int, int]] = set()
    begun: set[tuple[int, int]] = set()
    ended: set[tuple[int, int]] = set()
    if seen and isinstance(seen[0], events.RunResumed):
        seen = seen[1:]
    for place, event in enumerate(seen):
        match event:
            case events.RunStarted():
                assert place == 0
            case events.StageStarted():
                assert not open_stage
                stage, open_stage = event.stage, True
            case events.PromptReady():
                assert open_stage
                assert event.stage == stage
                assert (stage, event.number) not in ready
                ready.add((stage, event.number))
            case events.ExecutionStarted():
                assert (event.stage, event.number) in ready - begun
                begun.add((event.stage, event.number))
            case events.ExecutionEnded():
                number = event.execution.stage, event.execution.number
                assert number in ready - ended
                ended.add(number)
            case events.StageEnded():
                assert open_stage
                open_stage = False
                numbers = [execution.number for execution in event.stage.executions]
                assert numbers == list(range(1, len(numbers) + 1))
                assert {(stage, number) for number in numbers} <= ended
            case events.RunEnded():
                assert place == len(seen) - 1
                assert ended == ready
            case _:
                pass


def check_result(result: Result, seen: list[events.Event]) -> None:
    assert result.answer == "42"
    for stage in result.stages:
        assert [p.number for p in stage.prompts] == [e.number for e in stage.executions]
        block = result.text.partition(f"<Execution_{stage.number}>")[2]
        tags = [
            execution_tag(stage.number, p.number, stage.verdict and stage.verdict.accepted)
            for p in stage.prompts
        ]
        places = [block.index(tag) for tag in tags]
        assert places == sorted(places)
    ends = [e.execution for e in seen if isinstance(e, events.ExecutionEnded)]
    assert sorted(ends, key=lambda e: (e.stage, e.number)) == [
        execution for stage in result.stages for execution in stage.executions
    ]


TestRuns = Runs.TestCase
TestRuns.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
