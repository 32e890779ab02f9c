"""The program in a process of `MathPool`. It reads pairs of answers and compares them.

Each pair is a line of JSON, and so is each reply: the outcome and the reason. It is a separate program
because an answer could use all of the time and memory of its process.
"""

import contextlib
import json
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_LONGEST_REASON = 200


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
    # The program is started by its path, so that no module of the current folder is imported.
    sys.path.append(str(Path(__file__).parents[2]))
    from curate.grade.mathematics.compare import compare

    print("ready", file=replies, flush=True)
    for line in sys.stdin:
        used = resource.getrusage(resource.RUSAGE_SELF)
        # The kernel ends the process at this limit, even if its parent has ended.
        _limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + seconds + 1)
        print(json.dumps(_reply(compare, *json.loads(line))), file=replies, flush=True)


def _reply(compare: Callable[[str, str], Any], reference: str, claimed: str) -> list[str]:
    try:
        found = compare(reference, claimed)
    except Exception as error:
        # An error here is a fault of the comparison, and must not end a curation of many hours.
        return ["unknown", f"the comparison failed: {type(error).__name__}"]
    return [found.outcome, found.reason[:_LONGEST_REASON]]


def _limit(limit: int, value: int) -> None:
    # Some systems refuse some of the limits. The others still apply.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(limit, (value, resource.getrlimit(limit)[1]))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
