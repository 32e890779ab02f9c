"""Measures one process of curation: its rate against the ideal rate, its memory, and a SIGKILL.

A stub endpoint with a fixed latency replaces the model, so the ideal rate is known: concurrency divided
by latency. `python -m curate run` curates the same input three times: completely, killed with SIGKILL at
a random moment, and that one again. The third must produce the same files as the first, without asking
again for any answer that the second had received.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import cases
from curate.files import jsonl
from curate.llm.cache import Cache
from sprint_agent.errors import SprintError

OUTPUTS = ("train.jsonl", "validation.jsonl", "dropped.jsonl", "report.html")
_QUERIES = 2
"""Queries for each trajectory: one for its steps, one for their dependencies."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What is measured."""

    trajectories: int
    concurrency: int
    """Concurrent requests."""
    latency: float
    """Seconds from a request to its answer."""
    seed: int = 0

    @property
    def ideal_seconds(self) -> float:
        """The shortest time that the requests can take."""
        return self.trajectories * _QUERIES * self.latency / self.concurrency


@dataclass(frozen=True, slots=True)
class CompleteRun:
    """A curation from start to end."""

    seconds: float
    memory: tuple[int, ...]
    """Memory of the process in bytes, once a second. Empty if the system does not report it."""


@dataclass(frozen=True, slots=True)
class KilledRun:
    """A curation that was killed and resumed."""

    kept: int
    """Answers that the cache contained when the process was killed."""
    in_flight: int
    """Requests that had been sent by then and whose answer was not in the cache.

    All of them are sent again.
    """
    repeated: int
    """Other requests that were sent again."""
    same_files: bool
    """Whether the output is that of the complete run, byte for byte."""


def measure(workload: Workload, folder: Path) -> tuple[CompleteRun, KilledRun]:
    """Makes all three runs in `folder`, which should be empty.

    Raises:
        SprintError: A run failed.
    """
    source = folder / "trajectories.jsonl"
    jsonl.write(cases.trajectories(workload.trajectories, workload.seed), source)
    with stub(workload.latency, folder / "complete.log") as url:
        complete = _watch(_start(workload, url, source, folder / "complete"))
    queries = workload.trajectories * _QUERIES
    kill_after = int(queries * random.Random(workload.seed).uniform(0.1, 0.9))
    log = folder / "killed.log"
    with stub(workload.latency, log) as url:
        process = _start(workload, url, source, folder / "killed")
        while _count_requests(log).total() < kill_after:
            if process.poll() is not None:
                raise _failed(process)
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        with Cache(folder / "killed" / "cache.sqlite") as cache:
            kept = sum(model.count for model in cache.answers().values())
        sent = _count_requests(log).total()
        _watch(_start(workload, url, source, folder / "killed"))
        sent_again = sum(times - 1 for times in _count_requests(log).values())
    in_flight = sent - kept
    same = _same_files(folder / "complete", folder / "killed")
    return complete, KilledRun(kept, in_flight, sent_again - in_flight, same)


@contextmanager
def stub(latency: float, log: Path) -> Iterator[str]:
    """Runs a stub endpoint in its own process and yields its URL."""
    command = [sys.executable, "-m", "benchmarks.stub_endpoint"]
    options = ["--latency", str(latency), "--log", str(log)]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def _start(workload: Workload, url: str, source: Path, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "curate", "run", str(source), "--out", str(out)]
    options = {"base-url": url, "concurrency": workload.concurrency, "grade": "exact"}
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    environment = {**os.environ, "OPENAI_API_KEY": "none"}
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)


def _watch(process: subprocess.Popen[bytes]) -> CompleteRun:
    """Waits until the process ends, and reads its memory once a second."""
    start = time.monotonic()
    memory: list[int] = []
    while process.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1.0)
        memory += _memory(process.pid)
    if process.returncode:
        raise _failed(process)
    return CompleteRun(time.monotonic() - start, tuple(memory))


def _failed(process: subprocess.Popen[bytes]) -> SprintError:
    return SprintError(
        f"curation ended with exit status {process.returncode}: run `python -m curate run` to see why"
    )


def _memory(pid: int) -> list[int]:
    """Returns the resident bytes of a process, or an empty list if the system does not report them."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return []
    return [pages * os.sysconf("SC_PAGE_SIZE")] if pages else []


def _count_requests(log: Path) -> Counter[str]:
    """Returns how often each request was sent, by the digest of its body."""
    if not log.exists():
        return Counter()
    return Counter(line[2:] for line in log.read_text().splitlines() if line.startswith("+"))


def _same_files(one: Path, other: Path) -> bool:
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in OUTPUTS)
