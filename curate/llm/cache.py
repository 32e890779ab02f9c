"""Answers that were paid for, kept on disk, so that nobody pays for them twice."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from pathlib import Path

from curate.closing import HoldsFile
from curate.llm.bill import Answers
from curate.llm.chat import Completion
from sprint_agent.engines.base import TokenUsage

_FORMAT = 1
_BUSY_SECONDS = 60.0

_TABLE = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY,
    model TEXT NOT NULL,
    text BLOB NOT NULL,
    finish TEXT NOT NULL,
    refusal BLOB NOT NULL,
    prompt_tokens INTEGER,
    cached_tokens INTEGER,
    completion_tokens INTEGER,
    cost REAL NOT NULL,
    at REAL NOT NULL
) WITHOUT ROWID
"""
_GET = (
    "SELECT text, finish, refusal, prompt_tokens, completion_tokens, cached_tokens"
    " FROM answers WHERE key = ?"
)
_PUT = "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


class Cache(HoldsFile):
    """The answers in one SQLite file, which several processes may share.

    Those that were cut off or refused are kept as well, for they were paid for; errors are not. It is
    used from the event loop itself: a look-up takes 9 µs and an insert 32 µs, a thread would take
    longer. Every thousandth or so insert moves the log into the file, which took 10 to 30 ms.

    Raises sqlite3.Error where the file cannot be used, and ValueError where it is another version's.
    """

    def __init__(self, path: Path | str) -> None:
        # Without an isolation level, each statement is a transaction that is committed at its end.
        self._file = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
        try:
            self._prepare(path)
        except BaseException:
            self._file.close()
            raise

    def get(self, key: str) -> Completion | None:
        """The answer that is kept for `key`."""
        row = self._file.execute(_GET, (key,)).fetchone()
        if row is None:
            return None
        text, finish, refusal, *tokens = row
        usage = None if tokens[0] is None else TokenUsage(*tokens)
        return Completion(_text(text), finish, _text(refusal), usage)

    def put(self, key: str, model: str, answer: Completion, cost: float) -> None:
        """Keeps an answer. It outlives a kill of this process from then on."""
        usage = answer.usage
        tokens = (
            (usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens)
            if usage
            else (None, None, None)
        )
        text, refusal = _blob(answer.text), _blob(answer.refusal)
        row = (key, model, text, answer.finish, refusal, *tokens, cost, time.time())
        self._file.execute(_PUT, row)

    def paid(self) -> float:
        """What all answers together cost when they were asked for."""
        return float(self._file.execute("SELECT total(cost) FROM answers").fetchone()[0])

    def answers(self) -> dict[str, Answers]:
        """How many answers of each model are kept, and their tokens."""
        rows = self._file.execute(
            "SELECT model, count(*), total(prompt_tokens), total(completion_tokens)"
            " FROM answers GROUP BY model ORDER BY model"
        )
        return {model: Answers(count, int(read), int(wrote)) for model, count, read, wrote in rows}

    def _prepare(self, path: Path | str) -> None:
        (version,) = self._file.execute("PRAGMA user_version").fetchone()
        if version not in (0, _FORMAT):
            raise ValueError(f"{path} is a cache of another version ({version}): use a new file")
        self._enter_wal()
        # A commit writes to the log without waiting for the disk. What was written survives a SIGKILL,
        # for the kernel has it; a power cut may take the last answers, and leaves the file whole.
        self._file.execute("PRAGMA synchronous = NORMAL")
        self._file.execute(_TABLE)
        self._file.execute(f"PRAGMA user_version = {_FORMAT}")

    def _enter_wal(self) -> None:
        """Writers append to a log, beside readers. SQLite does not wait its turn for this one."""
        until = time.monotonic() + _BUSY_SECONDS
        while time.monotonic() < until:
            with contextlib.suppress(sqlite3.OperationalError):
                self._file.execute("PRAGMA journal_mode = WAL")
                return
            time.sleep(0.01)
        self._file.execute("PRAGMA journal_mode = WAL")


def _blob(text: str) -> bytes:
    # Half a surrogate pair, which JSON can hold, has no UTF-8 of its own.
    return text.encode("utf-8", "surrogatepass")


def _text(blob: bytes) -> str:
    return blob.decode("utf-8", "surrogatepass")
