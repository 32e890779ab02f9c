"""Why a server says that it stopped: one table for all servers. Pure: no I/O, no await.

OpenAI's API has five reasons. Servers that imitate it, and gateways to other APIs, write many more.
"""

from __future__ import annotations

import logging

from sprint_agent.engine import FinishReason
from sprint_agent.errors import EngineError, EngineUnavailable

_LOGGER = logging.getLogger("sprint_agent.engines")

_ENDS = """
    stop eos eos_token end end_turn end_of_text endoftext stop_sequence stop_token stop_str stop_word
    finish finished finish_reason_stop complete completed completion done success
"""
_LENGTHS = """
    length max_tokens max_length max_new_tokens max_output_tokens max_completion_tokens model_length
    model_context_window_exceeded context_length context_length_exceeded finish_reason_max_tokens
    token_limit incomplete limit
"""
_FAILURES = """
    abort aborted cancelled canceled error network_error insufficient_system_resource overloaded timeout
    time_limit server_error internal_error unavailable preempted evicted failed
"""
_FILTERS = """
    content_filter content_filtered safety recitation blocklist prohibited_content spii sensitive refusal
    guardrail_intervened finish_reason_safety moderation language image_safety
"""
_TOOLS = """
    tool_calls tool_call tool_use function_call malformed_function_call unexpected_tool_call
"""
_KINDS = {
    word: kind
    for kind, words in (
        ("end", _ENDS),
        ("length", _LENGTHS),
        ("failure", _FAILURES),
        ("filter", _FILTERS),
        ("tool", _TOOLS),
    )
    for word in words.split()
}


def read_finish(url: str, reason: str, *, has_text: bool) -> FinishReason:
    """Returns why an answer ended.

    A reason that is not in the table is the end of an answer, if the answer has text, and is logged as a
    warning.

    Args:
        url: The server's address, for messages.
        reason: What the server wrote.
        has_text: Whether the model has written anything.

    Raises:
        EngineUnavailable: The server stopped because it failed: another try may succeed.
        EngineError: The server stopped for a reason that leaves no answer.
    """
    match _KINDS.get(reason.strip().lower().replace("-", "_").replace(" ", "_")):
        case "end":
            return "end"
        case "length":
            return "length"
        case "failure":
            raise EngineUnavailable(
                f"the server at {url} stopped in the middle of the answer ({reason})",
                transient=True,
            )
        case "filter":
            raise EngineError(
                f"the content filter of the server at {url} cut the answer off ({reason}): reword "
                "the prompt"
            )
        case "tool":
            raise EngineError(
                f"the model at {url} called a tool, but none was offered: turn the server's tool "
                "parser off, or use another model"
            )
        case _:
            pass
    if not has_text:
        raise EngineError(
            f"the server at {url} wrote nothing and gave the finish reason {reason!r}, which this "
            "engine does not know"
        )
    _LOGGER.warning(
        "the server at %s gave the finish reason %r, which is not known: it is taken for the end of "
        "the answer",
        url,
        reason,
    )
    return "end"
