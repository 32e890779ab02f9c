"""What answers cost: the ledger with its ceiling, and the report in `cost.json`."""

from __future__ import annotations

import json
from pathlib import Path

import anyio
import pytest

from curate.files import jsonl
from curate.llm.cost import CostReport, Ledger, ModelAnswers, read_report
from curate.llm.endpoint import CostCeiling
from sprint_agent.engine import TokenUsage
from sprint_agent.limits import Prices

pytestmark = pytest.mark.anyio


class TestReport:
    def test_it_is_read_as_it_was_written(self, tmp_path: Path) -> None:
        report = CostReport({"a": ModelAnswers(2, 30, 4), "b": ModelAnswers(1, 1, 1)}, 0.5)
        jsonl.write([report], tmp_path / "cost.json")
        assert read_report(tmp_path / "cost.json") == report
        assert report.answers == 3

    def test_no_file_is_no_report(self, tmp_path: Path) -> None:
        assert read_report(tmp_path / "cost.json") is None

    @pytest.mark.parametrize(
        "text",
        [
            *("", "[]", "{", '{"models": []}', '{"dollars": "one"}', "\udcff"),
            '{"later": ' + "[" * 100_000 + "]" * 100_000 + "}",
        ],
    )
    def test_a_corrupt_file_is_named(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "cost.json"
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(ValueError, match=r"cost\.json is not a cost report"):
            read_report(path)

    def test_unknown_fields_are_ignored(self, tmp_path: Path) -> None:
        path = tmp_path / "cost.json"
        path.write_text(json.dumps({"models": {"m": {}}, "later": 1}))
        assert read_report(path) == CostReport({"m": ModelAnswers()})


async def test_an_answer_without_usage_costs_what_was_reserved() -> None:
    ledger = Ledger({"m": Prices(1e6, 1e6)})
    reserved = await ledger.reserve("m", 10, 20)
    assert reserved == 30
    assert ledger.answered(reserved, "m", None) == 30
    assert ledger.spending.cost == 30


class TestLedger:
    async def test_a_request_waits_for_money_that_running_ones_reserve(self) -> None:
        ledger = Ledger({"m": Prices(1e6, 1e6)}, ceiling=100)
        first = await ledger.reserve("m", 0, 60)
        granted: list[float] = []

        async def wait() -> None:
            granted.append(await ledger.reserve("m", 0, 50))

        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            assert granted == []
            # This one exceeds the ceiling even if the running request costs nothing.
            with pytest.raises(CostCeiling):
                await ledger.reserve("m", 0, 101)
            ledger.refused(first)
        assert granted == [50]

    async def test_a_waiting_request_fails_when_the_money_is_spent(self) -> None:
        ledger = Ledger({"m": Prices(1e6, 1e6)}, ceiling=100)
        first = await ledger.reserve("m", 0, 60)

        async def wait() -> None:
            with pytest.raises(CostCeiling):
                await ledger.reserve("m", 0, 50)

        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                group.start_soon(wait)
                await anyio.wait_all_tasks_blocked()
                ledger.lost(first)

    async def test_earlier_sessions_count(self) -> None:
        ledger = Ledger({"m": Prices(1e6, 1e6)}, ceiling=100, paid=95)
        with pytest.raises(CostCeiling):
            await ledger.reserve("m", 0, 6)
        assert await ledger.reserve("m", 0, 5) == 5

    async def test_cached_tokens_are_counted_at_their_price(self) -> None:
        ledger = Ledger({"m": Prices(1e6, 1e6, cached=0.5e6)})
        reserved = await ledger.reserve("m", 10, 20)
        assert ledger.answered(reserved, "m", TokenUsage(8, 3, 4)) == 4 + 2 + 3
        assert (ledger.spending.prompt_tokens, ledger.spending.cached_tokens) == (8, 4)

    async def test_a_refused_request_costs_nothing_and_a_lost_one_everything(self) -> None:
        ledger = Ledger({"m": Prices(1e6, 1e6)})
        ledger.refused(await ledger.reserve("m", 10, 20))
        assert (ledger.spending.cost, ledger.spending.lost, ledger.running) == (0, 0, 0)
        ledger.lost(await ledger.reserve("m", 10, 20))
        assert (ledger.spending.cost, ledger.spending.lost, ledger.running) == (0, 30, 0)

    async def test_no_request_waits_for_a_rounding_error(self) -> None:
        ledger = Ledger({"m": Prices(5e4, 5e4)}, ceiling=0.45)
        # 0.1 + 0.2 - 0.1 - 0.2 is not 0 in floating point, and added to 0.45 it exceeds the ceiling.
        amounts = [await ledger.reserve("m", 0, tokens) for tokens in (2, 4)]
        for amount in amounts:
            ledger.refused(amount)
        with anyio.fail_after(5):
            assert await ledger.reserve("m", 0, 9) == 0.45

    async def test_without_a_ceiling_a_model_needs_no_price(self) -> None:
        ledger = Ledger()
        ledger.check("m")
        assert await ledger.reserve("m", 10, 20) == 0

    def test_a_ceiling_needs_the_prices(self) -> None:
        with pytest.raises(ValueError, match="needs the prices of m: give them"):
            Ledger(ceiling=1).check("m")

    def test_prices_without_that_of_a_model_are_refused(self) -> None:
        Ledger({"m": Prices(1, 1)}).check("m")
        with pytest.raises(ValueError, match="there are prices of m, but not of n: give these too"):
            Ledger({"m": Prices(1, 1)}).check("n")
