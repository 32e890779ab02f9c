"""Generated trajectories for measuring curation: several cases, one after the other, and their sum.

The generator knows the steps of each trajectory, so a stub endpoint can annotate it as a good model
would. A sentence that begins with "Case" starts a step. The last step adds up all the others.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import Any

from curate.trajectory import Trajectory

_SENTENCE = re.compile(r"^\[(\d+)\] (.*)", re.MULTILINE)
_COMPONENT = re.compile(r"^### Component (\d+): (.*)", re.MULTILINE)
_SUM = "Adding up"


def trajectories(count: int, seed: int = 0) -> Iterator[Trajectory]:
    """Yields `count` trajectories, each on a different question. The same seed gives the same ones."""
    rng = random.Random(seed)
    for number in range(count):
        cases = rng.randint(2, 5)
        lines = [f"Okay, number {number} has {cases} cases, so let me go through them. "]
        total = 0
        for case in range(1, cases + 1):
            a, b, c = (rng.randint(13, 99) for _ in range(3))
            result = a * b + c
            total += result
            lines += [
                f"Case {case} comes next. ",
                f"First I multiply, and {a} * {b} = {a * b}. ",
                f"Then I add the rest, and {a * b} + {c} = {result}. ",
                f"That looks right, so this case gives {result}. ",
            ]
        lines += [f"{_SUM} all cases, I get {total}. ", f"So the answer is {total}."]
        question = f"What is the sum of the cases of number {number}?"
        yield Trajectory(question, "".join(lines), str(total), f"cases:{number + 1}", str(total))


def answer(kind: str, text: str) -> dict[str, Any]:
    """Returns a good annotator's answer to a query about one of the trajectories.

    `kind` is the kind of query and `text` is the query's last message.
    """
    if kind == "steps":
        return {"components": _steps(_SENTENCE.findall(text))}
    if kind == "dependencies":
        return {"components": _dependencies([int(n) for n, _ in _COMPONENT.findall(text)])}
    return {"uses": []}


def _steps(sentences: list[tuple[str, str]]) -> list[dict[str, str]]:
    begins = [
        int(n) for n, sentence in sentences if sentence.startswith(("Case", _SUM)) or n == "1"
    ]
    ends = [*(begin - 1 for begin in begins[1:]), len(sentences)]
    steps: list[dict[str, str]] = []
    for index, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        is_case = 0 < index < len(begins) - 1
        steps.append(
            {
                "description": f"case {index}" if is_case else "overview",
                "plan": str(begin) if is_case else f"{begin}-{end}",
                "prompt": f"Work through case {index}" if is_case else "",
                "execution": f"{begin + 1}-{end}" if is_case else "",
                "comment": "",
            }
        )
    return steps


def _dependencies(numbers: list[int]) -> list[dict[str, Any]]:
    """All cases depend on the first step, and the last step depends on all cases."""
    last = numbers[-1]
    return [
        {
            "number": n,
            "parents": [] if n == 1 else numbers[1:-1] if n == last else [1],
        }
        for n in numbers
    ]
