"""What every engine refuses, before anything is queued or sent."""

from __future__ import annotations

import math

from sprint_agent.engine import Request
from sprint_agent.errors import ContextTooLong, RequestRefused


def checked_prompt(
    request: Request, vocab_size: int, context_length: int | None
) -> tuple[int, ...]:
    """The prompt's ids.

    Raises ContextTooLong where no answer fits behind them, and RequestRefused for text, for ids
    outside the vocabulary (they would end SGLang's process), and for sampling that cannot be run.
    """
    _check_sampling(request)
    prompt = request.prompt
    if isinstance(prompt, str):
        raise RequestRefused("this engine takes ids: encode the prompt with its tokenizer")
    if not prompt:
        raise RequestRefused("the prompt is empty: there is nothing to go on from")
    if context_length is not None and len(prompt) >= context_length:
        raise ContextTooLong(
            f"the prompt has {len(prompt)} ids and the context {context_length}: "
            "shorten it, so that an answer fits"
        )
    if min(prompt) < 0 or max(prompt) >= vocab_size:
        raise RequestRefused(f"the prompt holds ids outside 0 to {vocab_size - 1}")
    return prompt


def checked_text(request: Request) -> str:
    """The prompt's text, for an engine without ids.

    Raises RequestRefused for ids, for an empty prompt, and for sampling that cannot be run.
    """
    _check_sampling(request)
    prompt = request.prompt
    if not isinstance(prompt, str):
        raise RequestRefused("this engine takes text: it has no tokenizer to read ids with")
    if not prompt:
        raise RequestRefused("the prompt is empty: there is nothing to go on from")
    return prompt


def _check_sampling(request: Request) -> None:
    sampling = request.sampling
    if sampling.max_tokens < 1:
        raise RequestRefused(f"max_tokens is {sampling.max_tokens}: ask for at least 1")
    if not 0 <= sampling.temperature < math.inf:
        raise RequestRefused(f"temperature is {sampling.temperature}: give 0 (greedy) or more")
    if not 0 < sampling.top_p <= 1:
        raise RequestRefused(f"top_p is {sampling.top_p}: give more than 0 and at most 1")
    if "" in request.stop:
        raise RequestRefused("an empty stop string would end every answer at once")
