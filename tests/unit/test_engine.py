"""The interface between runs and engines: the defaults of its values."""

from __future__ import annotations

import pytest

from sprint_agent.engine import AlwaysOpen, Request, Sampling, new_request_id


def test_request_ids_have_equal_lengths_and_differ() -> None:
    """SGLang aborts by prefix of the id, so no id may be a prefix of another one."""
    ids = {new_request_id() for _ in range(100)}
    assert len(ids) == 100
    assert {len(request_id) for request_id in ids} == {32}


def test_each_request_gets_its_own_id() -> None:
    first, second = Request("a"), Request("a")
    assert first.request_id != second.request_id
    assert (first.sampling, first.stop, first.run) == (Sampling(), (), None)


@pytest.mark.anyio
async def test_an_engine_that_is_always_open_returns_itself() -> None:
    engine = AlwaysOpen()
    async with engine as entered:
        assert entered is engine
    async with engine:
        pass
