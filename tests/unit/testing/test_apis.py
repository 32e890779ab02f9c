"""The dialects of a FaultServer: parsed requests, and the events of an answer."""

from __future__ import annotations

import pytest

from sprint_agent.testing import CharTokenizer, Reply
from sprint_agent.testing.fault_server.answers import ABORTED, Answer, Model, ParsedRequest
from sprint_agent.testing.fault_server.apis import (
    ApiDialect,
    ChatDialect,
    CompletionDialect,
    Json,
    SGLangDialect,
    self_description,
)

TOKENIZER = CharTokenizer()
MODEL = Model("m", TOKENIZER, 3, 100, 0)
DIALECTS: list[tuple[ApiDialect, Json]] = [
    (SGLangDialect(False), {"text": "hi", "sampling_params": {"max_new_tokens": 5, "stop": "x"}}),
    (CompletionDialect(), {"prompt": "hi", "max_tokens": 5, "stop": ["x"]}),
    (CompletionDialect(), {"prompt": [[104, 105]], "max_tokens": 5, "stop": ["x", ""]}),
]


def answer(**more: object) -> Answer:
    request = ParsedRequest("r", (65,), **more)  # type: ignore[arg-type]
    return MODEL.answer(request, Reply("ab"), 9)


@pytest.mark.parametrize(("dialect", "body"), DIALECTS)
def test_every_dialect_parses_the_same_request(dialect: ApiDialect, body: Json) -> None:
    request = dialect.read(body, TOKENIZER)
    assert (request.prompt, request.max_tokens, request.stops) == ((104, 105), 5, ("x",))
    assert not request.stream
    assert request.rid


def test_the_messages_of_a_chat_are_joined() -> None:
    messages = [{"role": "system", "content": "be"}, {"role": "user", "content": "hi"}]
    request = ChatDialect().read({"messages": messages, "stream": True}, TOKENIZER)
    assert request.text == "system: be\n\nuser: hi"
    assert request.stream


@pytest.mark.parametrize(
    ("dialect", "body", "problem"),
    [
        (SGLangDialect(False), {"text": "a", "sampling_params": {"best_of": 2}}, "best_of"),
        (CompletionDialect(), {"prompt": 3}, "neither text nor a list of ids"),
        (CompletionDialect(), {"prompt": "a", "n": 2}, "n must be 1"),
        (CompletionDialect(), {"prompt": "a", "max_tokens": 0}, "not a positive number"),
        (ChatDialect(), {"messages": []}, "must be a list of messages"),
    ],
)
def test_other_requests_are_refused(dialect: ApiDialect, body: Json, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        dialect.read(body, TOKENIZER)


def test_sglang_events_are_cumulative_or_incremental() -> None:
    (cumulative,) = SGLangDialect(False).events(answer(), 1, 2, None)
    (incremental,) = SGLangDialect(True).events(answer(), 1, 2, None)
    assert (cumulative["text"], incremental["text"]) == ("ab", "b")
    assert cumulative["meta_info"] == incremental["meta_info"]


def test_the_last_openai_event_has_the_usage_if_requested() -> None:
    *_, last = CompletionDialect().events(answer(wants_usage=True), 2, 3, answer().ending)
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 3
    (only,) = CompletionDialect().events(answer(), 2, 3, answer().ending)
    assert "usage" not in only


def test_an_aborted_answer_has_its_reason() -> None:
    (event,) = SGLangDialect(False).events(answer(), 1, 1, ABORTED)
    assert event["meta_info"]["finish_reason"]["type"] == "abort"


def test_a_server_describes_itself_on_known_paths_only() -> None:
    assert (self_description("/server_info", MODEL, True) or {})["max_req_input_len"] == 100
    assert self_description("/metrics", MODEL, True) is None
