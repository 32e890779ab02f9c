"""`python -m benchmarks.endpoint_rate`: how near the LLM client of curation comes to the ideal rate.

The ideal is as many requests a second as are under way at a time, by the seconds that each takes. The
stub endpoint runs in a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import anyio
import cyclopts

from curate.llm.cache import Cache
from curate.llm.client import Client
from curate.llm.cost import Ledger
from curate.llm.endpoint import Message, Query

_SCHEMA: dict[str, object] = {
    "type": "object",
    "properties": {"steps": {"type": "array", "items": {"type": "integer"}}},
    "required": ["steps"],
    "additionalProperties": False,
}
_SENTENCES = 60


@contextmanager
def stub(latency: float, log: Path | None = None) -> Iterator[str]:
    """The address of a stub endpoint, which runs in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.stub_endpoint", "--latency", str(latency)]
    command += [] if log is None else ["--log", str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


@asynccontextmanager
async def asking(url: str, folder: Path, concurrency: int) -> AsyncIterator[Client]:
    """A client with a new cache."""
    with Cache(folder / f"{time.time_ns()}.db") as cache:
        async with Client(
            url, "k", {"steps": "m"}, cache=cache, ledger=Ledger(), concurrency=concurrency
        ) as client:
            yield client


def query(number: int) -> Query:
    """A query of some 5000 characters that is like no other."""
    lines = [
        f"[{n}] This is sentence {n} of text {number}, and it says little else."
        for n in range(_SENTENCES)
    ]
    messages = (Message("system", "Name the steps. " * 60), Message("user", "\n".join(lines)))
    return Query("steps", str(number), 1, "1", messages, _SCHEMA)


def spin(seconds: float) -> None:
    """Keeps the CPU busy, as reading a trajectory does."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


async def rate(client: Client, concurrency: int, rounds: int, work: float) -> tuple[float, float]:
    """Requests a second, and CPU seconds a request, with `work` CPU seconds between two requests."""
    numbers = iter(range(concurrency * rounds))

    async def worker() -> None:
        for number in numbers:
            await client.ask(query(number))
            spin(work)

    started, cpu = time.perf_counter(), time.process_time()
    async with anyio.create_task_group() as group:
        for _ in range(concurrency):
            group.start_soon(worker)
    seconds, used = time.perf_counter() - started, time.process_time() - cpu
    return concurrency * rounds / seconds, used / (concurrency * rounds)


def main(*, latency: float = 0.3, rounds: int = 20, work: float = 0.0) -> None:
    """The client's rate at 32, 64, 128 and 256 at a time.

    Parameters
    ----------
    latency
        Seconds that the endpoint takes.
    rounds
        Requests in all, by those at a time.
    work
        CPU seconds that this process spends between two requests, on other things.
    """

    async def measure(url: str, folder: Path) -> None:
        for concurrency in (32, 64, 128, 256):
            async with asking(url, folder, concurrency) as client:
                reached, cpu = await rate(client, concurrency, rounds, work)
            ideal = concurrency / latency
            print(
                f"{concurrency:4} at a time: {reached:6.1f}/s of {ideal:6.1f}, "
                f"{reached / ideal:6.1%}, {cpu * 1e3:.2f} ms CPU a request",
                flush=True,
            )

    with tempfile.TemporaryDirectory() as folder, stub(latency) as url:
        anyio.run(measure, url, Path(folder))


if __name__ == "__main__":
    cyclopts.run(main)
