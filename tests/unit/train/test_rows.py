"""Training contexts equal inference contexts, id for id, through the real runtime."""

from __future__ import annotations

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.countdown import CountdownData, rft_sample, run_sample, trajectories
from curate.pack.stages import Packed
from curate.samples import Sample
from sprint_agent import Sprint, first_success
from sprint_agent.engine import Request
from sprint_agent.protocol import tags
from sprint_agent.protocol.transcript import StageText, Transcript
from sprint_agent.result import Execution
from sprint_agent.testing import CharTokenizer, Reply, ScriptedEngine
from sprint_agent.tokenizer import FileTokenizer
from tests.curated import SMALL
from tests.script import execution_of
from train.countdown import tokenizer as training
from train.data.rows import DECISION, EXECUTION, Row, RowBuilder

DATA = CountdownData(trajectories=60)


@pytest.fixture(scope="module")
def packed() -> list[Packed]:
    return list(trajectories(DATA, "train"))


@pytest.fixture(scope="module")
def reader(packed: list[Packed]) -> FileTokenizer:
    texts = (
        piece.text
        for number, trajectory in enumerate(packed)
        for piece in run_sample(trajectory, DATA, len, number).transcript.pieces
    )
    return FileTokenizer(training.train(texts, 2048))


class Replay:
    """Replies with the text of a transcript, as a model that learned it would."""

    def __init__(self, transcript: Transcript) -> None:
        self.transcript = transcript
        self.turns = [stage.turn for stage in transcript.stages]
        # A plan that was cut had been written up to there when the success ended its stage.
        self.cut = anyio.Event()

    def __call__(self, prompt: str) -> Reply:
        number = execution_of(prompt)
        if number is None:
            done = prompt.count("</Execution_")
            if done < len(self.turns):
                cut = not self.turns[done].endswith("\n")
                end = "" if cut else f"</Plan_{done + 1}>"
                last = done == len(self.turns) - 1
                sets = self.cut if last else None
                return Reply(self.turns[done] + end, hang=cut, sets=sets)
            return Reply(self.transcript.answer + "</Final_answer>")
        stage, part = number
        text = self.transcript.stages[stage - 1].executions[part - 1]
        if text == tags.STOPPED:
            return Reply("", hang=True)
        whole = self.transcript.stages[stage - 1]
        accepted = whole.verdict is not None and part == whole.verdict.accepted
        gate = self.cut if accepted and not whole.turn.endswith("\n") else None
        return Reply(text + f"</execution_{stage}.{part}>", after=gate)


async def replay(transcript: Transcript, reader: FileTokenizer) -> tuple[str, list[Request]]:
    engine = ScriptedEngine(Replay(transcript), tokenizer=reader)
    verdicts = enumerate((stage.verdict for stage in transcript.stages), 1)
    accepted = {(n, v.accepted): v.remark for n, v in verdicts if v and v.accepted}

    def check(execution: Execution) -> bool | str:
        return accepted.get((execution.stage, execution.number), False)

    agent = Sprint(engine, join=first_success(check) if accepted else "all")
    result = await agent.solve(transcript.question)
    return result.text, engine.requests


def ended_early(sample: Sample) -> bool:
    return any(tags.STOPPED in stage.executions for stage in sample.transcript.stages)


def marks(sample: Sample) -> set[str]:
    """Returns what the stages of a sample say about a check."""
    verdicts = [stage.verdict for stage in sample.transcript.stages]
    return {
        "no check" if v is None else "accepted" if v.accepted else "none accepted" for v in verdicts
    }


def prompts_of(requests: list[Request], reader: FileTokenizer) -> dict[str, tuple[int, ...]]:
    prompts: dict[str, tuple[int, ...]] = {}
    for request in requests:
        assert not isinstance(request.prompt, str)
        number = execution_of(reader.decode(request.prompt))
        prompts[f"{number[0]}.{number[1]}" if number else "planner"] = request.prompt
    return prompts


def learned_from(row: Row) -> int:
    """Returns the start of the last learned part of a row: the length of its last request's prompt."""
    starts = [k for k in range(1, len(row.ids)) if row.kinds[k] and not row.kinds[k - 1]]
    return starts[-1]


@pytest.mark.anyio
@pytest.mark.parametrize("bos_ids", [(), (0,)])
@pytest.mark.parametrize("early", [False, True])
async def test_training_contexts_are_those_of_inference(
    packed: list[Packed], reader: FileTokenizer, early: bool, bos_ids: tuple[int, ...]
) -> None:
    reader = FileTokenizer(reader._tokenizer, bos_ids)
    builder = RowBuilder(reader)
    made = (
        run_sample(trajectory, DATA, lambda text: len(reader.encode(text)), number)
        for number, trajectory in enumerate(packed)
    )
    # First the samples in which one stage accepted nothing and another stage did.
    found = sorted((s for s in made if ended_early(s) == early), key=lambda s: -len(marks(s)))
    samples = (*found[:3], *found[-3:])
    assert {mark for sample in samples for mark in marks(sample)} >= {"accepted", "none accepted"}
    compared = 0
    for sample in samples:
        text, requests = await replay(sample.transcript, reader)
        whole = sample.transcript.text
        assert whole == text + "</Final_answer>\n</think>\n"
        prompts = prompts_of(requests, reader)
        planner = builder.planner(sample.transcript)
        assert planner.ids[: len(prompts["planner"])] == prompts["planner"]
        assert learned_from(planner) == len(prompts["planner"])
        for name, prompt in prompts.items():
            assert prompt[: len(bos_ids)] == bos_ids
            assert prompt.count(0) == len(bos_ids)
            stage, _, number = name.partition(".")
            if not number:
                continue
            row = builder.executor(sample.transcript, int(stage), int(number), "work\n")
            assert row.ids[: len(prompt)] == prompt
            assert row.kinds.index(EXECUTION) == len(prompt)
            compared += 1
    assert compared > 10


def test_only_what_is_generated_is_learned(packed: list[Packed], reader: FileTokenizer) -> None:
    trajectory = packed[1]
    sample = run_sample(trajectory, DATA, len, 0)
    row = RowBuilder(reader).planner(sample.transcript)
    learned = reader.decode([i for i, w in zip(row.ids, row.kinds, strict=True) if w])
    stages = enumerate(sample.transcript.stages, 1)
    # The last plan was cut off: its closing tag was never written.
    turns = [s.turn + (f"</Plan_{k}>" if s.turn.endswith("\n") else "") for k, s in stages]
    assert turns[-1].endswith("</prompt_1.6>")
    assert learned == "".join(turns) + sample.transcript.answer + "</Final_answer>"
    text = trajectory.stages[0][2].execution
    execution = RowBuilder(reader).executor(sample.transcript, 1, 2, text)
    learned = reader.decode([i for i, w in zip(execution.ids, execution.kinds, strict=True) if w])
    assert learned == text + "</execution_1.2>"


def test_decisions_are_told_apart_by_kind(reader: FileTokenizer) -> None:
    packed = next(iter(trajectories(CountdownData(spaces=SMALL, trajectories=1), "train")))
    row = RowBuilder(reader, [" yes", "(?<=Answer: ).*"]).planner(rft_sample(packed).transcript)

    def of_kind(kind: int) -> str:
        return reader.decode([i for i, k in zip(row.ids, row.kinds, strict=True) if k == kind])

    assert of_kind(DECISION) == " yes.\n"
    answer = packed.annotated.trajectory.answer
    assert of_kind(DECISION + 1).endswith(f"\\boxed{{{answer}}}\n")


@settings(max_examples=50, deadline=None)
@given(st.text(alphabet="ab<>/_P1\n", max_size=30))
def test_a_stop_is_learned_up_to_its_last_character_and_no_further(text: str) -> None:
    transcript = Transcript("q", (StageText(f"<Plan_1>\n{text}\n", ()),), "a\n")
    row = RowBuilder(CharTokenizer()).planner(transcript)
    learned = "".join(chr(i) for i, w in zip(row.ids, row.kinds, strict=True) if w)
    assert learned == f"<Plan_1>\n{text}\n</Plan_a\n</Final_answer>"
