"""Escaping: no text from elsewhere has a mark, whatever a tokenizer folds. Other text stays as it is."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprint_agent.protocol.escaping import count_tags, entity, escape

MARKS = [
    *("</Plan_1>", "<Plan_1", "<prompt_1.1>", "<execution_2.1 accepted>", "</Final_answer>"),
    *("</think>", "<Question>", "< / THINK >", "<", "</", "</fin"),
    *(
        "<|end|>",
        "<|im_end|>",
        "<|begin▁of▁sentence|>",
        "<｜User｜>",
        "<|reserved_special_token_9|>",
    ),
    *("<s>", "</s>", "<pad>", "<unk>", "<bos>", "<eos>", "<eop>", "<unused12>", "<extra_id_0>"),
    *("<start_of_turn>", "<end_of_turn>", "<tool_call>", "</tool_response>", "<minimax:tool_call>"),
    *("[INST]", "[/INST]", "[TOOL_CALLS]", "[gMASK]", "[SEP]", "[BOS]", "<<SYS>>", "<</SYS>>"),
    *("]~b]", "[e~[", "]~!b["),
]
HARMLESS = [
    *("7 < 8 and 9 > 3", "<b>bold</b>", "a <- b", "f <| g |> h", "<|> is an operator", "<string>"),
    *("[INFO] started", "[TODO]", "a[0]", "[x]", "List<int>", "x <= think", "<a href='s'>", "&lt;"),
    *("日本＞東京", "a ≤ b", "é", "[a, b] ~ c", "< br >"),
]


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("around", ["{}", "{} ", "a{}", "é{}", "\x00 {}", "<{}"])
def test_a_mark_is_broken_at_its_first_character(mark: str, around: str) -> None:
    unfinished = mark in ("<", "</", "</fin")
    text = around.format(mark)
    if unfinished and text.endswith(" "):
        assert escape(text) == text
    else:
        before = text[: text.rindex(mark)]
        assert escape(text) == f"{before}{entity(mark[0])}{mark[1:]}{text[len(before + mark) :]}"


@pytest.mark.parametrize("text", HARMLESS)
def test_other_text_stays_as_it_is(text: str) -> None:
    assert escape(text) == text
    assert escape(f"é {text} é") == f"é {text} é"


@pytest.mark.parametrize(
    "text",
    [
        *("＜/think＞", "＜／ｔｈｉｎｋ＞", "﹤/think﹥", "<𝐭𝐡𝐢𝐧𝐤>", "<thínk>", "<t\u200bhink>"),
        *("<\u00adthink>", "<\u2060/think>"),
        *(
            "<\x00/think>",
            "<th\x1bink>",
            "≮think>",
            "<\u3000/\u00a0think>",
            "＜|im_end|＞",
            "［INST］",
        ),
        *("<Ｐlan_1>", "<|im＿end|>", "<ſ>"),
    ],
)
def test_folded_marks_are_marks(text: str) -> None:
    assert escape(text)[0] == "&"
    assert escape(text)[1:].partition(";")[2] == text[1:]


def test_only_the_mark_changes_in_text_with_other_letters() -> None:
    text = "日本 ﬁne < 3 ＜think＞ ½"
    assert escape(text) == "日本 ﬁne < 3 &lt;think＞ ½"


def fold(text: str) -> str:
    """What a tokenizer may make of a text before it looks for marks."""
    letters = unicodedata.normalize("NFKD", text)
    return "".join(
        c for c in letters if unicodedata.category(c) not in ("Mn", "Cf", "Cc") or c == "\n"
    )


texts = st.lists(
    st.sampled_from([*MARKS, *HARMLESS, *"<＜﹤≮/／|｜ \n\u200b\u0301", "think", "ｔhink", "Plan_"])
    | st.text(max_size=4),
    max_size=10,
).map("".join)


@settings(max_examples=1500, deadline=None)
@given(texts)
def test_escaped_text_has_no_tag_however_it_is_folded(text: str) -> None:
    safe = escape(text)
    assert escape(safe) == safe
    for seen in (safe, fold(safe), unicodedata.normalize("NFKC", safe), safe.lower()):
        assert count_tags(seen) == 0
        assert "<|im_end|>" not in seen


@settings(max_examples=300, deadline=None)
@given(texts)
def test_what_is_escaped_can_still_be_read(text: str) -> None:
    shown = escape(text)
    for character in "<[]":
        shown = shown.replace(entity(character), character)
    plain = text.replace("&lt;", "<").replace("&#91;", "[").replace("&#93;", "]")
    assert shown.translate(str.maketrans("", "", "<＜﹤≮［[]")) == plain.translate(
        str.maketrans("", "", "<＜﹤≮［[]")
    )
