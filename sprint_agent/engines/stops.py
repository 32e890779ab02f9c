"""Ends a streamed answer, as sampled ids or as text, at its first stop string.

Pure and synchronous: an engine feeds what its model sampled and forwards the deltas. Ids and text may
arrive in chunks of any size, and the answer does not depend on the cuts.

If several stops match, the one that is complete first ends the answer, as if the characters had
arrived one by one. If two are complete at the same character, the longer one counts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from sprint_agent.engine import Delta, Tokenizer
from sprint_agent.protocol.encoding import encode

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

_MAX_PARTIAL_IDS = 3
"""An unfinished UTF-8 character has at most three bytes, so at most three ids begin it."""


class StopStrings:
    """A set of stop strings, which are searched for in a text that grows."""

    def __init__(self, stops: Sequence[str]) -> None:
        """Prepares the search.

        Raises:
            ValueError: `stops` contains the empty string, which every text contains.
        """
        if "" in stops:
            raise ValueError("a stop string must not be empty")
        self._stops = tuple(stops)
        self._beginnings = frozenset(stop[:n] for stop in stops for n in range(1, len(stop)))
        self._longest_beginning = max(map(len, self._beginnings), default=0)

    def find(self, text: str) -> tuple[int, str] | None:
        """Returns the start in `text` of the first stop to be complete, and this stop."""
        starts = [(text.find(stop), stop) for stop in self._stops]
        matches = [(start + len(stop), start, stop) for start, stop in starts if start >= 0]
        if not matches:
            return None
        _, start, stop = min(matches)
        return start, stop

    def begun(self, text: str) -> int:
        """Returns how many of the last characters of `text` may be the beginning of a stop."""
        for length in range(min(len(text), self._longest_beginning), 0, -1):
            if text[-length:] in self._beginnings:
                return length
        return 0


class TextReader:
    """Reads one answer that arrives as text.

    It holds back the characters that may begin a stop, and ends the answer at the first stop.
    """

    def __init__(self, stops: Sequence[str] = ()) -> None:
        """Begins an answer.

        Raises:
            ValueError: `stops` contains the empty string.
        """
        self._stops = StopStrings(stops)
        self._held = ""
        self._stop: str | None = None

    @property
    def stop(self) -> str | None:
        """The stop string that ended the answer, or None so far."""
        return self._stop

    def feed(self, text: str) -> str:
        """Takes the next text and returns what is now certain. After a stop, ignores the text."""
        if self._stop is not None:
            return ""
        self._held += text
        match = self._stops.find(self._held)
        if match is not None:
            end, self._stop = match
        else:
            end = len(self._held) - self._stops.begun(self._held)
        ready, self._held = self._held[:end], self._held[end:]
        return ready

    def flush(self) -> str:
        """Ends the answer and returns the text that was held back."""
        rest = "" if self._stop is not None else self._held
        self._held = ""
        return rest


@dataclass(frozen=True, slots=True)
class _Segment:
    """The fewest ids that decode to complete characters, mostly one id."""

    ids: tuple[int, ...]
    text: str


class AnswerReader:
    """Reads one answer that arrives as ids.

    It decodes the ids, holds back the text that may begin a stop, and ends the answer at the first
    stop. Each id is decoded a constant number of times, together with a few neighbours.
    """

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[str] = ()) -> None:
        """Begins an answer.

        Raises:
            ValueError: `stops` contains the empty string.
        """
        self._tokenizer = tokenizer
        self._stops = StopStrings(stops)
        self._partial: list[int] = []
        self._held: deque[_Segment] = deque()
        self._held_text = ""
        # A decoder may treat the first id of a text differently, so these ids precede the decoded ones.
        self._context: tuple[int, ...] = ()
        self._context_text = ""
        self._stop: str | None = None

    @property
    def stop(self) -> str | None:
        """The stop string that ended the answer, or None so far."""
        return self._stop

    def feed(self, ids: Sequence[int]) -> Delta | None:
        """Takes the next ids (without the end-of-sequence id) and returns the text now certain.

        After a stop, ignores the ids.
        """
        ready: list[_Segment] = []
        for token in ids:
            if self._stop is not None:
                break
            self._partial.append(token)
            segment = self._next_segment()
            if segment is not None:
                ready += self._hold(segment)
        return _join(ready)

    def flush(self) -> Delta | None:
        """Ends the answer and returns what was held back. This may set `stop`."""
        if self._stop is not None:
            return None
        ready: list[_Segment] = []
        if self._partial:
            ready += self._hold(self._cut(len(self._partial)))
        ready += self._held
        self._held.clear()
        self._held_text = ""
        return _join(ready)

    def _decode(self, ids: Sequence[int]) -> str:
        """Returns the text of `ids`, decoded after the ids that precede them."""
        text = self._tokenizer.decode([*self._context, *ids])
        return text[len(self._context_text) :]

    def _next_segment(self) -> _Segment | None:
        """Returns the ids so far as a segment, or None while their last character is unfinished."""
        count = len(self._partial)
        text = self._decode(self._partial)
        if not text.endswith(_REPLACEMENT):
            return self._cut(count, text)
        # Bytes that never become a character must not be held back for ever. Cut them off if the cut
        # does not split a character.
        split = count - _MAX_PARTIAL_IDS
        if split > 0:
            head = self._decode(self._partial[:split])
            if text.startswith(head):
                return self._cut(split, head)
        return None

    def _cut(self, count: int, text: str | None = None) -> _Segment:
        """Removes the first `count` unfinished ids and returns them as a segment."""
        ids = tuple(self._partial[:count])
        if text is None:
            text = self._decode(ids)
        del self._partial[:count]
        self._context, self._context_text = ids, self._tokenizer.decode(ids)
        return _Segment(ids, text)

    def _hold(self, segment: _Segment) -> list[_Segment]:
        """Holds a segment back and returns the held segments in which no stop can begin."""
        self._held.append(segment)
        self._held_text += segment.text
        match = self._stops.find(self._held_text)
        if match is not None:
            start, self._stop = match
            return self._cut_at(start)
        return self._release(len(self._held_text) - self._stops.begun(self._held_text))

    def _release(self, end: int) -> list[_Segment]:
        """Removes and returns the held segments that end at or before character `end`."""
        ready: list[_Segment] = []
        released = 0
        while self._held and released + len(self._held[0].text) <= end:
            segment = self._held.popleft()
            released += len(segment.text)
            ready.append(segment)
        self._held_text = self._held_text[released:]
        return ready

    def _cut_at(self, start: int) -> list[_Segment]:
        """Returns the held text before character `start` and drops the rest."""
        ready = self._release(start)
        rest = self._held_text[: start - sum(len(segment.text) for segment in ready)]
        if rest:
            ready.append(_Segment(tuple(encode(self._tokenizer, rest).ids), rest))
        self._held.clear()
        self._held_text = ""
        self._partial.clear()
        return ready


def _join(segments: Sequence[_Segment]) -> Delta | None:
    if not segments:
        return None
    ids = tuple(token for segment in segments for token in segment.ids)
    return Delta("".join(segment.text for segment in segments), ids)
