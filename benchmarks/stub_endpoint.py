"""`python -m benchmarks.stub_endpoint`: a chat endpoint without a model, for measuring its clients.

It answers `POST …/chat/completions`, not streamed, after a fixed time, and uses as little CPU as it
can. Its log gets the line `+ digest` for each request that arrives, and the line `- digest` when the
kernel has the complete answer. The digest is that of the request's body. So a reader of the log can
count the requests that were sent twice, and those that were not answered.
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
"""Returns the answer to a query, given its kind (the schema's name) and its last message's text."""

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_HEAD = "HTTP/1.1 {} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n"


class Connection(asyncio.Protocol):
    """One client's connection, with any number of requests and answers."""

    def __init__(self, latency: float, log: int | None, answer: Answer) -> None:
        self._latency = latency
        self._log = log
        self._answer = answer
        self._loop = asyncio.get_running_loop()
        self._data = bytearray()
        self._unsent: list[str] = []
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        # With this limit, `resume_writing` is called when the kernel has all bytes.
        transport.set_write_buffer_limits(0)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._data, 0, end)
            size = end + 4 + (int(length[1]) if length else 0)
            if len(self._data) < size:
                return
            body = bytes(self._data[end + 4 : size])
            del self._data[:size]
            digest = hashlib.blake2b(body, digest_size=12).hexdigest()
            self._write_log("+", digest)
            self._loop.call_later(self._latency, self._respond, digest, body)

    def resume_writing(self) -> None:
        for digest in self._unsent:
            self._write_log("-", digest)
        self._unsent.clear()

    def _respond(self, digest: str, body: bytes) -> None:
        if self._transport is None:
            return
        status, response = completion(body, self._answer)
        self._transport.write(_HEAD.format(status, len(response)).encode() + response)
        if self._transport.get_write_buffer_size():
            self._unsent.append(digest)
        else:
            self._write_log("-", digest)

    def _write_log(self, sign: str, digest: str) -> None:
        if self._log is not None:
            # A line is one write, so that a kill cannot leave half a line.
            os.write(self._log, f"{sign} {digest}\n".encode())


def completion(body: bytes, answer: Answer) -> tuple[int, bytes]:
    """Returns the status and the body of the response to a request's body."""
    try:
        request = json.loads(body)
        text = request["messages"][-1]["content"]
        kind = request["response_format"]["json_schema"]["name"]
    except (ValueError, LookupError, TypeError) as error:
        return 400, json.dumps({"error": {"message": f"bad request: {error!r}"}}).encode()
    content = json.dumps(answer(kind, text))
    message = {"role": "assistant", "content": content, "refusal": None}
    usage = {"prompt_tokens": len(body) // 4, "completion_tokens": len(content) // 4}
    response = {
        "id": "stub",
        "object": "chat.completion",
        "model": request.get("model"),
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": usage | {"total_tokens": sum(usage.values())},
    }
    return 200, json.dumps(response).encode()


async def serve(port: int, latency: float, log: Path | None) -> None:
    """Prints its URL on standard output and serves until it is killed."""
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
    port: Annotated[int, cyclopts.Parameter(help="Port. 0 chooses a free one.")] = 0,
    log: Path | None = None,
) -> None:
    """Run a chat endpoint without a model, on loopback.

    Parameters
    ----------
    latency
        Seconds from a request to its answer.
    log
        File to which a line is appended for each request and for each answer.
    """
    try:
        asyncio.run(serve(port, latency, log))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    cyclopts.run(main)
