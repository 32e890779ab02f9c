"""Ends an answer at its first stop string, as it comes: as sampled ids, or as text.

Pure and synchronous: an engine feeds what its model sampled and passes on the deltas. Ids and text may
come in chunks of any size; the answer does not depend on how they were cut.

Where several stops match, the one whose last character comes first ends the answer (of two that end
together, the longer), as if the characters had come one by one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from sprint_agent.engine import Delta, Tokenizer

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

_MAX_PARTIAL_IDS = 3
"""An unfinished UTF-8 character has at most three bytes, so at most three ids begin it."""


class StopStrings:
    """Some stop strings, to be looked for in the last characters of a text that grows."""

    def __init__(self, stops: Sequence[str]) -> None:
        """`stops` must not hold the empty string, which is everywhere (ValueError)."""
        if "" in stops:
            raise ValueError("a stop string must not be empty")
        self._stops = tuple(stops)
        self._beginnings = frozenset(stop[:n] for stop in stops for n in range(1, len(stop)))
        self._longest_beginning = max(map(len, self._beginnings), default=0)

    def find(self, text: str) -> tuple[int, str] | None:
        """Where the first stop to be complete begins in `text`, and which it is."""
        matches = [(text.find(stop), stop) for stop in self._stops]
        found = [(start + len(stop), start, stop) for start, stop in matches if start >= 0]
        if not found:
            return None
        _, start, stop = min(found)
        return start, stop

    def begun(self, text: str) -> int:
        """How many of the last characters of `text` may be the beginning of a stop."""
        for length in range(min(len(text), self._longest_beginning), 0, -1):
            if text[-length:] in self._beginnings:
                return length
        return 0


class TextReader:
    """Reads one answer that comes as text: holds back what may begin a stop, ends at the first."""

    def __init__(self, stops: Sequence[str] = ()) -> None:
        """`stops` must not hold the empty string (ValueError)."""
        self._stops = StopStrings(stops)
        self._held = ""
        self._stop: str | None = None

    @property
    def stop(self) -> str | None:
        """The stop string that ended the answer, None while there is none."""
        return self._stop

    def feed(self, text: str) -> str:
        """Takes the next text; returns what is now certain. After a stop, text is ignored."""
        if self._stop is not None:
            return ""
        self._held += text
        found = self._stops.find(self._held)
        if found is not None:
            end, self._stop = found
        else:
            end = len(self._held) - self._stops.begun(self._held)
        ready, self._held = self._held[:end], self._held[end:]
        return ready

    def flush(self) -> str:
        """Ends the answer: returns what was held back."""
        rest = "" if self._stop is not None else self._held
        self._held = ""
        return rest


@dataclass(frozen=True, slots=True)
class _Segment:
    """The fewest ids that decode to whole characters: mostly one id."""

    ids: tuple[int, ...]
    text: str


class AnswerReader:
    """Reads one answer: decodes ids, holds back what may begin a stop, stops at the first stop.

    Each id is decoded a constant number of times, in a window of a few ids.
    """

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[str] = ()) -> None:
        """`stops` must not hold the empty string (ValueError)."""
        self._tokenizer = tokenizer
        self._stops = StopStrings(stops)
        self._partial: list[int] = []
        self._held: deque[_Segment] = deque()
        self._held_text = ""
        # A decoder may treat the first id of a text differently, so ids are decoded after these.
        self._context: tuple[int, ...] = ()
        self._context_text = ""
        self._stop: str | None = None

    @property
    def stop(self) -> str | None:
        """The stop string that ended the answer, None while there is none."""
        return self._stop

    def feed(self, ids: Sequence[int]) -> Delta | None:
        """Takes the next ids (without the end-of-sequence id); returns the text now certain.

        After a stop was found, ids are ignored.
        """
        ready: list[_Segment] = []
        for token in ids:
            if self._stop is not None:
                break
            self._partial.append(token)
            segment = self._next_segment()
            if segment is not None:
                ready += self._take(segment)
        return _joined(ready)

    def flush(self) -> Delta | None:
        """Ends the answer: returns all that was held back. Look at `stop` again afterwards."""
        if self._stop is not None:
            return None
        ready: list[_Segment] = []
        if self._partial:
            ready += self._take(self._cut(len(self._partial)))
        ready += self._held
        self._held.clear()
        self._held_text = ""
        return _joined(ready)

    def _decode(self, ids: Sequence[int]) -> str:
        """The text of `ids` where they stand, after what came before them."""
        text = self._tokenizer.decode([*self._context, *ids])
        return text[len(self._context_text) :]

    def _next_segment(self) -> _Segment | None:
        """The ids so far as a segment, or None while their last character is unfinished."""
        count = len(self._partial)
        text = self._decode(self._partial)
        if not text.endswith(_REPLACEMENT):
            return self._cut(count, text)
        # Bytes that never become a character must not be held for ever: cut where nothing is split.
        split = count - _MAX_PARTIAL_IDS
        if split > 0:
            head, tail = self._decode(self._partial[:split]), self._partial[split:]
            if head + self._tokenizer.decode(tail) == text:
                return self._cut(split, head)
        return None

    def _cut(self, count: int, text: str | None = None) -> _Segment:
        """Takes the first `count` unfinished ids out as a segment."""
        ids = tuple(self._partial[:count])
        if text is None:
            text = self._decode(ids)
        del self._partial[:count]
        self._context, self._context_text = ids, self._tokenizer.decode(ids)
        return _Segment(ids, text)

    def _take(self, segment: _Segment) -> list[_Segment]:
        """Adds a segment to what is held; returns the segments that no stop can begin in."""
        self._held.append(segment)
        self._held_text += segment.text
        found = self._stops.find(self._held_text)
        if found is not None:
            start, self._stop = found
            return self._cut_at(start)
        return self._release(len(self._held_text) - self._stops.begun(self._held_text))

    def _release(self, end: int) -> list[_Segment]:
        """Takes the held segments that end at or before character `end`."""
        ready: list[_Segment] = []
        taken = 0
        while self._held and taken + len(self._held[0].text) <= end:
            segment = self._held.popleft()
            taken += len(segment.text)
            ready.append(segment)
        self._held_text = self._held_text[taken:]
        return ready

    def _cut_at(self, start: int) -> list[_Segment]:
        """Takes the held text before character `start`, and drops the rest."""
        ready = self._release(start)
        rest = self._held_text[: start - sum(len(segment.text) for segment in ready)]
        if rest:
            ready.append(_Segment(tuple(self._tokenizer.encode(rest)), rest))
        self._held.clear()
        self._held_text = ""
        self._partial.clear()
        return ready


def _joined(segments: Sequence[_Segment]) -> Delta | None:
    if not segments:
        return None
    ids = tuple(token for segment in segments for token in segment.ids)
    return Delta("".join(segment.text for segment in segments), ids)
