"""Keeps paid answers on disk, so that none is paid for twice."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from curate.llm.cost import ModelAnswers
from curate.llm.wire import Completion
from sprint_agent.engine import TokenUsage
from sprint_agent.limits import Prices

_FORMAT = 1
_BUSY_SECONDS = 60.0
_MOST_TOKENS = 2**63 - 1

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
_WRONG = (
    "SELECT (SELECT count(*) FROM answers WHERE typeof(model) != 'text' OR typeof(text) != 'blob'"
    " OR typeof(refusal) != 'blob' OR typeof(finish) != 'text'"
    " OR typeof(cost) != 'real' OR cost NOT BETWEEN 0 AND 1e15"
    f" OR prompt_tokens NOT BETWEEN 0 AND {_MOST_TOKENS}"
    f" OR completion_tokens NOT BETWEEN 0 AND {_MOST_TOKENS}"
    " OR cached_tokens NOT BETWEEN 0 AND prompt_tokens"
    " OR (prompt_tokens IS NULL) != (completion_tokens IS NULL)"
    " OR (prompt_tokens IS NULL) != (cached_tokens IS NULL))"
    " + (SELECT count(*) FROM lost WHERE typeof(model) != 'text'"
    f" OR prompt_tokens NOT BETWEEN 0 AND {_MOST_TOKENS}"
    f" OR completion_tokens NOT BETWEEN 0 AND {_MOST_TOKENS})"
)
"""Counts the rows that no client has written. A text is greater than every number in SQLite."""
_LOST = "SELECT model, total(prompt_tokens), total(completion_tokens) FROM lost GROUP BY model"


class CacheError(Exception):
    """The file of a cache is not a database, is locked, or cannot be written."""


class Cache(contextlib.AbstractContextManager["Cache"]):
    """The answers in one SQLite file, which several processes may share. A context manager.

    Answers that were cut off or refused are kept as well, because they were paid for. Errors are not
    kept.

    The methods block, and the event loop calls them itself: a look-up takes 9 µs and an insert 32 µs,
    and a thread would take longer. About every thousandth insert moves the log into the file, which
    took 10 to 30 ms.

    Creates the folder of the file if it is missing.

    Raises:
        OSError: if the folder cannot be created.
        ValueError: if another version of this class wrote the file.
        CacheError: if the file cannot be used, or contains what no client writes. All methods raise
            this error.
    """

    def __init__(self, path: Path | str) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        with self._naming_the_file():
            # Without an isolation level, each statement is a separate transaction.
            self._file = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
            try:
                self._prepare()
            except BaseException:
                self._file.close()
                raise

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Closes the file."""
        self._file.close()

    def get(self, key: str) -> Completion | None:
        """Returns the answer that is kept under `key`, or None."""
        rows = self._rows(_GET, key)
        if not rows:
            return None
        text, finish, refusal, *tokens = rows[0]
        usage = None if tokens[0] is None else TokenUsage(*tokens)
        return Completion(_text(text), finish, _text(refusal), usage)

    def put(self, key: str, model: str, answer: Completion, cost: float) -> None:
        """Keeps an answer. After this call it survives a kill of the process."""
        usage = answer.usage
        tokens = (
            (usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens)
            if usage
            else (None, None, None)
        )
        text, refusal = _blob(answer.text), _blob(answer.refusal)
        self._rows(_PUT, key, model, text, answer.finish, refusal, *tokens, cost, time.time())

    def put_lost(self, model: str, prompt_tokens: int, completion_tokens: int) -> None:
        """Records a request without an answer, which may be charged. Its tokens are upper bounds."""
        values = (model, prompt_tokens, completion_tokens, time.time())
        self._rows("INSERT INTO lost VALUES (?, ?, ?, ?)", *values)

    def paid(self, prices: Mapping[str, Prices]) -> float:
        """Returns what all answers together cost at these prices.

        If a model has no price, or the tokens of an answer are unknown, the cost is the one that `put`
        got.
        """
        paid = 0.0
        for model, prompt, completion, cached, cost, unknown in self._rows(_PAID):
            price = prices.get(model)
            paid += cost if price is None else price.cost(prompt, completion, cached) + unknown
        return paid

    def lost(self, prices: Mapping[str, Prices]) -> float:
        """Returns the most that the requests without an answer may cost at these prices."""
        rows = self._rows(_LOST)
        return sum(prices[model].cost(*tokens) for model, *tokens in rows if model in prices)

    def answers(self) -> dict[str, ModelAnswers]:
        """Returns how many answers are kept, and their tokens, by model."""
        rows = self._rows(
            "SELECT model, count(*), total(prompt_tokens), total(completion_tokens)"
            " FROM answers GROUP BY model ORDER BY model"
        )
        return {
            model: ModelAnswers(count, int(prompt), int(completion))
            for model, count, prompt, completion in rows
        }

    def _rows(self, statement: str, *values: object) -> list[Any]:
        with self._naming_the_file():
            return self._file.execute(statement, values).fetchall()

    @contextlib.contextmanager
    def _naming_the_file(self) -> Generator[None]:
        """Turns an error of SQLite into a CacheError that names the file."""
        try:
            yield
        except sqlite3.Error as error:
            raise CacheError(
                f"{self._path} cannot be used as a cache ({error}): choose another file, or check "
                "which other process uses it"
            ) from error

    def _prepare(self) -> None:
        (version,) = self._file.execute("PRAGMA user_version").fetchone()
        if version not in (0, _FORMAT):
            raise ValueError(
                f"{self._path} is a cache of another version ({version}): choose a new file"
            )
        self._enter_wal()
        # A commit writes to the log and does not wait for the disk. Written answers survive a SIGKILL,
        # because the kernel has them. A power cut may lose the last answers, but does not corrupt the
        # file.
        self._file.execute("PRAGMA synchronous = NORMAL")
        self._file.execute(_TABLE)
        self._file.execute(_LOST_TABLE)
        self._file.execute(f"PRAGMA user_version = {_FORMAT}")
        (wrong,) = self._file.execute(_WRONG).fetchone()
        if wrong:
            raise CacheError(
                f"{self._path} was changed by another program: {wrong:,} of its rows have a negative "
                "cost or other impossible values; choose another file, or delete these rows"
            )

    def _enter_wal(self) -> None:
        """Makes writers append to a log, so that they do not block readers.

        SQLite does not apply its timeout to this statement, so it is repeated here.
        """
        until = time.monotonic() + _BUSY_SECONDS
        while time.monotonic() < until:
            try:
                self._file.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                # A read-only file stays read-only. The low byte of an extended code is the basic code.
                if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_READONLY:
                    raise
            time.sleep(0.01)
        self._file.execute("PRAGMA journal_mode = WAL")


def _blob(text: str) -> bytes:
    # JSON can contain an unpaired surrogate, which plain UTF-8 cannot encode.
    return text.encode("utf-8", "surrogatepass")


def _text(blob: bytes) -> str:
    return blob.decode("utf-8", "surrogatepass")
