"""Answers from a file instead of a model, and how such a file is recorded. For examples and tests.

Each line is one answer, either a text or a JSON object:
    {"subject": "1f…", "kind": "steps", "attempt": 1, "answer": {"components": […]}}
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from curate.drops import Dropped, Reason
from curate.llm.endpoint import Endpoint, Query

_Key = tuple[object, object, object]


class RecordedEndpoint:
    """Answers queries from a file. If a query has two answers, the later one counts.

    Raises:
        ValueError: if a line is not a recorded answer.
        OSError: if the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._answers: dict[_Key, str] = {}
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    key, answer = _read(line, f"{path}:{number}")
                    self._answers[key] = answer

    async def ask(self, query: Query) -> str:
        """Returns the recorded answer.

        Raises:
            Dropped: if there is none.
        """
        answer = self._answers.get((query.subject, query.kind, query.attempt))
        if answer is None:
            detail = f"no recorded answer to {query.kind} {query.attempt} of {query.subject}"
            raise Dropped(Reason.REJECTED, detail)
        return answer


class RecordingEndpoint(contextlib.AbstractContextManager["RecordingEndpoint"]):
    """Asks another endpoint, and appends its answers to a file. A context manager.

    Dropped queries are not recorded: a RecordedEndpoint drops them as well.
    """

    def __init__(self, endpoint: Endpoint, path: Path) -> None:
        self._endpoint = endpoint
        self._file = path.open("a", encoding="utf-8")

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Closes the file."""
        self._file.close()

    async def ask(self, query: Query) -> str:
        """Returns the endpoint's answer, or raises its error."""
        answer = await self._endpoint.ask(query)
        record = {"subject": query.subject, "kind": query.kind, "attempt": query.attempt}
        self._file.write(json.dumps(record | {"answer": _readable(answer)}) + "\n")
        self._file.flush()
        return answer


def _readable(answer: str) -> object:
    """Parses a JSON object, which is then easier to read in the file. Other text stays as it is."""
    try:
        parsed: object = json.loads(answer)
        json.dumps(parsed, allow_nan=False)
    except (ValueError, RecursionError):
        return answer
    return cast("object", parsed) if isinstance(parsed, dict) else answer


def _read(line: str, where: str) -> tuple[_Key, str]:
    try:
        record: Any = json.loads(line)
        answer = record["answer"]
        key = (record["subject"], record["kind"], record["attempt"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"{where} is not a recorded answer: {error!r}") from error
    if not isinstance(answer, str | dict):
        raise ValueError(f"{where}: the answer is neither a text nor an object")
    return key, answer if isinstance(answer, str) else json.dumps(answer)
