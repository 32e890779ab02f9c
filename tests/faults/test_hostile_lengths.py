"""Every pattern and reader of text from elsewhere takes time in proportion to the text, however hostile.

The search combines fragments at random. With SPRINT_HOSTILE_ROUNDS=2000, for example, it looks longer.
"""

from __future__ import annotations

import contextlib
import os
import re

import pytest

pytest.importorskip("cyclopts")

import curate
import sprint_agent
from curate.annotate import replies
from curate.drops import Dropped
from curate.grade.graders import normalize
from curate.options import counter
from curate.pack.values import values
from curate.report.wrap import lines
from curate.split.sentences import sentences
from curate.split.spans import spans
from sprint_agent.cli.terminal import visible
from sprint_agent.countdown import Puzzle, explain
from sprint_agent.countdown.claim import claim
from sprint_agent.countdown.smaller import Smaller
from sprint_agent.engines.openai import wire
from sprint_agent.engines.openai.chat_prompt import build_conversation
from sprint_agent.engines.openai.chat_reply import ChatReader
from sprint_agent.engines.sse import SseDecoder
from sprint_agent.engines.stops import AnswerReader, TextReader
from sprint_agent.executors.json_prompts import unfenced
from sprint_agent.protocol import tags, transcript
from sprint_agent.protocol.boxes import last_box
from sprint_agent.protocol.context import Context
from sprint_agent.result import Verdict
from sprint_agent.testing import CharTokenizer
from tests.faults import lengths
from tests.faults.hostile import HOSTILE
from tests.faults.lengths import Reader

ROUNDS = int(os.environ.get("SPRINT_HOSTILE_ROUNDS", "20"))
PATTERNS = lengths.patterns(sprint_agent, curate)
BOUNDED = {
    # It is searched for in the last 24 characters before a full stop.
    "curate.split.sentences._WORD",
    # It is searched for in the 8 characters before a name.
    "curate.pack.names._BEGINNING",
    # Its lexer reads at most 2,000 characters (`graders._LONGEST`), and each number must be short.
    "curate.grade.mathematics.lexer._SCIENTIFIC",
}
PUZZLE = Puzzle((3, 5, 7, 11), 24)
OPENING = tags.opening("What?")
PLAN = f"{OPENING}<Plan_1>\n<prompt_1.1> a </prompt_1.1>\n"
END = f"{tags.answer('2')}</Final_answer>\n</think>\n"
TEXT = [
    *HOSTILE,
    *(
        "<",
        "< ",
        "</",
        " ",
        "\n",
        "a",
        "<|",
        "|>",
        "[",
        "]",
        "＜",
        "\u0301",
        "\u200b",
        "日",
        "\ufffd",
    ),
    *("{", "}", "\\boxed{", "\\", "$", "$$", "\\(", "\\)", "\\[", "\\begin{a}", "\\end{a}", "`"),
    *("```", "~~~", '"', "'", '{"', '"}', '{"a":', "[[", '{"a": [1,', ",", ":", "=", "= a", "1"),
    *("1,", "1 ", "/", ".", "...", "U.", "e.g.", "- ", "1. ", "(a)", "# ", "| ", "*", "**", "let "),
    *("call it ", "x = ", "-", "---", "Step ", "data:", "data: a\n", "event: a\n", "\r", "\r\n"),
    *("Use ", "and ", "to make ", "= a (1 + a 1) = 1, "),
]
"""Fragments of all that a reader might look for."""


def pieces(text: str, size: int = 5) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


def read_turn(text: str) -> None:
    for beginning in ("", "<Plan_1>\n", "<Plan_1>\n<prompt_1.1> ", "<Final_answer>\n"):
        parser = tags.TurnParser()
        parser.feed(beginning)
        for piece in pieces(text):
            parser.feed(piece)
        parser.end(None)


def read_reply(text: str) -> None:
    for prompt in (OPENING, OPENING + tags.force_answer(), PLAN, f"{PLAN}\n<execution_1.1>\n"):
        for cut in (5, len(text)):
            reader = ChatReader(build_conversation(prompt), tags.PLANNER_STOPS)
            for piece in pieces(text, cut):
                reader.feed(piece)
            reader.flush()


def read_answer(text: str) -> None:
    ids, words = AnswerReader(CharTokenizer(), tags.PLANNER_STOPS), TextReader(tags.PLANNER_STOPS)
    for piece in pieces(text):
        words.feed(piece)
        ids.feed([ord(character) for character in piece])
    ids.flush()


def read_events(text: str) -> None:
    decoder = SseDecoder()
    for piece in pieces(text):
        decoder.feed(piece)
    SseDecoder().feed(text.encode("utf-8", "replace"))


def write_stage(text: str) -> None:
    tags.sync(1, "<Plan_1>\n", [text, text], Verdict(1, text))
    tags.opening(text)


def read_run(text: str) -> None:
    transcript.parse_unfinished(OPENING + text)
    transcript.parse_unfinished(f"{PLAN}</Plan_1>\n\n<Execution_1>\n{text}")
    transcript.parse(OPENING + text + END)


def read_conversation(text: str) -> None:
    for beginning in ("", OPENING, PLAN, f"{PLAN}\n<execution_1.1>\n"):
        build_conversation(beginning + text)


def encode(text: str) -> None:
    Context(CharTokenizer()).append(tags.escape(text))


def read_annotation(text: str) -> None:
    for answer in (text, f'{{"steps": [{text}', f'{{"steps": "{text}"}}'):
        with contextlib.suppress(Dropped):
            replies.components(answer, ["a."])


def read_error(text: str) -> None:
    wire.status_error("url", 400, {"error": {"message": text, "code": text}})


READERS: dict[str, Reader] = {
    "escape": tags.escape,
    "boxed": tags.boxed,
    "turn": read_turn,
    "stage": write_stage,
    "transcript": read_run,
    "context": encode,
    "answer": read_answer,
    "reply": read_reply,
    "conversation": read_conversation,
    "events": read_events,
    "error of a server": read_error,
    "JSON in a fence": unfenced,
    "claim": claim,
    "puzzle": Puzzle.parse,
    "smaller puzzle": Smaller.read,
    "expression": lambda text: explain(text, PUZZLE),
    "terminal": visible,
    "sentences": sentences,
    "spans": spans,
    "values": values,
    "last box": last_box,
    "normalized answer": normalize,
    "annotation": read_annotation,
    "words": counter(None),
    "lines": lambda text: lines(text, 20, 3),
}
SLOW = {"turn", "reply", "answer"}
"""Readers that read a text piece by piece."""


@pytest.mark.parametrize("name", sorted(set(PATTERNS) - BOUNDED))
def test_a_pattern_takes_linear_time(name: str) -> None:
    pattern, reader = PATTERNS[name]
    texts = lengths.hostile_texts(lengths.fragments(pattern), ROUNDS, seed=ROUNDS)
    assert lengths.find_slow(reader, texts, enough=2e-6) == []


@pytest.mark.parametrize("name", READERS)
def test_a_reader_takes_linear_time(name: str) -> None:
    texts = lengths.hostile_texts(TEXT, ROUNDS, seed=ROUNDS)
    enough = 5e-5 if name in SLOW else 1e-5
    assert lengths.find_slow(READERS[name], texts, enough) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(READERS) - SLOW))
@pytest.mark.parametrize("unit", ["<", "a < b ", "\n", '{"', "$", "\\boxed{"])
def test_a_million_characters_take_no_longer_each(name: str, unit: str) -> None:
    reader = READERS[name]
    short, long = unit * (20_000 // len(unit)), unit * (1_000_000 // len(unit))
    limit = max(lengths.shortest(reader, short) / 20_000, 1e-7)
    assert lengths.seconds(reader, long) / 1_000_000 < 5 * limit


def test_the_search_finds_what_is_quadratic() -> None:
    def reader(text: str) -> None:
        re.search(r"<\s*/?\s*x", text)

    texts = lengths.hostile_texts(["<", " ", "x"], 40, seed=0)
    assert lengths.find_slow(reader, texts, enough=2e-6)
