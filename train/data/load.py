"""What is trained on: samples as trees, none too long for a row, and what had to go said."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from curate import samples
from curate.samples import Sample
from sprint_agent.engine import Tokenizer
from train.config import Data
from train.data.trees import Tree, TreeBuilder
from train.errors import TrainingError

_NEEDED = (
    "<Question>\n\n</Question>\n<think>\n<Plan_1>\n<prompt_1.1></prompt_1.1>\n</Plan_1>\n\n<Execution_1>\n"
    "<execution_1.1>\n</execution_1.1>\n\n</Execution_1>\n\n<Final_answer>\n</Final_answer>\n</think>\n"
    "0123456789"
)
"""What every run's text holds, whatever it is about."""


@dataclass(frozen=True, slots=True)
class Read:
    """Trees that were read, from how many samples, and how many of those were dropped, or cut."""

    trees: list[Tree]
    samples: int
    dropped: int
    cut: int

    def __str__(self) -> str:
        ids = sum(map(len, self.trees))
        said = [f"{self.samples:,} samples", f"{ids:,} ids in {len(self.trees):,} trees"]
        lost = {"dropped": self.dropped, "cut": self.cut}
        said += [f"{number:,} too long and {what}" for what, number in lost.items() if number]
        return ", ".join(said)


def read(paths: Sequence[Path], data: Data, tokenizer: Tokenizer, context: int) -> Read:
    """Reads samples in a layout. `context` is the longest that the model reads, in ids.

    Raises TrainingError for a corrupt sample, or where none is left.
    """
    builder = TreeBuilder(tokenizer)
    kept: list[Tree] = []
    count = dropped = cut = 0
    for sample in _samples(paths):
        count += 1
        made = builder.trees(sample, data.layout)
        if _fits(made, data, context):
            kept += made
            continue
        made = _shortened(builder, sample, data, context) if data.longer == "cut" else None
        if made is None:
            dropped += 1
        else:
            cut += 1
            kept += made
    if not kept:
        raise TrainingError(
            f"no sample to train on in {', '.join(map(str, paths))} ({dropped} of {count} are longer "
            f"than [data] row_tokens = {data.row_tokens} or the model's context of {context})"
        )
    return Read(kept, count, dropped, cut)


def _samples(paths: Sequence[Path]) -> Iterator[Sample]:
    for path in paths:
        try:
            yield from samples.read(path)
        except (OSError, ValueError) as cause:
            raise TrainingError(f"{cause}; nothing was trained") from cause


def _fits(trees: Iterable[Tree], data: Data, context: int) -> bool:
    return all(len(tree) <= data.row_tokens and tree.longest <= context for tree in trees)


def _shortened(builder: TreeBuilder, sample: Sample, data: Data, context: int) -> list[Tree] | None:
    """The sample's run up to the last stage with which it fits; None where not even one does."""
    for stages in range(len(sample.transcript.stages), 0, -1):
        made = builder.cut(sample, stages, data.layout)
        if _fits(made, data, context):
            return made
    return None


def check(tokenizer: Tokenizer, paths: Sequence[Path]) -> None:
    """Raises TrainingError where a tokenizer does not give back the tags, or the first sample."""
    first = next(_samples(paths[:1]), None)
    for text in (_NEEDED, *([first.transcript.text] if first else [])):
        again = tokenizer.decode(tokenizer.encode(text))
        if again != text:
            at = next(
                (k for k, (a, b) in enumerate(zip(text, again, strict=False)) if a != b),
                min(len(text), len(again)),
            )
            raise TrainingError(
                f"the model's tokenizer does not give back what it reads: {text[at : at + 20]!r} comes "
                f"back as {again[at : at + 20]!r}; it needs all characters of the tags and samples"
            )
