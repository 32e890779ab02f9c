"""Reads samples as trees that fit into a row, and reports how many were dropped or cut."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from curate import samples
from curate.samples import Sample
from sprint_agent.engine import Tokenizer
from sprint_agent.protocol import tags
from sprint_agent.protocol.transcript import StageText, Transcript
from train.config import Data
from train.data.trees import Tree, TreeBuilder
from train.errors import TrainingError

_REQUIRED = Sample(
    Transcript(
        "0123456789",
        (
            StageText(
                tags.plan(1, ["First, a b.", tags.prompt(1, 1, "Add 1 and 2.")]), ("It is 3.\n",)
            ),
        ),
        tags.answer("3"),
    ),
    executions={"1.1": "It is 3.\n"},
)
"""A run with text that every run contains, whatever its subject."""


@dataclass(frozen=True, slots=True)
class LoadedTrees:
    """The trees of files of samples."""

    trees: list[Tree]
    samples: int
    """Samples that were read, including the dropped ones."""
    dropped: int
    """Samples that were dropped because they are too long."""
    cut: int
    """Samples that were cut after a stage because they are too long."""

    def __str__(self) -> str:
        ids = sum(map(len, self.trees))
        parts = [f"{self.samples:,} samples", f"{ids:,} ids in {len(self.trees):,} trees"]
        too_long = {"dropped": self.dropped, "cut": self.cut}
        parts += [f"{number:,} too long and {what}" for what, number in too_long.items() if number]
        return ", ".join(parts)


def load_trees(
    paths: Sequence[Path], data: Data, tokenizer: Tokenizer, context: int
) -> LoadedTrees:
    """Reads samples in the layout of `data`. `context` is the model's longest context, in ids.

    Raises:
        TrainingError: a sample is corrupt, there is none, or none is short enough.
    """
    builder = TreeBuilder(tokenizer)
    kept: list[Tree] = []
    count = dropped = cut = 0
    for sample in _samples(paths):
        count += 1
        trees = builder.trees(sample, data.layout)
        if _short_enough(trees, data, context):
            kept += trees
            continue
        shortened = _shorten(builder, sample, data, context) if data.longer == "cut" else None
        if shortened is None:
            dropped += 1
        else:
            cut += 1
            kept += shortened
    if not count:
        raise TrainingError(
            f"there is no sample in {', '.join(map(str, paths))}: curate more trajectories, or leave "
            "the file out if it is for validation"
        )
    if not kept:
        raise TrainingError(
            f"no sample to train on in {', '.join(map(str, paths))} ({dropped} of {count} are longer "
            f"than [data] row_tokens = {data.row_tokens} or the model's context of {context})"
        )
    return LoadedTrees(kept, count, dropped, cut)


def _samples(paths: Sequence[Path]) -> Iterator[Sample]:
    for path in paths:
        try:
            yield from samples.read(path)
        except (OSError, ValueError) as cause:
            raise TrainingError(f"{cause}; nothing was trained") from cause


def _short_enough(trees: Iterable[Tree], data: Data, context: int) -> bool:
    return all(len(tree) <= data.row_tokens and tree.longest <= context for tree in trees)


def _shorten(builder: TreeBuilder, sample: Sample, data: Data, context: int) -> list[Tree] | None:
    """Returns the run up to the last stage with which it is short enough.

    Returns None if even its first stage is too long.
    """
    for stages in range(len(sample.transcript.stages), 0, -1):
        trees = builder.cut(sample, stages, data.layout)
        if _short_enough(trees, data, context):
            return trees
    return None


def check_tokenizer(tokenizer: Tokenizer, paths: Sequence[Path]) -> None:
    """Checks that a tokenizer encodes a small run and the first sample as training encodes all of them.

    Each piece is encoded separately, and must be decoded to the same text, alone and together with
    the others.

    Raises:
        TrainingError: the decoded text differs, or it is not known which ids belong to a prompt.
    """
    first = next(_samples(paths[:1]), None)
    for sample in (_REQUIRED, *([first] if first else [])):
        pieces = [piece.text for piece in sample.transcript.pieces]
        encoded = [tokenizer.encode(piece) for piece in pieces]
        for piece, ids in zip(pieces, encoded, strict=True):
            _check_decoded(piece, tokenizer.decode(ids))
        _check_decoded("".join(pieces), tokenizer.decode([i for ids in encoded for i in ids]))
        TreeBuilder(tokenizer).tree(sample)


def _check_decoded(text: str, decoded: str) -> None:
    if decoded == text:
        return
    at = next(
        (k for k, (a, b) in enumerate(zip(text, decoded, strict=False)) if a != b),
        min(len(text), len(decoded)),
    )
    raise TrainingError(
        f"the model's tokenizer changes the text that it encodes: {text[at : at + 20]!r} is "
        f"decoded as {decoded[at : at + 20]!r}; use a model whose tokenizer knows all "
        f"characters of the tags and the samples, and puts no space before a text"
    )
