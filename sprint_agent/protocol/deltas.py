"""Makes the text of an engine's deltas encodable. Pure: no I/O, no await.

JSON can write half of a character as an escape (`"\\ud83d"`). A server that cuts its text between two
events sends one half in each, and a model can also write a half alone. A half cannot be encoded, so it
would fail wherever the text is sent or stored.
"""

from __future__ import annotations

from sprint_agent.engine import Delta


class EncodableDeltas:
    """The deltas of one answer, in which halves of characters are joined, and single halves replaced."""

    def __init__(self) -> None:
        self._held: Delta | None = None
        """What ends in the first half of a character, whose second half may come next."""

    def feed(self, delta: Delta) -> Delta | None:
        """Takes the next delta and returns one that can be encoded. None if it waits for the next one.

        Text and ids stay at the same position at the end of each delta.
        """
        held, self._held = self._held, None
        if held is not None:
            delta = Delta(held.text + delta.text, held.ids + delta.ids)
        text = delta.text
        if text.isascii():
            return delta
        if not "\ud800" <= text[-1] <= "\udbff":
            return _encodable(delta)
        if delta.ids:
            self._held = delta
            return None
        # Without ids, the rest of the text need not wait.
        self._held = Delta(text[-1])
        return _encodable(Delta(text[:-1]))

    def flush(self) -> Delta | None:
        """Ends the answer and returns what was held back."""
        held, self._held = self._held, None
        return _encodable(held) if held is not None else None


def _encodable(delta: Delta) -> Delta:
    text = delta.text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return delta if text == delta.text else Delta(text, delta.ids)
