"""Answers that no server should give. Each drops its trajectory, and none ends the run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from curate.annotate import prompts, replies
from curate.candidate import Candidate
from curate.drops import Dropped, DroppedRecord, Reason
from curate.llm.endpoint import Message
from curate.llm.wire import Completion, read_completion
from curate.pack.stages import Packed
from curate.pipeline import Outcome, ReorderBuffer
from curate.trajectory import Annotated, Component, Trajectory
from sprint_agent.testing import FaultServer, Status
from tests.unit.curate.llm_kit import asking, query

GIVEN = Trajectory("What?", "One. Two. ", "7")
STEP = {"description": "all", "plan": "1-2", "prompt": "", "execution": "", "comment": ""}
SURROGATE = "\ud800"
LONG = "9" * 5000


def steps(**changes: str) -> str:
    return json.dumps({"components": [STEP | changes]})


def outcome(answer: str) -> Outcome:
    """Returns the outcome of a trajectory with this answer."""
    try:
        found = replies.components(answer, ("One. ", "Two. "))
    except Dropped as why:
        return Outcome(0, None, DroppedRecord.of(GIVEN, "annotate", why))
    return Outcome(0, Candidate(Packed(Annotated(GIVEN, found), ())), None)


@pytest.mark.parametrize(
    "answer",
    [
        steps(plan=f"1-{LONG}"),
        steps(plan=LONG),
        steps(plan=f"1, {LONG}-{LONG}"),
        steps(description=SURROGATE),
        steps(plan="1", prompt=f"Do {SURROGATE}", execution="2"),
        json.dumps({"components": [STEP], SURROGATE: 1}),
        json.dumps({"components": SURROGATE}),
        f'{{"components": [{LONG}]}}',
    ],
)
def test_an_answer_that_cannot_be_stored_is_malformed(answer: str, tmp_path: Path) -> None:
    found = outcome(answer)
    assert found.dropped
    assert found.dropped.reason is Reason.MALFORMED
    with ReorderBuffer(tmp_path) as buffer:
        buffer.write(found)
        assert list(buffer.read()) == [found]


def test_an_unpaired_surrogate_in_the_other_answers_is_malformed() -> None:
    with pytest.raises(Dropped, match="unpaired surrogate"):
        replies.with_parents(
            json.dumps({"components": [{"number": SURROGATE, "parents": []}]}), (Component(1),)
        )
    stages = ((Component(1), Component(2)),)
    with pytest.raises(Dropped, match="unpaired surrogate"):
        replies.leaks(json.dumps({"uses": [{"component": 2, "of": 1, "value": SURROGATE}]}), stages)


def test_an_unpaired_surrogate_outside_the_json_is_ignored() -> None:
    assert outcome(f"{SURROGATE} {steps()}").candidate


def test_a_surrogate_is_replaced_when_the_answer_goes_back_to_the_model() -> None:
    again = prompts.again(query(), f"so {SURROGATE}", "no JSON")
    assert again.messages[-2] == Message("assistant", "so ?")


def test_a_refusal_with_a_surrogate_can_be_stored(tmp_path: Path) -> None:
    with pytest.raises(Dropped) as caught:
        Completion("", "stop", f"I will not {SURROGATE}").complete_text()
    assert caught.value.detail == "I will not ?"
    with ReorderBuffer(tmp_path) as buffer:
        buffer.write(Outcome(0, None, DroppedRecord.of(GIVEN, "annotate", caught.value)))


@pytest.mark.anyio
async def test_a_servers_message_with_a_surrogate_can_be_stored() -> None:
    body = json.dumps({"error": {"message": f"no {SURROGATE}"}}).encode()
    async with FaultServer(lambda _: "{}") as server, asking(server) as asker:
        await asker.ask("answered")
        server.fail(Status(400, body=body))
        with pytest.raises(Dropped) as caught:
            await asker.ask()
    assert caught.value.detail.endswith("no ?")


@pytest.mark.parametrize("tokens", [-1, 10**30])
def test_an_impossible_usage_is_ignored(tokens: int) -> None:
    choice = {"finish_reason": "stop", "message": {"content": "so"}}
    usage = {"prompt_tokens": tokens, "completion_tokens": 1}
    completion = read_completion(json.dumps({"choices": [choice], "usage": usage}))
    assert completion == Completion("so", "stop")
