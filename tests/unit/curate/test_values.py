"""What a text produces and what it only uses, in the ways in which reasoning models write both."""

from __future__ import annotations

import pytest

from curate.pack import leaks
from curate.pack.values import values
from curate.trajectory import Component


def produced(text: str) -> list[str]:
    return [value.shown for value in values(text) if value.produced]


def used(text: str) -> list[str]:
    return [v.shown for v in values(text) if v.key.startswith("number") and not v.produced]


@pytest.mark.parametrize(
    "text",
    [
        "2 orders with 8 choices, so 16.",
        "Together that's 16 draws.",
        "It’s about 16 euros.",
        "The leg costs 16 euros.",
        "So it is at most 16.",
        "This gives **16**.",
        "Hence $16$ of them.",
        "It is closed on some days, so say 16 of them.",
    ],
)
def test_a_value_that_the_text_produces(text: str) -> None:
    assert (produced(text), used(text)) == (["16"], [])


@pytest.mark.parametrize(
    "text",
    [
        "The good ones are $120 + 270 = 390$.",
        "Adding up: 120 + 270 = 390.",
        r"So it's $120 \cdot 270 = 390$.",
        "That is 120/270 = 390.",
    ],
)
def test_operands_were_known_before(text: str) -> None:
    assert "120" in used(text)
    assert "390" in produced(text)


def test_a_division_uses_both_of_its_numbers() -> None:
    assert used("So $r = 84/21 = 4$.") == ["84", "21"]
    text = r"The probability is $\frac{270}{495}$."
    assert (produced(text), used(text)) == ([r"\frac{270}{495}"], ["270", "495"])


def test_a_fraction_in_lowest_terms_is_one_value() -> None:
    assert [value.key for value in values(r"Take \frac{65}{16} and 65/16.")] == ["number 65/16"] * 2


@pytest.mark.parametrize("text", ["Perhaps 40 % of 80 people.", "It is 13:05."])
def test_round_numbers_and_the_minutes_of_a_time_are_no_values(text: str) -> None:
    assert "40" not in used(text)
    assert "05" not in produced(text)


@pytest.mark.parametrize("text", [r"$3 \cdot 7$", r"$\binom{6}{2}$", r"$\frac{8 \cdot 7}{2}$"])
def test_a_calculation_is_no_formula(text: str) -> None:
    assert not values(text)


def test_a_value_of_a_later_stage_is_not_known() -> None:
    first = Component(1, prompt="Begin", execution="It begins.")
    second = Component(2, prompt="Count", execution="There are 5 * 50 = 250.")
    third = Component(3, prompt="Weigh", execution="The 250 weigh a ton.")
    assert leaks.find("", [(first, third), (second,)]) == (leaks.Leak(3, 2, "250"),)
    assert leaks.find("", [(first,), (second,), (third,)]) == ()


def test_an_earlier_prompt_of_the_stage_is_known() -> None:
    first = Component(1, prompt="Check n = 250", execution="Here n = 250, and it holds.")
    second = Component(2, prompt="Check the next", execution="After 250 comes this one.")
    assert leaks.find("", [(first, second)]) == ()
