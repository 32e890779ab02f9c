"""The HTTP executor: its requests, the requests that it refuses to send, and its bounds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any
from urllib.parse import unquote, urlsplit

import anyio
import httpx2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sprint_agent import ExecutorError, PromptError
from sprint_agent.executors.http import HttpExecutor
from tests.script import a_task, executed
from tests.unit.executors.web import ReceivedRequest, serving

pytestmark = pytest.mark.anyio
HOSTILE = "a&b=c #f/?d=%2F\r\nX: y é"


def http(url: str, **more: Any) -> HttpExecutor:
    return HttpExecutor("web", "Asks.", url, **more)


async def hello(request: ReceivedRequest) -> None:
    await request.answer(200, b"hello")


def responds(
    status: int, body: bytes = b"", **headers: str
) -> Callable[[ReceivedRequest], Awaitable[None]]:
    async def answer(request: ReceivedRequest) -> None:
        await request.answer(status, body, **headers)

    return answer


class TestRequests:
    async def test_any_prompt_fits_into_the_query(self) -> None:
        async with serving(hello) as web:
            made = http(f"{web.url}/search?q={{prompt}}&k=5")
            assert await made.execute(a_task(HOSTILE)) == "hello"
        (request,) = web.requests
        assert request.method == "GET"
        path, _, query = request.target.partition("?")
        assert path == "/search"
        assert [unquote(part) for part in query.split("&")] == [f"q={HOSTILE}", "k=5"]
        assert "x" not in request.headers

    async def test_in_a_path_it_is_one_segment(self) -> None:
        async with serving(hello) as web:
            await http(f"{web.url}/items/{{prompt}}/text").execute(a_task("New York? 5% ..."))
        assert web.requests[0].target == "/items/New%20York%3F%205%25%20.../text"

    @pytest.mark.parametrize(
        "prompt",
        [
            "../secret.txt",
            "..%2fsecret.txt",
            "%2e%2e%2fsecret.txt",
            "%2e%2e",
            "%252e%252e%252fsecret.txt",
            "..%c0%afsecret.txt",
            "..%u2215secret.txt",
            "\uff05\uff12\uff26",  # fullwidth %2F
            "..\\secret.txt",
            "a/b",
            "/",
            "\uff0e\uff0e\uff0fsecret.txt",
            "..\u2215secret.txt",
            "..\uff3csecret.txt",
            "..\u2044secret.txt",
            ".",
            "..",
            "...",
            "\u2025",  # two dots in one character
            "\uff0e\uff0e",
            "..;",
            "..;a=1",
            ".. ",
            "..\0",
            "..\u200b",
            "a\r\nb",
            "",
            " ",
        ],
    )
    @pytest.mark.parametrize("path", ["/items/{prompt}/text", "/items/{prompt}", "/i/.{prompt}"])
    async def test_no_spelling_leads_out_of_a_segment(self, path: str, prompt: str) -> None:
        async with serving(hello) as web:
            with pytest.raises(PromptError, match="the prompt"):
                await http(f"{web.url}{path}").execute(a_task(prompt))
            assert not web.requests

    @pytest.mark.parametrize("prompt", ["a..b", "v1.2", "…", "50 % off", "½", "São Paulo", "a;b"])
    async def test_other_prompts_are_sent(self, prompt: str) -> None:
        async with serving(hello) as web:
            await http(f"{web.url}/items/a{{prompt}}").execute(a_task(prompt))
        assert unquote(web.requests[0].target) == f"/items/a{prompt}"

    async def test_a_prompt_that_does_not_make_a_url_is_refused(self) -> None:
        with pytest.raises(PromptError, match="cannot be part of a URL"):
            await http("http://127.0.0.1:9/{prompt}").execute(a_task("x" * 100_000))

    async def test_the_body_may_be_text(self) -> None:
        async with serving(hello) as web:
            await http(web.url, method="POST", body="text").execute(a_task(HOSTILE))
        (request,) = web.requests
        assert (request.method, request.body.decode()) == ("POST", HOSTILE)
        assert request.headers["content-type"] == "text/plain; charset=utf-8"

    async def test_the_body_may_be_json_and_is_checked_before_it_is_sent(self) -> None:
        async with serving(hello) as web:
            made = http(web.url, method="PUT", body="json", schema={"type": "object"})
            await made.execute(a_task('```json\n{"a": 1}\n```'))
            with pytest.raises(PromptError, match="must be JSON"):
                await made.execute(a_task("{'a': 1}"))
        (request,) = web.requests
        assert request.body == b'{"a": 1}'
        assert request.headers["content-type"] == "application/json"
        assert made.schema == {"type": "object"}

    async def test_the_headers_of_the_application_are_sent(self) -> None:
        async with serving(hello) as web:
            await http(f"{web.url}/{{prompt}}", headers={"x-key": "secret"}).execute(a_task("x"))
        assert web.requests[0].headers["x-key"] == "secret"

    @example("%00", "/a/{prompt}/b")
    @given(
        st.text(max_size=40), st.sampled_from(["/a/{prompt}/b", "/a?q={prompt}&z=1", "/{prompt}"])
    )
    def test_no_prompt_leads_to_another_resource(self, prompt: str, path: str) -> None:
        made = http(f"https://api.example.org{path}")
        try:
            url = made._request(prompt).url
        except PromptError:
            assert "{prompt}" in urlsplit(path).path
            return
        plain = urlsplit(f"https://api.example.org{path.replace('{prompt}', 'x')}")
        sent = urlsplit(str(url))
        assert (sent.scheme, sent.netloc, sent.fragment) == ("https", "api.example.org", "")
        assert sent.path.count("/") == plain.path.count("/")
        assert sent.query.count("&") == plain.query.count("&")
        readable = prompt.encode("utf-8", "replace").decode()
        assert unquote(str(url)).endswith(path.replace("{prompt}", readable))

    @pytest.mark.parametrize(
        ("url", "more"),
        [
            ("ftp://example.org/{prompt}", {}),
            ("example.org/{prompt}", {}),
            ("https://{prompt}.example.org/", {}),
            ("https://example.org/#{prompt}", {}),
            ("https://example.org/", {}),
            ("https://example.org/{prompt}", {"method": "POST", "body": "text"}),
            ("https://example.org/", {"body": "text"}),
            ("https://example.org/{prompt}", {"seconds": 0}),
            ("https://example.org/{prompt}", {"size": 0}),
            ("https://example.org/{prompt}", {"redirects": -1}),
            ("https://example.org/{prompt}", {"max_characters": 0}),
        ],
    )
    def test_contradicting_options_are_refused(self, url: str, more: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=r"https://|prompt|seconds|redirects|GET"):
            http(url, **more)


class TestResponses:
    async def test_a_large_response_is_cut(self) -> None:
        async with serving(responds(200, b"x" * 1_000_000)) as web:
            text = await http(f"{web.url}/{{prompt}}", size=1000).execute(a_task("x"))
        assert text == "x" * 1000 + "\n[more left out]"

    async def test_an_endless_response_is_abandoned(self) -> None:
        left = anyio.Event()

        async def endless(request: ReceivedRequest) -> None:
            await request.socket.send(b"HTTP/1.1 200 X\r\n\r\n")
            try:
                while True:
                    await request.socket.send(b"x" * 1000)
            finally:
                left.set()

        with anyio.fail_after(20):
            async with serving(endless) as web:
                text = await http(f"{web.url}/{{prompt}}", size=10).execute(a_task("x"))
                await left.wait()
        assert text == "x" * 10 + "\n[more left out]"

    async def test_the_time_is_bounded(self) -> None:
        closed = anyio.Event()

        async def silent(request: ReceivedRequest) -> None:
            await request.disconnected()
            closed.set()

        with anyio.fail_after(20):
            async with serving(silent) as web:
                with pytest.raises(ExecutorError, match=r"took longer than 0.1 s"):
                    await http(f"{web.url}/{{prompt}}", seconds=0.1).execute(a_task("x"))
                await closed.wait()

    @pytest.mark.parametrize(
        ("status", "kind"), [(404, PromptError), (422, PromptError), (503, ExecutorError)]
    )
    async def test_an_error_status_is_an_error(self, status: int, kind: type[Exception]) -> None:
        async with serving(responds(status, b"sorry " * 1000)) as web:
            with pytest.raises(
                ExecutorError, match=f"127.0.0.1 responded with {status}: sorry"
            ) as caught:
                await http(f"{web.url}/{{prompt}}").execute(a_task("x"))
        assert type(caught.value) is kind
        assert len(str(caught.value)) < 300

    async def test_an_unreachable_service_is_an_error(self) -> None:
        async with serving(hello) as web:
            pass
        (execution,) = await executed(http(f"{web.url}/{{prompt}}"), tasks=[("web", "x")])
        assert (execution.error or "").startswith("ExecutorError: the request to 127.0.0.1 failed")

    async def test_an_incomplete_response_is_an_error(self) -> None:
        async with serving(responds(200, b"hello", content_length="100")) as web:
            with pytest.raises(ExecutorError, match=r"the request to 127\.0\.0\.1 failed"):
                await http(f"{web.url}/{{prompt}}").execute(a_task("x"))

    async def test_a_compressed_response_is_refused(self) -> None:
        async with serving(responds(200, b"\x1f\x8b", content_encoding="gzip")) as web:
            with pytest.raises(ExecutorError, match="compressed"):
                await http(f"{web.url}/{{prompt}}").execute(a_task("x"))
        assert web.requests[0].headers["accept-encoding"] == "identity"

    async def test_other_encodings_are_read(self) -> None:
        latin = responds(200, "café".encode("latin-1"), content_type="text/plain; charset=latin-1")
        async with serving(latin) as web:
            assert await http(f"{web.url}/{{prompt}}").execute(a_task("x")) == "café"

    @pytest.mark.parametrize("charset", ["punycode", "zlib", "unicode_escape", "no-such", "'"])
    async def test_what_is_no_charset_is_read_as_utf_8(self, charset: str) -> None:
        plain = responds(200, "café".encode(), content_type=f"text/plain; charset={charset}")
        async with serving(plain) as web:
            assert await http(f"{web.url}/{{prompt}}").execute(a_task("x")) == "café"

    async def test_the_planner_gets_as_many_characters_as_the_application_says(self) -> None:
        async with serving(responds(200, b"x" * 50_000)) as web:
            for bound in (10, 32_000, 50_000):
                made = http(f"{web.url}/{{prompt}}", max_characters=bound)
                (execution,) = await executed(made, tasks=[("web", "x")])
                left = 50_000 - bound
                assert execution.text == "x" * bound + (f"\n[{left} more left out]" if left else "")


def redirects(
    to: Callable[[], str], body: bytes = b"there"
) -> Callable[[ReceivedRequest], Awaitable[None]]:
    async def answer(request: ReceivedRequest) -> None:
        if request.target == "/there":
            await request.answer(200, body)
        else:
            await request.answer(302, location=to())

    return answer


class TestRedirects:
    async def test_they_are_not_followed_by_default(self) -> None:
        async with serving(redirects(lambda: "/there")) as web:
            with pytest.raises(ExecutorError, match="responded with 302"):
                await http(f"{web.url}/{{prompt}}").execute(a_task("x"))
        assert len(web.requests) == 1

    async def test_they_are_bounded(self) -> None:
        async with serving(redirects(lambda: "/there")) as web:
            made = http(f"{web.url}/{{prompt}}", redirects=1, headers={"x-key": "secret"})
            assert await made.execute(a_task("x")) == "there"
        assert web.requests[1].headers["x-key"] == "secret"
        async with serving(redirects(lambda: "/again")) as web:
            with pytest.raises(ExecutorError, match="more than 2 times"):
                await http(f"{web.url}/{{prompt}}", redirects=2).execute(a_task("x"))
        assert len(web.requests) == 3

    async def test_another_host_must_be_allowed_and_gets_no_headers(self) -> None:
        async with (
            serving(redirects(lambda: "/", b"elsewhere")) as there,
            serving(redirects(lambda: f"{there.url}/there")) as here,
        ):
            made = http(f"{here.url}/{{prompt}}", redirects=1, headers={"X-Key": "secret"})
            with pytest.raises(
                ExecutorError, match=f"redirected to {there.host}, which is not in hosts"
            ):
                await made.execute(a_task("x"))
            assert not there.requests
            allowing = replace(made, hosts=frozenset({there.host}))
            assert await allowing.execute(a_task("x")) == "elsewhere"
        assert "x-key" in here.requests[1].headers
        assert "x-key" not in there.requests[0].headers

    def test_they_never_lead_from_https_to_http(self) -> None:
        made = http("https://a.example/{prompt}", redirects=1)
        first, then = (httpx2.Request("GET", f"{s}://a.example/x") for s in ("https", "http"))
        with pytest.raises(ExecutorError, match="from https to http"):
            made._redirected(first, then)

    async def test_a_body_is_not_redirected(self) -> None:
        async with serving(redirects(lambda: "/there")) as web:
            made = http(web.url, method="POST", body="text", redirects=3)
            with pytest.raises(ExecutorError, match="responded with 302"):
                await made.execute(a_task("x"))
        assert len(web.requests) == 1


async def test_cancelling_closes_the_connection() -> None:
    begun, closed = anyio.Event(), anyio.Event()

    async def slow(request: ReceivedRequest) -> None:
        await request.socket.send(b"HTTP/1.1 200 X\r\n\r\nhel")
        begun.set()
        await request.disconnected()
        closed.set()

    with anyio.fail_after(20):
        async with serving(slow) as web:
            async with anyio.create_task_group() as group:
                group.start_soon(http(f"{web.url}/{{prompt}}").execute, a_task("x"))
                await begun.wait()
                group.cancel_scope.cancel()
            await closed.wait()
