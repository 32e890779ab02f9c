"""The benchmark of curation: what is shown where less is known, and a curation that fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as commands
from benchmarks import curation, tables
from benchmarks.curation import Killed, Setting, Whole


def test_without_a_system_that_tells_it_there_is_no_memory_to_show() -> None:
    rows: list[int] = []
    for memory in ((), (10**6,), (10**6, 2 * 10**6) * 4):
        table = tables.curation(Setting(10, 2, 0.1), Whole(3.0, memory), Killed(1, 1, 0, True))
        rows.append(table.row_count)
    assert rows == [7, 11, 11]


def test_a_curation_that_fails_ends_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def start(setting: Setting, url: str, source: Path, out: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])

    monkeypatch.setattr(curation, "_start", start)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "curation", "--trajectories", "2"])
    with pytest.raises(SystemExit) as ended:
        commands.main()
    assert ended.value.code == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith("benchmarks: curation ended with exit status 3: ")
