"""Runs `sprint` in this process, on a scripted engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from sprint_agent import Sprint
from sprint_agent.cli import main as command
from sprint_agent.cli import options
from sprint_agent.testing import Reply, ScriptedEngine


@dataclass
class Cli:
    """The command line of a test. Engines that it names are replaced by a scripted one."""

    capsys: pytest.CaptureFixture[str]
    script: Callable[[str], str | Reply] = lambda prompt: ""
    engines: list[object] = field(default_factory=list)
    """The engines that the command line named."""
    settings: dict[str, Any] = field(default_factory=dict)
    """The arguments of the last agent."""
    engine: ScriptedEngine | None = None

    def agent(self, engine: object, **settings: Any) -> Sprint:
        self.engines.append(engine)
        self.settings = dict(settings)
        named = settings.pop("executor_engine")
        if named is not None:
            self.engines.append(named)
        self.engine = ScriptedEngine(lambda prompt: self.script(prompt), chunk=1000)
        return Sprint(self.engine, **settings)

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Returns the exit status, stdout and stderr."""
        with pytest.raises(SystemExit) as ended:
            command.main(list(arguments))
        out, err = self.capsys.readouterr()
        return int(ended.value.code or 0), out, err

    def refuse(self, *arguments: str) -> str:
        """Returns the one line with which bad input ends."""
        status, out, err = self.run(*arguments)
        assert status == 2
        assert out == ""
        (line,) = err.splitlines()
        assert line.startswith("sprint: ")
        return line


def make(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    cli = Cli(capsys)
    monkeypatch.setattr(options, "Sprint", cli.agent)
    monkeypatch.setenv("COLUMNS", "100")
    return cli
