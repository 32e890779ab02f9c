"""Text from elsewhere (of an executor, a question, a task, a check), made harmless.

Two kinds of text could become structure: our tags, and the special tokens of tokenizers, such as
`<|im_end|>`. A server's tokenizer may also fold letters before it looks for them: full width, bold and
accented ones become plain, and invisible ones vanish. So `escape` reads the folded text, and changes the
character that begins such a mark. `encoding` checks the ids, if the engine takes ids.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_NAMES = r"(?:plan|execution|prompt)_|final_answer|think|question"
# Possessive: a `<` before many blanks is read once, not once for each of them.
_TAG = rf"<(?=\s*+/?\s*+(?i:{_NAMES}))"
_UNFINISHED = r"<(?=/?[A-Za-z_]{0,12}\Z)"
_SPECIAL = (
    r"<(?=\|[^\s<>|]{1,64}\|>)",  # ChatML, Llama, Phi, GLM, gpt-oss. DeepSeek's bars are folded
    r"<(?=/?(?:s|pad|unk|mask|[bcepsu]o[sdtpm]|cls|sep|unused\d{1,4}|extra_id_\d{1,4})>)",
    r"<(?=(?:start|end)_of_\w{1,24}>)",  # Gemma
    r"<(?=/?(?:\w{1,24}:)?tool_(?:calls?|responses?)>)",  # Qwen, MiniMax
    r"<(?=</?SYS>>)",  # Llama 2
    r"\[(?=/?(?:INST|SYSTEM_PROMPT|MODEL_SETTINGS|AVAILABLE_TOOLS|TOOL_(?:CALLS|RESULTS|CONTENT)|ARGS|CALL_ID"
    r"|THINK|IMG(?:_BREAK|_END)?|(?:BEGIN_)?AUDIO|TRANSCRIBE|PREFIX|MIDDLE|SUFFIX)\])",  # Mistral
    r"\[(?=(?:CLS|SEP|MASK|PAD|UNK|[BE]O[ST])\])",  # BERT and its successors
    r"\[(?=[gs]MASK\])",  # GLM
    r"\](?=[~!]{1,2}[a-z]\[)|\](?=~b\])|\[(?=e~\[)",  # MiniMax
)
_MARK = re.compile("|".join((_TAG, _UNFINISHED, *_SPECIAL)))
_TAG_MARK = re.compile(_TAG)
_PLAIN = re.compile(r"[\t\n\v\f\r -~]*+")


def escape(text: str) -> str:
    """Returns `text` with all marks made harmless: tags, special tokens, and what looks like them.

    An unfinished tag at the end is one too. Only the character that begins a mark changes, into an
    HTML entity such as `&lt;`. Comparisons, HTML and code do not change.
    """
    if _PLAIN.fullmatch(text):
        return _MARK.sub(_replace, text)
    folded, origin = _fold_text(text)
    parts: list[str] = []
    end = 0
    for match in _MARK.finditer(folded):
        start = origin[match.start()]
        parts += (text[end:start], entity(match[0]))
        end = start + 1
    return "".join((*parts, text[end:]))


def count_tags(text: str) -> int:
    """Returns how many tags `text` has, with everything that looks like one."""
    return sum(1 for _ in _TAG_MARK.finditer(text))


def entity(character: str) -> str:
    """Returns the HTML entity that shows a character and is not that character."""
    return "&lt;" if character == "<" else f"&#{ord(character)};"


def _replace(match: re.Match[str]) -> str:
    return entity(match[0])


def _fold_text(text: str) -> tuple[str, list[int]]:
    """Returns the folded text, and for each of its characters the offset in `text` that it came from."""
    folded = list(map(_fold, text))
    origin = [at for at, letters in enumerate(folded) for _ in letters]
    return "".join(folded), origin


@lru_cache(maxsize=65_536)
def _fold(character: str) -> str:
    """Returns what is left of a character if width, font and accents are taken off, "" if nothing is."""
    if character in "\t\n\v\f\r":
        return character
    letters = unicodedata.normalize("NFKD", character)
    return "".join(c for c in letters if unicodedata.category(c) not in _INVISIBLE)


_INVISIBLE = frozenset({"Cc", "Cf", "Cn", "Co", "Mn", "Me"})
