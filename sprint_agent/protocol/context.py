"""The cumulative context of a run: token-exact and append-only.

Text that a model generated is kept as the ids that the model generated, and is never tokenized again.
All other text (glue) is tokenized by `Context.append`, each piece separately. Training builds its rows
with this same class, so its contexts are those of inference, id for id.

An engine without ids gets the same context as text.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from sprint_agent.engine import BeginsContexts, Delta, Tokenizer
from sprint_agent.protocol.encoding import encode, has_special_tokens


def replace_surrogates(text: str) -> str:
    """Returns `text` with a `?` for each unpaired surrogate (half of an emoji that was cut in two).

    Two halves that belong together are joined. No context contains unpaired surrogates: they cannot be
    encoded as UTF-8.
    """
    if text.isascii():
        return text
    joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    return joined.encode("utf-8", "replace").decode()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A context at one moment."""

    text: str
    ids: tuple[int, ...] | None
    """None if the engine takes text."""

    @property
    def prompt(self) -> tuple[int, ...] | str:
        """The prompt of a request: the ids, or the text if the engine takes text."""
        return self.text if self.ids is None else self.ids


class Context:
    """Text and, with a tokenizer, its ids. Both only grow.

    `start` is the context that this one continues. A new context begins with the tokenizer's `bos_ids`,
    if it has any. They have no text.
    """

    def __init__(self, tokenizer: Tokenizer | None, start: Snapshot | None = None) -> None:
        self._tokenizer = tokenizer
        self._text: list[str] = [start.text] if start else []
        if start is not None:
            self._ids: list[int] = list(start.ids or ())
        else:
            self._ids = list(tokenizer.bos_ids if isinstance(tokenizer, BeginsContexts) else ())

    def append(self, text: str) -> None:
        """Adds glue or text from elsewhere, which is tokenized separately.

        Of the ids, only those of tags are special tokens or tags: see `encoding`.
        """
        if self._tokenizer is not None:
            text, ids = encode(self._tokenizer, text)
            self._ids += ids
        self._text.append(text)

    def append_execution(self, text: str, ids: Sequence[int] | None) -> None:
        """Adds what an executor wrote: as `ids`, if a model generated them and none is special."""
        if self._tokenizer is None or ids is None or has_special_tokens(self._tokenizer, ids):
            self.append(text)
        else:
            self.append_generated(text, ids)

    def append_generated(self, text: str, ids: Sequence[int]) -> None:
        """Adds text that a model generated, as the ids that it generated."""
        self._text.append(text)
        self._ids += ids

    def snapshot(self) -> Snapshot:
        """Returns the context as it is now."""
        ids = None if self._tokenizer is None else tuple(self._ids)
        return Snapshot("".join(self._text), ids)

    def __len__(self) -> int:
        """Length in ids, 0 if the engine takes text."""
        return len(self._ids)


class GeneratedText:
    """Text that a model is generating. Each prefix is available as the ids that were generated."""

    def __init__(self, tokenizer: Tokenizer | None) -> None:
        self._tokenizer = tokenizer
        self._deltas: list[Delta] = []
        self._ids: list[int] = []
        self._ends: list[int] = []
        """The end of each delta, in characters."""
        self._counts: list[int] = []
        """The end of each delta, in ids."""

    def extend(self, delta: Delta) -> None:
        """Adds the next delta of the engine."""
        self._deltas.append(delta)
        self._ids += delta.ids
        self._ends.append(len(self) + len(delta.text))
        self._counts.append(len(self._ids))

    def __len__(self) -> int:
        """Length in characters."""
        return self._ends[-1] if self._ends else 0

    def prefix(self, offset: int) -> tuple[str, tuple[int, ...]]:
        """Returns the text before `offset` (in characters), and its ids.

        If `offset` is inside the text of an id, the part of that text before it is tokenized again.
        """
        whole = bisect_right(self._ends, offset)
        texts = [delta.text for delta in self._deltas[:whole]]
        ids = self._ids[: self._counts[whole - 1]] if whole else []
        if whole < len(self._deltas):
            delta = self._deltas[whole]
            text = delta.text[: offset - (self._ends[whole - 1] if whole else 0)]
            texts.append(text)
            ids += self._partial(delta, text)
        return "".join(texts), tuple(ids)

    def _partial(self, delta: Delta, text: str) -> list[int]:
        if self._tokenizer is None or not text:
            return []
        # Each id decodes to some text or to none. So the length grows with the number of ids, and a
        # bisection finds how many ids lie before the cut.
        decode = self._tokenizer.decode
        whole = (
            bisect_right(
                range(len(delta.ids)), len(text), lo=1, key=lambda n: len(decode(delta.ids[:n]))
            )
            - 1
        )
        read = decode(delta.ids[:whole])
        if not text.startswith(read):
            whole, read = 0, ""
        return [*delta.ids[:whole], *encode(self._tokenizer, text[len(read) :]).ids]
