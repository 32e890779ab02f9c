"""Rows: the contexts of one run as a model sees them, and which of their ids are learned.

A run has one row for the planner (its whole path) and one row for each executor (the path up to the
end of the executor's own prompt, and its execution). The rows are built with the runtime's own
`Context` and `GeneratedText`, so they equal the contexts of inference, id for id. An id has a loss
if it is generated at inference: what the planner writes in the planner's row, the execution in its
executor's row, and the stop string after each. Glue, and executions on the planner's path, are read
but not learned.

Each learned id has a role: plan, prompt, execution or answer. Training reports the loss and weights
it by role. Some learned ids are also decisions: a run is lost if one of them is wrong, but they
occur once in hundreds of ids, so they hardly change a mean loss. They have separate kinds, so
that training can give them other weights.

A `linear` row is the paper's row: the whole run in one sequence, and the executions are learned
where they appear on the planner's path. No executor sees such a context at inference, because it
contains the execution's siblings.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sprint_agent.engine import Delta, Tokenizer
from sprint_agent.protocol import tags
from sprint_agent.protocol.context import Context, GeneratedText
from sprint_agent.protocol.encoding import encode
from sprint_agent.protocol.transcript import Transcript
from train.errors import TrainingError

READ, PLAN, PROMPT, EXECUTION, ANSWER, DECISION = range(6)
"""The kinds of ids. The k-th kind of decision, from 0, has the number DECISION + k."""
ROLES = ("plan", "prompt", "execution", "answer")
"""The names of the kinds from PLAN to ANSWER, in order."""


@dataclass(frozen=True, slots=True)
class Row:
    """A context as ids, with the kind of each id."""

    ids: tuple[int, ...]
    kinds: tuple[int, ...]
    """READ for an id that is not learned, otherwise its role or a decision."""

    def prefix(self, end: int) -> Row:
        """Returns the first `end` ids of the row."""
        return Row(self.ids[:end], self.kinds[:end])


class RowBuilder:
    """Builds the rows of transcripts.

    `decisions` are regular expressions. A learned id whose text overlaps a match of the k-th
    expression, from 0, is a decision of the kind DECISION + k.
    """

    def __init__(self, tokenizer: Tokenizer, decisions: Sequence[str] = ()) -> None:
        self._tokenizer = tokenizer
        self._decisions = [re.compile(pattern) for pattern in decisions]
        self._text_of: dict[int, str] = {}

    def planner(self, transcript: Transcript) -> Row:
        """Returns the planner's row: the whole run, with a loss on what the planner wrote."""
        return self.path(transcript.pieces)

    def path(self, pieces: Sequence[tags.Piece], executions: Collection[str] = ()) -> Row:
        """Returns the row of a run's pieces, with a loss on what the planner wrote.

        `executions` are the texts of the executions that are learned in this row too.
        """
        executions = {tags.escape(text) for text in executions}
        context = Context(self._tokenizer)
        kinds: list[int] = []
        stop, role = "", READ
        for piece in pieces:
            context.append(piece.text)
            ids = context.snapshot().ids or ()
            new = ids[len(kinds) :]
            if piece.role in ("plan", "answer"):
                role = PLAN if piece.role == "plan" else ANSWER
                kinds += self._learned(new, role)
                # A plan that was cut off does not end with a line break, and its stop was never
                # written.
                closing = "</Plan_" if role == PLAN else "</Final_answer>"
                stop = closing if piece.text.endswith("\n") else ""
            elif piece.role == "execution" and piece.text in executions:
                stop, role = "</execution_", EXECUTION
                kinds += self._learned(new, role)
            else:
                kinds += self._stop(new, stop, role)
                stop = ""
        return Row(context.snapshot().ids or (), tuple(kinds))

    def executor(self, transcript: Transcript, stage: int, number: int, execution: str) -> Row:
        """Returns the row of executor `number` of `stage`, both from 1, with a loss on its text."""
        context = Context(self._tokenizer)
        pieces = transcript.pieces
        turns = [k for k, piece in enumerate(pieces) if piece.role == "plan"]
        at = turns[stage - 1]
        for piece in pieces[:at]:
            context.append(piece.text)
        turn = GeneratedText(self._tokenizer)
        # As a run encodes it, which checks the ids.
        text, plan = encode(self._tokenizer, pieces[at].text)
        turn.extend(Delta(text, tuple(plan)))
        context.append_generated(*turn.prefix(prompt_end(text, number)))
        context.append(tags.execution_opening(stage, number))
        before = len(context)
        context.append(execution)
        ids = context.snapshot().ids or ()
        kinds = [READ] * before + self._learned(ids[before:], EXECUTION)
        context.append(f"</execution_{stage}.{number}>")
        ids = context.snapshot().ids or ()
        kinds += self._stop(ids[len(kinds) :], "</execution_", EXECUTION)
        return Row(ids, tuple(kinds))

    def _learned(self, ids: Sequence[int], role: int) -> list[int]:
        """Returns the kinds of learned ids: `role`, or PROMPT or a decision if their text is one.

        Raises:
            TrainingError: it is not known which text belongs to which id.
        """
        # A tokenizer may normalize text: what it made of the text decides which id belongs to what.
        text = self._tokenizer.decode(ids)
        ends = self._ends(ids, text)
        kinds = [role] * len(ids)
        marked: list[tuple[int, list[tuple[int, int]]]] = []
        if role == PLAN:
            marked.append((PROMPT, prompt_spans(text)))
        for kind, pattern in enumerate(self._decisions, DECISION):
            marked.append((kind, [match.span() for match in pattern.finditer(text)]))
        for kind, spans in marked:
            start = 0
            for at, end in enumerate(ends if spans else ()):
                while spans and spans[0][1] <= start:
                    del spans[0]
                if spans and spans[0][0] < end:
                    kinds[at] = kind
                start = end
        return kinds

    def _ends(self, ids: Sequence[int], text: str) -> list[int]:
        """Returns the offset in `text` at which the text of each id ends, in characters.

        An id that contains only a part of a character ends where the character ends.

        Raises:
            TrainingError: the texts of the ids are not the text of all of them together.
        """
        ends: list[int] = []
        end = 0
        pending: list[int] = []
        for at, token in enumerate(ids, 1):
            pending.append(token)
            part = self._text(token) if len(pending) == 1 else self._tokenizer.decode(pending)
            if "\ufffd" not in part or self._is_whole(pending, part, text[end:], ids[at : at + 1]):
                if not text.startswith(part, end):
                    break
                end += len(part)
                pending.clear()
            ends.append(end + bool(pending))
        if end != len(text) or len(ends) < len(ids):
            raise TrainingError(
                f"the model's tokenizer reads ids differently together than one by one, near "
                f"{text[end : end + 20]!r}, so the learned ids could not be told apart: use a model "
                f"whose tokenizer changes no spaces, such as one with a byte-level BPE"
            )
        return ends

    def _is_whole(self, pending: list[int], part: str, text: str, following: Sequence[int]) -> bool:
        """Returns whether ids with U+FFFD in their text end a character, because `text` has it too."""
        if not text.startswith(part):
            return False
        longer = self._tokenizer.decode([*pending, *following])
        return not following or (longer.startswith(part) and len(longer) > len(part))

    def _text(self, token: int) -> str:
        if token not in self._text_of:
            self._text_of[token] = self._tokenizer.decode([token])
        return self._text_of[token]

    def _stop(self, ids: Sequence[int], stop: str, role: int) -> list[int]:
        """Returns the kinds of glue that begins with `stop`, of which the stop string is learned."""
        spelled = ""
        kinds: list[int] = []
        for token in ids:
            needed = bool(stop) and not spelled.startswith(stop)
            kinds.append(role if needed else READ)
            spelled += self._text(token) if needed else ""
        return kinds


def prompt_end(turn: str, number: int) -> int:
    """Returns the offset after the closing tag of prompt `number` (from 1) in a planner's turn."""
    return prompt_spans(turn)[number - 1][1]


def prompt_spans(turn: str) -> list[tuple[int, int]]:
    """Returns the span of each closed prompt in a planner's turn, tags included."""
    events = tags.TurnParser().feed(turn)
    ends = [event.end for event in events if isinstance(event, tags.PromptClosed)]
    return [(turn.rindex("<prompt_", 0, end), end) for end in ends]
