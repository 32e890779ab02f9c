"""Text as ids, checked after encoding: text from elsewhere never becomes a special token or a tag.

Tokenizers differ in what they make of a text. Some find special tokens in any text, some fold letters
first, and some have special tokens in the vocabulary of their model. So a text is encoded as usual, and
its ids are looked at. If they contain a special token, or decode to a tag, that does not come from the
tags of the text, the parts between its tags are encoded again: split inside the name of the special
token or, if that is not enough, with the mark visibly broken.

The tags of the text are ours or the planner's, because `escaping.escape` has broken all others. They are
encoded as they are, even if a tokenizer has special tokens for them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from sprint_agent.engine import Tokenizer
from sprint_agent.protocol.escaping import count_tags, entity, escape
from sprint_agent.protocol.tags import TAG

_BRACKETS = ("<>", "[]")


@runtime_checkable
class KnowsSpecialTokens(Protocol):
    """A tokenizer that knows its special tokens.

    If a tokenizer does not, each id counts as special whose text is in angle or square brackets.
    """

    @property
    def special_tokens(self) -> Mapping[int, str]:
        """The text of each special token, by its id."""
        ...


class Encoded(NamedTuple):
    """A text and its ids."""

    text: str
    """The text of the ids: the one that was given, unless a mark in it was broken."""
    ids: list[int]


def encode(tokenizer: Tokenizer, text: str) -> Encoded:
    """Returns `text` as ids. Only the tags in it yield special tokens or tags."""
    check = _Check(tokenizer)
    ids = tokenizer.encode(text)
    matches = list(TAG.finditer(text))
    if check.allows(ids, text, [match[0] for match in matches]):
        return Encoded(text, ids)
    parts: list[Encoded] = []
    at = 0
    for match in matches:
        parts.append(_encode_foreign(check, text[at : match.start()]))
        parts.append(Encoded(match[0], tokenizer.encode(match[0])))
        at = match.end()
    parts.append(_encode_foreign(check, text[at:]))
    return _join(parts)


def has_special_tokens(tokenizer: Tokenizer, ids: Sequence[int]) -> bool:
    """Returns whether a special token is among `ids`."""
    return bool(_Check(tokenizer).special(ids))


class _Check:
    """Looks for special tokens and tags in ids."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        # As KnowsSpecialTokens has it. To ask for the protocol is slow, and each text asks.
        self._known: Mapping[int, str] | None = getattr(tokenizer, "special_tokens", None)
        self._names: dict[int, str] = {}

    def special(self, ids: Iterable[int]) -> list[int]:
        """Returns the special tokens among `ids`, in order."""
        return [token for token in ids if self.name(token)]

    def name(self, token: int) -> str:
        """Returns the text of a special token, "" if the token is not special."""
        if self._known is not None:
            return self._known.get(token, "")
        if token not in self._names:
            text = self.tokenizer.decode([token])
            mark = text.strip()
            special = len(mark) > 2 and mark[0] + mark[-1] in _BRACKETS
            self._names[token] = text if special else ""
        return self._names[token]

    def names(self, ids: Iterable[int]) -> set[str]:
        """Returns the texts of the special tokens among `ids`, as they may be in a text."""
        names = {self.name(token) for token in ids}
        return {name.strip() or name for name in names if name}

    def allows(self, ids: Sequence[int], text: str, tags: Sequence[str] = ()) -> bool:
        """Returns whether `ids`, into which `text` was encoded, contain no more than its `tags` do."""
        encoded = {tag: self.tokenizer.encode(tag) for tag in set(tags)}
        if self.special(ids) != [token for tag in tags for token in self.special(encoded[tag])]:
            return False
        seen = self.tokenizer.decode(ids)
        if seen == text:
            return True
        counts = {tag: count_tags(self.tokenizer.decode(encoded[tag])) for tag in encoded}
        return count_tags(seen) <= sum(counts[tag] for tag in tags)


def _encode_foreign(check: _Check, text: str) -> Encoded:
    """Returns a text without tags as ids. They contain no special token and decode to no tag."""
    encode = check.tokenizer.encode
    ids = encode(text)
    if check.allows(ids, text):
        return Encoded(text, ids)
    names = check.names(ids)
    split = [token for part in _split(text, names) for token in encode(part)]
    if check.allows(split, text):
        return Encoded(text, split)
    for broken in _broken(check, text, names):
        ids = encode(broken)
        if check.allows(ids, broken):
            return Encoded(broken, ids)
    shown = {character: _shown(check, character) for character in set(text)}
    return _join(shown[character] for character in text)


def _broken(check: _Check, text: str, names: set[str]) -> Iterator[str]:
    """Yields the text with its marks visibly broken, in one way after the other."""
    encode, decode = check.tokenizer.encode, check.tokenizer.decode
    alone = {character: encode(character) for character in set(text)}
    shown = {c: entity(c) if check.special(ids) else c for c, ids in alone.items()}
    text = _break("".join(shown[character] for character in text), names)
    yield text
    # What the tokenizer made of a text is not folded again. So the marks are in it as they are.
    text = decode(ids := encode(text))
    yield escape(_break(text, names | check.names(ids)))


def _shown(check: _Check, character: str) -> Encoded:
    """Returns how a character is shown if all others failed: encoded alone, and never as a `<`."""
    for text in (character, entity(character), "?"):
        ids = check.tokenizer.encode(text)
        if not check.special(ids) and "<" not in check.tokenizer.decode(ids):
            return Encoded(text, ids)
    return Encoded("", [])


def _split(text: str, names: set[str]) -> list[str]:
    """Returns the parts of a text that is split inside each name, after its first character."""
    parts: list[str] = []
    at = 0
    for match in _find(text, names):
        parts.append(text[at : match.start() + 1])
        at = match.start() + 1
    return [*parts, text[at:]]


def _break(text: str, names: set[str]) -> str:
    """Returns a text in which the first character of each name is an entity."""
    parts: list[str] = []
    at = 0
    for match in _find(text, names):
        parts += (text[at : match.start()], entity(text[match.start()]))
        at = match.start() + 1
    return "".join((*parts, text[at:]))


def _find(text: str, names: set[str]) -> Iterator[re.Match[str]]:
    """Yields where a name begins. Names may overlap."""
    if not names:
        return iter(())
    return re.finditer(f"(?={'|'.join(map(re.escape, sorted(names)))})", text)


def _join(parts: Iterable[Encoded]) -> Encoded:
    parts = list(parts)
    return Encoded(
        "".join(part.text for part in parts), [token for part in parts for token in part.ids]
    )
