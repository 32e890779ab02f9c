"""The wheel contains only sprint_agent with its model, and works in an empty environment."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    (path,) = out.glob("sprint_reasoning-*.whl")
    return path


def test_it_contains_only_the_package_with_its_model(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"sprint_agent"}
    assert "sprint_agent/py.typed" in names
    assert "sprint_agent/countdown/model/model.safetensors" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_it_solves_a_puzzle_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    binaries = tmp_path / "venv" / "bin"
    install = [binaries / "pip", "install", "-q", "torch==2.13.0", f"{wheel}[cli,local]"]
    subprocess.run(install, check=True, timeout=600, cwd=tmp_path)
    command = [binaries / "sprint", "solve", "--json", "Use 3, 5, 7 and 11 to make 24."]
    done = subprocess.run(command, check=True, capture_output=True, timeout=120, cwd=tmp_path)
    assert json.loads(done.stdout)["answer"]
