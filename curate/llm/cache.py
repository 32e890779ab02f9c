"""Answers that were paid for, kept on disk, so that nobody pays for them twice."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

from curate.closing import HoldsFile
from curate.llm.bill import Answers
from curate.llm.wire import Completion
from sprint_agent.engine import TokenUsage
from sprint_agent.limits import Prices

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
_LOST_TABLE = """
CREATE TABLE IF NOT EXISTS lost (
    model TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    at REAL NOT NULL
)
"""
_GET = (
    "SELECT text, finish, refusal, prompt_tokens, completion_tokens, cached_tokens"
    " FROM answers WHERE key = ?"
)
_PUT = "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_PAID = (
    "SELECT model, total(prompt_tokens), total(completion_tokens), total(cached_tokens),"
    " total(cost), total(CASE WHEN prompt_tokens IS NULL THEN cost END) FROM answers GROUP BY model"
)
_LOST = "SELECT model, total(prompt_tokens), total(completion_tokens) FROM lost GROUP BY model"


class CacheError(Exception):
    """The file of a cache cannot be used: it is none, or locked, or cannot be written."""


class Cache(HoldsFile):
    """The answers in one SQLite file, which several processes may share.

    Those that were cut off or refused are kept as well, for they were paid for; errors are not. It is
    used from the event loop itself: a look-up takes 9 µs and an insert 32 µs, a thread would take
    longer. Every thousandth or so insert moves the log into the file, which took 10 to 30 ms.

    Its folder is made. Raises OSError where that cannot be, ValueError where the file is another
    version's, and, as each of its methods does, CacheError where the file cannot be used.
    """

    def __init__(self, path: Path | str) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        with self._blamed():
            # Without an isolation level, each statement is a transaction that is committed at its end.
            self._file = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
            try:
                self._prepare()
            except BaseException:
                self._file.close()
                raise

    def get(self, key: str) -> Completion | None:
        """The answer that is kept for `key`."""
        found = self._rows(_GET, key)
        if not found:
            return None
        text, finish, refusal, *tokens = found[0]
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
        self._rows(_PUT, key, model, text, answer.finish, refusal, *tokens, cost, time.time())

    def lose(self, model: str, prompt_tokens: int, completion_tokens: int) -> None:
        """Notes a request of at most so many tokens whose answer never came, and may be charged."""
        values = (model, prompt_tokens, completion_tokens, time.time())
        self._rows("INSERT INTO lost VALUES (?, ?, ?, ?)", *values)

    def paid(self, prices: Mapping[str, Prices]) -> float:
        """What all answers together cost at these prices.

        Where a model has none, or an answer's tokens are not known, it is what was reckoned when it
        was asked for.
        """
        paid = 0.0
        for model, prompt, completion, cached, cost, unknown in self._rows(_PAID):
            at = prices.get(model)
            paid += cost if at is None else at.cost(prompt, completion, cached) + unknown
        return paid

    def lost(self, prices: Mapping[str, Prices]) -> float:
        """What those requests may have cost at these prices whose answer never came, at most."""
        rows = self._rows(_LOST)
        return sum(prices[model].cost(*tokens) for model, *tokens in rows if model in prices)

    def answers(self) -> dict[str, Answers]:
        """How many answers of each model are kept, and their tokens."""
        rows = self._rows(
            "SELECT model, count(*), total(prompt_tokens), total(completion_tokens)"
            " FROM answers GROUP BY model ORDER BY model"
        )
        return {model: Answers(count, int(read), int(wrote)) for model, count, read, wrote in rows}

    def _rows(self, statement: str, *values: object) -> list[Any]:
        with self._blamed():
            return self._file.execute(statement, values).fetchall()

    @contextlib.contextmanager
    def _blamed(self) -> Generator[None]:
        """Says of what SQLite raises which file it is about."""
        try:
            yield
        except sqlite3.Error as error:
            raise CacheError(
                f"{self._path} cannot be used to keep answers ({error}): give another file, or see "
                "who else uses it"
            ) from error

    def _prepare(self) -> None:
        (version,) = self._file.execute("PRAGMA user_version").fetchone()
        if version not in (0, _FORMAT):
            raise ValueError(
                f"{self._path} is a cache of another version ({version}): use a new file"
            )
        self._enter_wal()
        # A commit writes to the log without waiting for the disk. What was written survives a SIGKILL,
        # for the kernel has it; a power cut may take the last answers, and leaves the file whole.
        self._file.execute("PRAGMA synchronous = NORMAL")
        self._file.execute(_TABLE)
        self._file.execute(_LOST_TABLE)
        self._file.execute(f"PRAGMA user_version = {_FORMAT}")

    def _enter_wal(self) -> None:
        """Writers append to a log, beside readers. SQLite does not wait its turn for this one."""
        until = time.monotonic() + _BUSY_SECONDS
        while time.monotonic() < until:
            try:
                self._file.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                # A file that may only be read stays one; extended codes hold more than that.
                if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_READONLY:
                    raise
            time.sleep(0.01)
        self._file.execute("PRAGMA journal_mode = WAL")


def _blob(text: str) -> bytes:
    # Half a surrogate pair, which JSON can hold, has no UTF-8 of its own.
    return text.encode("utf-8", "surrogatepass")


def _text(blob: bytes) -> str:
    return blob.decode("utf-8", "surrogatepass")
