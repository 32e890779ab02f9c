"""Smaller puzzles: what remains after the first operation is solved in a nested run.

An execution on five numbers starts with an operation on two of them, the opening. It then asks a
question about the remaining numbers. The model writes these two lines and ends:

    = a 9 - b 7 = 2, c 5, d 3, e 3.
    Use 5, 3, 3 and 2 to make 24.

`SmallerPuzzle` solves the question in a nested run, whose executions have three terms each. It then
adds the last line: `None.`, or the answer, in which the operation that made the 2 replaces it.
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
"""Limits of a nested run: one plan with sums and differences, then the answer.

Products are the second plan of the outer puzzle only.
"""

_QUESTION = re.compile(r"= \w (\d+ [-+*/] \w \d+) = (\d+), [^\n]*\n(Use [^\n]*)\n", re.ASCII)


@dataclass(frozen=True, slots=True)
class Smaller:
    """The smaller puzzle of an execution."""

    text: str
    """The execution up to and including the question."""
    puzzle: Puzzle
    """The puzzle that remains after the opening."""
    result: int
    """The result of the opening. It is one of the puzzle's numbers."""
    made: str
    """The operation of the opening, such as `9 - 7`. Its value is `result`."""

    @classmethod
    def read(cls, execution: str) -> Smaller | None:
        """Returns the question of an execution, or None if it has none or an invalid one."""
        match = _QUESTION.match(execution)
        if match is None:
            return None
        operation, result, question = match.groups()
        try:
            puzzle = Puzzle.parse(question)
        except QuestionError:
            return None
        made = re.sub(r"[a-z] ", "", operation)
        return cls(match.group(), puzzle, int(result), made)

    def answered(self, expression: str) -> tuple[str, str]:
        """Returns the answer to the larger puzzle for an answer to this one, and its line."""
        answer = re.sub(rf"\b{self.result}\b", f"({self.made})", expression, count=1)
        return answer, f"Answer: {expression} = \\boxed{{{answer}}}\n"


@dataclass(frozen=True, slots=True)
class SmallerPuzzle:
    """The model as an executor whose questions are solved in nested runs.

    In a nested run, only questions with fewer numbers are solved. So nesting ends, whatever the
    model writes.
    """

    numbers: int = MAX_NUMBERS - 1
    """The most numbers of a question that is solved in a nested run."""
    name: str = MODEL
    description: str = "works on an opening of a Countdown puzzle"

    @property
    def schema(self) -> None:
        """None: the prompts are plain text."""

    async def execute(self, task: Task) -> str | Generation:
        """Returns what the model writes. If it is a question, the nested run's result follows."""
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
