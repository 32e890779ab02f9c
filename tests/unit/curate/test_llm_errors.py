"""What a failed try means: whether it is retried, and what ends the query."""

from __future__ import annotations

import httpx2
import pytest

from curate.drops import Dropped, Reason
from curate.llm import errors
from curate.llm.endpoint import EndpointDown
from curate.llm.errors import LONGEST_WAIT, RequestFailed

URL = "http://server/v1"


def status(code: int, body: object = "no", **headers: str) -> RequestFailed:
    return errors.from_status(
        URL, code, body, {name.replace("_", "-"): value for name, value in headers.items()}
    )


def reason(failed: RequestFailed) -> Reason | None:
    return failed.outcome.reason if isinstance(failed.outcome, Dropped) else None


class TestFromStatus:
    @pytest.mark.parametrize(
        ("code", "expected"),
        [(429, Reason.BUSY), (500, Reason.FAILED), (503, Reason.FAILED), (408, Reason.FAILED)],
    )
    def test_a_passing_failure_is_transient(self, code: int, expected: Reason) -> None:
        failed = status(code)
        assert failed.transient
        assert reason(failed) is expected
        assert not failed.endpoint_wide
        assert not failed.unsent

    @pytest.mark.parametrize("code", [307, 401, 402, 404, 405])
    def test_some_mean_that_no_query_is_answered(self, code: int) -> None:
        failed = status(code)
        assert isinstance(failed.outcome, EndpointDown)
        assert not failed.transient

    @pytest.mark.parametrize("code", [400, 403, 429, 500])
    def test_so_does_an_unpaid_account_with_any_status(self, code: int) -> None:
        failed = status(code, {"error": {"message": "pay", "code": "insufficient_quota"}})
        assert isinstance(failed.outcome, EndpointDown)
        assert not failed.transient

    def test_the_wait_that_a_server_asks_for_is_kept(self) -> None:
        failed = status(429, retry_after=f"{LONGEST_WAIT:g}")
        assert (failed.transient, failed.retry_after) == (True, LONGEST_WAIT)

    @pytest.mark.parametrize("code", [429, 503])
    def test_a_longer_wait_ends_the_run(self, code: int) -> None:
        failed = status(code, retry_after=f"{LONGEST_WAIT + 1:g}")
        assert isinstance(failed.outcome, EndpointDown)
        assert "asks to wait for 901 s: run the same command again then" in str(failed.outcome)

    @pytest.mark.parametrize(
        ("code", "expected"),
        [(400, Reason.REJECTED), (403, Reason.REFUSED), (422, Reason.REJECTED)],
    )
    def test_a_rejection_may_concern_every_query(self, code: int, expected: Reason) -> None:
        failed = status(code)
        assert failed.endpoint_wide
        assert reason(failed) is expected

    @pytest.mark.parametrize("code", ["content_filter", "content_policy_violation"])
    def test_a_filter_concerns_its_prompt_alone(self, code: str) -> None:
        failed = status(400, {"error": {"message": "no", "code": code}})
        assert reason(failed) is Reason.REFUSED
        assert not failed.endpoint_wide

    def test_a_context_that_is_too_short(self) -> None:
        failed = status(400, {"error": {"message": "maximum context length is 9"}})
        assert failed.too_long
        assert reason(failed) is Reason.REJECTED
        assert not failed.endpoint_wide


class TestFromException:
    @pytest.mark.parametrize("error", [httpx2.ConnectError("no"), httpx2.ConnectTimeout("no")])
    def test_no_server_is_transient_and_costs_nothing(self, error: Exception) -> None:
        failed = errors.from_exception(URL, error, 9)
        assert isinstance(failed.outcome, EndpointDown)
        assert failed.transient
        assert failed.unsent

    @pytest.mark.parametrize(
        "error",
        [httpx2.ReadTimeout("no"), httpx2.ReadError("no"), httpx2.RemoteProtocolError("no")],
    )
    def test_a_lost_answer_is_transient_and_may_be_charged(self, error: Exception) -> None:
        failed = errors.from_exception(URL, error, 9)
        assert reason(failed) is Reason.FAILED
        assert failed.transient
        assert not failed.unsent

    def test_an_address_that_is_none_is_final(self) -> None:
        failed = errors.from_exception(URL, httpx2.UnsupportedProtocol("ftp"), 9)
        assert isinstance(failed.outcome, EndpointDown)
        assert not failed.transient
        assert failed.unsent


def test_slow_and_malformed_answers_are_transient() -> None:
    for failed in (errors.too_slow(URL, 9), errors.malformed(URL, ValueError("no choices"))):
        assert failed.transient
        assert reason(failed) is Reason.FAILED
        assert not failed.unsent
