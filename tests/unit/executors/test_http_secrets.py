"""Secrets of the HTTP executor: nowhere but in the request."""

from __future__ import annotations

import json
import logging
import traceback
from pathlib import Path
from typing import Any

import httpx2
import pytest

from sprint_agent import ExecutorError, Sprint
from sprint_agent.executors.http import HttpExecutor
from sprint_agent.executors.http_secrets import masked, public_url, reveals, secrets_of
from sprint_agent.testing import ScriptedEngine
from tests.script import Scripted, a_task, answer, plan
from tests.unit.executors.web import ReceivedRequest, serving

pytestmark = pytest.mark.anyio
KEY = "sk-0123456789"


def http(url: str, **more: Any) -> HttpExecutor:
    return HttpExecutor("web", "Asks.", url, **more)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Authorization", f"Bearer {KEY}\n"),
        ("Authorization", f"Bearer {KEY}\r\nX: y"),
        ("Authorization", f" Bearer {KEY}"),
        ("X-Key", f"{KEY} "),
        ("X-Key", f"{KEY}\0"),
        ("X-Key", f"{KEY}\u2028"),
        (f"X {KEY}", "x"),
        (f"{KEY}\n", "x"),
        ("", KEY),
    ],
)
def test_a_header_that_cannot_be_sent_is_refused_at_once(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="cannot be sent") as caught:
        http("http://localhost/{prompt}", headers={name: value})
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("value", ["", "x", f"Bearer {KEY}", "a\tb", "caf\xe9"])
def test_other_headers_are_accepted(value: str) -> None:
    http("http://localhost/{prompt}", headers={"X-Key": value})


@pytest.mark.parametrize(
    "url",
    [
        f"https://user:{KEY}@example.org/{{prompt}}?key={KEY}&q=1",
        f"https://{KEY}@example.org/?q={{prompt}}&token={KEY}",
    ],
)
def test_a_representation_has_no_secrets(url: str) -> None:
    made = http(url, headers={"Authorization": f"Bearer {KEY}"})
    for text in (repr(made), str(made), f"{[made]}"):
        assert KEY not in text
        assert "example.org" in text
        assert "{prompt}" in text
    with pytest.raises(ValueError, match="example") as caught:
        http(url.replace("https", "ftp"))
    assert KEY not in str(caught.value)


async def test_a_service_that_repeats_its_request(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def echo(request: ReceivedRequest) -> None:
        status = 200 if request.target == "/fine" else 401
        await request.answer(status, json.dumps(request.headers).encode())

    trace = tmp_path / "run.jsonl"
    turns: list[Any] = [plan("web: fine", "web: wrong"), answer("42")]
    with caplog.at_level(logging.DEBUG):
        async with serving(echo) as web:
            url = f"http://user:{KEY}@{web.host}/{{prompt}}"
            for headers in ({}, {"Authorization": f"Bearer {KEY}"}, {"X-Api-Key": KEY}):
                made = http(url, headers=headers)
                agent = Sprint(ScriptedEngine(Scripted(list(turns))), executors=[made])
                result = await agent.solve("What?", trace=trace)
                assert [e.status for e in result.stages[0].executions] == ["done", "failed"]
                assert "***" in result.text
                for execution in result.stages[0].executions:
                    assert KEY not in "".join(traceback.format_exception(execution.exception))
                assert KEY not in result.text + trace.read_text() + caplog.text
                trace.unlink()
        sent = [request.headers.get("authorization", "") for request in web.requests]
        assert sent[0].startswith("Basic ")
        assert sent[2] == f"Bearer {KEY}"
        for secret in secrets_of(url, {}):
            assert secret not in caplog.text


async def test_an_error_of_the_client_that_names_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, **__: object) -> None:
        try:
            raise ValueError(f"cannot encode {KEY}")
        except ValueError as error:
            raise httpx2.LocalProtocolError("no") from error

    monkeypatch.setattr(httpx2.AsyncClient, "send", fail)
    made = http("http://localhost/{prompt}", headers={"X-Key": KEY})
    with pytest.raises(ExecutorError, match="the request to localhost failed") as caught:
        await made.execute(a_task("x"))
    assert not reveals(caught.value, [KEY])
    assert caught.value.__context__ is None


async def test_a_user_is_not_sent_to_another_host() -> None:
    async def there(request: ReceivedRequest) -> None:
        await request.answer(200, b"there")

    async with serving(there) as other:

        async def away(request: ReceivedRequest) -> None:
            await request.answer(302, location=f"{other.url}/x")

        async with serving(away) as web:
            url = f"http://user:{KEY}@{web.host}/{{prompt}}"
            made = http(url, redirects=1, hosts=frozenset({other.host}))
            assert await made.execute(a_task("x")) == "there"
    assert "authorization" in web.requests[0].headers
    assert "authorization" not in other.requests[0].headers


def test_what_a_secret_is() -> None:
    found = secrets_of(
        "https://user:p%40ss%2Fword@example.org/?api_key=abc%20def&q=public&token={prompt}",
        {"Authorization": "Bearer sk-1", "Accept": "text/html", "X-Key": "quo'te\t"},
    )
    for secret in ("p@ss/word", "p%40ss%2Fword", "sk-1", "Bearer sk-1", "abc def", "abc%20def"):
        assert secret in found
    assert not {"text/html", "public", "{prompt}", "Bearer", "user"} & set(found)


def test_masks() -> None:
    assert masked("a secret and a secre", ["secret"]) == "a *** and a secre"
    assert masked("a secret and a secre", ["secret"], cut=True) == "a *** and a ***"
    assert masked("nothing", ["secret"], cut=True) == "nothing"
    assert (
        public_url("https://a.example/x?q={prompt}&k=5") == "https://a.example/x?q={prompt}&k=***"
    )


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ALL_PROXY", "socks://user:secret@localhost:1"),
        ("all_proxy", "nonsense://localhost"),
        ("HTTP_PROXY", "http://localhost:port"),
        ("SSL_CERT_FILE", "/no/such/file"),
    ],
)
async def test_a_proxy_that_cannot_be_used_is_named(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sprint_agent.executors import http as module

    for name in ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    monkeypatch.setenv(variable, value)
    module._ssl_context.cache_clear()
    with pytest.raises(ExecutorError, match=f"the environment variables {variable} name") as caught:
        await http("http://example.org/{prompt}").execute(a_task("x"))
    assert "secret" not in str(caught.value)
    monkeypatch.undo()
    module._ssl_context.cache_clear()


async def test_a_proxy_whose_port_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://localhost:99999999")
    monkeypatch.setenv("NO_PROXY", "")
    with pytest.raises(ExecutorError, match=r"the request to example\.org failed: "):
        await http("https://example.org/{prompt}").execute(a_task("x"))
