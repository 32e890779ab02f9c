"""A real SGLang server on this machine's CPU, for as long as a block lasts.

SGLang pins openai, torch and transformers, so it lives in an environment of its own, whose interpreter
is given. `sglang_cpu.py` is what that interpreter runs.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import httpx2

from sprint_agent import EngineUnavailable

_SCRIPT = Path(__file__).parent / "sglang_cpu.py"
_ROUTER = """
import sys
from sglang_router.router import Router
from sglang_router.router_args import RouterArgs
port = int(sys.argv[1])
Router.from_args(
    RouterArgs(worker_urls=sys.argv[2:], host="127.0.0.1", port=port, worker_startup_check_interval=1)
).start()
"""
_PORTS = range(20_000, 30_000)
_READY_SECONDS = 300.0
_LOG_CHARACTERS = 2000


@contextmanager
def sglang_server(python: Path, model: Path, flags: Sequence[str] = ()) -> Iterator[str]:
    """Serves a Hugging Face folder while entered, and says at which URL.

    `python` is the interpreter of an environment with SGLang, `flags` are passed on to the server.
    It takes 30 to 100 seconds. Raises EngineUnavailable where it does not
    come up; the end of its log is then on stderr.
    """
    port = str(free_port())
    command = [str(python), str(_SCRIPT), "--model-path", str(model), "--port", port, *flags]
    with _started(command, port, "/health") as url:
        yield url


@contextmanager
def sglang_router(python: Path, servers: Sequence[str]) -> Iterator[str]:
    """SGLang's router in front of servers, while entered. Raises as `sglang_server` does."""
    port = str(free_port())
    # Its own command imports all of SGLang; the router alone is up at once.
    with _started([str(python), "-c", _ROUTER, port, *servers], port, "/get_model_info") as url:
        yield url


@contextmanager
def _started(command: Sequence[str], port: str, ready: str) -> Iterator[str]:
    """Runs a server of this machine, from when it answers on its path `ready` on."""
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            text=True,
            env=os.environ | {"HF_HUB_OFFLINE": "1"},
            start_new_session=True,
        )
        try:
            _wait(url, ready, process, log)
            yield url
        finally:
            # On SIGTERM it drains, and its scheduler may poll on for ever. One that died is gone.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def free_port() -> int:
    """A port that nobody listens on.

    It is none of those that systems give to whoever asks for any: a server opens such ones for its own
    processes while it starts, and may take the very one that it is to listen on.
    """
    for port in random.sample(_PORTS, 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise EngineUnavailable(f"no port is free of a hundred from {_PORTS[0]} to {_PORTS[-1]}")


def _wait(url: str, ready: str, process: subprocess.Popen[str], log: IO[str]) -> None:
    """Returns when the server answers."""
    deadline = time.monotonic() + _READY_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if httpx2.get(url + ready, timeout=5.0).is_success:
                return
        except httpx2.HTTPError:
            pass
        time.sleep(1.0)
    log.seek(0)
    print(log.read()[-_LOG_CHARACTERS:], file=sys.stderr)
    raise EngineUnavailable(f"SGLang did not come up at {url}: its log ends as above")
