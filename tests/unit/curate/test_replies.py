"""A model's answers: read tolerantly, checked against every rule, never corrected."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.annotate import replies
from curate.drops import Dropped, Reason
from curate.trajectory import Component

PIECES = tuple(f"Sentence {n}. " for n in range(1, 9))
GOOD = [
    {"description": "set up", "plan": "1-2", "prompt": "", "execution": "", "comment": ""},
    {"description": "try", "plan": "3", "prompt": "Try 5", "execution": "4, 6-7", "comment": "8"},
    {"description": "check", "plan": "5", "prompt": "", "execution": "", "comment": ""},
]


def answer(*changes: tuple[int, str, str], more: list[dict[str, str]] | None = None) -> str:
    steps = [dict(step) for step in GOOD] + (more or [])
    for at, name, value in changes:
        steps[at][name] = value
    return json.dumps({"components": steps})


def needs(*pairs: tuple[int, list[int]]) -> str:
    return json.dumps({"components": [{"number": n, "parents": p} for n, p in pairs]})


def violation(reason: Reason, text: str, pieces: tuple[str, ...] = PIECES) -> str:
    with pytest.raises(Dropped) as caught:
        replies.components(text, pieces)
    assert caught.value.reason is reason
    return caught.value.detail


class TestComponents:
    def test_their_texts_are_the_cited_sentences(self) -> None:
        found = replies.components(answer(), PIECES)
        assert found[1] == Component(
            2,
            plan="Sentence 3. ",
            prompt="Try 5",
            execution="Sentence 4. Sentence 6. Sentence 7. ",
            comment="Sentence 8. ",
            description="try",
        )
        assert [component.number for component in found] == [1, 2, 3]

    @pytest.mark.parametrize(
        "around",
        ["@", "Here it is:\n```json\n@\n```\nDone.", "<think>{{a}} or {{}}?</think>@", " \n@"],
    )
    def test_text_and_code_fences_around_the_answer_are_ignored(self, around: str) -> None:
        assert len(replies.components(around.replace("@", answer()), PIECES)) == 3

    @pytest.mark.parametrize(
        "around",
        [
            "<think>@draft</think>@",
            "@draft</think>\n\n@",
            "<thinking>Perhaps @draft. Or {</thinking>```json\n@\n```",
            "<|begin_of_thought|>@draft<|end_of_thought|>@",
            "[THINK]@draft[/THINK]@",
            "◁think▷@draft◁/think▷@",
            "<seed:think>@draft</seed:think>@",
            "<|channel|>analysis<|message|>@draft<|end|>"
            "<|start|>assistant<|channel|>final <|constrain|>json<|message|>@",
            "<think>@draft</think>@draft, no: <think>Hm.</think>@",
            "At first I wrote @draft but the answer is @",
        ],
    )
    def test_a_draft_is_not_the_answer(self, around: str) -> None:
        draft = answer((0, "plan", "1-3"), (2, "plan", "4-5"))
        text = around.replace("@draft", draft).replace("@", answer())
        assert len(replies.components(text, PIECES)) == 3

    def test_a_thought_without_an_answer_is_dropped(self) -> None:
        for text in (f"<think>{answer()}", f"<think>{answer()}</think>"):
            assert violation(Reason.MALFORMED, text)

    def test_a_marker_inside_the_answer_is_text(self) -> None:
        text = answer((1, "prompt", "Explain what </think> and <think> are"))
        assert len(replies.components(text, PIECES)) == 3

    def test_an_object_of_another_kind_is_ignored(self) -> None:
        assert len(replies.components('{"note": 1} ' + answer(), PIECES)) == 3

    @pytest.mark.parametrize(
        ("reason", "text"),
        [
            (Reason.MALFORMED, answer()[:-9]),
            (Reason.MALFORMED, "I cannot do that."),
            (Reason.MALFORMED, "[" * 100_000),
            (Reason.MALFORMED, '{"components": 3}'),
            (Reason.MALFORMED, answer((0, "plan", "1 to 2"))),
            (Reason.MALFORMED, answer((0, "plan", "1-2,"))),
            (Reason.OVERLAP, answer((0, "plan", "1-3"))),
            (Reason.OVERLAP, answer((1, "comment", "7-8"))),
            (Reason.MISSING, answer((0, "plan", "1"))),
            (Reason.MISSING, '{"components": []}'),
            (Reason.UNKNOWN_SENTENCE, answer((1, "comment", "8-9"))),
            (Reason.UNKNOWN_SENTENCE, answer((0, "plan", "0-2"))),
            (Reason.UNKNOWN_SENTENCE, answer((0, "plan", "2-1"))),
            (Reason.DISORDER, answer((0, "plan", "5"), (2, "plan", "1-2"))),
            (Reason.DISORDER, answer((1, "plan", "8"), (1, "comment", "3"))),
            (Reason.BAD_COMPONENT, answer((1, "prompt", " "))),
            (Reason.BAD_COMPONENT, answer((0, "prompt", "Do it"))),
            (Reason.BAD_COMPONENT, answer(more=[{**GOOD[0], "plan": ""}])),
        ],
    )
    def test_an_answer_that_breaks_a_rule_is_dropped_with_its_reason(
        self, reason: Reason, text: str
    ) -> None:
        assert violation(reason, text)

    def test_the_detail_says_what_is_wrong(self) -> None:
        assert violation(Reason.OVERLAP, answer((0, "plan", "1-3"))) == (
            "sentence 3 is in components 1 and 2"
        )
        assert violation(Reason.MISSING, '{"components": []}', PIECES[:2]) == (
            "no component contains sentence 1, 2"
        )

    @given(st.integers(1, 40), st.data())
    def test_every_ordered_partition_is_read_without_losing_text(
        self, count: int, data: st.DataObject
    ) -> None:
        pieces = tuple(f"<{n}>" for n in range(1, count + 1))
        cuts = data.draw(st.sets(st.integers(1, count)).map(lambda s: sorted(s | {0, count})))
        parts: list[dict[str, Any]] = [
            {
                "description": "",
                "plan": f"{a + 1}-{b}",
                "prompt": "",
                "execution": "",
                "comment": "",
            }
            for a, b in pairwise(cuts)
        ]
        found = replies.components(json.dumps({"components": parts}), pieces)
        assert "".join(component.plan for component in found) == "".join(pieces)


class TestParents:
    GIVEN = (Component(1), Component(2), Component(3))

    def test_they_are_added_to_the_components(self) -> None:
        found = replies.with_parents(needs((1, []), (3, [1, 2]), (2, [1])), self.GIVEN)
        assert [sorted(component.parents) for component in found] == [[], [1], [1, 2]]

    @pytest.mark.parametrize(
        ("reason", "text"),
        [
            (Reason.NOT_IN_GRAPH, needs((1, []), (2, []))),
            (Reason.NOT_IN_GRAPH, needs((1, []), (2, []), (3, []), (4, []))),
            (Reason.NOT_IN_GRAPH, needs((1, []), (2, []), (2, []), (3, []))),
            (Reason.CYCLE, needs((1, [2]), (2, [1]), (3, []))),
            (Reason.CYCLE, needs((1, []), (2, [2]), (3, []))),
            (Reason.UNKNOWN_PARENT, needs((1, []), (2, [0]), (3, []))),
            (Reason.UNKNOWN_PARENT, needs((1, []), (2, []), (3, [9]))),
            (Reason.MALFORMED, '{"components": [{"number": 1}]}'),
        ],
    )
    def test_an_answer_that_breaks_a_rule_is_dropped_with_its_reason(
        self, reason: Reason, text: str
    ) -> None:
        with pytest.raises(Dropped) as caught:
            replies.with_parents(text, self.GIVEN)
        assert caught.value.reason is reason


class TestLeaks:
    STAGES = ((Component(1), Component(2)), (Component(3),))

    def test_uses_between_siblings_are_read(self) -> None:
        text = '{"uses": [{"component": 2, "of": 1, "value": "x = 5"}]}'
        (leak,) = replies.leaks(text, self.STAGES)
        assert (leak.component, leak.of, leak.value) == (2, 1, "x = 5")

    @pytest.mark.parametrize(("component", "of"), [(3, 1), (1, 2), (9, 1), (2, 9)])
    def test_any_other_use_is_dropped(self, component: int, of: int) -> None:
        with pytest.raises(Dropped):
            replies.leaks(
                json.dumps({"uses": [{"component": component, "of": of, "value": "x"}]}),
                self.STAGES,
            )
