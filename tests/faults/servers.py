"""Every engine of a server, on a FaultServer. Shared by the tests of what servers do wrong."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

pytest.importorskip("openai")

from sprint_agent.engine import Finish, Request, Sampling
from sprint_agent.engines import OpenAIEngine, SGLangEngine
from sprint_agent.errors import (
    EngineError,
)
from sprint_agent.testing import (
    CharTokenizer,
    Fault,
    FaultServer,
)

KINDS = ["chat", "completions", "sglang"]
OPENAI = ["chat", "completions"]
TEXT = r"\boxed{42 is the answer}"
SMILE = "\N{GRINNING FACE}"
FIRST, SECOND = "\ud83d", "\ude00"
"""The halves of SMILE. They are separate ids of the server, and come in separate events."""


def engine_of(server: FaultServer, kind: str, **settings: Any) -> OpenAIEngine | SGLangEngine:
    if kind == "sglang":
        return SGLangEngine(server.url, tokenizer=CharTokenizer(), **settings)
    mode: Any = kind
    return OpenAIEngine(f"{server.url}/v1", model="scripted", mode=mode, **settings)


def request(kind: str, **sampling: Any) -> Request:
    prompt = "What?"
    chosen = Sampling(**{"max_tokens": 200, **sampling})
    return Request(tuple(CharTokenizer().encode(prompt)) if kind == "sglang" else prompt, chosen)


async def read(
    engine: OpenAIEngine | SGLangEngine, kind: str, **sampling: Any
) -> tuple[str, Finish]:
    text = ""
    async with engine.generate(request(kind, **sampling)) as stream:
        async for event in stream:
            if isinstance(event, Finish):
                return text, event
            text += event.text
    raise AssertionError("there was no finish")


async def answered(
    kind: str,
    *faults: Fault,
    text: str = TEXT,
    settings: dict[str, Any] | None = None,
    **sampling: Any,
) -> tuple[str, Finish]:
    """Returns the text and the finish of one request to a server with faults."""
    async with FaultServer(lambda prompt: text) as server:
        server.fail(*faults)
        async with engine_of(server, kind, **(settings or {})) as engine:
            with anyio.fail_after(30):
                return await read(engine, kind, **sampling)


async def failed(kind: str, *faults: Fault, **settings: Any) -> EngineError:
    with pytest.raises(EngineError) as caught:
        await answered(kind, *faults, settings=settings)
    return caught.value


def address(kind: str, url: str) -> OpenAIEngine | SGLangEngine:
    if kind == "sglang":
        return SGLangEngine(url, tokenizer=CharTokenizer())
    mode: Any = kind
    return OpenAIEngine(url, model="m", mode=mode)
