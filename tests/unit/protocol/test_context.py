"""Contexts: what was generated is never tokenized again."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprint_agent.engine import Delta
from sprint_agent.protocol.context import Context, GeneratedText, Snapshot, replace_surrogates
from sprint_agent.testing import CharTokenizer

WORDS = ["", "a", "b", "c", "ab", "abc", "é", "日"]
"""The texts of the ids of `Greedy`. Id 0 has no text."""


class Greedy:
    """Has several ways to write a text as ids, and takes the longest words, as a real tokenizer does."""

    vocab_size = len(WORDS)

    def encode(self, text: str) -> list[int]:
        ids: list[int] = []
        while text:
            word = max((w for w in WORDS if w and text.startswith(w)), key=len)
            ids.append(WORDS.index(word))
            text = text[len(word) :]
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(WORDS[token] for token in ids)


A, B, C, AB, ABC = (WORDS.index(word) for word in ("a", "b", "c", "ab", "abc"))


def generated(*deltas: tuple[int, ...]) -> GeneratedText:
    text = GeneratedText(Greedy())
    for ids in deltas:
        text.extend(Delta(Greedy().decode(ids), ids))
    return text


class TestReplaceSurrogates:
    @pytest.mark.parametrize("text", ["", "plain", "日本", "😀"])
    def test_other_text_is_kept(self, text: str) -> None:
        assert replace_surrogates(text) == text

    def test_half_a_character_is_replaced(self) -> None:
        assert replace_surrogates("a\ud83db") == "a?b"
        assert replace_surrogates("a\ude00") == "a?"


class TestContext:
    def test_glue_is_tokenized_piece_by_piece(self) -> None:
        context = Context(Greedy())
        context.append("a")
        context.append("bc")
        assert context.snapshot() == Snapshot("abc", (A, B, C))

    def test_generated_text_keeps_its_ids(self) -> None:
        context = Context(Greedy())
        context.append("ab")
        context.append_generated("ab", [A, B])
        context.append("c")
        assert context.snapshot() == Snapshot("ababc", (AB, A, B, C))
        assert len(context) == 4

    def test_a_snapshot_does_not_change(self) -> None:
        context = Context(Greedy())
        context.append("a")
        before = context.snapshot()
        context.append("b")
        assert before == Snapshot("a", (A,))

    def test_a_context_goes_on_from_a_snapshot(self) -> None:
        start = Snapshot("ab", (A, B))
        context = Context(Greedy(), start)
        assert context.snapshot() == start
        assert len(context) == 2
        context.append("c")
        assert context.snapshot() == Snapshot("abc", (A, B, C))
        assert start == Snapshot("ab", (A, B))

    def test_a_context_that_is_continued_has_one_beginning(self) -> None:
        class WithBos(Greedy):
            bos_ids = (AB,)

        first = Context(WithBos())
        assert first.snapshot() == Snapshot("", (AB,))
        first.append("a")
        for start in (first.snapshot(), Snapshot("a", (A,)), Snapshot("", ())):
            assert Context(WithBos(), start).snapshot() == start

    def test_an_engine_without_ids_gets_text(self) -> None:
        context = Context(None, Snapshot("a", None))
        context.append("b")
        context.append_generated("c", ())
        assert context.snapshot() == Snapshot("abc", None)
        assert len(context) == 0

    def test_a_request_carries_ids_or_text(self) -> None:
        assert Snapshot("ab", (A, B)).prompt == (A, B)
        assert Snapshot("", ()).prompt == ()
        assert Snapshot("ab", None).prompt == "ab"

    def test_a_new_context_is_empty(self) -> None:
        assert Context(Greedy()).snapshot() == Snapshot("", ())
        assert Context(None).snapshot() == Snapshot("", None)


class TestGeneratedText:
    def test_its_length_is_in_characters(self) -> None:
        assert len(generated()) == 0
        assert len(generated((ABC, A), (), (AB,))) == 6

    def test_all_of_it_are_the_ids_that_were_generated(self) -> None:
        text = generated((A, B), (C,), (AB, C))
        assert text.prefix(len(text)) == ("abcabc", (A, B, C, AB, C))
        assert text.prefix(99) == ("abcabc", (A, B, C, AB, C))

    def test_nothing_of_it_is_nothing(self) -> None:
        assert generated().prefix(0) == ("", ())
        assert generated((A, B), (C,)).prefix(0) == ("", ())

    def test_a_prefix_that_ends_with_a_delta_keeps_its_ids(self) -> None:
        assert generated((A, B), (C,)).prefix(2) == ("ab", (A, B))

    def test_a_prefix_that_ends_with_an_id_keeps_its_ids(self) -> None:
        """`Greedy` would write all of these in another way."""
        assert generated((A, B, C)).prefix(2) == ("ab", (A, B))
        assert generated((A, B, C, A)).prefix(3) == ("abc", (A, B, C))
        assert generated((C,), (A, B, C, A), (A,)).prefix(4) == ("cabc", (C, A, B, C))

    def test_only_the_id_that_is_cut_is_tokenized_again(self) -> None:
        assert generated((A, B, ABC)).prefix(4) == ("abab", (A, B, AB))
        assert generated((C,), (A, B, ABC)).prefix(4) == ("caba", (C, A, B, A))
        assert generated((ABC, A)).prefix(2) == ("ab", (AB,))
        assert generated((A,), (ABC, A)).prefix(2) == ("aa", (A, A))

    def test_ids_without_a_text_go_with_what_precedes_them(self) -> None:
        assert generated((A, 0, B)).prefix(1) == ("a", (A, 0))
        assert generated((A,), (0,), (B,)).prefix(1) == ("a", (A, 0))
        assert generated((0, A)).prefix(0) == ("", ())

    def test_an_engine_without_ids_has_no_ids_in_a_prefix(self) -> None:
        text = GeneratedText(None)
        text.extend(Delta("abc"))
        text.extend(Delta("def"))
        assert text.prefix(2) == ("ab", ())
        assert text.prefix(3) == ("abc", ())
        assert text.prefix(5) == ("abcde", ())

    def test_text_without_ids_is_tokenized(self) -> None:
        text = GeneratedText(Greedy())
        text.extend(Delta("abc"))
        assert text.prefix(2) == ("ab", (AB,))

    def test_ids_that_decode_to_another_text_on_their_own_are_tokenized_again(self) -> None:
        """Some tokenizers drop a space at the beginning of what they decode."""
        words = ["", " a", "b", " ab"]

        class DropsSpace:
            vocab_size = len(words)

            def encode(self, text: str) -> list[int]:
                return [words.index(text)] if text else []

            def decode(self, ids: Sequence[int]) -> str:
                return "".join(words[token] for token in ids).lstrip()

        text = GeneratedText(DropsSpace())
        text.extend(Delta(" abb", (1, 2, 2)))
        assert text.prefix(3) == (" ab", (3,))

    def test_the_ids_of_a_character_are_kept_together(self) -> None:

        class Bytes:
            vocab_size = 256

            def encode(self, text: str) -> list[int]:
                return list(text.encode())

            def decode(self, ids: Sequence[int]) -> str:
                return bytes(ids).decode(errors="replace")

        text = GeneratedText(Bytes())
        text.extend(Delta("é日", tuple("é日".encode())))
        assert text.prefix(1) == ("é", tuple("é".encode()))


@given(
    st.lists(st.lists(st.integers(0, len(WORDS) - 1), max_size=4).map(tuple), max_size=5),
    st.integers(0, 60),
)
def test_a_prefix_is_exact(deltas: list[tuple[int, ...]], offset: int) -> None:
    text = generated(*deltas)
    ids = [token for delta in deltas for token in delta]
    prefix, prefix_ids = text.prefix(offset)
    assert prefix == Greedy().decode(ids)[:offset]
    assert Greedy().decode(prefix_ids) == prefix
    # The least number of ids that contain all ids whose text ends before the offset.
    kept = max(n for n in range(len(ids) + 1) if len(Greedy().decode(ids[:n])) <= offset)
    while kept and ids[kept - 1] == 0:
        kept -= 1
    assert prefix_ids[:kept] == tuple(ids[:kept])


@given(st.lists(st.text(max_size=4), max_size=6), st.integers(0, 30))
def test_a_prefix_of_characters_is_exact(texts: list[str], offset: int) -> None:
    text = GeneratedText(CharTokenizer())
    for piece in texts:
        text.extend(Delta(piece, tuple(map(ord, piece))))
    expected = "".join(texts)[:offset]
    assert text.prefix(offset) == (expected, tuple(map(ord, expected)))
