"""How a scripted reply becomes a server's answer: stops, lengths and incomplete characters."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from sprint_agent.testing import CharTokenizer, Reply
from sprint_agent.testing.fault_server.answers import Ending, Model, ParsedRequest

END = 3


class Bytes(CharTokenizer):
    """One id for each byte of UTF-8."""

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(ids).decode(errors="replace")


def model(context_length: int | None = None) -> Model:
    return Model("m", Bytes(), END, context_length, cached_tokens=2)


def test_the_end_id_is_sampled_and_is_not_text() -> None:
    answer = model().answer(ParsedRequest("r", (65,)), Reply("ab"), 9)
    assert (answer.ids, answer.text_tokens, answer.text) == ((97, 98, END), 2, "ab")
    assert answer.ending == Ending("stop", END)
    assert answer.cached_tokens == 1


def test_the_stop_that_is_complete_first_ends_the_answer() -> None:
    request = ParsedRequest("r", (65,), stops=("bcd", "c"))
    answer = model().answer(request, Reply("abcde"), 9)
    assert (answer.text, len(answer.ids), answer.ending) == ("ab", 3, Ending("stop", "c"))


def test_the_request_bounds_the_answer_and_the_server_does_so_by_default() -> None:
    assert model().answer(ParsedRequest("r", (65,), max_tokens=2), Reply("abcd"), 9).text == "ab"
    assert model().answer(ParsedRequest("r", (65,)), Reply("abcd"), 3).text == "abc"
    assert model(3).answer(ParsedRequest("r", (65,)), Reply("abcd"), 9).text == "ab"


def test_an_incomplete_character_waits_for_its_last_id() -> None:
    answer = model().answer(ParsedRequest("r", (65,)), Reply("a€b"), 9)
    assert [answer.text_at(count) for count in range(6)] == ["", "a", "a", "a", "a€", "a€b"]
    assert answer.piece(1, 4) == "€"


def test_a_content_filter_shortens_the_answer() -> None:
    answer = model().answer(ParsedRequest("r", (65,)), Reply("abcd"), 9).filtered(2)
    assert (answer.text, answer.text_tokens, answer.ending.kind) == ("ab", 2, "content_filter")


@pytest.mark.parametrize(
    ("length", "max_tokens", "problem"),
    [(4, None, None), (4, 6, None), (4, 7, "total of 11"), (10, None, "longer than the model's")],
)
def test_requests_that_exceed_the_context_are_refused(
    length: int, max_tokens: int | None, problem: str | None
) -> None:
    found = model(10).problem(ParsedRequest("r", (65,) * length, max_tokens=max_tokens))
    assert (found is None) if problem is None else (problem in (found or ""))


def test_ids_outside_the_vocabulary_are_unknown() -> None:
    vocabulary = Bytes.vocab_size
    assert model().knows(ParsedRequest("r", (0, vocabulary - 1)))
    assert not model().knows(ParsedRequest("r", (vocabulary,)))
    assert not model().knows(ParsedRequest("r", (-1,)))
