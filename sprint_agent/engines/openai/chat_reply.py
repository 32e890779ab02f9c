"""Turns a chat model's reply into the text that continues a run, piece by piece. Pure: no I/O, no await.

    reply ─▶ thoughts removed ─▶ unwanted beginning removed ─▶ ended at the first stop

A run's text has to be continued, but a reply is a separate message. It may contain thoughts, put a plan
into a code fence, open a tag that is already open, or repeat text that is already there.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from typing import Literal

from sprint_agent.engines.openai.chat_prompt import Conversation
from sprint_agent.engines.stops import StopStrings, TextReader

_OPEN, _CLOSE = "<think>", "</think>"
_BLANKS = re.compile(r"\s++")
_TAG = re.compile(r"<(?:/?Plan_|/?Final_answer>|/?prompt_|/?[Ee]xecution_)")
_ANSWER_TAG = re.compile(r"</?Final_answer>")
_FENCE = re.compile(r"```\w*+\s*+\Z")
_PLAN = re.compile(r"<Plan_\d{1,4}>")
_EXECUTION = re.compile(r"<execution_[\d.]{1,16}(?: accepted)?>")
_LONGEST_TAG = 40

_Trim = Generator[None, str | None, str]
"""Removes an unwanted beginning from a reply. It is sent the pieces of the reply, and None at its end.
It returns as soon as it is certain what to remove."""


class ChatReader:
    """Reads one reply. It ignores the stop `</think>`, which ends a thought here and not an answer."""

    def __init__(self, conversation: Conversation, stops: Sequence[str] = ()) -> None:
        """Begins a reply.

        Raises:
            ValueError: `stops` contains the empty string.
        """
        self._thoughts = _Thoughts()
        self._trim = _trim_for(conversation)
        if self._trim is not None:
            next(self._trim)
        self._text = TextReader([stop for stop in stops if stop != _CLOSE])

    @property
    def stop(self) -> str | None:
        """The stop string that ended the answer, or None so far."""
        return self._text.stop

    def feed(self, text: str) -> str:
        """Takes the next text of the reply and returns the part of the answer that is now certain."""
        return self._text.feed(self._without_beginning(self._thoughts.feed(text)))

    def flush(self) -> str:
        """Ends the reply and returns what was held back. This may set `stop`."""
        rest = self._without_beginning(self._thoughts.flush()) + self._without_beginning(None)
        return self._text.feed(rest) + self._text.flush()

    def _without_beginning(self, text: str | None) -> str:
        """Takes the next text, None for the end, and returns it without the unwanted beginning."""
        if self._trim is None:
            return text or ""
        try:
            self._trim.send(text)
        except StopIteration as certain:
            self._trim = None
            return certain.value
        return ""


class _Thoughts:
    """Removes the thoughts at the beginning of a reply, and single closing tags of thoughts.

    If the chat template opened the thought, the reply contains only the closing tag. The text before
    this tag has already been read and remains.
    """

    def __init__(self) -> None:
        self._held: str = ""
        self._state: Literal["before", "inside", "after"] = "before"
        self._closing = StopStrings([_CLOSE])

    def feed(self, text: str) -> str:
        text = self._held + text
        start = self._skip(text)
        if self._state != "after":
            self._held = text[start:]
            return ""
        answer = text[start:].replace(_CLOSE, "")
        certain = len(answer) - self._closing.begun(answer)
        self._held = answer[certain:]
        return answer[:certain]

    def _skip(self, text: str) -> int:
        """Skips blanks and thoughts. Returns where the rest begins: the answer, or part of a tag."""
        at = 0
        while self._state != "after":
            if self._state == "inside":
                end = text.find(_CLOSE, at)
                if end < 0:
                    return max(at, len(text) - len(_CLOSE))
                at, self._state = end + len(_CLOSE), "before"
            blanks = _BLANKS.match(text, at)
            at = blanks.end() if blanks else at
            beginning = text[at : at + len(_OPEN)]
            if beginning == _OPEN:
                at, self._state = at + len(_OPEN), "inside"
            elif _OPEN.startswith(beginning):
                return at
            else:
                self._state = "after"
        return at

    def flush(self) -> str:
        return "" if self._state == "inside" else self._held


def _trim_for(conversation: Conversation) -> _Trim | None:
    match conversation.expected:
        case "turn":
            return _trim_turn()
        case "answer":
            return _trim_answer()
        case "execution":
            return _trim_execution()
        case "rest":
            return _trim_rest(conversation.last_closing_tag)
        case "text":
            return None


def _trim_turn() -> _Trim:
    """Removes the opening of a code fence before the first tag of a turn."""
    before, tag, after = yield from _find(_TAG)
    return _FENCE.sub("", before) + tag + after if tag else before


def _trim_answer() -> _Trim:
    """Removes an answer's opening tag, which is already in the text, and everything before it."""
    before, tag, after = yield from _find(_ANSWER_TAG)
    return after if tag == "<Final_answer>" else before + tag + after


def _trim_execution() -> _Trim:
    """Removes an execution's opening tag, which is already in the text."""
    reply = ""
    while len(reply) < _LONGEST_TAG and reply.startswith("<execution_"[: len(reply)]):
        if ">" in reply or (piece := (yield)) is None:
            break
        reply += piece
    return reply[tag.end() :] if (tag := _EXECUTION.match(reply)) else reply


def _trim_rest(last_closing_tag: str | None) -> _Trim:
    """Removes what a reply repeats of a turn that broke off.

    A reply that begins the plan again contains the new part after `last_closing_tag`, if it repeats
    that tag.
    """
    before, tag, after = yield from _find(_TAG)
    if tag != "<Plan_":
        return before + tag + after
    unread, plan, after = yield from _find(_PLAN, tag + after)
    if not plan:
        return before + unread
    if last_closing_tag is None:
        return after
    before, repeated, new = yield from _find(re.compile(re.escape(last_closing_tag)), after)
    return new if repeated else before


def _find(
    pattern: re.Pattern[str], text: str = ""
) -> Generator[None, str | None, tuple[str, str, str]]:
    """Returns what is before the first match, the match, and what is after it so far.

    Without a match, the first of the three is the whole text. `text` is the beginning. What comes later
    is searched once, however often it is cut.
    """
    searched: list[str] = []
    while (match := pattern.search(text)) is None:
        piece = yield
        if piece is None:
            return "".join((*searched, text)), "", ""
        cut = max(0, len(text) - _LONGEST_TAG)
        searched.append(text[:cut])
        text = text[cut:] + piece
    searched.append(text[: match.start()])
    return "".join(searched), match[0], text[match.end() :]
