"""Trees: the contexts of one run, with what they share held once.

A run's contexts are the planner's, and one for each executor, which is a prefix of the planner's up to
the end of its own prompt and then goes its own way. As rows (`rows.py`) the prefixes are read over and
over; here the planner's row is a trunk, and each executor a branch from where its prompt ends, with the
positions that it has there. A branch sees the trunk before it and itself, never its siblings, and not
the trunk behind, where the executions stand that the planner reads.

    trunk   <Question>…<Plan_1> <prompt_1.1>…</prompt_1.1> <prompt_1.2>…</prompt_1.2> … <Execution_1> …
    branch                                                └ <execution_1.1> …
    branch                                                                         └ <execution_1.2> …

A layout says how a run becomes trees: `branched`, the tree of its contexts; `linear`, the paper's single
sequence, a trunk alone whose executions are learned where they stand; `expanded`, a trunk alone for each
context: slow, and what `branched` is held against, for losses and gradients are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from curate.samples import Sample
from sprint_agent.protocol.tags import Piece
from sprint_agent.protocol.transcript import Transcript
from train.data.rows import EXECUTION, READ, Row, RowBuilder

Layout = Literal["branched", "linear", "expanded"]


@dataclass(frozen=True, slots=True)
class Branch:
    """An executor's own ids, behind the first `at` ids of the trunk."""

    at: int
    row: Row


@dataclass(frozen=True, slots=True)
class Tree:
    """A planner's row and the branches of its executors."""

    trunk: Row
    branches: tuple[Branch, ...] = ()

    def __len__(self) -> int:
        return len(self.trunk.ids) + sum(len(branch.row.ids) for branch in self.branches)

    @property
    def longest(self) -> int:
        """The length of its longest context, in ids."""
        ends = (branch.at + len(branch.row.ids) for branch in self.branches)
        return max((len(self.trunk.ids), *ends))

    @property
    def rows(self) -> list[Row]:
        """The same contexts as rows of their own; what the trunk holds is learned there alone."""
        held = self.trunk.ids
        grown = (Row(held[: b.at] + b.row.ids, (READ,) * b.at + b.row.kinds) for b in self.branches)
        return [self.trunk, *grown]

    @property
    def own(self) -> list[Row]:
        """The trunk and what each branch holds: every id once."""
        return [self.trunk, *(branch.row for branch in self.branches)]


class TreeBuilder(RowBuilder):
    """Builds the trees of samples, out of their rows."""

    def tree(self, sample: Sample) -> Tree:
        """The contexts of a sample's run, with a loss on what is learned of it."""
        return self._tree(sample, self.planner(sample.transcript))

    def trees(self, sample: Sample, layout: Layout) -> list[Tree]:
        """What a sample is trained on in a layout."""
        if layout == "linear":
            return [self._line(sample, sample.transcript.pieces)]
        tree = self.tree(sample)
        return [tree] if layout == "branched" else [Tree(row) for row in tree.rows]

    def cut(self, sample: Sample, stages: int, layout: Layout) -> list[Tree]:
        """The same of a run that is cut off behind its first `stages` stages: nothing follows them."""
        whole = sample.transcript
        begun = Transcript(whole.question, whole.stages[:stages], "").pieces[:-2]
        if layout == "linear":
            return [self._line(sample, begun)]
        kept = {k: text for k, text in sample.executions.items() if int(k.split(".")[0]) <= stages}
        tree = self._tree(Sample(whole, sample.planner, kept), self.path(begun))
        return [tree] if layout == "branched" else [Tree(row) for row in tree.rows]

    def _line(self, sample: Sample, pieces: Sequence[Piece]) -> Tree:
        row = self.path(pieces, sample.executions.values())
        if not sample.planner:
            ends = (end for end, kind in enumerate(row.kinds, 1) if kind == EXECUTION)
            row = row.prefix(max(ends, default=0))
        return Tree(row)

    def _tree(self, sample: Sample, planner: Row) -> Tree:
        rows = (
            self.executor(sample.transcript, *map(int, name.split(".")), execution=text)
            for name, text in sample.executions.items()
        )
        branches = tuple(_branch(planner, row) for row in rows)
        if not sample.planner:
            # No branch reads what stands behind the last one.
            planner = planner.prefix(max((branch.at for branch in branches), default=0))
        return Tree(planner, branches)


def _branch(planner: Row, executor: Row) -> Branch:
    """Hangs an executor's row into its planner's, where the two part."""
    at = 0
    while executor.kinds[at] == READ and planner.ids[at : at + 1] == executor.ids[at : at + 1]:
        at += 1
    return Branch(at, Row(executor.ids[at:], executor.kinds[at:]))
