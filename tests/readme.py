"""The commands and programs that the README and the docs show, as they stand there."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
_BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks in one language on a page of this repository."""
    found = _BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))
    return [text for named, text in found if named == language]


def command(page: str, holds: str) -> list[str]:
    """The one command on a page that holds a text, in words; a bare `sprint` is this environment's."""
    lines = [line for text in blocks(page, "sh") for line in text.splitlines() if holds in line]
    (line,) = set(lines)
    words = shlex.split(line)
    if Path(words[0]).name == "sprint":
        words[:1] = [sys.executable, "-m", "sprint_agent.cli.main"]
    return words


def run(words: list[str], cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Runs a command in the checkout."""
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
