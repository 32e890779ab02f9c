"""What OpenAI-compatible servers refuse, and in which words: one table. Pure: no I/O, no await.

Servers differ in the parameters that they accept and in how they stop (`ServerQuirks`):

* Some refuse parameters that others need. A refused parameter is omitted from then on.
* Some allow fewer tokens than they are asked for. From then on they are asked for fewer.
* Most servers leave the stop string out of their text, and few say which one it was. So stops are sent
  only to servers that can keep them in the text. On other servers, the client finds the stop and
  closes the stream.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import cast

from sprint_agent.engines.server_errors import error_field, error_message, error_object

STOP_IN_TEXT = {"vllm": "include_stop_str_in_output", "sglang": "no_stop_trim"}
"""The parameter that makes a server keep a stop in the text, by the owner of its models."""

USAGE_IN_EACH_EVENT = "continuous_usage_stats"
"""The option that makes these servers report the usage in each event."""

_OPTIONAL = (
    "stream_options",
    "response_format",
    "seed",
    "temperature",
    "top_p",
    "max_tokens",
    "max_completion_tokens",
    "stream",
    "stop",
    USAGE_IN_EACH_EVENT,
    *STOP_IN_TEXT.values(),
)
"""The parameters that may be omitted. If `max_tokens` is refused, its newer name is sent instead."""

_EXTENSIONS = ("stream_options", "response_format")
"""Parameters that many servers do not have."""

_OTHER_NAMES = {
    "json_schema": "response_format",
    "responseformat": "response_format",
    "topp": "top_p",
    "maxtokens": "max_tokens",
    "maxcompletiontokens": "max_completion_tokens",
    "streamoptions": "stream_options",
    "streaming": "stream",
    "include_usage": "stream_options",
}
"""How servers also write these names, without underscores where they write camelCase."""

_NAME = re.compile(
    r"(?<![a-z0-9_])(?:"
    + "|".join(
        sorted((*_OPTIONAL, *_OTHER_NAMES, "response format", "top p"), key=len, reverse=True)
    )
    + r")(?![a-z0-9_])",
    re.IGNORECASE,
)

_REFUSED = re.compile(
    r"unsupported|not (?:\w+ )?support(?:ed|s)?|n't support|no support for|deprecated|obsolete"
    r"|unrecogni[sz]ed|unknown|unexpected|extra(?:neous)?\b|not (?:\w+ )?(?:permitted|allowed|accepted)"
    r"|not (?:a )?(?:valid|available|implemented|recogni[sz]ed|known)|no longer"
    r"|invalid (?:field|key|name)"
    r"|cannot (?:both )?be (?:used|set|specified|given|passed|changed)|may not be (?:used|set|specified)"
    r"|mutually exclusive|only (?:one of|the default|\S+ is (?:allowed|supported|permitted))"
    r"|(?:may|can) only be (?:set|used)|must (?:be|not be) (?:omitted|removed|unset|set)"
    r"|(?:remove|omit|drop|unset) (?:the )?|cannot find field|does not exist|unable to set",
    re.IGNORECASE,
)
_VALID_NAMES = re.compile(
    r"expected one of|did you mean|use ['\"`]|instead|(?<!un)supported (?:parameters|fields|values) ",
    re.IGNORECASE,
)
"""After these words, a message names what the server accepts."""

_REFUSALS = (None, 400, 404, 405, 413, 422, 501)
"""The statuses of a refusal. An error inside a stream may have none."""

_REFUSED_CODES = (
    "unsupported_parameter",
    "unsupported_value",
    "unknown_parameter",
    "extra_forbidden",
)

_TOKENS = re.compile(
    r"max\w{0,16}[ _]?(?:\w{1,16}[ _]?)?tokens|output tokens|completion tokens|tokens? (?:value|limit)",
    re.IGNORECASE,
)
_TOO_MANY = re.compile(
    r"too (?:large|big|high|many|long)|at most|exceed|less than|lower than|no more than|greater than"
    r"|maximum|range|between|up to|above|limit|<=?|>=?|≤",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"(?<![\w.\-])\d[\d,]{0,12}(?![\w\-])")


@dataclass(frozen=True, slots=True)
class ServerQuirks:
    """How a server differs from others, as far as it is known."""

    stop_in_text_parameter: str | None = None
    """The parameter that makes the server keep a stop string in the text. None if it has none."""

    refuses: frozenset[str] = frozenset()
    """The parameters that the server refuses."""

    most_tokens: int | None = None
    """The most tokens that the server lets a request ask for. None if it has not said so."""

    def after_refusal(
        self, status: int | None, body: object, sent: Collection[str] | None = None
    ) -> ServerQuirks | None:
        """Returns the quirks after a response that refuses one more parameter.

        Returns None if the response is about something else, so that it is an error. `sent` are the
        parameters of the request. Several requests may learn at the same time, so one of them may have
        learned what the other one was refused for: then the quirks are returned as they are.
        """
        name = refused_parameter(status, body)
        if name is None:
            return None
        if sent is None:
            return None if name in self.refuses else self.without(name)
        return self.without(name) if name in sent else None

    def without(self, name: str) -> ServerQuirks:
        """Returns the quirks of a server that also refuses the parameter `name`."""
        if name == self.stop_in_text_parameter or (name == "stop" and self.stop_in_text_parameter):
            return replace(self, stop_in_text_parameter=None)
        return replace(self, refuses=self.refuses | {name})

    def with_most_tokens(self, most: int) -> ServerQuirks:
        """Returns the quirks of a server that lets a request ask for `most` tokens at most."""
        known = most if self.most_tokens is None else min(most, self.most_tokens)
        return replace(self, most_tokens=known)


def refused_parameter(status: int | None, body: object) -> str | None:
    """Returns the optional parameter that a response refuses. None if it is about something else."""
    if status not in _REFUSALS:
        return None
    parameter = error_field(body, "param")
    if error_field(body, "code") in _REFUSED_CODES and isinstance(parameter, str):
        return _canonical(parameter)
    place = _refused_place(body)
    return place or _refused_in(error_message(body))


def fewer_tokens(status: int | None, body: object, asked: int) -> int | None:
    """Returns how many tokens to ask for, if a response says that `asked` are too many.

    Returns None if it is about something else, or if there is no smaller number to try.
    """
    message = error_message(body)
    if status not in _REFUSALS or not (_TOKENS.search(message) and _TOO_MANY.search(message)):
        return None
    numbers = [int(number.replace(",", "")) for number in _NUMBER.findall(message)]
    named = max((number for number in numbers if 1 < number < asked), default=0)
    return named or (asked // 2 if asked > 1 else None)


def _refused_place(body: object) -> str | None:
    """Returns the parameter at the place of a validation error, as pydantic writes it."""
    details = error_object(body)
    for key in ("detail", "message", "detail"):
        if isinstance(details, dict):
            details = cast("dict[str, object]", details).get(key, cast("object", details))
    for detail in cast("list[object]", details) if isinstance(details, list) else []:
        if isinstance(detail, dict):
            facts = cast("dict[str, object]", detail)
            words = f"{facts.get('type')} {facts.get('msg')}".replace("_", " ")
            place = facts.get("loc")
            if isinstance(place, list) and (_REFUSED.search(words) or not facts.get("type")):
                names = [_canonical(str(part)) for part in reversed(cast("list[object]", place))]
                return next((name for name in names if name is not None), None)
    return None


def _refused_in(message: str) -> str | None:
    """Returns the parameter that is named next to words of refusal in a message."""
    valid = _VALID_NAMES.search(message)
    if valid and _REFUSED.search(message, 0, valid.start()):
        message = message[: valid.start()]
    names = [(match.start(), match.end(), match[0]) for match in _NAME.finditer(message)]
    refusals = [match.span() for match in _REFUSED.finditer(message)]
    near = [
        (max(start, first) - min(end, last), name)
        for start, end, name in names
        for first, last in refusals
    ]
    if near:
        return _canonical(min(near, key=lambda pair: pair[0])[1])
    # What is optional in itself is left out if a refusal is about it at all.
    known = [_canonical(name) for _, _, name in names]
    return next((name for name in known if name in _EXTENSIONS), None)


def _canonical(name: str) -> str | None:
    """Returns the name of an optional parameter as it is sent. None if it is another one."""
    lower = name.strip().lower().replace(" ", "_").rpartition(".")[2]
    lower = _OTHER_NAMES.get(lower, lower)
    return lower if lower in _OPTIONAL else None
