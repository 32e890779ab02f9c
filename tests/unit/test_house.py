"""Imports run one way, and docs/architecture.md names every file.

The page must draw the rooms in one block of code, indented or fenced. Its first line begins with
`sprint_agent/`:

    sprint_agent/                 a room ends in a slash, and its content is indented further
      agent.py                    a file
      protocol/                   a room inside a room
        tags.py  transcript.py    two files
        {context,other}.py        two files with braces
      engines/local/{engine,batcher}.py
    curate/

On each line, the names come first. A line that continues a description must not begin with the name of
a file.
`__init__.py` need not be named, and files other than Python's may be named.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("sprint_agent", "curate", "train", "benchmarks")
NAME = re.compile(r"(?:[\w./-]|\{[\w,-]+\})+(?:/|\.\w+)")


def entries(line: str) -> list[str]:
    """Returns the files and rooms that a line of the drawing begins with; `{a,b}.py` is two files."""
    found: list[str] = []
    for name in line.split():
        if not NAME.fullmatch(name):
            break
        braces = re.search(r"\{(.*)\}", name)
        found += (
            [name.replace(braces[0], part) for part in braces[1].split(",")] if braces else [name]
        )
    return found


def block(page: str) -> list[str]:
    """Returns the lines of the drawing."""
    lines = page.splitlines()
    starts = [number for number, line in enumerate(lines) if line.split()[:1] == ["sprint_agent/"]]
    assert starts, (
        "the page draws no rooms: a block of code whose first line begins with sprint_agent/"
    )
    drawing = lines[starts[0] :]
    blanks = drawing[0][: len(drawing[0]) - len(drawing[0].lstrip())]
    ends = [
        number
        for number, line in enumerate(drawing)
        if line.startswith("```") or (line and not line.startswith(blanks))
    ]
    return drawing[: ends[0]] if ends else drawing


def drawn(page: str) -> set[str]:
    """Returns the paths of the Python files that the page draws."""
    files: set[str] = set()
    rooms: list[tuple[int, str]] = []
    for line in block(page):
        indent = len(line) - len(line.lstrip())
        names = entries(line)
        if names:
            rooms = [(depth, room) for depth, room in rooms if depth < indent]
        above = rooms[-1][1] if rooms else ""
        files |= {above + name for name in names if name.endswith(".py")}
        rooms += [(indent, above + name) for name in names if name.endswith("/")]
    return files


def test_the_drawing_is_read_with_rooms_braces_and_neighbours() -> None:
    page = """# Page
Of `train/rows.py`:

    sprint_agent/           the wheel, see
                            also other.py
      agent.py              Sprint, in protocol/other.py
      __init__.py sse.py    two
      protocol/             text
        {tags,context}.py   both
      local/{engine,batcher}.py

    train/
      __main__.py  configs/ page.html

train/data.py is prose.
"""
    room = "sprint_agent"
    assert drawn(page) == {
        *(f"{room}/{name}.py" for name in ("agent", "__init__", "sse", "protocol/tags")),
        *(f"{room}/{name}.py" for name in ("protocol/context", "local/engine", "local/batcher")),
        "train/__main__.py",
    }


def test_the_architecture_page_names_every_file_and_no_other() -> None:
    paths = [path for name in PACKAGES for path in (ROOT / name).rglob("*.py")]
    files = {path.relative_to(ROOT).as_posix() for path in paths}
    named = drawn((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))
    missing = {path for path in files - named if not path.endswith("/__init__.py")}
    assert not missing, "docs/architecture.md lacks " + ", ".join(sorted(missing))
    assert not named - files, "docs/architecture.md names " + ", ".join(sorted(named - files))


def test_imports_run_one_way() -> None:
    code = "import sys; from importlinter.cli import lint_imports_command as run; sys.exit(run())"
    command = [sys.executable, "-c", code, "--no-cache"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout[done.stdout.find("Broken contracts") :] + done.stderr


def test_nothing_tells_anyone_to_install_the_name_of_the_import() -> None:
    """The distribution is named sprint-reasoning."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "*.py", "*.md", "*.toml", ".ci"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    wrong = re.compile(r"sprint-agent\\?\[|(?:pip|uv|pipx) (?:install|add) ['\"]?sprint-agent")
    paths = [ROOT / name for name in listed.stdout.splitlines()]
    texts = {path: path.read_text(encoding="utf-8") for path in paths if path.is_file()}
    found = [str(path.relative_to(ROOT)) for path, text in texts.items() if wrong.search(text)]
    assert found == []


def test_sprint_agent_says_any_at_most_three_times_in_a_thousand_lines() -> None:
    """`Any` is for values whose type nobody can know, such as torch's in a wheel without torch."""
    counts: dict[str, int] = {}
    lines = 0
    for path in (ROOT / "sprint_agent").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        lines += text.count("\n")
        names = [node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)]
        if "Any" in names:
            counts[path.relative_to(ROOT).as_posix()] = names.count("Any")
    by_file = sorted(counts.items(), key=lambda item: -item[1])
    assert sum(counts.values()) <= 3 * lines / 1000, by_file
