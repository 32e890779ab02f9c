"""The curation benchmark: its table without memory figures, and a curation that fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as commands
from benchmarks import curation, tables
from benchmarks.curation import CompleteRun, KilledRun, Workload


def test_the_table_omits_memory_if_the_system_does_not_report_it() -> None:
    rows: list[int] = []
    for memory in ((), (10**6,), (10**6, 2 * 10**6) * 4):
        complete, killed = CompleteRun(3.0, memory), KilledRun(1, 1, 0, True)
        table = tables.curation(Workload(10, 2, 0.1), complete, killed)
        rows.append(table.row_count)
    assert rows == [7, 11, 11]


def test_a_curation_that_fails_ends_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def start(workload: Workload, url: str, source: Path, out: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])

    monkeypatch.setattr(curation, "_start", start)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "curation", "--trajectories", "2"])
    with pytest.raises(SystemExit) as ended:
        commands.main()
    assert ended.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("benchmarks: curation ended with exit status 3: ")
