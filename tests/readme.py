"""Reads the commands and programs that the README and the docs show."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
_BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


def blocks(page: str, language: str) -> list[str]:
    """Returns the fenced blocks in one language on a page of this repository."""
    fenced = _BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))
    return [text for name, text in fenced if name == language]


def command(page: str, part: str) -> list[str]:
    """Returns the words of the one command on a page that contains `part`.

    A bare `sprint` becomes the one of this environment.
    """
    lines = [line for text in blocks(page, "sh") for line in text.splitlines() if part in line]
    (line,) = set(lines)
    words = shlex.split(line)
    if Path(words[0]).name == "sprint":
        words[:1] = [sys.executable, "-m", "sprint_agent.cli.main"]
    return words


def run(words: list[str], cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Runs a command, by default in the checkout."""
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
