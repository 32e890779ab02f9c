from __future__ import annotations

import pytest
from hypothesis import Phase, settings

settings.register_profile(
    "mutation",  # chosen by `scripts/mutate`: the same few examples each time, and no shrinking
    max_examples=25,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
