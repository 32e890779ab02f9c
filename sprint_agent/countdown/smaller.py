"""A puzzle inside a puzzle: what an opening leaves may be asked anew, and solved in a run of its own.

An execution on five numbers begins like this, and ends there when the model writes it:

    = a 9 - b 7 = 2, c 5, d 3, e 3.
    Use 5, 3, 3 and 2 to make 24.

`SmallerPuzzle` lets a nested run solve what is asked, whose executions are on three terms each, and adds
the last line: `None.`, or its answer, in which the 2 is replaced by what made it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from sprint_agent.countdown.claim import solved
from sprint_agent.countdown.puzzle import MAX_NUMBERS, Puzzle
from sprint_agent.countdown.verify import verify
from sprint_agent.errors import QuestionError
from sprint_agent.limits import Limits
from sprint_agent.runtime.router import MODEL
from sprint_agent.task import Generation, Task

NONE = "None.\n"
"""The last line of an execution that found no answer."""
LIMITS = Limits(stages=2)
"""Of a smaller puzzle, sums and differences are tried: products are a stage of the whole puzzle."""

_ASKED = re.compile(r"= \w (\d+ [-+*/] \w \d+) = (\d+), [^\n]*\n(Use [^\n]*)\n", re.ASCII)


@dataclass(frozen=True, slots=True)
class Smaller:
    """The puzzle that an opening leaves; one of its numbers is `result`, which `made` is worth.

    `text` is the execution up to the question.
    """

    text: str
    puzzle: Puzzle
    result: int
    made: str

    @classmethod
    def read(cls, execution: str) -> Smaller | None:
        """What an execution asks; None where it asks nothing, or what is no puzzle."""
        asked = _ASKED.match(execution)
        if asked is None:
            return None
        operation, result, question = asked.groups()
        try:
            puzzle = Puzzle.parse(question)
        except QuestionError:
            return None
        made = re.sub(r"[a-z] ", "", operation)
        return cls(asked.group(), puzzle, int(result), made)

    def answered(self, expression: str) -> tuple[str, str]:
        """What an answer to this puzzle makes of the larger one, and the line that says so."""
        whole = re.sub(rf"\b{self.result}\b", f"({self.made})", expression, count=1)
        return whole, f"Answer: {expression} = \\boxed{{{whole}}}\n"


@dataclass(frozen=True, slots=True)
class SmallerPuzzle:
    """The model as executor, which may plan again: what it asks is solved in a nested run.

    It may ask for `numbers` at most, and in a nested run for fewer than that was asked for: so runs
    inside of runs come to an end, whatever the model writes.
    """

    numbers: int = MAX_NUMBERS - 1
    name: str = MODEL
    description: str = "works on an opening of a Countdown puzzle"

    @property
    def schema(self) -> None:
        """None: its prompts are plain text."""

    async def execute(self, task: Task) -> str | Generation:
        """What the model writes and, where that is a question, what comes of it."""
        written = await task.generate()
        smaller = Smaller.read(written.text)
        if smaller is None or len(smaller.puzzle.numbers) > self.numbers:
            return written
        puzzle = smaller.puzzle
        inside = replace(self, numbers=len(puzzle.numbers) - 1)
        run = await task.solve(
            puzzle.question, executors=(inside,), limits=LIMITS, join=solved(puzzle)
        )
        if run.answer is None or not verify(run.answer, puzzle):
            return smaller.text + NONE
        _, line = smaller.answered(run.answer)
        return smaller.text + line
