"""A chat model's reply as the text that a run goes on with, as it comes. Pure: no I/O, no await.

    reply ─▶ thoughts taken out ─▶ what leads up to it taken out ─▶ ends at the first stop

A reply is a message of its own, where a run's text wants to be gone on with: it may think aloud, put a
plan into a code fence, open anew what stands open already, or repeat what is already there.
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

_Lead = Callable[[str, bool], str | None]
"""Takes a reply so far, and whether it has ended; returns what it comes to, None to wait for more."""


class ChatReader:
    """Reads one reply. The stop `</think>` is passed over: here it ends a thought, not an answer."""

    def __init__(self, talk: Conversation, stops: Sequence[str] = ()) -> None:
        """`stops` must not hold the empty string (ValueError)."""
        self._thoughts = _Thoughts()
        self._lead = _lead(talk)
        self._held = ""
        self._text = TextReader([stop for stop in stops if stop != _CLOSE])

    @property
    def stop(self) -> str | None:
        """The stop string that ended the answer, None while there is none."""
        return self._text.stop

    def feed(self, text: str) -> str:
        """Takes the next text of the reply; returns what is now certain of the answer."""
        return self._text.feed(self._led(self._thoughts.feed(text), ended=False))

    def flush(self) -> str:
        """Ends the reply: returns what was held back. Look at `stop` again afterwards."""
        ready = self._text.feed(self._led(self._thoughts.flush(), ended=True))
        return ready + self._text.flush()

    def _led(self, text: str, *, ended: bool) -> str:
        if self._lead is None:
            return text
        self._held += text
        ready = self._lead(self._held, ended)
        if ready is None:
            return ""
        self._lead, self._held = None, ""
        return ready


class _Thoughts:
    """Takes out the thoughts that a reply begins with, and lone closing tags of thoughts.

    A reply whose thought the chat template opened holds the closing tag alone. What stood before it
    has been read by then, and stays.
    """

    def __init__(self) -> None:
        self._held = ""
        self._state: Literal["before", "inside", "behind"] = "before"
        self._closing = StopStrings([_CLOSE])

    def feed(self, text: str) -> str:
        self._held += text
        if self._state == "before":
            lead = self._held.lstrip()
            if _OPEN.startswith(lead):
                return ""
            self._state = "inside" if lead.startswith(_OPEN) else "behind"
            self._held = lead.removeprefix(_OPEN)
        if self._state == "inside":
            _, closed, rest = self._held.partition(_CLOSE)
            if not closed:
                self._held = self._held[-len(_CLOSE) :]
                return ""
            self._state, self._held = "before", ""
            return self.feed(rest)
        whole = self._held.replace(_CLOSE, "")
        certain = len(whole) - self._closing.begun(whole)
        self._held = whole[certain:]
        return whole[:certain]

    def flush(self) -> str:
        return "" if self._state == "inside" else self._held


def _lead(talk: Conversation) -> _Lead | None:
    match talk.due:
        case "turn":
            return _turn
        case "answer":
            return _answer
        case "execution":
            return _execution
        case "rest":
            return partial(_rest, talk.done)
        case "text":
            return None


def _turn(reply: str, ended: bool) -> str | None:
    """A turn without the code fence in which it may stand."""
    found = _TAG.search(reply)
    if found:
        return _FENCE.sub("", reply[: found.start()]) + reply[found.start() :]
    return reply if ended else None


def _answer(reply: str, ended: bool) -> str | None:
    """An answer without its opening tag, which stands already, and without what leads up to it."""
    before, opened, answer = reply.partition("<Final_answer>")
    if opened and "</Final_answer>" not in before:
        return answer
    return reply if ended or "</Final_answer>" in reply else None


def _execution(reply: str, ended: bool) -> str | None:
    """An execution without its opening tag, which stands already."""
    beginning = reply[: len("<execution_")]
    if "<execution_".startswith(beginning) and ">" not in reply[:_LONGEST_TAG] and not ended:
        return None
    return reply[found.end() :] if (found := _EXECUTION.match(reply)) else reply


def _rest(done: str | None, reply: str, ended: bool) -> str | None:
    """The rest of a turn. A reply that begins the plan anew holds it behind `done`, if anywhere."""
    found = _TAG.search(reply)
    if found and not reply.startswith("<Plan_", found.start()):
        return reply
    again = _PLAN.search(reply)
    if again is None:
        return reply if ended else None
    anew = reply[again.end() :]
    if done is None:
        return anew
    _, repeated, new = anew.partition(done)
    if repeated:
        return new
    return anew if ended else None
