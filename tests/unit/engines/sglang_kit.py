"""A FaultServer with a small tokenizer, for the tests of the SGLang engine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sprint_agent.engine import Delta, Finish, Request, Sampling
from sprint_agent.engines import SGLangEngine
from sprint_agent.testing import Fault, FaultServer, Garbage
from sprint_agent.testing.scripted import Script

ANSWER = "take <p>3+5</p> and 7, then <p>8*7</p> " * 16
CONTEXT = 600
END_ID = 3
PROMPT = tuple(b"use 3, 5 and 7")
GREEDY = Sampling(max_tokens=24, temperature=0.0)
ABORT = "/abort_request"


class CharTokenizer:
    """Has one id for each ASCII character."""

    vocab_size = 128

    def encode(self, text: str) -> list[int]:
        return list(text.encode("ascii"))

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(ids).decode("ascii")


def serving(*faults: Fault, answer: str | Script = ANSWER, **settings: Any) -> FaultServer:
    """Returns a server that generates `answer`, with `faults` in its queue."""
    script = (lambda _: answer) if isinstance(answer, str) else answer
    chosen: dict[str, Any] = {
        "context_length": CONTEXT,
        "end_id": END_ID,
        "cached_tokens": 5,
    } | settings
    server = FaultServer(script, tokenizer=CharTokenizer(), **chosen)
    server.fail(*faults)
    return server


def engine_of(server: FaultServer, **settings: Any) -> SGLangEngine:
    return SGLangEngine(server.url, tokenizer=CharTokenizer(), **settings)


def aborted(server: FaultServer) -> list[str]:
    return [abort.rid for abort in server.aborts]


def event(ids: list[int], finish: object = None, **replaced: object) -> dict[str, object]:
    """Returns an event of an answer to PROMPT, with the fields in `replaced`."""
    meta = {"id": "", "finish_reason": finish, "prompt_tokens": len(PROMPT)}
    meta |= {"completion_tokens": len(ids), "cached_tokens": 5}
    return {"text": bytes(ids).decode("ascii"), "output_ids": ids, "meta_info": meta} | replaced


def events(*given: object) -> Garbage:
    """Sends these events in place of an answer. A string is sent as it is."""
    texts = [one if isinstance(one, str) else json.dumps(one) for one in given]
    return Garbage("".join(f"data: {text}\n\n" for text in texts).encode())


def describing(value: object, path: str) -> Garbage:
    """Sends this JSON, or text, when the server is asked for `path`."""
    text = value if isinstance(value, str) else json.dumps(value)
    return Garbage(text.encode(), path=path, times=None)


async def read(engine: SGLangEngine, request: Request) -> tuple[str, tuple[int, ...], Finish]:
    text, ids, finish = "", (), None
    async with engine.generate(request) as stream:
        async for one in stream:
            assert finish is None
            if isinstance(one, Delta):
                text, ids = text + one.text, ids + one.ids
            else:
                finish = one
    assert finish is not None
    return text, ids, finish
