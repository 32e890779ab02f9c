"""`python -m benchmarks.stub_endpoint`: a chat endpoint without a model, for measuring its clients.

It answers `POST …/chat/completions`, not streamed, after a fixed time, and takes as little CPU as it
can. Its log has a line for each request that arrived, and one for each whose answer the kernel has in
full: `+ digest` and `- digest`, of the body. So a reader can count what was asked twice, or in vain.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import cyclopts

from benchmarks import cases

Answer = Callable[[str, str], dict[str, Any]]
"""Answers a kind of query (the schema's name) and the last message's text."""

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_HEAD = "HTTP/1.1 {} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n"


class Connection(asyncio.Protocol):
    """One client's connection: a request, its answer, and so on."""

    def __init__(self, latency: float, log: int | None, say: Answer) -> None:
        self._latency = latency
        self._log = log
        self._say = say
        self._loop = asyncio.get_running_loop()
        self._data = bytearray()
        self._unsent: list[str] = []
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        # Then `resume_writing` says that the kernel has all.
        transport.set_write_buffer_limits(0)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._data, 0, end)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self._data) < whole:
                return
            body = bytes(self._data[end + 4 : whole])
            del self._data[:whole]
            digest = hashlib.blake2b(body, digest_size=12).hexdigest()
            self._note("+", digest)
            self._loop.call_later(self._latency, self._respond, digest, body)

    def resume_writing(self) -> None:
        for digest in self._unsent:
            self._note("-", digest)
        self._unsent.clear()

    def _respond(self, digest: str, body: bytes) -> None:
        if self._transport is None:
            return
        status, said = completion(body, self._say)
        self._transport.write(_HEAD.format(status, len(said)).encode() + said)
        if self._transport.get_write_buffer_size():
            self._unsent.append(digest)
        else:
            self._note("-", digest)

    def _note(self, sign: str, digest: str) -> None:
        if self._log is not None:
            # A line is one write, so that a kill leaves no half of one.
            os.write(self._log, f"{sign} {digest}\n".encode())


def completion(body: bytes, say: Answer) -> tuple[int, bytes]:
    """The status and the body of the answer to a request's body."""
    try:
        asked = json.loads(body)
        text = asked["messages"][-1]["content"]
        kind = asked["response_format"]["json_schema"]["name"]
    except (ValueError, LookupError, TypeError) as error:
        return 400, json.dumps({"error": {"message": f"bad request: {error!r}"}}).encode()
    content = json.dumps(say(kind, text))
    message = {"role": "assistant", "content": content, "refusal": None}
    usage = {"prompt_tokens": len(body) // 4, "completion_tokens": len(content) // 4}
    said = {
        "id": "stub",
        "object": "chat.completion",
        "model": asked.get("model"),
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": usage | {"total_tokens": sum(usage.values())},
    }
    return 200, json.dumps(said).encode()


async def serve(port: int, latency: float, log: Path | None) -> None:
    """Serves until it is killed; says on standard output where."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    file = None if log is None else os.open(log, flags, 0o644)
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(latency, file, cases.answer), "127.0.0.1", port, backlog=1024
    )
    address = server.sockets[0].getsockname()
    print(f"http://127.0.0.1:{address[1]}/v1", flush=True)
    await server.serve_forever()


def main(
    *,
    latency: float = 0.3,
    port: Annotated[int, cyclopts.Parameter(help="0 for one that is free")] = 0,
    log: Path | None = None,
) -> None:
    """A chat endpoint without a model, on loopback.

    Parameters
    ----------
    latency
        Seconds from a request to its answer.
    log
        Where each request and each answer leave a line.
    """
    try:
        asyncio.run(serve(port, latency, log))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    cyclopts.run(main)
