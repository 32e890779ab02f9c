"""Made-up trajectories for measuring curation: cases, worked through one after the other, and a sum.

Who made them knows their steps, so that a stub endpoint can annotate them as a good model would: a
sentence that begins with "Case" opens a step, and the last step adds all others up.
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
    """So many trajectories, the same for the same seed; each on a question of its own."""
    rng = random.Random(seed)
    for number in range(count):
        cases = rng.randint(2, 5)
        lines = [f"Okay, number {number} has {cases} cases, so let me go through them. "]
        total = 0
        for case in range(1, cases + 1):
            a, b, c = (rng.randint(13, 99) for _ in range(3))
            found = a * b + c
            total += found
            lines += [
                f"Case {case} comes next. ",
                f"First I multiply, and {a} * {b} = {a * b}. ",
                f"Then I add the rest, and {a * b} + {c} = {found}. ",
                f"That looks right, so this case gives {found}. ",
            ]
        lines += [f"{_SUM} all cases, I get {total}. ", f"So the answer is {total}."]
        question = f"What is the sum of the cases of number {number}?"
        yield Trajectory(question, "".join(lines), str(total), f"cases:{number + 1}", str(total))


def answer(kind: str, text: str) -> dict[str, Any]:
    """What a good annotator says to a query about one of them; `text` is its last message."""
    if kind == "steps":
        return {"components": _steps(_SENTENCE.findall(text))}
    if kind == "dependencies":
        return {"components": _needs([int(n) for n, _ in _COMPONENT.findall(text)])}
    return {"uses": []}


def _steps(sentences: list[tuple[str, str]]) -> list[dict[str, str]]:
    begins = [int(n) for n, said in sentences if said.startswith(("Case", _SUM)) or n == "1"]
    ends = [*(begin - 1 for begin in begins[1:]), len(sentences)]
    steps: list[dict[str, str]] = []
    for place, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        case = 0 < place < len(begins) - 1
        steps.append(
            {
                "description": f"case {place}" if case else "overview",
                "plan": str(begin) if case else f"{begin}-{end}",
                "prompt": f"Work through case {place}" if case else "",
                "execution": f"{begin + 1}-{end}" if case else "",
                "comment": "",
            }
        )
    return steps


def _needs(numbers: list[int]) -> list[dict[str, Any]]:
    """The first step is needed by all cases, and these by the last."""
    last = numbers[-1]
    return [
        {
            "number": n,
            "parents": [] if n == 1 else numbers[1:-1] if n == last else [1],
        }
        for n in numbers
    ]
