"""The decoder of server-sent events: what a line means, and that the cuts do not matter."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprint_agent.engines.sse import SseDecoder


def decode(*chunks: bytes | str) -> list[str]:
    decoder = SseDecoder()
    return [event for chunk in chunks for event in decoder.feed(chunk)]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        ("data: a\n\n", ["a"]),
        ("data: a\r\n\r\n", ["a"]),
        ("data: a\r\r", ["a"]),
        ("data: a\r\n\ndata: b\n\r", ["a", "b"]),
        ("data:a\n\ndata:  b\n\n", ["a", " b"]),
        ("data: a\ndata: b\n\n", ["a\nb"]),
        ("data\n\n", []),
        ("data:\n\ndata: \n\ndata: a\n\n", ["a"]),
        ("data: \n\ndata:  \ndata:\n\ndata: a\n\n", ["a"]),
        ("data:\ndata: a\n\n", ["\na"]),
        ("data\ndata\n\n", []),
        ("error: a\n\ndata: b\n\n", ["a", "b"]),
        ("error\n\nerror:\n\n", []),
        ('event: error\ndata: {"error": 1}\n\n', ['{"error": 1}']),
        ("data: a: b\n\n", ["a: b"]),
        (": ping\n\ndata: a\n: ping\ndata: b\n\n", ["a\nb"]),
        ("event: x\nid: 7\nretry: 9\ndata: a\n\n", ["a"]),
        ("event: x\n\ndata: a\n\n", ["a"]),
        ("dataset: x\n\n", []),
        ("\ufeffdata: a\n\n", ["a"]),
        ("data: a\u2028b\x0bc\x85d\n\n", ["a\u2028b\x0bc\x85d"]),
    ],
)
def test_lines(stream: str, events: list[str]) -> None:
    assert decode(stream) == events
    assert decode(stream.encode()) == events


@pytest.mark.parametrize("stream", ["", "data: a", "data: a\n", "data: a\r\n", "data: a\r"])
def test_an_event_without_a_blank_line_is_dropped(stream: str) -> None:
    assert decode(stream) == []


def test_the_name_of_an_event() -> None:
    decoder = SseDecoder()
    stream = "event: ping\ndata: a\n\ndata: b\n\nevent: x\n\ndata: c\n\nerror: d\n\n"
    assert [(event, event.name) for event in decoder.feed(stream)] == [
        ("a", "ping"),
        ("b", ""),
        ("c", ""),
        ("d", "error"),
    ]


def test_the_first_line_that_is_no_part_of_an_event_is_kept() -> None:
    decoder = SseDecoder()
    assert decoder.feed('data: a\nid: 7\nretry: 1\n: x\n{"error": 1}\nother\n\n') == ["a"]
    assert decoder.unknown == '{"error": 1}'


def test_a_bad_byte_does_not_stop_the_stream() -> None:
    assert decode(b"data: a\xff\n\ndata: b\n\n") == ["a\ufffd", "b"]


pieces = st.sampled_from(
    [
        "data",
        "data:",
        "data: ",
        ":",
        "event: x",
        "a",
        "é",
        "😀",
        "\ufeff",
        "\n",
        "\r",
        "\r\n",
        "\n\n",
    ]
)


@given(st.lists(pieces, max_size=40).map("".join), st.data())
def test_any_cuts_give_the_same_events(text: str, data: st.DataObject) -> None:
    stream = text.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    edges = [0, *cuts, len(stream)]
    chunks = [stream[a:b] for a, b in itertools.pairwise(edges)]
    assert decode(*chunks) == decode(stream)
    assert decode(*(stream[n : n + 1] for n in range(len(stream)))) == decode(stream)
    assert decode(*text) == decode(text) == decode(stream)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_byte_order_mark_and_line_ends_may_be_cut(end: str) -> None:
    stream = f"\ufeffdata: a{end}data: b{end}{end}data: c{end}{end}".encode()
    assert decode(*(stream[n : n + 1] for n in range(len(stream)))) == ["a\nb", "c"]
    for at in range(len(stream)):
        assert decode(stream[:at], b"", stream[at:]) == ["a\nb", "c"]


@pytest.mark.parametrize(
    "piece", [b"data: a", b"\r", b"\r\n", b":", b"data:\n", b"\xff", b"\xef\xbb\xbf", b"event: a\n"]
)
def test_a_long_stream_is_read_in_linear_time(piece: bytes) -> None:
    def seconds(count: int) -> float:
        decoder = SseDecoder()
        before = time.process_time()
        for _ in range(count):
            decoder.feed(piece)
        decoder.feed(b"\n\n")
        return (time.process_time() - before) / count

    seconds(200)
    assert seconds(40_000) < 5 * max(min(seconds(2_000) for _ in range(3)), 1e-6)


def test_a_huge_line_is_one_event() -> None:
    assert [len(event) for event in decode(*["data: ", *["x" * 1_000] * 5_000, "\n\n"])] == [
        5_000_000
    ]


lines = st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), min_size=1)


@given(st.lists(lines.filter(str.strip), max_size=6))
def test_sent_events_are_received(sent: list[str]) -> None:
    for end in ("\n", "\r\n", "\r"):
        assert decode("".join(f"data: {event}{end}{end}" for event in sent).encode()) == sent
