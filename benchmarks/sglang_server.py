"""Context managers that run a real SGLang server, or its router, on this machine's CPU.

SGLang pins openai, torch and transformers, so it needs its own environment. The caller names that
environment's interpreter, which runs `sglang_cpu.py`.
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
    """Serves a Hugging Face folder inside the block and yields the server's URL.

    The start takes 30 to 100 seconds.

    Args:
        python: The interpreter of an environment with SGLang.
        model: The folder.
        flags: Further arguments for the server.

    Raises:
        EngineUnavailable: The server does not start. The end of its log is then on stderr.
    """
    port = str(free_port())
    command = [str(python), str(_SCRIPT), "--model-path", str(model), "--port", port, *flags]
    with _running(command, port, "/health") as url:
        yield url


@contextmanager
def sglang_router(python: Path, servers: Sequence[str]) -> Iterator[str]:
    """Runs SGLang's router in front of servers inside the block, and yields the router's URL.

    Raises:
        EngineUnavailable: The router does not start. The end of its log is then on stderr.
    """
    port = str(free_port())
    # The router's own command imports all of SGLang. The router alone starts at once.
    with _running([str(python), "-c", _ROUTER, port, *servers], port, "/get_model_info") as url:
        yield url


@contextmanager
def _running(command: Sequence[str], port: str, ready: str) -> Iterator[str]:
    """Runs a server on this machine. The block begins when the server answers on its path `ready`."""
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
            # After SIGTERM it drains, and its scheduler may poll forever, so it gets SIGKILL. A server
            # that has already ended has no process group any more.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def free_port() -> int:
    """Returns a port on which nothing listens.

    It is outside the range from which the system chooses when a program asks for any free port. A
    starting server asks for such ports for its own processes, and could get the port on which it should
    listen.

    Raises:
        EngineUnavailable: A hundred ports were tried and none was free.
    """
    for port in random.sample(_PORTS, 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise EngineUnavailable(f"none of 100 ports between {_PORTS[0]} and {_PORTS[-1]} is free")


def _wait(url: str, ready: str, process: subprocess.Popen[str], log: IO[str]) -> None:
    """Waits until the server answers."""
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
    raise EngineUnavailable(f"SGLang did not start at {url}: see the end of its log above")
