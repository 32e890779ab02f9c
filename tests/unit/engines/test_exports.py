"""The names of `sprint_agent.engines`, which are imported when they are first used."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from sprint_agent import EngineUnavailable, engines
from sprint_agent.engines import EnginePool, LocalEngine, open_engine
from sprint_agent.testing import ScriptedEngine

HEAVY = "{'torch', 'transformers', 'tokenizers', 'httpx2', 'openai', 'pydantic', 'rich'}"


def run(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_names() -> None:
    expected = "EngineAddress EnginePool LocalEngine OpenAIEngine SGLangEngine open_engine"
    assert sorted(engines.__all__) == sorted(expected.split())
    assert set(engines.__all__) <= set(dir(engines))


@pytest.mark.parametrize("names", ["", "; engines.LocalEngine, engines.EnginePool"])
def test_importing_the_package_needs_no_extra(names: str) -> None:
    run(
        f"import sys, sprint_agent.engines as engines{names}\n"
        f"assert not {HEAVY} & set(sys.modules), {HEAVY} & set(sys.modules)"
    )


def test_a_name_imports_its_engine() -> None:
    pytest.importorskip("openai")
    run(
        "import sys\n"
        "from sprint_agent.engines import OpenAIEngine\n"
        "assert 'openai' in sys.modules and 'torch' not in sys.modules\n"
        "assert OpenAIEngine.__module__ == 'sprint_agent.engines.openai.engine'"
    )


def test_type_checkers_see_every_lazy_name() -> None:
    assert engines.__file__ is not None
    tree = ast.parse(Path(engines.__file__).read_text())
    (block,) = (
        node
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    imported = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == {
        name: f"sprint_agent.engines.{module}" for name, module in engines._MODULES.items()
    }


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'NoEngine'"):
        _ = engines.NoEngine  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "package", "extra", "address"),
    [
        ("OpenAIEngine", "openai", "openai", "openai+http://127.0.0.1:1/v1#m"),
        ("SGLangEngine", "httpx2", "sglang", "http://127.0.0.1:1"),
    ],
)
def test_a_missing_extra_is_named_in_one_line(
    name: str, package: str, extra: str, address: str
) -> None:
    expected = f'{name} needs {package}: pip install ".[{extra}]" from a checkout'
    run(
        f"import sys\n"
        f"sys.modules[{package!r}] = None\n"
        f"from sprint_agent.errors import EngineUnavailable\n"
        f"import sprint_agent.engines as engines\n"
        f"try:\n"
        f"    from sprint_agent.engines import {name}\n"
        f"except ImportError as error:\n"
        f"    assert str(error) == {expected!r}, error\n"
        f"    assert error.name == {package!r}\n"
        f"else:\n"
        f"    raise AssertionError\n"
        f"try:\n"
        f"    engines.open_engine({address!r})\n"
        f"except EngineUnavailable as error:\n"
        f"    assert str(error) == 'cannot open {address}: ' + {expected!r}, error\n"
        f"else:\n"
        f"    raise AssertionError\n"
    )


def test_opening_an_address(tmp_path: Path) -> None:
    engine = ScriptedEngine(lambda _: "")
    assert open_engine(engine) is engine
    assert isinstance(open_engine(tmp_path), LocalEngine)
    assert isinstance(open_engine(str(tmp_path)), LocalEngine)
    assert isinstance(open_engine([engine, engine]), EnginePool)
    with pytest.raises(EngineUnavailable, match=r"write openai\+http://h/v1#MODEL"):
        open_engine("openai+http://h/v1")
