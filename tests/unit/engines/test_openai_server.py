"""Reaching an OpenAI-compatible server through the openai package, without a server."""

from __future__ import annotations

import pytest

pytest.importorskip("openai")

import httpx2
import openai

from sprint_agent.engines.openai.server import http_cause, open_openai, open_server
from sprint_agent.errors import EngineUnavailable

pytestmark = pytest.mark.anyio
URL = "http://127.0.0.1:1/v1"


def test_the_http_clients_error_is_preferred_to_the_packages() -> None:
    request = httpx2.Request("POST", URL)
    cause = httpx2.ReadError("reset", request=request)
    wrapped = openai.APIConnectionError(request=request)
    assert http_cause(wrapped) is wrapped
    wrapped.__cause__ = cause
    assert http_cause(wrapped) is cause
    other = ValueError("other")
    other.__cause__ = cause
    assert http_cause(other) is other


@pytest.mark.parametrize("key", ["two\nlines", "schlüssel"])
def test_an_invalid_key_is_not_in_the_message(key: str) -> None:
    with pytest.raises(EngineUnavailable, match="check api_key=") as caught:
        open_openai(URL, key, 5.0)
    assert key not in str(caught.value)


def test_an_invalid_address() -> None:
    with pytest.raises(EngineUnavailable, match="is not an address"):
        open_openai("http://h:port", "none", 5.0)


async def test_the_package_does_not_retry() -> None:
    server = open_server(URL, "m", "chat", "none", 7.0)
    try:
        assert server.client.max_retries == 0
        assert isinstance(server.client.timeout, httpx2.Timeout)
        assert server.client.timeout.read == 7.0
        assert server.context_length is None
    finally:
        await server.close()
