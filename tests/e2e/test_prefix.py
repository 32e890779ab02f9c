"""`python -m benchmarks prefix` on a real SGLang server that the benchmark starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

SGLANG = os.environ.get("SPRINT_SGLANG_PYTHON", "")


@pytest.mark.slow
@pytest.mark.skipif(not SGLANG, reason="SPRINT_SGLANG_PYTHON must name an interpreter with SGLang")
def test_the_command_counts_uncached_prompt_tokens() -> None:
    command = [sys.executable, "-m", "benchmarks", "prefix", "--python", SGLANG]
    done = subprocess.run(
        [*command, "--puzzles", "2", "--json"], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    assert set(value["uncached_tokens_per_problem"]) == {"tag", "stage", "split"}
    for mode in value["modes"].values():
        assert mode["problems"] == 2
        if mode["errors"] < 2:
            assert 0 < mode["uncached"] < mode["prompt_tokens"]
