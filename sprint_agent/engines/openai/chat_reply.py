"""Turns a chat model's reply into the text that continues a run, piece by piece. Pure: no I/O, no await.

    reply ─▶ thoughts removed ─▶ unwanted beginning removed ─▶ ended at the first stop

A run's text has to be continued, but a reply is a separate message. It may contain thoughts, put a plan
into a code fence, open a tag that is already open, or repeat text that is already there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

from sprint_agent.engines.openai.chat_prompt import Conversation
from sprint_agent.engines.stops import StopStrings, TextReader

_OPEN, _CLOSE = "<think>", "</think>"
_TAG = re.compile(r"<(?:/?Plan_|/?Final_answer>|/?prompt_|/?[Ee]xecution_)")
_FENCE = re.compile(r"```\w*\s*\Z")
_PLAN = re.compile(r"<Plan_\d+>")
_EXECUTION = re.compile(r"<execution_[\d.]+(?: accepted)?>")
_LONGEST_TAG = 40

_Trim = Callable[[str, bool], str | None]
"""Takes a reply so far and whether it has ended. Returns the reply without an unwanted beginning, or
None to wait for more."""


class ChatReader:
    """Reads one reply. It ignores the stop `</think>`, which ends a thought here and not an answer."""

    def __init__(self, conversation: Conversation, stops: Sequence[str] = ()) -> None:
        """Begins a reply.

        Raises:
            ValueError: `stops` contains the empty string.
        """
        self._thoughts = _Thoughts()
        self._trim = _trim_for(conversation)
        self._held = ""
        self._text = TextReader([stop for stop in stops if stop != _CLOSE])

    @property
    def stop(self) -> str | None:
        """The stop string that ended the answer, or None so far."""
        return self._text.stop

    def feed(self, text: str) -> str:
        """Takes the next text of the reply and returns the part of the answer that is now certain."""
        return self._text.feed(self._without_beginning(self._thoughts.feed(text), ended=False))

    def flush(self) -> str:
        """Ends the reply and returns what was held back. This may set `stop`."""
        ready = self._text.feed(self._without_beginning(self._thoughts.flush(), ended=True))
        return ready + self._text.flush()

    def _without_beginning(self, text: str, *, ended: bool) -> str:
        if self._trim is None:
            return text
        self._held += text
        ready = self._trim(self._held, ended)
        if ready is None:
            return ""
        self._trim, self._held = None, ""
        return ready


class _Thoughts:
    """Removes the thoughts at the beginning of a reply, and single closing tags of thoughts.

    If the chat template opened the thought, the reply contains only the closing tag. The text before
    this tag has already been read and remains.
    """

    def __init__(self) -> None:
        self._held = ""
        self._state: Literal["before", "inside", "after"] = "before"
        self._closing = StopStrings([_CLOSE])

    def feed(self, text: str) -> str:
        self._held += text
        if self._state == "before":
            beginning = self._held.lstrip()
            if _OPEN.startswith(beginning):
                return ""
            self._state = "inside" if beginning.startswith(_OPEN) else "after"
            self._held = beginning.removeprefix(_OPEN)
        if self._state == "inside":
            _, closed, rest = self._held.partition(_CLOSE)
            if not closed:
                self._held = self._held[-len(_CLOSE) :]
                return ""
            self._state, self._held = "before", ""
            return self.feed(rest)
        answer = self._held.replace(_CLOSE, "")
        certain = len(answer) - self._closing.begun(answer)
        self._held = answer[certain:]
        return answer[:certain]

    def flush(self) -> str:
        return "" if self._state == "inside" else self._held


def _trim_for(conversation: Conversation) -> _Trim | None:
    match conversation.expected:
        case "turn":
            return _trim_turn
        case "answer":
            return _trim_answer
        case "execution":
            return _trim_execution
        case "rest":
            return partial(_trim_rest, conversation.last_closing_tag)
        case "text":
            return None


def _trim_turn(reply: str, ended: bool) -> str | None:
    """Removes the opening of a code fence before the first tag of a turn."""
    tag = _TAG.search(reply)
    if tag:
        return _FENCE.sub("", reply[: tag.start()]) + reply[tag.start() :]
    return reply if ended else None


def _trim_answer(reply: str, ended: bool) -> str | None:
    """Removes an answer's opening tag, which is already in the text, and everything before it."""
    before, opened, answer = reply.partition("<Final_answer>")
    if opened and "</Final_answer>" not in before:
        return answer
    return reply if ended or "</Final_answer>" in reply else None


def _trim_execution(reply: str, ended: bool) -> str | None:
    """Removes an execution's opening tag, which is already in the text."""
    beginning = reply[: len("<execution_")]
    if "<execution_".startswith(beginning) and ">" not in reply[:_LONGEST_TAG] and not ended:
        return None
    return reply[tag.end() :] if (tag := _EXECUTION.match(reply)) else reply


def _trim_rest(last_closing_tag: str | None, reply: str, ended: bool) -> str | None:
    """Removes what a reply repeats of a turn that broke off.

    A reply that begins the plan again contains the new part after `last_closing_tag`, if it repeats
    that tag.
    """
    tag = _TAG.search(reply)
    if tag and not reply.startswith("<Plan_", tag.start()):
        return reply
    plan = _PLAN.search(reply)
    if plan is None:
        return reply if ended else None
    repeated_plan = reply[plan.end() :]
    if last_closing_tag is None:
        return repeated_plan
    _, repeated, new = repeated_plan.partition(last_closing_tag)
    if repeated:
        return new
    return repeated_plan if ended else None
