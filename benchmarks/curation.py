"""How far one process goes in curation: its rate against the ideal, its memory, and a kill in between.

A stub endpoint with a fixed latency stands for the model, so the ideal rate is known: concurrency by
latency. The same input is curated three times by `python -m curate run`: whole, killed with SIGKILL at a
random moment, and that one again. The last must come to the same files without asking anything again
that had been answered.
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
"""Queries for each trajectory: its steps, and their dependencies."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What is measured: so many trajectories, requests at a time, and seconds to an answer."""

    trajectories: int
    concurrency: int
    latency: float
    seed: int = 0

    @property
    def ideal_seconds(self) -> float:
        """The least time that the requests can take."""
        return self.trajectories * _QUERIES * self.latency / self.concurrency


@dataclass(frozen=True, slots=True)
class Whole:
    """A run from start to end. `memory` is the process's, in bytes, once a second, where it is told."""

    seconds: float
    memory: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Killed:
    """A run that was killed, and gone on with.

    By then `kept` answers had been taken in, and `under_way` requests had been sent whose answers had
    not. All of those are sent again; `repeated` are what was sent again beside them.
    """

    kept: int
    under_way: int
    repeated: int
    same_files: bool


def measure(setting: Setting, folder: Path) -> tuple[Whole, Killed]:
    """Runs all three in `folder`, which should be empty. Raises SprintError where one fails."""
    source = folder / "trajectories.jsonl"
    jsonl.write(cases.trajectories(setting.trajectories, setting.seed), source)
    with stub(setting.latency, folder / "whole.log") as url:
        whole = _watched(_start(setting, url, source, folder / "whole"))
    queries = setting.trajectories * _QUERIES
    moment = int(queries * random.Random(setting.seed).uniform(0.1, 0.9))
    log = folder / "killed.log"
    with stub(setting.latency, log) as url:
        process = _start(setting, url, source, folder / "killed")
        while sum(_sent(log).values()) < moment:
            if process.poll() is not None:
                raise _failed(process)
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        with Cache(folder / "killed" / "cache.sqlite") as cache:
            kept = sum(model.count for model in cache.answers().values())
        before = _sent(log)
        _watched(_start(setting, url, source, folder / "killed"))
        again = sum(times - 1 for times in _sent(log).values())
    under_way = before.total() - kept
    same = _same(folder / "whole", folder / "killed")
    return whole, Killed(kept, under_way, again - under_way, same)


@contextmanager
def stub(latency: float, log: Path) -> Iterator[str]:
    """A stub endpoint in a process of its own, by its address."""
    command = [sys.executable, "-m", "benchmarks.stub_endpoint"]
    options = ["--latency", str(latency), "--log", str(log)]
    process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def _start(setting: Setting, url: str, source: Path, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "curate", "run", str(source), "--out", str(out)]
    options = {"base-url": url, "concurrency": setting.concurrency, "grade": "exact"}
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    environment = {**os.environ, "OPENAI_API_KEY": "none"}
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)


def _watched(process: subprocess.Popen[bytes]) -> Whole:
    began = time.monotonic()
    memory: list[int] = []
    while process.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1.0)
        memory += _memory(process.pid)
    if process.returncode:
        raise _failed(process)
    return Whole(time.monotonic() - began, tuple(memory))


def _failed(process: subprocess.Popen[bytes]) -> SprintError:
    return SprintError(
        f"curation ended with exit status {process.returncode}: `python -m curate run` says why"
    )


def _memory(pid: int) -> list[int]:
    """The bytes that a process holds, where the system tells."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return []
    return [pages * os.sysconf("SC_PAGE_SIZE")] if pages else []


def _sent(log: Path) -> Counter[str]:
    """How often each request was sent."""
    if not log.exists():
        return Counter()
    return Counter(line[2:] for line in log.read_text().splitlines() if line.startswith("+"))


def _same(one: Path, other: Path) -> bool:
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in OUTPUTS)
