"""Processes that compare answers. One that takes too long is killed, and another one replaces it.

The comparison has bounds. A process is certain to end even if a bound is missing.
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
from curate.grade.comparison import Comparison

_WORKER = Path(__file__).with_name("math_worker.py")
_MEMORY = 2 * 1024**3
_START_SECONDS = 300.0
"""Importing the library alone takes a minute when the machine is busy."""
_WALL_TIME_FACTOR = 6
"""How many times its computing time a comparison may take, because the machine may be busy."""
_LONGEST_REPLY = 2000
_GONE = (TimeoutError, anyio.IncompleteRead, anyio.BrokenResourceError)
"""The errors that mean that a process is stuck or has ended."""


class MathPoolError(Exception):
    """No process that compares answers can be started."""


class MathPool:
    """Up to `processes` processes that compare answers.

    They are started when they are needed, and end when the context is left. A comparison may use
    `seconds` of computing time.
    """

    def __init__(self, processes: int = 2, seconds: int = 10) -> None:
        self._seconds = seconds
        self._slots = anyio.CapacityLimiter(processes)
        self._idle: list[_MathWorker] = []

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

    async def compare(self, reference: str, claimed: str) -> Comparison:
        """Compares two answers as mathematics.

        Raises:
            Dropped: the comparison takes too much time or memory.
            MathPoolError: no process can be started.
        """
        request = json.dumps([reference, claimed]).encode() + b"\n"
        async with self._slots:
            worker = self._idle.pop() if self._idle else await _MathWorker.start(self._seconds)
            try:
                with anyio.fail_after(self._seconds * _WALL_TIME_FACTOR):
                    reply = Comparison(*json.loads(await worker.ask(request)))
            except _GONE as error:
                await worker.end()
                raise Dropped(
                    Reason.UNGRADED, "the comparison took too much time or memory"
                ) from error
            except BaseException:
                # After a cancellation nobody reads the reply, so the process cannot be used again.
                await worker.end()
                raise
            self._idle.append(worker)
            return reply


class _MathWorker:
    """One process."""

    def __init__(self, process: Process) -> None:
        self._process = process
        assert process.stdin is not None
        assert process.stdout is not None
        self._requests: ByteSendStream = process.stdin
        self._replies = BufferedByteReceiveStream(process.stdout)

    @classmethod
    async def start(cls, seconds: int) -> _MathWorker:
        process: Process | None = None
        # The start is not cancelled, because an unknown process could not be killed.
        with anyio.CancelScope(shield=True):
            process = await anyio.open_process(
                # -P: the program's folder could hide modules of the standard library.
                [sys.executable, "-P", str(_WORKER), str(_MEMORY), str(seconds)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        assert process is not None
        worker = cls(process)
        try:
            with anyio.fail_after(_START_SECONDS):
                await worker._reply()
        except _GONE as error:
            await worker.end()
            raise MathPoolError(
                "the process that compares answers does not start: run "
                "`python -c 'import mpmath'` to see why"
            ) from error
        except BaseException:
            await worker.end()
            raise
        return worker

    async def ask(self, request: bytes) -> bytes:
        await self._requests.send(request)
        return await self._reply()

    async def _reply(self) -> bytes:
        return await self._replies.receive_until(b"\n", _LONGEST_REPLY)

    async def end(self) -> None:
        """Kills the process, and waits until it has ended."""
        with anyio.CancelScope(shield=True):
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.aclose()
