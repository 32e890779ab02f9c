from __future__ import annotations

import pytest

from tests.unit.cli import commands


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> commands.Cli:
    return commands.make(monkeypatch, capsys)
