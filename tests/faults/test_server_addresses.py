"""Addresses, secrets, and readers that leave, on every engine of a server."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import pytest

pytest.importorskip("openai")

from sprint_agent import Limits, Sprint
from sprint_agent.errors import (
    EngineError,
    EngineUnavailable,
)
from sprint_agent.testing import (
    Failure,
    Fault,
    FaultServer,
    Reply,
    Stall,
    Status,
)
from tests.faults.servers import KINDS, OPENAI, TEXT, address, engine_of, read, request
from tests.script import execution_of, plan

pytestmark = pytest.mark.anyio


# --- addresses and the environment ---------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALL_PROXY", "socks://127.0.0.1:1"),
        ("ALL_PROXY", "socks5://user:secret@127.0.0.1:1"),
        ("HTTP_PROXY", "http://user:secret@127.0.0.1:port"),
        ("SSL_CERT_FILE", "/there/is/none.pem"),
    ],
)
async def test_a_variable_of_the_environment_that_cannot_be_used_is_named(
    kind: str, name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for other in (
        "ALL_PROXY",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "no_proxy",
        "SSL_CERT_FILE",
    ):
        monkeypatch.delenv(other, raising=False)
        monkeypatch.delenv(other.lower(), raising=False)
    monkeypatch.setenv(name, value)
    with pytest.raises(EngineUnavailable, match=name) as caught:
        async with address(kind, "http://127.0.0.1:1"):
            pass
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "url",
    [
        "http://user:secret@127.0.0.1:1",
        "http://user:secret@h:port",
        "http://user:secret@[",
        "http://127.0.0.1:1?key=secret",
        "ftp://user:secret@h",
    ],
)
async def test_a_secret_in_an_address_is_never_shown(kind: str, url: str) -> None:
    engine = address(kind, url)
    assert "secret" not in repr(engine)
    assert "secret" not in repr(Sprint(engine))
    with pytest.raises(EngineUnavailable) as caught:
        async with engine:
            pass
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("kind", OPENAI)
async def test_a_key_that_a_server_repeats_is_not_shown(kind: str) -> None:
    async with FaultServer(lambda prompt: TEXT) as server:
        server.fail(Status(401, message="the key sk-very-secret is wrong"))
        server.fail(Failure("the key sk-very-secret is wrong", 400))
        async with engine_of(server, kind, api_key="sk-very-secret") as engine:
            for _ in range(2):
                with pytest.raises(EngineError) as caught:
                    await read(engine, kind)
                error: BaseException | None = caught.value
                while error is not None:
                    assert "sk-very-secret" not in str(error)
                    error = error.__cause__


# --- leaving ---------------------------------------------------------------------------------------


async def test_an_abort_that_is_not_answered_delays_nobody() -> None:
    async with FaultServer(lambda prompt: TEXT) as server, engine_of(server, "sglang") as engine:
        server.fail(Stall(3, times=None), Stall(path="/abort_request", times=None))
        left: list[float] = []
        for _ in range(8):
            async with engine.generate(request("sglang")) as stream:
                await anext(stream)
                began = anyio.current_time()
            left.append(anyio.current_time() - began)
        assert min(left) < 0.1
        assert engine.in_flight == 0


@pytest.mark.parametrize("what", [Stall, lambda **at: Status(500, **at)])
async def test_a_deadline_counts_more_than_an_abort_that_fails(what: Callable[..., Fault]) -> None:
    def script(prompt: str) -> Reply:
        return Reply(plan("a", "b") if execution_of(prompt) is None else "x", hang=True)

    async with FaultServer(script, chunk=1000) as server:
        server.fail(what(path="/abort_request", times=None))
        agent = Sprint(engine_of(server, "sglang"), limits=Limits(deadline=0.5))
        result = await agent.solve("What?")
        assert result.limit == "deadline"
