"""`--executor MODULE:NAME`: what is loaded, and what is refused in one line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sprint_agent import PythonExecutor
from sprint_agent.cli.load_executor import ExecutorNotLoaded, load_executor
from tests.script import Continuing, answer, plan
from tests.unit.cli.commands import Cli

TOOLS = '''
from sprint_agent import NestedExecutor, executor

@executor
async def search(query: str) -> str:
    """Looks something up."""
    return f"found {query}"

@executor
async def shout(text: str) -> str:
    return text.upper()

def plain(query: str) -> str:
    return query

class Quiet:
    name = "quiet"
    description = "says nothing"
    schema = None

    async def execute(self, task):
        return ""

class Needy(Quiet):
    def __init__(self, key):
        self.key = key

needy = Needy("k")
number = 5
'''


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    name = "executors_of_a_test"
    (tmp_path / f"{name}.py").write_text(TOOLS)
    monkeypatch.delitem(sys.modules, name, raising=False)
    return name


def test_functions_objects_and_classes_are_executors(tools: str) -> None:
    assert load_executor(f"{tools}:search").description == "Looks something up."
    assert load_executor(f"{tools}:needy").name == "quiet"
    assert load_executor(f"{tools}:Quiet").name == "quiet"
    assert load_executor("sprint_agent:PythonExecutor") == PythonExecutor()


def test_executors_of_the_command_line_work_on_prompts(cli: Cli, tools: str) -> None:
    cli.script = Continuing([plan("search: this", "shout: that"), answer("5")])
    named = ["--executor", f"{tools}:search", "--executor", f"{tools}:shout"]
    status, out, err = cli.run("solve", *named, "What?", "--engine", "http://127.0.0.1:9")
    assert (status, err) == (0, "")
    for words in ("✓ 1.1 search", "found this", "✓ 1.2 shout", "THAT"):
        assert words in out


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("TOOLS", "is not MODULE:NAME"),
        (":search", "is not MODULE:NAME"),
        ("no_such_module:search", "cannot import no_such_module (ModuleNotFoundError"),
        (".relative:search", "cannot import .relative"),
        ("TOOLS:nothing", "the module has no nothing"),
        ("TOOLS:plain", "decorate it with @executor"),
        ("TOOLS:Needy", "cannot create TOOLS:Needy without arguments (TypeError"),
        ("TOOLS:number", "of the type int"),
    ],
)
def test_what_is_no_executor_is_one_line(cli: Cli, tools: str, address: str, words: str) -> None:
    address, words = address.replace("TOOLS", tools), words.replace("TOOLS", tools)
    line = cli.refuse("solve", "What?", "--engine", "http://127.0.0.1:9", "--executor", address)
    assert words in line
    assert cli.engines == []


@pytest.mark.parametrize(
    "code", ["1 / 0", "raise SystemExit(3)", "def", "assert False, 'two\\nlines'"]
)
def test_a_module_that_cannot_be_read_is_refused(tools: str, tmp_path: Path, code: str) -> None:
    (tmp_path / f"{tools}.py").write_text(code + "\n")
    with pytest.raises(ExecutorNotLoaded, match=f"cannot import {tools}"):
        load_executor(f"{tools}:search")


def test_two_executors_of_one_name_are_refused(cli: Cli, tools: str) -> None:
    named = ["--executor", f"{tools}:Quiet", "--executor", f"{tools}:needy"]
    line = cli.refuse("solve", "What?", "--engine", "http://127.0.0.1:9", *named)
    assert "'quiet'" in line
