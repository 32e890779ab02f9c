"""Ctrl-C ends the command at once, also while a model is loaded."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

PROGRAM = """
import sys, time
from sprint_agent.engines.local.engine import LocalEngine

def load(self, loop):
    print("loading", flush=True)
    time.sleep(120)

LocalEngine._load = load
from sprint_agent.cli.main import main
main(["solve", "Use 3, 5, 7 and 11 to make 24.", "--json"])
"""


def test_ctrl_c_while_a_model_is_loaded() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs the tests in the background ignores SIGINT, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "loading\n"
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, errors) == (130, "")
    assert time.monotonic() - began < 30
