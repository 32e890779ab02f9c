"""The cache: what it keeps, what it says of the cost, and which files it refuses."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from curate.llm import cache as cache_file
from curate.llm.cache import Cache, CacheError
from curate.llm.wire import Completion
from sprint_agent.engine import TokenUsage
from sprint_agent.limits import Prices

ANSWERS = [
    Completion("text", "stop", "", TokenUsage(3, 2, 1)),
    Completion("", "content_filter", "I will not", None),
    Completion("half \ud800, \0 and ☃", "length", "", TokenUsage()),
]


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_is_read_back_unchanged(answer: Completion, tmp_path: Path) -> None:
    with Cache(tmp_path / "answers.db") as cache:
        assert cache.get("k") is None
        cache.put("k", "m", answer, 0.25)
        cache.put("l", "m", answer, 0.5)
    with Cache(tmp_path / "answers.db") as cache:
        assert cache.get("k") == answer
        assert cache.get("other") is None
        assert cache.paid({}) == 0.75


WRITER = """
import os, signal, sys
from curate.llm.cache import Cache
from curate.llm.wire import Completion
cache = Cache(sys.argv[1])
for number in range(int(sys.argv[3])):
    cache.put(f"{sys.argv[2]}-{number}", "m", Completion("x" * 5000, "stop"), 1.0)
os.kill(os.getpid(), signal.SIGKILL)
"""


def _writing(path: Path, name: str, count: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WRITER, str(path), name, str(count)])


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_processes_share_the_file_and_a_kill_loses_nothing(tmp_path: Path) -> None:
    """All of them open the file and write at the same time, and are then killed."""
    path = tmp_path / "answers.db"
    writers = [_writing(path, name, 300) for name in "abcd"]
    assert [writer.wait(120) for writer in writers] == [-signal.SIGKILL] * 4
    with Cache(path) as cache:
        assert cache.paid({}) == 1200
        assert all(cache.get(f"{name}-{number}") for name in "abcd" for number in range(300))


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "answers.db"
    with sqlite3.connect(path) as file:
        file.execute("PRAGMA user_version = 99")
    with pytest.raises(ValueError, match="another version"):
        Cache(path)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "answers.db"
    path.write_bytes(b"no database " * 100)
    with pytest.raises(CacheError, match=r"answers\.db .* \(file is not a database\)"):
        Cache(path)
    with pytest.raises(CacheError, match="unable to open"):
        Cache(tmp_path)


def test_a_locked_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_file, "_BUSY_SECONDS", 0.1)
    path = tmp_path / "answers.db"
    with Cache(path) as cache, contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(CacheError, match=r"answers\.db .* \(database is locked\)"):
            cache.put("k", "m", ANSWERS[0], 0)


def test_its_folder_is_created(tmp_path: Path) -> None:
    with Cache(tmp_path / "a" / "b" / "answers.db") as cache:
        assert cache.get("k") is None


PRICES = {"m": Prices(2e6, 3e6, cached=1e6)}


def test_the_cost_is_computed_at_the_present_prices(tmp_path: Path) -> None:
    """This includes answers that were paid without given prices."""
    path = tmp_path / "answers.db"
    with Cache(path) as cache:
        cache.put("a", "m", Completion("", "stop", "", TokenUsage(10, 5, 4)), 0)
        cache.put("b", "m", Completion("", "stop"), 7)
        cache.put("c", "other", Completion("", "stop", "", TokenUsage(10, 5)), 0.5)
    with Cache(path) as cache:
        assert cache.paid(PRICES) == 6 * 2 + 4 + 5 * 3 + 7 + 0.5
        assert cache.paid({}) == 7.5


def test_lost_requests_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "answers.db"
    for _ in range(2):
        with Cache(path) as cache:
            cache.put_lost("m", 10, 5)
            cache.put_lost("other", 10, 5)
    with Cache(path) as cache:
        assert cache.lost(PRICES) == 2 * (10 * 2 + 5 * 3)
        assert cache.paid(PRICES) == 0


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE answers SET cost = -1e9",
        "UPDATE answers SET cost = 1e999",
        "UPDATE answers SET cost = 'much'",
        "UPDATE answers SET prompt_tokens = -1000000",
        "UPDATE answers SET completion_tokens = -1000000",
        "UPDATE answers SET cached_tokens = 1000000",
        "UPDATE answers SET prompt_tokens = NULL",
        "UPDATE answers SET prompt_tokens = 'many'",
        "UPDATE answers SET text = 'text'",
        "UPDATE lost SET completion_tokens = -1000000",
    ],
)
def test_what_another_program_wrote_is_refused(change: str, tmp_path: Path) -> None:
    path = tmp_path / "answers.db"
    with Cache(path) as cache:
        cache.put("k", "m", ANSWERS[0], 0.25)
        cache.put("l", "m", ANSWERS[1], 0.25)
        cache.put_lost("m", 10, 5)
    with contextlib.closing(sqlite3.connect(path)) as file:
        file.execute(change)
        file.commit()
    with pytest.raises(
        CacheError, match=r"answers\.db was changed by another program: \d+ of its rows"
    ):
        Cache(path)
