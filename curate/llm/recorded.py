"""Answers from a file in place of a model, and how such a file is made: for examples and tests.

Each line is one answer, a text or a JSON object:
    {"subject": "1f…", "kind": "steps", "attempt": 1, "answer": {"components": […]}}
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from curate.closing import HoldsFile
from curate.drops import Dropped, Reason
from curate.llm.endpoint import Endpoint, Query

_Key = tuple[object, object, object]


class Recorded:
    """Answers queries as `path` says. Of two answers to the same query the later one counts.

    Raises ValueError for a line that is no recorded answer.
    """

    def __init__(self, path: Path) -> None:
        self._answers: dict[_Key, str] = {}
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    key, answer = _read(line, f"{path}:{number}")
                    self._answers[key] = answer

    async def ask(self, query: Query) -> str:
        """The recorded answer. Raises Dropped where there is none."""
        answer = self._answers.get((query.subject, query.kind, query.attempt))
        if answer is None:
            detail = f"no recorded answer to {query.kind} {query.attempt} of {query.subject}"
            raise Dropped(Reason.REJECTED, detail)
        return answer


class Recorder(HoldsFile):
    """Asks `endpoint`, and adds what it answers to `path`. A context manager.

    What it drops is not recorded: Recorded will have no answer there.
    """

    def __init__(self, endpoint: Endpoint, path: Path) -> None:
        self._endpoint = endpoint
        self._file = path.open("a", encoding="utf-8")

    async def ask(self, query: Query) -> str:
        """What the endpoint answers, or raises."""
        answer = await self._endpoint.ask(query)
        record = {"subject": query.subject, "kind": query.kind, "attempt": query.attempt}
        self._file.write(json.dumps(record | {"answer": _plain(answer)}) + "\n")
        self._file.flush()
        return answer


def _plain(answer: str) -> object:
    """The answer as an object, which is easier to read, where it is one."""
    try:
        said: object = json.loads(answer)
        json.dumps(said, allow_nan=False)
    except (ValueError, RecursionError):
        return answer
    return cast("object", said) if isinstance(said, dict) else answer


def _read(line: str, where: str) -> tuple[_Key, str]:
    try:
        record: Any = json.loads(line)
        answer = record["answer"]
        key = (record["subject"], record["kind"], record["attempt"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"{where} is no recorded answer: {error!r}") from error
    if not isinstance(answer, str | dict):
        raise ValueError(f"{where}: the answer is neither a text nor an object")
    return key, answer if isinstance(answer, str) else json.dumps(answer)
