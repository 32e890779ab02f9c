from __future__ import annotations

import pytest

SECONDS = {"slow": 3600, "e2e": 900}
"""What slow tests may take, and those that start servers and commands. pyproject.toml has the rest."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        kinds = ({"slow"} if item.get_closest_marker("slow") else set()) | set(item.path.parts)
        longest = max((seconds for kind, seconds in SECONDS.items() if kind in kinds), default=None)
        if longest and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(longest))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
