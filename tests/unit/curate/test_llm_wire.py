"""The requests to a chat endpoint, the keys of kept answers, and the reading of responses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from curate.drops import Dropped, Reason
from curate.llm.endpoint import Message
from curate.llm.wire import Completion, body, cache_key, prompt_bound, read_completion
from sprint_agent.engine import TokenUsage
from sprint_agent.engines.openai.wire import ServerQuirks
from tests.unit.curate.llm_kit import query


def response(finish: object = "stop", usage: object = None, **message: object) -> str:
    fields: dict[str, Any] = {"choices": [{"finish_reason": finish, "message": message}]}
    return json.dumps(fields | ({} if usage is None else {"usage": usage}))


class TestBody:
    def test_a_refused_parameter_is_left_out(self) -> None:
        quirks = ServerQuirks(refuses=frozenset({"temperature", "response_format"}))
        assert body(query(), "m", 9, quirks).keys() == {"model", "messages", "max_tokens"}

    def test_a_refused_max_tokens_is_sent_by_its_newer_name(self) -> None:
        fields = body(query(), "m", 9, ServerQuirks(refuses=frozenset({"max_tokens"})))
        assert "max_tokens" not in fields
        assert fields["max_completion_tokens"] == 9

    def test_no_prompt_has_more_tokens_than_its_bound(self) -> None:
        text = "☃ and \ud800"
        fields = body(query(text), "m", 9, ServerQuirks())
        assert prompt_bound(fields) > len(text.encode("utf-8", "surrogatepass"))


class TestCacheKey:
    def test_the_subject_and_the_attempt_are_not_part_of_it(self) -> None:
        assert cache_key(query(), "m", 9) == cache_key(query(subject="t", attempt=2), "m", 9)

    @pytest.mark.parametrize(
        "change",
        [
            {"version": "2"},
            {"kind": "leaks"},
            {"schema": {}},
            {"messages": (Message("user", "be exact"), Message("user", "Q"))},
        ],
    )
    def test_everything_that_the_model_sees_is(self, change: dict[str, Any]) -> None:
        assert cache_key(query(), "m", 9) != cache_key(query(**change), "m", 9)

    def test_so_are_the_model_and_the_length(self) -> None:
        keys = {cache_key(query(), model, most) for model in "mn" for most in (8, 9)}
        assert len(keys) == 4


class TestReadCompletion:
    def test_a_complete_answer(self) -> None:
        usage = {
            "prompt_tokens": 3,
            "completion_tokens": 1,
            "prompt_tokens_details": {"cached_tokens": 2},
        }
        found = read_completion(response(usage=usage, content="so"))
        assert found == Completion("so", "stop", "", TokenUsage(3, 1, 2))
        assert found.complete_text() == "so"

    @pytest.mark.parametrize(
        ("usage", "wanted"),
        [
            # xAI counts the reasoning in the total alone, Gemini does not report it at all.
            (
                {
                    "total_tokens": 135,
                    "prompt_tokens": 32,
                    "completion_tokens": 9,
                    "completion_tokens_details": {"reasoning_tokens": 94},
                },
                TokenUsage(32, 103),
            ),
            (
                {"total_tokens": 1000, "prompt_tokens": 32, "completion_tokens": 9},
                TokenUsage(32, 968),
            ),
            (
                {"prompt_tokens": 32, "completion_tokens": 9, "reasoning_tokens": 94},
                TokenUsage(32, 103),
            ),
            # OpenAI's completion tokens contain it.
            (
                {
                    "total_tokens": 132,
                    "prompt_tokens": 32,
                    "completion_tokens": 100,
                    "completion_tokens_details": {"reasoning_tokens": 94},
                },
                TokenUsage(32, 100),
            ),
            # A server's numbers are never below what was seen, nor impossible.
            ({"prompt_tokens": 3, "completion_tokens": 0}, TokenUsage(3, 4)),
            (
                {
                    "prompt_tokens": 3,
                    "completion_tokens": 9,
                    "prompt_tokens_details": {"cached_tokens": 7},
                },
                TokenUsage(3, 9, 3),
            ),
            ({"prompt_tokens": 0, "completion_tokens": 0}, None),
            ({"prompt_tokens": -3, "completion_tokens": 9}, None),
            ({"prompt_tokens": 3, "completion_tokens": -9}, None),
            (
                {
                    "prompt_tokens": 3,
                    "completion_tokens": 9,
                    "prompt_tokens_details": {"cached_tokens": -7},
                },
                TokenUsage(3, 9),
            ),
            (
                {"prompt_tokens": 3, "completion_tokens": 9, "total_tokens": 10**30},
                None,
            ),
        ],
    )
    def test_the_usage_is_never_less_than_what_is_charged(
        self, usage: dict[str, Any], wanted: TokenUsage | None
    ) -> None:
        found = read_completion(response(usage=usage, content="four words were written"))
        assert found.usage == wanted

    @pytest.mark.parametrize(
        ("finish", "kind"),
        [
            ("eos", "stop"),
            ("STOP", "stop"),
            ("end_turn", "stop"),
            ("stop_sequence", "stop"),
            ("MAX_TOKENS", "length"),
            ("model_length", "length"),
            ("SAFETY", "content_filter"),
        ],
    )
    def test_servers_have_their_own_words_for_the_end(self, finish: str, kind: str) -> None:
        assert read_completion(response(finish, content="so")).finish == kind

    def test_content_in_parts(self) -> None:
        parts = [{"type": "thinking", "thinking": "{}"}, {"type": "text", "text": "so"}]
        assert read_completion(response(content=parts)).text == "so"

    def test_a_missing_text_is_empty(self) -> None:
        assert read_completion(response(content=None)) == Completion("", "stop")

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("{", "Expecting"),
            ("[]", "not a JSON object"),
            ('{"choices": []}', "no choices"),
            (response("tool_calls", content="so"), "finish reason is 'tool_calls'"),
            (response(None, content="so"), "finish reason is None"),
            (response("network_error", content="so"), "finish reason is 'network_error'"),
            ('{"choices": ' + "[" * 100_000, "nested too deeply"),
            (response(content=["so"]), "not a JSON object"),
            (response(content=7), "content is not a string"),
            (response(content="", refusal=7), "refusal is not a string"),
        ],
    )
    def test_anything_else_is_refused(self, text: str, problem: str) -> None:
        with pytest.raises(ValueError, match=problem):
            read_completion(text)

    @pytest.mark.parametrize(
        ("completion", "reason", "detail"),
        [
            (Completion("so", "length"), Reason.TRUNCATED, "cut off after 2 characters"),
            (Completion("", "stop", "I will not"), Reason.REFUSED, "I will not"),
            (Completion("so", "content_filter"), Reason.REFUSED, "content filter"),
        ],
    )
    def test_an_incomplete_answer_is_dropped(
        self, completion: Completion, reason: Reason, detail: str
    ) -> None:
        with pytest.raises(Dropped, match=detail) as caught:
            completion.complete_text()
        assert caught.value.reason is reason
