"""The leak check: using a sibling's finding is a leak, using a known or an own value is not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.pack import leaks
from curate.pack.leaks import Leak
from curate.pack.values import values
from curate.trajectory import Component

QUESTION = "A box holds 37 red and 58 blue marbles. How many ways are there?"


def found(*stages: tuple[Component, ...]) -> list[tuple[int, int]]:
    return [(leak.component, leak.of) for leak in leaks.find(QUESTION, stages)]


def work(number: int, execution: str, prompt: str = "Do it", plan: str = "") -> Component:
    return Component(number, plan=plan, prompt=prompt, execution=execution)


class TestFind:
    @pytest.mark.parametrize(
        "second",
        [
            work(2, "Multiply 2146 by 3."),
            work(2, "So 2,146 * 3 = 6438."),
            work(2, "Fine.", prompt="Halve 2146"),
            work(2, "Fine.", prompt="Check that it is = 2146"),
            Component(2, plan="With 2146 we go on."),
        ],
    )
    def test_a_number_that_only_a_sibling_found(self, second: Component) -> None:
        first = work(1, "37 * 58 = 2146. That is a lot.")
        assert found((first, second)) == [(2, 1)]

    @pytest.mark.parametrize(
        "second",
        [
            work(2, "58 * 37 = 2146, the other way round. So 2146 it is."),
            work(2, "37 and 58 are in the question."),
            work(2, "Take 3 of 10, or 100 of them."),
            work(2, "Try 4711."),
        ],
    )
    def test_a_known_or_own_value_is_no_leak(self, second: Component) -> None:
        first = work(1, "37 * 58 = 2146, and 2 + 1 = 3, 9 + 1 = 10, 99 + 1 = 100. Try 4711.")
        assert found((first, second)) == []

    def test_an_earlier_stage_is_known(self) -> None:
        first = work(1, "37 * 58 = 2146.")
        assert found((first,), (work(2, "2146 / 2 = 1073."),)) == []

    def test_the_plan_before_a_prompt_is_known(self) -> None:
        planned = Component(1, plan="37 * 58 = 2146, I see at once.")
        second = work(2, "37 * 58 = 2146.")
        assert found((planned, second, work(3, "2146 is even."))) == []

    def test_a_name_that_a_sibling_defined(self) -> None:
        first = work(1, "Let S = 37 + 58. Then S is odd.")
        assert found((first, work(2, "Now S + 1 is even."))) == [(2, 1)]
        assert found((first, work(2, "Let S = 2. Now S + 1 is odd."))) == []

    def test_a_formula_that_a_sibling_found(self) -> None:
        first = work(1, r"Then $x = \sqrt{13} + y^2$.")
        assert found((first, work(2, r"Insert $\sqrt{13} + y^2$ here."))) == [(2, 1)]

    def test_a_comment_that_uses_what_a_later_stage_finds(self) -> None:
        # The comment is in the plan of the stage whose executions find its value.
        first = work(1, "37 * 58 = 2146.")
        second = replace(work(2, "2146 - 233 = 1913."), parents=frozenset({1}))
        third = replace(work(3, "37 * 5 = 185."), comment="That is less than 1913, so we go on.")
        assert found((first, third), (second,)) == [(3, 2)]
        assert found((first,), (second,), (third,)) == []
        assert found((work(1, "So it is odd."), second, third)) == []

    def test_a_value_that_the_comment_itself_produces_is_no_leak(self) -> None:
        third = replace(work(3, "It is odd."), comment="So 2146 - 233 = 1913 is odd.")
        assert found((third,), (work(2, "2146 - 233 = 1913."),)) == []
        before = replace(work(1, "It is odd."), comment="With 1913 we go on.")
        assert found((before,), (work(2, "2146 - 233 = 1913."),)) == []

    def test_a_value_that_the_comment_on_a_sibling_produced(self) -> None:
        first = replace(work(1, "It is odd."), comment="So 37 * 58 = 2146.")
        assert found((first, work(2, "Halve 2146."))) == [(2, 1)]
        assert found((first,), (work(2, "Halve 2146."),)) == []

    def test_fractions_and_decimals(self) -> None:
        first = work(1, r"This gives \frac{6}{14}. And 0.5 * 7.3 = 3.65.")
        assert found((first, work(2, "Add 3/7 to it."))) == [(2, 1)]
        assert found((first, work(2, "Add 3.650 to it."))) == [(2, 1)]

    @pytest.mark.parametrize(
        ("said", "used"),
        [
            ("So there are 7 paths.", "Each of the 7 paths is long."),
            ("So $a = 5$.", "Then $a^2$ is odd."),
            ("Call the result $T_1$.", "Add $T_1$ to it."),
            ("Let $\\omega$ be that circle.", "It touches $\\omega$ twice."),
            ("This shows Lemma 1: it is even.", "By Lemma 1, we are done."),
            ("The answer is Busan, Daegu, Ulsan.", "What is the flower of Daegu?"),
            ("So $f(x) = x^2 - 5x + 6$.", "The roots of $x^2 - 5x + 6$ are real."),
        ],
    )
    def test_other_findings_of_a_sibling(self, said: str, used: str) -> None:
        assert found((work(1, said), work(2, used))) == [(2, 1)]
        assert found((work(1, said),), (work(2, used),)) == []
        assert found((work(1, "Hm."), work(2, used))) == []

    @pytest.mark.parametrize(
        ("said", "used"),
        [
            # Two components may have the same number, name or noun by chance.
            ("So it is 47.", "Trying 46, 47 and 48 leads nowhere."),
            ("So it is 47.", "Modulo 47 it is 3."),
            ("So it is 47.", "At 16:47 it ends."),
            ("We get 47 here." + " And on it goes." * 30, "Then 47 - 1 = 46."),
            ("So $t = 3$.", "With $n = 5 + 35t$ we get $t = 6$."),
            ("So $k = 3$.", "For each $k$ it is even."),
            ("So there are 7 paths.", "There are 7 paths as well."),
            ("By Vieta, it is so.", "By Vieta, it is not so."),
        ],
    )
    def test_what_happens_by_chance_is_no_leak(self, said: str, used: str) -> None:
        assert found((work(1, said), work(2, used))) == []

    def test_each_pair_of_components_is_reported_once(self) -> None:
        first = work(1, "37 * 58 = 2146 and 37 + 58 = 95.")
        (leak,) = leaks.find(QUESTION, ((first, work(2, "Take 2146 and 95 and 2146.")),))
        assert leak == Leak(2, 1, "2146")

    def test_each_leak_adds_an_edge(self) -> None:
        given = (Component(1), Component(2), Component(3, parents=frozenset({1})))
        mended = leaks.with_edges(given, [Leak(3, 2, "95"), Leak(2, 1, "7")])
        assert [sorted(c.parents) for c in mended] == [[], [1], [1, 2]]


class TestValues:
    @given(st.text(max_size=300))
    def test_every_text_can_be_searched(self, text: str) -> None:
        assert all(0 <= value.at < len(text) for value in values(text))

    @given(st.text(alphabet="\\$frac{}1234 =.,/xS_", max_size=4000))
    def test_so_can_text_that_looks_like_mathematics(self, text: str) -> None:
        values(text)

    @pytest.mark.parametrize(
        "piece",
        [
            "1,",
            "$",
            "x=",
            "\\frac{",
            "1/",
            "let x",
            "\\(",
            "1.",
            "=  ",
            "1, ",
            "the 3 ts",
            "mod 13 ",
        ],
    )
    def test_long_hostile_texts_are_searched_quickly(self, piece: str) -> None:
        values(piece * 50_000)
