"""Answers that no server should give: each drops its trajectory, and none ends the run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from curate.annotate import prompts, replies
from curate.candidate import Candidate
from curate.drops import Dropped, Reason
from curate.llm.endpoint import Message
from curate.llm.wire import Completion, read_completion
from curate.pack.stages import Packed
from curate.pipeline import DroppedRecord, Outcome
from curate.spool import Spool
from curate.trajectory import Annotated, Component, Trajectory
from sprint_agent.testing import FaultServer, Status
from tests.unit.curate.llm_kit import asking, query

GIVEN = Trajectory("What?", "One. Two. ", "7")
STEP = {"description": "all", "plan": "1-2", "prompt": "", "execution": "", "comment": ""}
HALF = "\ud800"
LONG = "9" * 5000


def steps(**changes: str) -> str:
    return json.dumps({"components": [STEP | changes]})


def outcome(answer: str) -> Outcome:
    """What becomes of a trajectory by an answer."""
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
        steps(description=HALF),
        steps(plan="1", prompt=f"Do {HALF}", execution="2"),
        json.dumps({"components": [STEP], HALF: 1}),
        json.dumps({"components": HALF}),
        f'{{"components": [{LONG}]}}',
    ],
)
def test_one_that_cannot_be_kept_is_malformed(answer: str, tmp_path: Path) -> None:
    found = outcome(answer)
    assert found.dropped
    assert found.dropped.reason is Reason.MALFORMED
    with Spool(tmp_path) as spool:
        spool.write(found)
        assert list(spool.read()) == [found]


def test_of_the_other_questions_too() -> None:
    with pytest.raises(Dropped, match="unpaired surrogate"):
        replies.with_parents(
            json.dumps({"components": [{"number": HALF, "parents": []}]}), (Component(1),)
        )
    stages = ((Component(1), Component(2)),)
    with pytest.raises(Dropped, match="unpaired surrogate"):
        replies.leaks(json.dumps({"uses": [{"component": 2, "of": 1, "value": HALF}]}), stages)


def test_half_a_character_around_an_answer_is_passed_over() -> None:
    assert outcome(f"{HALF} {steps()}").candidate


def test_one_with_half_a_character_goes_back_to_the_model_without() -> None:
    again = prompts.again(query(), f"so {HALF}", "no JSON")
    assert again.messages[-2] == Message("assistant", "so ?")


def test_what_a_model_refuses_with_can_be_kept(tmp_path: Path) -> None:
    with pytest.raises(Dropped) as caught:
        Completion("", "stop", f"I will not {HALF}").complete_text()
    assert caught.value.detail == "I will not ?"
    with Spool(tmp_path) as spool:
        spool.write(Outcome(0, None, DroppedRecord.of(GIVEN, "annotate", caught.value)))


@pytest.mark.anyio
async def test_what_a_server_rejects_with_can_be_kept() -> None:
    words = json.dumps({"error": {"message": f"no {HALF}"}}).encode()
    async with FaultServer(lambda _: "{}") as server, asking(server) as asker:
        await asker.ask("heard")
        server.fail(Status(400, body=words))
        with pytest.raises(Dropped) as caught:
            await asker.ask()
    assert caught.value.detail.endswith("no ?")


@pytest.mark.parametrize("tokens", [-1, 10**30])
def test_a_usage_that_cannot_be_is_none(tokens: int) -> None:
    choice = {"finish_reason": "stop", "message": {"content": "so"}}
    usage = {"prompt_tokens": tokens, "completion_tokens": 1}
    said = read_completion(json.dumps({"choices": [choice], "usage": usage}))
    assert said == Completion("so", "stop")
