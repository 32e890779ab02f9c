"""Rows: the contexts of one run as a model sees them, with the loss weight of each id.

A run makes one row for the planner (its whole path) and one for each executor (the path up to the end
of its own prompt, and its execution). Rows are built with the runtime's own `Context` and `Turn`, so
that they equal the contexts of inference, id for id. An id has a loss where, at inference, it is
generated: what the planner writes in the planner's row, the execution in its executor's, and the stop
string behind either. Glue, and executions on the planner's path, are read but not learned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sprint_agent import grammar
from sprint_agent.context import Context, Turn
from sprint_agent.engines.base import Delta, Tokenizer
from sprint_agent.grammar import Transcript


@dataclass(frozen=True, slots=True)
class Row:
    """Ids, and the weight of the loss of predicting each; 0 where nothing is learned."""

    ids: tuple[int, ...]
    weights: tuple[float, ...]


class RowBuilder:
    """Builds the rows of transcripts.

    `emphasis` gives the ids whose text holds a mark another weight than 1: decisions that stand once
    in hundreds of ids, and that a mean loss would hardly hear.
    """

    def __init__(self, tokenizer: Tokenizer, emphasis: Mapping[str, float]) -> None:
        self._tokenizer = tokenizer
        self._emphasis = emphasis
        self._weight_of: dict[int, float] = {}

    def planner(self, transcript: Transcript) -> Row:
        """The planner's row: the whole run, with a loss on what the planner wrote."""
        context = Context(self._tokenizer)
        weights: list[float] = []
        stop = ""
        for piece in grammar.render(transcript):
            context.append(piece.text)
            ids = context.snapshot().ids or ()
            new = ids[len(weights) :]
            if piece.role in ("plan", "answer"):
                weights += self._weights(new)
                # A plan that was cut off has no line break at its end: its stop was never written.
                closing = "</Plan_" if piece.role == "plan" else "</Final_answer>"
                stop = closing if piece.text.endswith("\n") else ""
            else:
                weights += self._stop_weights(new, stop)
                stop = ""
        return Row(context.snapshot().ids or (), tuple(weights))

    def executor(self, transcript: Transcript, stage: int, number: int) -> Row:
        """The row of executor `number` of `stage` (both from 1), with a loss on its execution."""
        context = Context(self._tokenizer)
        pieces = grammar.render(transcript)
        turns = [k for k, piece in enumerate(pieces) if piece.role == "plan"]
        at = turns[stage - 1]
        for piece in pieces[:at]:
            context.append(piece.text)
        text = pieces[at].text
        turn = Turn(self._tokenizer)
        turn.extend(Delta(text, tuple(self._tokenizer.encode(text))))
        context.append_generated(*turn.upto(prompt_end(text, number)))
        context.append(grammar.execution_opening(stage, number))
        before = len(context)
        context.append(transcript.stages[stage - 1].executions[number - 1])
        weights = [0.0] * before + self._weights((context.snapshot().ids or ())[before:])
        context.append(f"</execution_{stage}.{number}>")
        ids = context.snapshot().ids or ()
        weights += self._stop_weights(ids[len(weights) :], "</execution_")
        return Row(ids, tuple(weights))

    def _weights(self, ids: Sequence[int]) -> list[float]:
        return [self._weight(token) for token in ids]

    def _weight(self, token: int) -> float:
        weight = self._weight_of.get(token)
        if weight is None:
            text = self._tokenizer.decode([token])
            weight = next((w for mark, w in self._emphasis.items() if mark in text), 1.0)
            self._weight_of[token] = weight
        return weight

    def _stop_weights(self, ids: Sequence[int], stop: str) -> list[float]:
        spelled = ""
        weights: list[float] = []
        for token in ids:
            needed = bool(stop) and not spelled.startswith(stop)
            weights.append(1.0 if needed else 0.0)
            spelled += self._tokenizer.decode([token]) if needed else ""
        return weights


def prompt_end(turn: str, number: int) -> int:
    """The offset behind the closing tag of the `number`-th prompt of a planner's turn."""
    events = grammar.TurnParser().feed(turn)
    closed = [event.end for event in events if isinstance(event, grammar.PromptClosed)]
    return closed[number - 1]
