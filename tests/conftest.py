from __future__ import annotations

import pytest

SLOW = 3600
"""Seconds that a slow test may take: it trains a model, starts a server or installs the wheel."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SLOW))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
