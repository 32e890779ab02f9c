"""Processes that compare answers: one that takes too long is killed, and the next pair gets another.

math-verify's own time limit is a signal, which works on a main thread alone and stops no long step of C.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio
from anyio.abc import ByteSendStream, Process
from anyio.streams.buffered import BufferedByteReceiveStream

from curate.drops import Dropped, Reason

_CHILD = Path(__file__).with_name("math_worker.py")
_MEMORY = 2 * 1024**3
_START_SECONDS = 300.0
"""Importing the library alone takes a minute where the machine is busy."""
_PATIENCE = 6
"""How much longer than its computing time a comparison may take, on a machine that is busy."""
_LONGEST_REPLY = 100
_GONE = (TimeoutError, anyio.IncompleteRead, anyio.BrokenResourceError)
"""What says that a process is stuck, or has ended."""


class CheckerError(Exception):
    """No process for comparing answers can be started."""


class Checkers:
    """Up to `processes` of them, started when they are needed, gone when the context is left.

    A comparison may take `seconds` of computing time.
    """

    def __init__(self, processes: int = 2, seconds: int = 10) -> None:
        self._seconds = seconds
        self._places = anyio.CapacityLimiter(processes)
        self._idle: list[_Checker] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        while self._idle:
            await self._idle.pop().end()

    async def same(self, reference: str, claimed: str) -> bool | None:
        """Whether two answers are the same mathematics; None where one of them is none.

        Raises Dropped where that takes too long or too much memory, CheckerError where there is
        nobody to ask.
        """
        request = json.dumps([reference, claimed]).encode() + b"\n"
        async with self._places:
            checker = self._idle.pop() if self._idle else await _Checker.started(self._seconds)
            try:
                with anyio.fail_after(self._seconds * _PATIENCE):
                    reply: bool | None = json.loads(await checker.ask(request))
            except _GONE as error:
                await checker.end()
                raise Dropped(Reason.UNGRADED, "the comparison did not come to an end") from error
            except BaseException:
                # Cancelled, and nobody would read what it still says.
                await checker.end()
                raise
            self._idle.append(checker)
            return reply


class _Checker:
    """One process."""

    def __init__(self, process: Process) -> None:
        self._process = process
        assert process.stdin is not None
        assert process.stdout is not None
        self._requests: ByteSendStream = process.stdin
        self._replies = BufferedByteReceiveStream(process.stdout)

    @classmethod
    async def started(cls, seconds: int) -> _Checker:
        process: Process | None = None
        # Its start is waited for in any case: a process that nobody knows of could not be killed.
        with anyio.CancelScope(shield=True):
            process = await anyio.open_process(
                # The folder of the program is not searched: it has modules named as Python's own are.
                [sys.executable, "-P", str(_CHILD), str(_MEMORY), str(seconds)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        assert process is not None
        checker = cls(process)
        try:
            with anyio.fail_after(_START_SECONDS):
                await checker._reply()
        except _GONE as error:
            await checker.end()
            raise CheckerError(
                "the process that compares answers does not start: see what "
                "`python -c 'import math_verify'` says"
            ) from error
        except BaseException:
            await checker.end()
            raise
        return checker

    async def ask(self, request: bytes) -> bytes:
        await self._requests.send(request)
        return await self._reply()

    async def _reply(self) -> bytes:
        return await self._replies.receive_until(b"\n", _LONGEST_REPLY)

    async def end(self) -> None:
        """Kills it, and waits until it is gone."""
        with anyio.CancelScope(shield=True):
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.aclose()
