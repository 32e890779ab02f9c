"""`python -m benchmarks prefix` on a real SGLang server, which the benchmark starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

SGLANG = os.environ.get("SPRINT_SGLANG_PYTHON", "")


@pytest.mark.slow
@pytest.mark.skipif(not SGLANG, reason="SPRINT_SGLANG_PYTHON names no interpreter with SGLang")
def test_prompt_tokens_that_were_not_cached() -> None:
    command = [sys.executable, "-m", "benchmarks", "prefix", "--python", SGLANG]
    done = subprocess.run(
        [*command, "--puzzles", "2", "--json"], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert set(said["uncached_tokens_per_problem"]) == {"tag", "stage", "split"}
    for mode in said["modes"].values():
        assert mode["problems"] == 2
        if mode["errors"] < 2:
            assert 0 < mode["uncached"] < mode["prompt_tokens"]
