"""Sentences: no formula is split, no character is lost, and the time is linear in the length."""

from __future__ import annotations

import gc
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from curate.split.sentences import numbered, sentences
from curate.split.spans import spans

FRAGMENTS = (
    *("So", " we ", "A", "x", "3.14", "e.g.", "U.S.", "5", "i.e.", "今天", "é", "I", "\u0301"),
    *(".", "!", "?", "...", "…", "。", "؟", "।", ",", ":", '"', "”", ")", "(", "]", "**", "'"),
    *(" ", "  ", "\n", "\n\n", "\r\n", "\t", "\u3000", "\u2028", "\x1c", "\ud800"),
    *("$", "$$", "\\(", "\\)", "\\[", "\\]", "\\$", "\\\\", "\\", "\\begin{a}", "\\end{a}"),
    *("`", "``", "```", "\n```\n", "~~~", "\n- ", "\n1. ", "\n# ", "Step 2.", "=", " = 8\n"),
)
texts = st.lists(st.sampled_from(FRAGMENTS), max_size=30).map("".join) | st.text(max_size=60)


def cut(text: str) -> str:
    """Returns `text` with a bar at each position where it is split."""
    pieces = sentences(text)
    assert "".join(pieces) == text
    return "|".join(piece.strip() for piece in pieces)


class TestEveryText:
    @given(texts)
    @example(" ")
    @example("\n\na")
    @settings(max_examples=600, deadline=None)
    def test_no_character_is_lost_and_no_piece_is_blank(self, text: str) -> None:
        pieces = sentences(text)
        assert "".join(pieces) == text
        assert all(piece.strip() for piece in pieces) or (len(pieces) == 1 and not text.strip())
        assert pieces or not text

    @given(texts)
    @settings(max_examples=300, deadline=None)
    def test_white_space_belongs_to_the_sentence_before_it(self, text: str) -> None:
        assert not any(piece[0].isspace() for piece in sentences(text)[1:])

    @given(texts)
    @settings(max_examples=300, deadline=None)
    def test_formulas_and_code_are_not_split(self, text: str) -> None:
        inner = {at for span in spans(text) for at in range(span.start + 1, span.end)}
        at = 0
        for piece in sentences(text):
            assert at not in inner
            at += len(piece)

    @given(
        st.lists(st.sampled_from(["So it is.", "Is it?", "No!", "We get 3.5 of it."]), min_size=1)
    )
    def test_plain_sentences_are_found_again(self, wanted: list[str]) -> None:
        assert [piece.strip() for piece in sentences(" ".join(wanted))] == wanted

    @settings(deadline=None)
    @given(
        st.lists(st.sampled_from(["a. B", "So x = 5", "see e.g.", "hm...", "- foo"]), min_size=1)
    )
    def test_a_blank_line_always_ends_a_piece(self, paragraphs: list[str]) -> None:
        assert not any("\n\n" in piece.rstrip() for piece in sentences("\n\n".join(paragraphs)))


class TestFullStops:
    @pytest.mark.parametrize(
        "text",
        [
            "It is 3.14 and 1,000.5 and .5 of it.",
            "Many, e.g. Paris, i.e. Lutetia, are cities.",
            "See Fig. 3 and Eq. 4 on p. 7 of No. 5.",
            "Ask Dr. Smith vs. Mr. J. R. Smith.",
            "It takes approx. 5 of the U.S. Army.",
            "Hmm... let me see.",
            "Hmm… let me see.",
            "Wait... I know.",
            "See https://a.b/c?d=e.f and a.py or v1.2.3 now.",
            "“Why?” he asked.",
            "5! = 120 and n! / 2 too.",
            "So x = ? = 3.",
        ],
    )
    def test_this_does_not_end_a_sentence(self, text: str) -> None:
        assert cut(text) == text

    @pytest.mark.parametrize(
        ("text", "wanted"),
        [
            ("No. That is no. Yes.", "No.|That is no.|Yes."),
            ("It is 5. Then 6?! Yes!!! So", "It is 5.|Then 6?!|Yes!!!|So"),
            ('He said "Stop." (It was.) **Bold.** So', 'He said "Stop."|(It was.)|**Bold.**|So'),
            ("At point B. Then C. It", "At point B.|Then C.|It"),
            ("In the U.S. Then etc. And so", "In the U.S.|Then etc.|And so"),
            ("Wait... No.", "Wait...|No."),
            ("It is $x = 1.$ So $y$. Then", "It is $x = 1.$|So $y$.|Then"),
            ("It is 5! Now 3", "It is 5!|Now 3"),
            ("See a.py. Then v1.2. Done", "See a.py.|Then v1.2.|Done"),
            ("So. 3 is. `x` is. $y$ is.", "So.|3 is.|`x` is.|$y$ is."),
        ],
    )
    def test_this_ends_a_sentence(self, text: str, wanted: str) -> None:
        assert cut(text) == wanted

    @pytest.mark.parametrize(
        ("text", "wanted"),
        [
            ("今天是3+5=8。然后“好。”再见！是吗？对", "今天是3+5=8。|然后“好。”|再见！|是吗？|对"),
            ("（一。）二。「三？」四", "（一。）|二。|「三？」|四"),
            ("كيف؟ نعم.", "كيف؟|نعم."),
            ("यह है। वह है।", "यह है।|वह है।"),
        ],
    )
    def test_other_scripts(self, text: str, wanted: str) -> None:
        assert cut(text) == wanted


class TestLines:
    @pytest.mark.parametrize(
        ("text", "wanted"),
        [
            ("So 3 + 5 = 8\nNow 8 * 2 = 16\n9 + 1 = 10", "So 3 + 5 = 8|Now 8 * 2 = 16|9 + 1 = 10"),
            ("x = 3\ny = 4\n= 2 + 2\nwhere y is", "x = 3|y = 4\n= 2 + 2\nwhere y is"),
            (
                "prose that was\nwrapped in the\nMiddle of it",
                "prose that was\nwrapped in the\nMiddle of it",
            ),
            ("ok then\nSo what\n今天", "ok then|So what|今天"),
            ("We get:\n3 + 5 = 8", "We get:\n3 + 5 = 8"),
            ("One. Two.\n\n\nThree\n \nfour", "One.|Two.|Three|four"),
            ("One\r\n\r\ntwo\r\nThree", "One|two|Three"),
            ("# Head\nfoo\n---\nbar\n| a |\n| b |", "# Head|foo|---|bar|| a ||| b |"),
            ("**Final Answer**\nThe answer is 2 *\nX", "**Final Answer**|The answer is 2 *\nX"),
            ("it ends.\nthen goes on", "it ends.|then goes on"),
            ("Hm...\nlet me see, e.g.\nthis", "Hm...\nlet me see, e.g.\nthis"),
        ],
    )
    def test_line_breaks(self, text: str, wanted: str) -> None:
        assert cut(text) == wanted

    @pytest.mark.parametrize(
        ("text", "wanted"),
        [
            ("Do:\n1. foo. Bar\n2. qux", "Do:|1. foo.|Bar|2. qux"),
            ("Do:\n- a\n  wrapped\n* b\n(a) c\nb) d", "Do:|- a\n  wrapped|* b|(a) c|b) d"),
            ("Step 1. Add. Step 2. Go", "Step 1. Add.|Step 2. Go"),
            ("**Step 2.** Divide it. **Case 1:** No", "**Step 2.** Divide it.|**Case 1:** No"),
            ("In all: 1. Add. 2. Go", "In all: 1. Add.|2. Go"),
        ],
    )
    def test_list_items(self, text: str, wanted: str) -> None:
        assert cut(text) == wanted


class TestFormulasAndCode:
    @pytest.mark.parametrize(
        "text",
        [
            r"As $x = 1. \text{If } Y. Zed$ holds.",
            "As $$a. B$$ holds.",
            r"As \(a. B\) holds.",
            "We get\n\\[\na. B\n\nC. D\n\\]\nwhere a is.",
            "We get\n$$\na. B\n$$\nwhere a is.",
            "\\begin{a}\na. B \\\\[2pt] \\begin{b} x. Y \\end{b}\n\nZ. A\n\\end{a} holds.",
            "So `a. B` and ``a` . B`` hold.",
        ],
    )
    def test_it_is_not_split(self, text: str) -> None:
        assert cut(text) == text

    @pytest.mark.parametrize(
        "text",
        [
            "((... ((a * 2 + b) * 2 + ... ) * 2 + c)",
            "We get ((... ((a * 2 + b) * 2 + ... ) * 2 + c) of it",
            "So S = (1 + 2 + ... 3 + 4) is it",
            "The set {1, 2, ... N} has N",
            "The list [1! 2! ... N!] has N",
            "It is in [0, 1. 5) now",
            "The matrix [[1, 2]\n[3, 4]] is it",
            "f(x\nY + 1) is it",
            "(A + B\n- C) is it",
            "(sin x + ... Cos y)",
            "($a. B$ + ... C) is it",
            "(\\frac{1}{2} + ... X)",
        ],
    )
    def test_a_formula_in_brackets_is_not_split(self, text: str) -> None:
        assert cut(text) == text

    @pytest.mark.parametrize(
        ("text", "wanted"),
        [
            ("He left (he was ill. She stayed) then", "He left (he was ill.|She stayed) then"),
            ("See (1). Then (2). So", "See (1).|Then (2).|So"),
            ("(a + b... C\n\nD) so", "(a + b...|C|D) so"),
            ("a) 1 + 2. B) 3 + 4. So", "a) 1 + 2.|B) 3 + 4.|So"),
            ("(1 + 2. So 3", "(1 + 2.|So 3"),
            ("(1\n```\n+ 2. X\n```\nSo. 3)", "(1|```\n+ 2. X\n```|So.|3)"),
            (f"(1{' + 2' * 600}... N)", f"(1{' + 2' * 600}...|N)"),
        ],
    )
    def test_other_brackets_may_be(self, text: str, wanted: str) -> None:
        assert cut(text) == wanted

    def test_a_fenced_block_is_a_piece(self) -> None:
        block = "```python\nx = a. B\n\ny = 3\n# Foo\n~~~\nC. D\n```\n"
        assert sentences(f"Look:\n{block}so it is.") == ("Look:\n", block, "so it is.")
        assert sentences(f"{block}\n{block}") == (f"{block}\n", block)

    @pytest.mark.parametrize(
        "opener",
        [
            "$",
            "$$",
            "\\(",
            "\\[",
            "`",
            "``",
            "```",
            "\n```\n",
            "\n~~~~\n",
            "\\begin{a}",
            "\\end{a}",
            "$5",
        ],
    )
    def test_an_opening_delimiter_alone_is_ordinary_text(self, opener: str) -> None:
        text = f"It is {opener} so. Then it is. So\n\nAnd $x. Y$ is. \\[ a. B \\] So. `C. D` is."
        pieces = [piece.strip() for piece in sentences(text)]
        assert pieces[-3:] == ["And $x. Y$ is.", "\\[ a. B \\] So.", "`C. D` is."]
        assert "Then it is." in pieces

    def test_money_opens_no_formula(self) -> None:
        text = "It costs $5. Let $x$ be it. You paid $10, I paid $1,000.50 more. So"
        wanted = "It costs $5.|Let $x$ be it.|You paid $10, I paid $1,000.50 more.|So"
        assert cut(text) == wanted
        assert cut("\\$5. Then $ a. B $ is $5 + 3. X$ so") == "\\$5.|Then $ a. B $ is $5 + 3. X$ so"

    def test_a_formula_has_a_maximum_length(self) -> None:
        for opener, closer in (("\\[", "\\]"), ("\\begin{a}", "\\end{a}")):
            text = f"{opener} So. " + "Yes. " * 3000 + closer
            assert len(sentences(text)) > 3000


HOSTILE = (
    *(".", "!", "?.", "....x", ".)", ")))).", "…", "。", "A.", "a. ", "e.g. ", "x? x"),
    *("$", "$a ", "$ a", "$$", "$5 ", "$5. ", "\\(", "\\[", "\\]\\[", "\\", "\\\\", "`", "`` ` "),
    *("\n", " \n", "\n\n", " ", "a\n", "A\n", "x = 1\n", "\n- ", "- ", "\n#", ">", "\n```", "1. "),
    *("(", ")", "(1 ", "()", "([{", "(1)\n\n"),
    *("\\begin{a}", "\\begin{a}\\end{b}", "\\begin{a}\\begin{b}\\end{a}", "aA", "=", "\n-----x"),
)


@pytest.mark.parametrize("unit", [*HOSTILE, None])
def test_the_time_is_linear_in_the_length(unit: str | None) -> None:
    def hostile(size: int) -> str:
        if unit is not None:
            return unit * (size // len(unit))
        # Each fence is shorter than those before it, so that none closes another.
        lines: list[str] = []
        longest = int((2 * size) ** 0.5)
        for length in range(longest, 2, -1):
            lines.append("`" * length)
        return "\n".join(lines)

    def seconds(size: int) -> float:
        text = hostile(size)
        best = float("inf")
        # Garbage collection visits the objects of earlier tests, which would distort the measurement.
        gc.disable()
        try:
            for _ in range(2):
                began = time.process_time()
                sentences(text)
                best = min(best, time.process_time() - began)
        finally:
            gc.enable()
        return best

    # Eight times the text would take 64 times the time if it were quadratic. Very short times are noise.
    assert seconds(400_000) <= 40 * max(seconds(50_000), 0.005)


def test_numbered() -> None:
    shown = numbered(sentences("So it is.  Then\n\n  x = 5\n= 6."))
    assert shown == "[1] So it is.\n[2] Then\n[3] x = 5\n= 6."
    assert numbered(()) == ""
