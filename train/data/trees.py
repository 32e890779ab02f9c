"""Trees: the contexts of one run, in which shared ids are stored once.

A run's contexts are the planner's, and one for each executor. An executor's context is a prefix of
the planner's, up to the end of the executor's own prompt, followed by its own ids. As separate rows
(`rows.py`) the prefixes would be read again and again. In a tree, the planner's row is the trunk,
and each executor is a branch from the end of its prompt, with the positions that it has in its own
context. A branch sees the trunk before it and itself. It does not see its siblings, nor the trunk
after its prompt, which contains the executions that the planner reads.

    trunk   <Question>…<Plan_1> <prompt_1.1>…</prompt_1.1> <prompt_1.2>…</prompt_1.2> … <Execution_1> …
    branch                                                └ <execution_1.1> …
    branch                                                                         └ <execution_1.2> …

A layout says how a run becomes trees:

* `branched`: the tree of its contexts.
* `linear`: the paper's single sequence, a trunk alone. Executions are learned in the trunk.
* `expanded`: a trunk alone for each context. It is slow. Losses and gradients are those of `branched`,
  so the tests compare the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from curate.samples import Sample
from sprint_agent.protocol.tags import Piece
from sprint_agent.protocol.transcript import Transcript
from train.config import Layout
from train.data.rows import EXECUTION, READ, Row, RowBuilder


@dataclass(frozen=True, slots=True)
class Branch:
    """An executor's own ids, which follow the first `at` ids of the trunk."""

    at: int
    row: Row


@dataclass(frozen=True, slots=True)
class Tree:
    """A planner's row and the branches of its executors."""

    trunk: Row
    branches: tuple[Branch, ...] = ()

    def __len__(self) -> int:
        """Returns the number of ids, each shared id counted once."""
        return len(self.trunk.ids) + sum(len(branch.row.ids) for branch in self.branches)

    @property
    def longest(self) -> int:
        """The length of the longest context, in ids."""
        ends = (branch.at + len(branch.row.ids) for branch in self.branches)
        return max((len(self.trunk.ids), *ends))

    @property
    def rows(self) -> list[Row]:
        """The contexts as separate rows. The ids of the trunk are learned in the trunk's row only."""
        trunk = self.trunk.ids
        full = (Row(trunk[: b.at] + b.row.ids, (READ,) * b.at + b.row.kinds) for b in self.branches)
        return [self.trunk, *full]

    @property
    def own(self) -> list[Row]:
        """The trunk and the own ids of each branch: every id once."""
        return [self.trunk, *(branch.row for branch in self.branches)]


class TreeBuilder(RowBuilder):
    """Builds the trees of samples from their rows."""

    def tree(self, sample: Sample) -> Tree:
        """Returns the contexts of a sample's run, with a loss on the learned ids."""
        return self._tree(sample, self.planner(sample.transcript))

    def trees(self, sample: Sample, layout: Layout) -> list[Tree]:
        """Returns the trees of a sample in a layout."""
        if layout == "linear":
            return [self._line(sample, sample.transcript.pieces)]
        tree = self.tree(sample)
        return [tree] if layout == "branched" else [Tree(row) for row in tree.rows]

    def cut(self, sample: Sample, stages: int, layout: Layout) -> list[Tree]:
        """Returns the trees of a sample whose run ends after its first `stages` stages."""
        full = sample.transcript
        begun = Transcript(full.question, full.stages[:stages], "").pieces[:-2]
        if layout == "linear":
            return [self._line(sample, begun)]
        kept = {k: text for k, text in sample.executions.items() if int(k.split(".")[0]) <= stages}
        tree = self._tree(Sample(full, sample.planner, kept), self.path(begun))
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
            # No branch reads the trunk after the start of the last branch.
            planner = planner.prefix(max((branch.at for branch in branches), default=0))
        return Tree(planner, branches)


def _branch(planner: Row, executor: Row) -> Branch:
    """Returns an executor's row as a branch, from the first id that the planner's row lacks."""
    at = 0
    while executor.kinds[at] == READ and planner.ids[at : at + 1] == executor.ids[at : at + 1]:
        at += 1
    return Branch(at, Row(executor.ids[at:], executor.kinds[at:]))
