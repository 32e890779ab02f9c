"""The clocks of the critical path. They count tokens, not seconds.

A clock reads how many tokens are on the critical path of the outermost run up to now. That clock is at
0 when the outermost run begins. An execution starts at the end of its prompt, or when the slot that it
had to wait for came free, whichever is later. Its clock then advances by the tokens that it spends.

    run        |--- prompt ---|----- execution 1 -----|
               |------ prompt ------|..wait for a slot..|-- execution 2 --|
               stage_start                              start
"""

from __future__ import annotations

from collections.abc import Callable, Sequence


class RunClock:
    """The clock of a run: it advances from stage to stage."""

    def __init__(self, stage_start: int = 0) -> None:
        self.stage_start: int = stage_start
        """The reading at which the current stage begins. A nested run begins inside its execution."""

    def advance(self, tokens: int) -> None:
        """Begins the next stage, `tokens` after the beginning of the current one."""
        self.stage_start += tokens


class ExecutionClock:
    """The clock of one execution, which its slot carries.

    `prompt_tokens` are the tokens of the stage up to the end of the execution's prompt. `spent` returns
    the tokens that the execution has generated one after another so far.
    """

    def __init__(self, run: RunClock, prompt_tokens: int, spent: Callable[[], int]) -> None:
        self._run = run
        self._prompt_tokens = prompt_tokens
        self._spent = spent
        self.start: int = run.stage_start
        """The reading when the execution began. Before that, the one at which its stage began."""
        self.slot_free_at: int = 0
        """Tokens into the stage after which its slot came free, 0 if it did not have to wait."""
        self.wait_tokens: int = 0
        """Tokens during which it waited to get its slot back after it had lent it."""

    @property
    def now(self) -> int:
        """Tokens on the critical path up to now."""
        return self.start + self._spent() + self.wait_tokens

    def begin(self, freed_at: Sequence[int]) -> None:
        """Starts the clock: the slots that were waited for came free at the readings `freed_at`."""
        freed = max(freed_at, default=0)
        self.slot_free_at = max(0, freed - self._run.stage_start)
        self.start = self._run.stage_start + max(self._prompt_tokens, self.slot_free_at)

    def resume(self, freed_at: Sequence[int]) -> None:
        """Advances the clock to the latest of `freed_at`: the execution got its lent slot back."""
        self.wait_tokens += max(0, max(freed_at, default=0) - self.now)
