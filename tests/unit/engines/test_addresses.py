"""Addresses in messages."""

from __future__ import annotations

import pytest

from sprint_agent.engines import open_engine
from sprint_agent.engines.addresses import public_url
from sprint_agent.errors import EngineUnavailable


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://h:1/v1", "http://h:1/v1"),
        ("http://user:secret@h:1/v1", "http://***@h:1/v1"),
        ("http://secret@h", "http://***@h"),
        ("user:secret@h", "***@h"),
        ("http://u:sec@ret@h", "http://***@h"),
        ("http://h/v1?key=secret#x", "http://h/v1?***"),
    ],
)
def test_the_public_form_of_an_address(url: str, shown: str) -> None:
    assert public_url(url) == shown


def test_an_address_without_a_model_is_shown_without_its_secret() -> None:
    with pytest.raises(EngineUnavailable, match=r"\*\*\*@h/v1 names no model") as caught:
        open_engine("openai+http://user:secret@h/v1")
    assert "secret" not in str(caught.value)
