"""What the README says to type does what it says. (SGLang's part: test_sglang_server.py.)"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

import pytest
from anyio.from_thread import start_blocking_portal

pytest.importorskip("openai")

from sprint_agent.testing import FaultServer
from tests.readme import blocks, command, run

pytestmark = pytest.mark.slow


def asked(prompt: str) -> str:
    """A model that plans once and then answers."""
    if "<execution_1.1>\n2^30" in prompt:
        return "<Final_answer>\n\\boxed{3^19}\n</Final_answer>"
    if "You do one task" in prompt:
        return "2^30 is 1,073,741,824 and 3^19 is 1,162,261,467."
    return "<Plan_1>\n<prompt_1.1> Work out both. </prompt_1.1>\n</Plan_1>"


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(FaultServer(asked)) as entered,
    ):
        yield entered


def test_the_engine_in_this_process() -> None:
    done = run(command("README.md", "--engine sprint_agent/countdown/model"))
    assert done.returncode == 0, done.stderr
    assert "right" in done.stdout


@pytest.mark.parametrize(
    ("page", "holds"),
    [("README.md", "api.openai.com"), ("docs/engines-openai.md", "127.0.0.1:11434")],
)
def test_a_chat_model_on_any_server(server: FaultServer, page: str, holds: str) -> None:
    words = [
        re.sub(r"(?<=openai\+)http[^#]*", f"{server.url}/v1", word) for word in command(page, holds)
    ]
    done = run(words)
    assert done.returncode == 0, done.stderr
    assert "3^19" in done.stdout
    assert server.requests[0].body["model"] == words[-1].partition("#")[2]


def test_the_program_of_the_engines_page(server: FaultServer) -> None:
    (program,) = (text for text in blocks("docs/engines-openai.md", "python") if "asyncio" in text)
    program = program.replace("https://api.openai.com", server.url)
    done = run([sys.executable, "-c", program])
    assert done.returncode == 0, done.stderr
    assert "3^19" in done.stdout
