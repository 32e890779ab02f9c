"""Fits the results of a stage to what the model's context has left.

Results that together are too long are cut, the longest ones first: each gets the same share, and what
a short one leaves of its share goes to the others. A result that is cut says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

_CHARACTERS = 2
"""Characters of an id if nothing can count them: few, so that a result rather is too short."""


def fit(
    texts: Sequence[str], room: int, encode: Callable[[str], Sequence[int]] | None
) -> tuple[str, ...]:
    """Returns `texts`, cut so that all of them together take at most `room` ids.

    `encode` returns the ids of a text. Without it their number is estimated. If there is room for
    nothing, only the notes remain, which say that everything was left out.
    """

    def count(text: str) -> int:
        return -(-len(text) // _CHARACTERS) if encode is None else len(encode(text))

    lengths = [count(text) for text in texts]
    share = _share(lengths, room)
    return tuple(
        text if length <= share else _cut(text, length, share, count)
        for text, length in zip(texts, lengths, strict=True)
    )


def _share(lengths: Sequence[int], room: int) -> int:
    """Returns the most tokens that each text may have, so that they fit into `room` together."""
    share = 0
    ordered = sorted(lengths)
    for done, length in enumerate(ordered):
        share = max(0, room) // (len(ordered) - done)
        if length > share:
            return share
        room -= length
    return max(share, *ordered, 0)


def _cut(text: str, length: int, share: int, count: Callable[[str], int]) -> str:
    """Returns the beginning of a text of `length` tokens, and a line that says what is left out."""
    kept = len(text) * max(0, share - count(_note(len(text)))) // length
    cut = text[:kept] + _note(len(text) - kept)
    # If the beginning has more tokens than the rest, it is cut again.
    while kept and count(cut) > share:
        kept = kept * 7 // 8
        cut = text[:kept] + _note(len(text) - kept)
    return cut


def _note(left_out: int) -> str:
    return f"\n[{left_out} more characters left out: the context is full]"
