"""The options of the commands, in groups: what is read, how it is annotated, how it is packed."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from curate.llm.endpoint import Kind
from curate.read import layouts
from curate.read.layouts import Layout
from curate.read.reader import Reader
from curate.read.shards import Shard
from curate.select import Count
from sprint_agent.limits import Prices
from sprint_agent.tokenizer import FileTokenizer

_TRACE = "trace"
"""The value of --layout for traces of the runtime."""
_WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """What is read.

    Parameters
    ----------
    layout
        Layout of the records: openr1, openthoughts, s1k, messages, plain (question, text, answer),
        or trace for traces of this library's own runs. By default it is detected for each record.
    question
        Field of the question, for records of any other layout. For a nested field, write a.b.
    answer
        Field of the reference answer.
    trajectory
        Field of the trajectory.
    split
        Split of a dataset that is named by datasets:NAME.
    references
        For traces: JSON lines with `question` and `answer`, the correct answers.
    shard
        Read only one part of the input, such as 2/8 for the second of eight parts. All trajectories
        on one question are in the same part.
    """

    layout: str | None = None
    question: str | None = None
    answer: str | None = None
    trajectory: str | None = None
    split: str = "train"
    references: Path | None = None
    shard: str = "1/1"

    def reader(self) -> Reader:
        """Returns the reader that these options describe.

        Raises:
            ValueError: options contradict each other, or a layout or a shard does not exist.
        """
        traces = self.layout == _TRACE
        return Reader(
            layout=None if traces else self._layout(),
            traces=traces,
            split=self.split,
            references=self.references if traces else None,
            shard=Shard.parse(self.shard),
        )

    def _layout(self) -> Layout | None:
        if self.question and self.trajectory:
            return layouts.of_fields(
                question=self.question, trajectory=self.trajectory, answer=self.answer or ""
            )
        if self.question or self.trajectory or self.answer:
            raise ValueError(
                "--question and --trajectory must be given together, and --answer only with them"
            )
        if self.layout is None:
            return None
        if self.layout not in layouts.LAYOUTS:
            known = ", ".join((*layouts.LAYOUTS, _TRACE))
            raise ValueError(f"there is no layout {self.layout!r}: choose one of {known}")
        return layouts.LAYOUTS[self.layout]


@dataclass(frozen=True, kw_only=True)
class AnnotatorOptions:
    """How trajectories are annotated.

    Parameters
    ----------
    annotator
        Who annotates: a model with an OpenAI-compatible API (llm), recorded answers (recorded), or
        the rules of the Countdown searcher, for trajectories that it wrote (symbolic).
    annotations
        File of recorded answers.
    base_url
        Address of the API. The default is $OPENAI_BASE_URL, or OpenAI's. The key is $OPENAI_API_KEY.
    steps_model
        Model that finds the steps.
    dependencies_model
        Model that finds the dependencies between the steps.
    leaks_model
        Model that looks for leaks, with --ask-leaks. The default is the dependencies model.
    concurrency
        Number of concurrent requests.
    timeout
        Time limit of a request, in seconds.
    max_tokens
        Maximum number of tokens of an answer.
    cache
        File that keeps the answers, so that none is paid for twice. The default is cache.sqlite in
        the output folder. Several processes may share one.
    prices
        Price of a million tokens of a model, as MODEL=PROMPT,COMPLETION or
        MODEL=PROMPT,COMPLETION,CACHED. Give the option once for each model.
    max_cost
        End the run before it costs more than this, in the currency of the prices. The cost of earlier
        runs with the same cache counts.
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
            raise ValueError(f"--concurrency is {self.concurrency}: it must be at least 1")
        # NaN is neither, so that it is refused too.
        if self.max_cost is not None and not self.max_cost >= 0:
            raise ValueError(f"--max-cost is {self.max_cost}: it must be at least 0")

    @property
    def models(self) -> dict[Kind, str]:
        """The models, by the kind of query that each answers."""
        return {
            "steps": self.steps_model,
            "dependencies": self.dependencies_model,
            "leaks": self.leaks_model or self.dependencies_model,
        }

    @property
    def price_list(self) -> dict[str, Prices]:
        """The prices, by model.

        Raises:
            ValueError: a price is not in the expected form.
        """
        listed: dict[str, Prices] = {}
        for text in self.prices:
            model, _, amounts = text.rpartition("=")
            try:
                prompt, completion, *cached = map(float, amounts.split(","))
                if not all(0 <= price < math.inf for price in (prompt, completion, *cached)):
                    raise ValueError("a price is negative or not finite")
                listed[model] = Prices(prompt, completion, *cached)
            except (ValueError, TypeError) as error:
                raise ValueError(
                    f"cannot read the prices {text!r}: write MODEL=PROMPT,COMPLETION, with amounts "
                    "that are not negative"
                ) from error
        return listed


@dataclass(frozen=True, kw_only=True)
class PackingOptions:
    """How a trajectory is divided into stages.

    Parameters
    ----------
    shortest_execution
        Fewest sentences of an execution. A shorter one becomes a part of its plan.
    on_leak
        If a component uses a value that only a sibling found: add the missing edge, or drop the
        trajectory.
    ask_leaks
        Also ask the model for leaks that a comparison of values does not show.
    """

    shortest_execution: int = 3
    on_leak: Literal["edge", "drop"] = "edge"
    ask_leaks: bool = False


def counter(tokenizer: Path | None) -> Count:
    """Returns a function that counts the tokens of a text.

    It uses the tokenizer in a model's folder. Without one, it counts words and punctuation marks.

    Raises:
        OSError: the folder has no tokenizer.
    """
    if tokenizer is None:
        return lambda text: len(_WORD.findall(text))
    reader = FileTokenizer.load(tokenizer)
    return lambda text: len(reader.encode(text))
