"""The checks of a request that every engine makes before it queues or sends anything."""

from __future__ import annotations

import math

from sprint_agent.engine import Request
from sprint_agent.errors import ContextTooLong, RequestRefused

_EMPTY_PROMPT = "the prompt is empty: give at least one token to continue from"


def checked_prompt(
    request: Request, vocab_size: int, context_length: int | None
) -> tuple[int, ...]:
    """Returns the ids of the prompt, for an engine with a tokenizer.

    Raises:
        ContextTooLong: The context has no room for an answer after the prompt.
        RequestRefused: The prompt is text, is empty, or contains ids outside the vocabulary (which
            would end SGLang's process), or the sampling or a stop string is invalid.
    """
    _check_sampling(request)
    prompt = request.prompt
    if isinstance(prompt, str):
        raise RequestRefused("this engine takes ids: encode the prompt with its tokenizer")
    if not prompt:
        raise RequestRefused(_EMPTY_PROMPT)
    if context_length is not None and len(prompt) >= context_length:
        raise ContextTooLong(
            f"the prompt has {len(prompt)} ids and the context {context_length}: "
            "shorten the prompt, so that an answer fits"
        )
    if min(prompt) < 0 or max(prompt) >= vocab_size:
        raise RequestRefused(
            f"the prompt contains ids outside 0 to {vocab_size - 1}: encode it with the engine's "
            "tokenizer"
        )
    return prompt


def checked_text(request: Request) -> str:
    """Returns the text of the prompt, for an engine without a tokenizer.

    Raises:
        RequestRefused: The prompt consists of ids or is empty, or the sampling or a stop string is
            invalid.
    """
    _check_sampling(request)
    prompt = request.prompt
    if not isinstance(prompt, str):
        raise RequestRefused("this engine takes text: it has no tokenizer to decode ids with")
    if not prompt:
        raise RequestRefused(_EMPTY_PROMPT)
    return prompt


def _check_sampling(request: Request) -> None:
    sampling = request.sampling
    if sampling.max_tokens < 1:
        raise RequestRefused(f"max_tokens is {sampling.max_tokens}: ask for at least 1")
    if not 0 <= sampling.temperature < math.inf:
        raise RequestRefused(
            f"temperature is {sampling.temperature}: give 0 (greedy) or a finite positive number"
        )
    if not 0 < sampling.top_p <= 1:
        raise RequestRefused(f"top_p is {sampling.top_p}: give more than 0 and at most 1")
    if "" in request.stop:
        raise RequestRefused("a stop string is empty and would end every answer: remove it")
