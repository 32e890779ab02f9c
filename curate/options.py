"""The options of the commands, grouped: what is read, how it is graded, who annotates, and so on."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from curate.drops import Dropped
from curate.llm.endpoint import Kind
from curate.read import layouts, sources, traces
from curate.read.layouts import Layout
from curate.read.shards import Shard, in_shard
from curate.read.sources import Dataset, SourceError, Unread
from curate.read.traces import Run
from curate.select import Count
from curate.trajectory import Trajectory
from sprint_agent.limits import Prices
from sprint_agent.tokenizer import FileTokenizer

TRACE = "trace"
"""The layout of a source that is a trace of the runtime."""
_WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What is read.

    Parameters
    ----------
    layout
        How records are laid out: openr1, openthoughts, s1k, messages, plain (question, text, answer),
        or trace for traces of this library's own runs. Each record is recognized if none is named.
    question
        The field of the question, for records of any other layout; a.b is a field within a field.
    answer
        The field of the reference answer.
    trajectory
        The field of the trajectory.
    split
        The split of a dataset that is given by its name (datasets:NAME).
    references
        For traces: JSON lines with `question` and `answer`, the right answers.
    shard
        Read one of n parts, such as 2/8; trajectories on one question are in one part.
    """

    layout: str | None = None
    question: str | None = None
    answer: str | None = None
    trajectory: str | None = None
    split: str = "train"
    references: Path | None = None
    shard: str = "1/1"

    def items(self, sources: tuple[str, ...]) -> Iterator[Trajectory | Run | Unread]:
        """All that is in the sources. Raises SourceError, and ValueError for options that do not fit."""
        shard = Shard.parse(self.shard)
        references = self._references()
        for source in sources:
            for number, item in enumerate(self._source(source, references)):
                if isinstance(item, Unread):
                    # Its question is not known: it is reported by one shard, by where it stands.
                    key = f"{source}/{number}"
                else:
                    given = item.trajectory if isinstance(item, Run) else item
                    key = given.question_key
                if in_shard(key, shard):
                    yield item

    def _source(
        self, source: str, references: Mapping[str, str]
    ) -> Iterator[Trajectory | Run | Unread]:
        if self.layout == TRACE:
            yield _run(Path(source), references)
        elif source.startswith("datasets:"):
            name = source.removeprefix("datasets:")
            yield from sources.read(Dataset(name, self.split), self._layout())
        else:
            yield from sources.read(Path(source), self._layout())

    def _layout(self) -> Layout | None:
        if self.question and self.trajectory:
            return layouts.of_fields(
                question=self.question, trajectory=self.trajectory, answer=self.answer or ""
            )
        if self.question or self.trajectory or self.answer:
            raise ValueError("--question and --trajectory belong together, --answer to them")
        if self.layout is None:
            return None
        if self.layout not in layouts.LAYOUTS:
            known = ", ".join((*layouts.LAYOUTS, TRACE))
            raise ValueError(f"there is no layout {self.layout!r}: there are {known}")
        return layouts.LAYOUTS[self.layout]

    def _references(self) -> dict[str, str]:
        if self.references is None or self.layout != TRACE:
            return {}
        right: dict[str, str] = {}
        fields = layouts.of_fields(question="question", trajectory="answer", answer="answer")
        for item in sources.read(self.references, fields):
            if isinstance(item, Trajectory):
                right[item.question_key] = item.answer
        return right


def _run(path: Path, references: Mapping[str, str]) -> Run | Unread:
    if not path.is_file():
        raise SourceError(f"there is no file {path}")
    try:
        return traces.read(path, references)
    except Dropped as why:
        return Unread(path.name, why.reason, why.detail)


@dataclass(frozen=True, kw_only=True)
class Asking:
    """Who annotates.

    Parameters
    ----------
    annotator
        A model behind an OpenAI-compatible API (llm), the searcher's own knowledge of its Countdown
        trajectories (symbolic), or recorded answers (recorded).
    annotations
        The file of recorded answers.
    base_url
        The API's address; by default $OPENAI_BASE_URL, or OpenAI's. The key is $OPENAI_API_KEY.
    steps_model
        The model that finds the steps.
    dependencies_model
        The model that finds their dependencies.
    leaks_model
        The model that looks for leaks, with --ask-leaks; by default that of the dependencies.
    concurrency
        Requests under way at a time.
    timeout
        Seconds that a request may take.
    max_tokens
        Tokens that an answer may have.
    cache
        Where answers are kept, so that none is paid for twice; by default cache.sqlite in the output
        folder. Processes may share one.
    prices
        What a million tokens of a model cost, as MODEL=PROMPT,COMPLETION or
        MODEL=PROMPT,COMPLETION,CACHED; once for each model.
    max_cost
        End the run before it costs more than this, what earlier runs paid included.
    """

    annotator: Literal["llm", "symbolic", "recorded"] = "llm"
    annotations: Path | None = None
    base_url: str = field(
        default_factory=lambda: os.environ.get("OPENAI_BASE_URL", "https://api.openai.com/v1")
    )
    steps_model: str = "gpt-4o"
    dependencies_model: str = "gpt-4o-mini"
    leaks_model: str | None = None
    concurrency: int = 64
    timeout: float = 600.0
    max_tokens: int = 16_384
    cache: Path | None = None
    prices: tuple[str, ...] = ()
    max_cost: float | None = None

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise ValueError(f"--concurrency {self.concurrency}: it takes one at least")

    @property
    def models(self) -> dict[Kind, str]:
        """The models by what they are asked."""
        return {
            "steps": self.steps_model,
            "dependencies": self.dependencies_model,
            "leaks": self.leaks_model or self.dependencies_model,
        }

    @property
    def price_list(self) -> dict[str, Prices]:
        """The prices by model. Raises ValueError for what is none."""
        listed: dict[str, Prices] = {}
        for text in self.prices:
            model, _, amounts = text.rpartition("=")
            try:
                prompt, completion, *cached = map(float, amounts.split(","))
                listed[model] = Prices(prompt, completion, *cached)
            except (ValueError, TypeError) as error:
                raise ValueError(
                    f"{text!r} are no prices: write MODEL=PROMPT,COMPLETION"
                ) from error
        return listed


@dataclass(frozen=True, kw_only=True)
class Dividing:
    """How a trajectory is divided.

    Parameters
    ----------
    shortest_execution
        Sentences; a shorter execution joins its plan.
    on_leak
        Where a component uses what only a sibling found: add the missing edge, or drop the trajectory.
    ask_leaks
        Ask the model for leaks that values do not show, as well.
    """

    shortest_execution: int = 3
    on_leak: Literal["edge", "drop"] = "edge"
    ask_leaks: bool = False


def counter(tokenizer: Path | None) -> Count:
    """Counts tokens by the tokenizer in a model's folder; without one, words and signs.

    Raises OSError where there is no tokenizer.
    """
    if tokenizer is None:
        return lambda text: len(_WORD.findall(text))
    reader = FileTokenizer.load(tokenizer)
    return lambda text: len(reader.encode(text))
