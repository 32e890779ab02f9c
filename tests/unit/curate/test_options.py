"""The options of the commands: prices, models, and how tokens are counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from curate.options import AnnotatorOptions, counter
from sprint_agent.limits import Prices


def test_prices_are_read_by_model() -> None:
    options = AnnotatorOptions(prices=("org/a=2.5,10,1.25", "b=v=0.15,0.6"))
    assert options.price_list == {"org/a": Prices(2.5, 10, 1.25), "b=v": Prices(0.15, 0.6)}


@pytest.mark.parametrize("text", ["a", "a=", "a=1", "a=1,x", "a=1,2,3,4"])
def test_a_price_in_another_form_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="write MODEL=PROMPT,COMPLETION"):
        _ = AnnotatorOptions(prices=(text,)).price_list


def test_the_dependencies_model_finds_leaks_by_default() -> None:
    options = AnnotatorOptions(steps_model="s", dependencies_model="d")
    assert options.models == {"steps": "s", "dependencies": "d", "leaks": "d"}
    assert AnnotatorOptions(leaks_model="l").models["leaks"] == "l"


def test_without_a_tokenizer_words_and_punctuation_marks_are_counted(tmp_path: Path) -> None:
    assert counter(None)("So 12 + x_1 = 3.5!") == 9
    with pytest.raises(OSError, match=str(tmp_path)):
        counter(tmp_path)


@pytest.mark.parametrize("prices", ["m=-1,1", "m=nan,1", "m=1,inf", "m=1,1,-1", "m=1", "1,1,x"])
def test_a_price_is_a_positive_amount(prices: str) -> None:
    with pytest.raises(
        ValueError, match=r"cannot read the prices .*: write MODEL=PROMPT,COMPLETION"
    ):
        _ = AnnotatorOptions(prices=(prices,)).price_list


@pytest.mark.parametrize("ceiling", [-1.0, float("nan")])
def test_a_ceiling_is_an_amount(ceiling: float) -> None:
    with pytest.raises(ValueError, match=r"--max-cost is .*: it must be at least 0"):
        AnnotatorOptions(max_cost=ceiling)
