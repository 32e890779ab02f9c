"""The program in a process of `MathPool`. It reads pairs of answers and writes if they are equal.

Each pair is a line of JSON, and so is each reply. It is a separate program because an answer can make
the library use all of the time and memory of its process.
"""

import contextlib
import json
import os
import resource
import sys
from typing import Any


def main(memory: int, seconds: int) -> None:
    """Replies until the input ends.

    Args:
        memory: the limit of the process, in bytes.
        seconds: the computing time for each pair.
    """
    _limit(resource.RLIMIT_AS, memory)
    _limit(resource.RLIMIT_CORE, 0)
    # The output of the libraries must not mix with the replies.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import math_verify

    print("ready", file=replies, flush=True)
    for line in sys.stdin:
        used = resource.getrusage(resource.RUSAGE_SELF)
        # The kernel ends the process at this limit, even if its parent has ended.
        _limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + seconds + 1)
        print(json.dumps(_equal(math_verify, *json.loads(line))), file=replies, flush=True)


def _equal(math_verify: Any, reference: str, claimed: str) -> bool | None:
    """Returns whether two answers are equal, None if one of them cannot be read as mathematics."""
    try:
        parsed = [
            math_verify.parse(f"\\boxed{{{text}}}", parsing_timeout=None)
            for text in (reference, claimed)
        ]
        # The library returns only the text of an answer that it could not read.
        if any(len(forms) < 2 for forms in parsed):
            return None
        return bool(math_verify.verify(*parsed, timeout_seconds=None, raise_on_error=True))
    except Exception:
        return None


def _limit(limit: int, value: int) -> None:
    # Some systems refuse some of the limits. The others still apply.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(limit, (value, resource.getrlimit(limit)[1]))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
