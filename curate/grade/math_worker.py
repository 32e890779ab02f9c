"""What runs in a checker's process: pairs of answers in, one a line; out, whether they are equal.

Started by `curate.grade.math_pool` as a program of its own, for what it is given may make the
library under it take all time and memory that there is.
"""

import contextlib
import json
import os
import resource
import sys
from typing import Any


def main(memory: int, seconds: int) -> None:
    """Answers until its input ends; within `memory` bytes, and `seconds` of computing for each pair."""
    _limit(resource.RLIMIT_AS, memory)
    _limit(resource.RLIMIT_CORE, 0)
    # What the libraries print must not stand among the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import math_verify

    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        used = resource.getrusage(resource.RUSAGE_SELF)
        # The kernel ends it then, also where nobody is left who could.
        _limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + seconds + 1)
        print(json.dumps(_same(math_verify, *json.loads(line))), file=answers, flush=True)


def _same(math_verify: Any, reference: str, claimed: str) -> bool | None:
    """Whether two answers are equal; None where one of them does not read as mathematics."""
    try:
        read = [
            math_verify.parse(f"\\boxed{{{text}}}", parsing_timeout=None)
            for text in (reference, claimed)
        ]
        # What it could not read is there as text alone.
        if any(len(found) < 2 for found in read):
            return None
        return bool(math_verify.verify(*read, timeout_seconds=None, raise_on_error=True))
    except Exception:
        return None


def _limit(limit: int, value: int) -> None:
    # Some systems refuse some limits; the others hold all the same.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(limit, (value, resource.getrlimit(limit)[1]))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
