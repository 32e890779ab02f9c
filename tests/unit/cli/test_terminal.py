"""What others wrote, on a terminal: shown, and never obeyed or lost."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprint_agent import EngineError, Sprint
from sprint_agent.cli.terminal import replace_unencodable, visible
from sprint_agent.testing import Reply, ScriptedEngine
from tests.script import Continuing, answer, plan
from tests.unit.cli.commands import Cli

CLIPBOARD = "\x1b]52;c;ZXZpbA==\x07"
CLEAR = "\x1b[2J\x1b[H"
HOSTILE = f"{CLIPBOARD}{CLEAR}\x9b31m\r\x08\x7f\x00\u202ecod\u2066\u200f"
URL = "http://127.0.0.1:9"
FOREIGN = "日本 ≤ 😀 é"


@given(st.text() | st.text(st.characters(categories=["Cc", "Cf", "Zl", "Zp"]), max_size=9))
def test_no_control_character_is_left(text: str) -> None:
    shown = visible(text)
    left = {c for c in shown if unicodedata.category(c) == "Cc"}
    assert left <= {"\t", "\n"}
    assert not {c for c in shown if unicodedata.bidirectional(c) in BIDI}
    assert not set("\u2028\u2029\u200e\u200f\u061c") & set(shown)


BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (CLIPBOARD, r"\x1b]52;c;ZXZpbA==\x07"),
        ("a\rb\r\nc\td", "a\\rb\nc\td"),
        ("\x9b2J\u202e", r"\x9b2J\u202e"),
        ("日本 👨\u200d👩 é", "日本 👨\u200d👩 é"),
        (ValueError("\x1b"), r"\x1b"),
    ],
)
def test_control_characters_are_written_as_escapes(text: object, shown: str) -> None:
    assert visible(text) == shown


def obeyed(text: str) -> list[str]:
    """The control characters that reach the output. Rich adds none, because it is not a terminal."""
    return [c for c in text if visible(c) != c]


def script(text: str) -> Callable[[str], str]:
    """A planner, and an executor, that write `text`."""
    written = Continuing([plan(f"one{text}", "two"), answer(f"yes{text}")])
    return lambda prompt: written(prompt).replace("did", f"did {text}")


@pytest.mark.parametrize("text", [HOSTILE, CLEAR, "\u202e", "\x9b2J"])
def test_solve_and_replay_obey_no_text(cli: Cli, tmp_path: Path, text: str) -> None:
    cli.script = script(text)
    trace = str(tmp_path / "run.jsonl")
    status, out, err = cli.run("solve", f"What{text}?", "--engine", URL, "--trace", trace)
    assert (status, err) == (0, "")
    assert "yes" in out
    assert obeyed(out) == []
    status, out, err = cli.run("replay", trace, "--speed", "1000")
    assert status == 0
    assert "yes" in out
    assert obeyed(out + err) == []


def test_an_error_obeys_no_text(cli: Cli) -> None:
    assert obeyed(cli.refuse("resume", f"/tmp/{HOSTILE.replace(chr(0), '')}.jsonl")) == []
    cli.script = lambda prompt: Reply("", error=EngineError(f"the server said {HOSTILE}"))
    status, out, err = cli.run("solve", "What?", "--engine", URL)
    assert status == 2
    assert "the server said" in err
    assert obeyed(out + err.removesuffix("\n")) == []


def test_a_wrong_answer_to_a_puzzle_obeys_no_text(cli: Cli) -> None:
    cli.script = lambda prompt: answer(f"3 + {CLEAR}")
    status, out, _ = cli.run("solve", "Use 3, 5, 7 and 11 to make 24.")
    assert status == 1
    assert obeyed(out) == []


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252", "utf-8"])
def test_an_answer_is_shown_in_any_encoding(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    cli.script = script(f" {FOREIGN}")
    written = io.BytesIO()
    monkeypatch.setattr(
        sys, "stdout", io.TextIOWrapper(written, encoding=encoding, errors="strict")
    )
    status, _, err = cli.run("solve", f"What {FOREIGN}?", "--engine", URL)
    sys.stdout.flush()
    assert (status, err) == (0, "")
    assert re.search(r"Answer +yes", written.getvalue().decode(encoding))


def test_a_trace_is_shown_by_a_process_with_latin_1(tmp_path: Path) -> None:
    async def record() -> None:
        agent = Sprint(ScriptedEngine(script(f" {FOREIGN}"), chunk=1000))
        await agent.solve(f"What {FOREIGN}?", trace=tmp_path / "run.jsonl")

    anyio.run(record)
    line = [sys.executable, "-m", "sprint_agent.cli.main", "replay", str(tmp_path / "run.jsonl")]
    environment: dict[str, Any] = {"PYTHONIOENCODING": "latin-1", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [*line, "--speed", "1000"], env=environment, capture_output=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert "yes ?? ? ? é" in done.stdout.decode("latin-1")


def test_another_standard_output_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    replace_unencodable()
