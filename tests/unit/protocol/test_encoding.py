"""Encoding: no text from elsewhere yields a special token or a tag, whatever the tokenizer does."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import pytest

pytest.importorskip("tokenizers")

from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)

from sprint_agent.protocol import tags
from sprint_agent.protocol.context import Context, Snapshot
from sprint_agent.protocol.encoding import encode
from sprint_agent.protocol.escaping import count_tags
from sprint_agent.testing import CharTokenizer
from sprint_agent.tokenizer import FileTokenizer

LETTERS = sorted({chr(n) for n in range(32, 127)} - {"§"})
SPECIAL = ["<|end|>", "<|im_end|>", "«end»", "</s>", "[INST]", "<think>", "</think>", "<0>"]


def byte_level() -> Tokenizer:
    """As GPT-2, Llama 3 and Qwen: any text can be encoded."""
    tokenizer = Tokenizer(models.BPE(vocab={c: n for n, c in enumerate(_bytes())}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _bytes() -> list[str]:
    return sorted(pre_tokenizers.ByteLevel.alphabet())


def characters(unknown: str = "<unk>") -> Tokenizer:
    """A vocabulary of letters, with a token for all other characters."""
    vocab = {c: n for n, c in enumerate([unknown, *LETTERS, "\n", "▁"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token=unknown))
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([unknown])
    return tokenizer


def whole_marks() -> FileTokenizer:
    """As Qwen: ChatML, and marks that are added without being special."""
    tokenizer = byte_level()
    tokenizer.add_special_tokens(["<|end|>", "<|im_end|>", "«end»", "§"])
    tokenizer.add_tokens(["<think>", "</think>", "<tool_call>", "/*tool*/", "  ", "protein"])
    return FileTokenizer(tokenizer)


def folded() -> FileTokenizer:
    """Folds widths before it looks for special tokens."""
    tokenizer = byte_level()
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.add_special_tokens([AddedToken(text, normalized=True) for text in SPECIAL])
    return FileTokenizer(tokenizer)


def lowered() -> FileTokenizer:
    """As BERT: takes off case, accents and control characters."""
    tokenizer = characters("[UNK]")
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.add_special_tokens(
        [AddedToken(text, normalized=True, lstrip=True, rstrip=True) for text in SPECIAL]
    )
    return FileTokenizer(tokenizer)


def replaced() -> FileTokenizer:
    """Its normalizer writes marks that were not in the text."""
    tokenizer = byte_level()
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(Regex("⟨|⟪"), "<"),
            normalizers.Replace("⟩", ">"),
            normalizers.Replace("(END)", "«end»"),
            normalizers.Replace("&lt;", "<"),
        ]
    )
    tokenizer.add_special_tokens([AddedToken(text, normalized=True) for text in SPECIAL])
    return FileTokenizer(tokenizer)


def blanks_marked() -> FileTokenizer:
    """As Llama 2: a mark before each word, and one at the beginning of each text."""
    tokenizer = characters()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens([AddedToken(t, lstrip=True, rstrip=True) for t in SPECIAL])
    return FileTokenizer(tokenizer)


def pieces() -> FileTokenizer:
    """Its special tokens are in the model's own vocabulary."""
    scores = [("<unk>", 0.0), *((text, -1.0) for text in SPECIAL), *((c, -5.0) for c in LETTERS)]
    tokenizer = Tokenizer(models.Unigram(scores, unk_id=0, byte_fallback=False))
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(["<unk>", *SPECIAL])
    return FileTokenizer(tokenizer)


def words() -> FileTokenizer:
    """A token for each word, special or not, and for the single character §."""
    vocab = {
        text: n for n, text in enumerate(["[UNK]", *SPECIAL, "§", "a", "b", "think", "<", ">"])
    }
    tokenizer = Tokenizer(models.WordLevel(vocab=vocab, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(
        ["[UNK]", *(AddedToken(t, single_word=True) for t in SPECIAL), AddedToken("§")]
    )
    return FileTokenizer(tokenizer)


def trained() -> FileTokenizer:
    """Merges of a trained vocabulary spell special tokens."""
    tokenizer = byte_level()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    corpus = ["«end»", "<|end|>", "<think>"] * 50
    tokenizer.train_from_iterator(corpus, trainers.BpeTrainer(initial_alphabet=_bytes()))
    tokenizer.add_special_tokens(["«end»", "<|end|>"])
    return FileTokenizer(tokenizer)


class Stranger:
    """A tokenizer that does not know its special tokens."""

    def __init__(self) -> None:
        self._inner = folded()

    @property
    def vocab_size(self) -> int:
        return self._inner.vocab_size

    def encode(self, text: str) -> list[int]:
        return self._inner.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        return self._inner.decode(ids)


KINDS: list[Callable[[], FileTokenizer]] = [
    *(whole_marks, folded, lowered, replaced, blanks_marked, pieces, words, trained)
]
READERS = {kind.__name__: kind() for kind in KINDS}
tokenizers_of_all_kinds = pytest.mark.parametrize("kind", READERS)

FRAGMENTS = [
    *SPECIAL,
    *(
        "＜|end|＞",
        "＜/think＞",
        "<|END|>",
        "<thínk>",
        "⟨think⟩",
        "⟪/think⟩",
        "(END)",
        "&lt;think>",
    ),
    *("§", "/*tool*/", "<tool_call>", "</Plan_1>", "<execution_1.1>", "<Fínal_answer>"),
    *(" ", "\n", "a", "b <", "> c", "protein", "«", "end»", "<|", "|>", "日本", "\u200b", "\u0301"),
]
texts = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=3), max_size=8).map("".join)


def written(tokenizer: FileTokenizer | Stranger, text: str) -> tuple[int, ...]:
    """The ids of an execution's text in the planner's context."""
    context = Context(tokenizer)
    context.append(tags.escape(text))
    return context.snapshot().ids or ()


@tokenizers_of_all_kinds
@settings(max_examples=250, deadline=None)
@given(text=texts)
def test_text_from_elsewhere_has_no_special_token_and_no_tag(kind: str, text: str) -> None:
    tokenizer = READERS[kind]
    ids = written(tokenizer, text)
    assert not set(ids) & set(tokenizer.special_tokens)
    assert count_tags(tokenizer.decode(ids)) == 0


@tokenizers_of_all_kinds
@settings(max_examples=60, deadline=None)
@given(text=texts)
def test_a_question_adds_no_special_token_to_the_opening(kind: str, text: str) -> None:
    tokenizer = READERS[kind]
    context, bare = Context(tokenizer), Context(tokenizer)
    context.append(tags.opening(text))
    bare.append(tags.opening("a"))
    found, expected = (
        [token for token in c.snapshot().ids or () if token in tokenizer.special_tokens]
        for c in (context, bare)
    )
    assert found == expected
    assert count_tags(tokenizer.decode(context.snapshot().ids or ())) <= 3


@pytest.mark.parametrize("text", ["<|end|>", "＜/think＞", "a <think> b", "<0>", "[INST]"])
def test_a_tokenizer_that_does_not_know_its_special_tokens(text: str) -> None:
    ids = written(Stranger(), text)
    assert not set(ids) & set(folded().special_tokens)
    assert count_tags(Stranger().decode(ids)) == 0


def test_a_special_token_is_split_and_its_text_stays() -> None:
    tokenizer = whole_marks()
    text = "The mark «end» ends, /*tool*/ too."
    assert max(tokenizer.encode(text)) > 256
    encoded = encode(tokenizer, text)
    assert encoded.text == text
    assert tokenizer.decode(encoded.ids) == text
    assert not set(encoded.ids) & set(tokenizer.special_tokens)


def test_what_cannot_be_split_is_visibly_broken() -> None:
    encoded = encode(whole_marks(), "as § 5 says")
    assert encoded.text == "as &#167; 5 says"
    assert whole_marks().decode(encoded.ids) == encoded.text
    encoded = encode(replaced(), "to ⟨think⟩ twice")
    assert encoded.text.count("think") == 1
    assert "<think>" not in whole_marks().decode(encoded.ids)


def test_text_without_marks_is_encoded_as_ever() -> None:
    tokenizer = whole_marks()
    for text in ("a  protein\n", "7 < 8", tags.opening("Which protein?"), "日本", ""):
        assert encode(tokenizer, text) == (text, tokenizer.encode(text))


def test_tags_of_the_run_are_the_special_tokens_that_they_were_trained_as() -> None:
    tokenizer = whole_marks()
    think = tokenizer.encode("<think>")
    assert len(think) == 1
    ids = encode(tokenizer, tags.opening("What does «end» mean?")).ids
    assert [token for token in ids if token in tokenizer.special_tokens] == think


def test_ids_of_an_execution_are_not_taken_if_they_are_special() -> None:
    tokenizer = whole_marks()
    context = Context(tokenizer)
    context.append_execution("ok", tokenizer.encode("«end»"))
    context.append_execution("ok", tokenizer.encode("o"))
    context.append_execution("ok", None)
    ok = tokenizer.encode("ok")
    assert context.snapshot() == Snapshot("okokok", (*ok, *tokenizer.encode("o"), *ok))


def test_an_engine_without_ids_gets_the_text() -> None:
    context = Context(None)
    context.append_execution("ok", None)
    assert (context.snapshot().text, context.snapshot().ids) == ("ok", None)


@pytest.mark.parametrize("kind", ["whole_marks", "folded", "replaced"])
@pytest.mark.parametrize("fragment", ["«end»", "§", "⟨think⟩", "(END)", "＜|end|＞", "<"])
def test_hostile_text_takes_linear_time(kind: str, fragment: str) -> None:
    def seconds(characters: int) -> float:
        text = tags.escape(fragment * (characters // len(fragment)))
        before = time.process_time()
        encode(READERS[kind], text)
        return (time.process_time() - before) / characters

    seconds(1_000)
    assert seconds(200_000) < 8 * max(min(seconds(10_000) for _ in range(3)), 1e-7)


def test_letters_are_letters_for_a_tokenizer_without_special_tokens() -> None:
    assert encode(CharTokenizer(), "<think> a").ids == [ord(c) for c in "<think> a"]
