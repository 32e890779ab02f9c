"""The cumulative context of a run: token-exact and append-only.

What a model generated stands in it as the ids that it generated, never tokenized again. Everything
else (glue) is tokenized piece by piece, each piece on its own, by `Context.append`; training builds
its rows with this very class, so its contexts are those of inference, id for id.

An engine without ids gets the same context as text.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from sprint_agent.engine import Delta, Tokenizer


def replace_surrogates(text: str) -> str:
    """`text` without halves of characters, as of an emoji that was cut in two: no context holds them."""
    return text.encode("utf-8", "replace").decode()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A context as it was at one moment. `ids` is None for an engine that takes text."""

    text: str
    ids: tuple[int, ...] | None

    @property
    def prompt(self) -> tuple[int, ...] | str:
        """What a request carries."""
        return self.text if self.ids is None else self.ids


class Context:
    """Text and, with a tokenizer, ids; both only grow."""

    def __init__(self, tokenizer: Tokenizer | None, start: Snapshot | None = None) -> None:
        self._tokenizer = tokenizer
        self._text: list[str] = [start.text] if start else []
        self._ids: list[int] = list(start.ids) if start and start.ids else []

    def append(self, text: str) -> None:
        """Adds glue, tokenized on its own."""
        self._text.append(text)
        if self._tokenizer is not None:
            self._ids += self._tokenizer.encode(text)

    def append_generated(self, text: str, ids: Sequence[int]) -> None:
        """Adds what a model generated, as the ids that it generated."""
        self._text.append(text)
        self._ids += ids

    def snapshot(self) -> Snapshot:
        """The context as it is now."""
        ids = None if self._tokenizer is None else tuple(self._ids)
        return Snapshot("".join(self._text), ids)

    def __len__(self) -> int:
        """Length in ids; 0 for an engine that takes text."""
        return len(self._ids)


class GeneratedText:
    """What a model is generating, and any prefix of it as the ids that it generated."""

    def __init__(self, tokenizer: Tokenizer | None) -> None:
        self._tokenizer = tokenizer
        self._deltas: list[Delta] = []
        self._ids: list[int] = []
        # Where each delta ends, in characters and in ids.
        self._ends: list[int] = []
        self._counts: list[int] = []

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
        """The text before `offset`, and its ids.

        Where `offset` falls inside an id, the text of that id before it is tokenized anew.
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
        # Each id decodes to some text or to none, so lengths only grow and a bisection finds the cut.
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
        return [*delta.ids[:whole], *self._tokenizer.encode(text[len(read) :])]
