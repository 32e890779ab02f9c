"""Decoding ids and finding stops, for any cuts of the ids, any text and any stop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sprint_agent.engine import Delta
from sprint_agent.engines.stops import AnswerReader, TextReader

PIECES = (
    [bytes([byte]) for byte in range(256)]
    + [
        piece.encode() if isinstance(piece, str) else piece
        for piece in ("ab", "abc", "</", "</p", "p>", "</p>", "x</p>y", "é", "€", "a€", "😀", "€<")
    ]
    + [b"\xe2\x82", b"\xacb", b"\x9f\x98", b"\x80\xf0\x9f", b""]
)


class ByteTokenizer:
    """Ids are byte strings, as in byte-level BPE, so a character may consist of several ids."""

    def __init__(self) -> None:
        self.decoded = 0

    @property
    def vocab_size(self) -> int:
        return len(PIECES)

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, ids: Sequence[int]) -> str:
        self.decoded += len(ids)
        return b"".join(PIECES[token] for token in ids).decode(errors="replace")


def tokenized(text: str, cut: Sequence[int]) -> list[int]:
    """Returns a tokenization of `text`. At each position, `cut` chooses one of the matching pieces."""
    data = text.encode()
    ids: list[int] = []
    position = 0
    while position < len(data):
        matching = [
            n for n, piece in enumerate(PIECES) if piece and data.startswith(piece, position)
        ]
        ids.append(matching[cut[len(ids) % len(cut)] % len(matching)])
        position += len(PIECES[ids[-1]])
    return ids


def chunked(ids: Sequence[Any], sizes: Sequence[int]) -> list[Any]:
    chunks: list[Any] = []
    position = 0
    while position < len(ids):
        size = sizes[len(chunks) % len(sizes)]
        chunks.append(ids[position : position + size])
        position += size
    return chunks


def read(chunks: Sequence[Sequence[int]], stops: Sequence[str]) -> tuple[list[Delta], str | None]:
    reader = AnswerReader(ByteTokenizer(), stops)
    deltas = [reader.feed(chunk) for chunk in chunks]
    deltas.append(reader.flush())
    return [delta for delta in deltas if delta is not None], reader.stop


def text_of(deltas: Sequence[Delta]) -> str:
    return "".join(delta.text for delta in deltas)


def ids_of(deltas: Sequence[Delta]) -> list[int]:
    return [token for delta in deltas for token in delta.ids]


def cut_by_characters(text: str, stops: Sequence[str]) -> tuple[str, str | None]:
    """The definition of the answer: characters are added one by one until a stop is complete."""
    for end in range(1, len(text) + 1):
        complete = [stop for stop in stops if text[:end].endswith(stop)]
        if complete:
            stop = max(complete, key=len)
            return text[: end - len(stop)], stop
    return text, None


texts = st.text(alphabet="abp</>x€é😀", max_size=30)
stop_lists = st.lists(st.text(alphabet="abp</>x€é", min_size=1, max_size=5), max_size=3)
cuts = st.lists(st.integers(0, 7), min_size=1, max_size=8)
sizes = st.lists(st.integers(1, 5), min_size=1, max_size=5)
any_ids = st.lists(st.integers(0, len(PIECES) - 1), max_size=40)


@given(texts, stop_lists, cuts, sizes)
def test_an_answer_ends_where_its_first_stop_begins(
    text: str, stops: list[str], cut: list[int], size: list[int]
) -> None:
    deltas, stop = read(chunked(tokenized(text, cut), size), stops)
    assert (text_of(deltas), stop) == cut_by_characters(text, stops)


@given(texts, stop_lists, sizes)
def test_a_text_ends_where_its_first_stop_begins(
    text: str, stops: list[str], size: list[int]
) -> None:
    reader = TextReader(stops)
    pieces = [reader.feed(piece) for piece in chunked(text, size)]
    assert ("".join([*pieces, reader.flush()]), reader.stop) == cut_by_characters(text, stops)


def test_only_text_that_may_begin_a_stop_is_held_back() -> None:
    reader = TextReader(["</p>", "<x>"])
    assert [reader.feed(piece) for piece in ("a<", "/", "b</p", "<x")] == ["a", "", "</b", "</p"]
    assert (reader.feed(">c"), reader.stop) == ("", "<x>")
    assert (reader.feed("d"), reader.flush()) == ("", "")


@given(texts, stop_lists, cuts, sizes)
def test_ids_decode_to_the_text_at_the_end_of_each_delta(
    text: str, stops: list[str], cut: list[int], size: list[int]
) -> None:
    deltas, _ = read(chunked(tokenized(text, cut), size), stops)
    for count in range(1, len(deltas) + 1):
        assert ByteTokenizer().decode(ids_of(deltas[:count])) == text_of(deltas[:count])


@given(any_ids, stop_lists, sizes)
@example([0xE2, 0x82, 0xE2, 0x82, 0xFF, 0xFF, 0xFF, 0xFF, 0xE2, 0x82, 0xAC], [], [2])
def test_cuts_do_not_matter_even_for_invalid_utf_8(
    ids: list[int], stops: list[str], size: list[int]
) -> None:
    one_by_one, stop = read([[token] for token in ids], stops)
    in_chunks, stop_in_chunks = read(chunked(ids, size), stops)
    assert text_of(in_chunks) == text_of(one_by_one)
    assert ids_of(in_chunks) == ids_of(one_by_one)
    assert stop_in_chunks == stop


# The example has four unfinished ids, and the first ends in the middle of a character.
@given(any_ids, sizes)
@example([0xF0, PIECES.index(b"\x9f\x98"), PIECES.index(b"\x80\xf0\x9f"), 0xFF], [1])
def test_without_stops_all_ids_and_characters_are_returned(ids: list[int], size: list[int]) -> None:
    deltas, stop = read(chunked(ids, size), [])
    assert stop is None
    assert ids_of(deltas) == ids
    assert text_of(deltas) == ByteTokenizer().decode(ids)


@given(any_ids, stop_lists, sizes)
def test_no_stop_is_ever_shown(ids: list[int], stops: list[str], size: list[int]) -> None:
    deltas, _ = read(chunked(ids, size), stops)
    for stop in stops:
        assert stop not in text_of(deltas)


def test_ids_before_the_stop_are_the_sampled_ones() -> None:
    # "ab" + "</p" + "p>": the stop "</pp" begins at an id, so "ab" keeps its own id.
    ids = [PIECES.index(piece) for piece in (b"ab", b"</p", b"p>")]
    assert read([ids], ["</pp"]) == ([Delta("ab", (PIECES.index(b"ab"),))], "</pp")


@pytest.mark.parametrize(
    ("stops", "text", "stop"), [(["p>", "</"], "x", "</"), (["/p", "</p"], "x", "</p")]
)
def test_the_first_stop_to_be_complete_in_one_id_counts(
    stops: list[str], text: str, stop: str
) -> None:
    deltas, stop_found = read([[PIECES.index(b"x</p>y")]], stops)
    assert (text_of(deltas), stop_found) == (text, stop)


def test_text_that_shares_an_id_with_the_stop_is_encoded_again() -> None:
    ids = [PIECES.index(b"ab"), PIECES.index(b"x</p>y")]
    assert read([ids], ["</p>"]) == ([Delta("abx", (PIECES.index(b"ab"), ord("x")))], "</p>")


def test_text_is_returned_as_soon_as_no_stop_can_begin_in_it() -> None:
    reader = AnswerReader(ByteTokenizer(), ["</p>"])
    assert reader.feed([ord("a")]) == Delta("a", (ord("a"),))
    assert reader.feed([PIECES.index(b"</")]) is None
    assert reader.feed([ord("b")]) == Delta("</b", (PIECES.index(b"</"), ord("b")))
    assert reader.flush() is None


def test_an_unfinished_character_waits_for_its_last_byte() -> None:
    reader = AnswerReader(ByteTokenizer())
    assert [reader.feed([byte]) for byte in "€".encode()] == [
        None,
        None,
        Delta("€", tuple("€".encode())),
    ]


def test_bytes_that_are_not_a_character_do_not_wait_for_ever() -> None:
    reader = AnswerReader(ByteTokenizer())
    deltas = [reader.feed([0xFF]) for _ in range(100)]
    assert sum(delta is not None for delta in deltas) > 90


def test_ids_after_a_stop_are_ignored() -> None:
    reader = AnswerReader(ByteTokenizer(), ["b"])
    assert reader.feed([ord("a"), ord("b"), ord("c")]) == Delta("a", (ord("a"),))
    assert reader.feed([ord("d")]) is None
    assert reader.flush() is None


def test_a_stop_is_found_in_text_that_was_held_back_to_the_end() -> None:
    # The last id contains a stop and the first byte of a character.
    ids = [ord("a"), ord("<"), 0xE2]
    assert read([ids], ["<\N{REPLACEMENT CHARACTER}"]) == (
        [Delta("a", (ord("a"),))],
        "<\N{REPLACEMENT CHARACTER}",
    )


@pytest.mark.parametrize("ids", [list(b"abcdefgh") * 500, list("é€😀".encode()) * 500])
def test_decoding_is_linear_in_the_length(ids: list[int]) -> None:
    tokenizer = ByteTokenizer()
    reader = AnswerReader(tokenizer, ["</prompt>"])
    for token in ids:
        reader.feed([token])
    assert tokenizer.decoded < 20 * len(ids)


def test_an_empty_stop_is_an_error() -> None:
    with pytest.raises(ValueError, match="must not be empty"):
        AnswerReader(ByteTokenizer(), ["a", ""])
    with pytest.raises(ValueError, match="must not be empty"):
        TextReader(["a", ""])


class MarkedTokenizer:
    """Its decoder drops the blank at the beginning of a text, as Llama 2's does. Id 3 is ` \ufffd`."""

    vocab_size = 4

    def encode(self, text: str) -> list[int]:
        raise NotImplementedError

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(("a", " b", "\ufffd", " \ufffd")[token] for token in ids).removeprefix(" ")


@given(st.lists(st.integers(0, 3), max_size=40))
@example([3] * 40)
def test_a_real_replacement_character_is_not_held_back(ids: list[int]) -> None:
    reader = AnswerReader(MarkedTokenizer())
    read = 0
    text = ""
    for count, token in enumerate(ids, 1):
        delta = reader.feed([token])
        read += len(delta.ids) if delta else 0
        text += delta.text if delta else ""
        assert count - read <= 3
    rest = reader.flush()
    assert text + (rest.text if rest else "") == MarkedTokenizer().decode(ids)
