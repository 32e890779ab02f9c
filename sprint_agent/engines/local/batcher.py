"""The torch half of the local engine: a model folder behind transformers' continuous batching.

Only `sprint_agent.engines.local.engine` imports this, and only when a model is loaded: importing it
needs torch and transformers. transformers is untyped, so its objects are `Any` here, and nowhere else.
"""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.generation.continuous_batching import cb_logits_processors, continuous_api
from transformers.utils import logging as transformers_logging

from sprint_agent.engines.local import attention
from sprint_agent.tokenizer import FileTokenizer

PAGE_TOKENS = 16
"""Ids in a page of the cache: prefixes are shared in whole pages, so small pages share more."""

_BATCH_TOKENS = 512
_BATCH_REQUESTS = 256

_SMALL_MODEL = 20_000_000
"""Below so many parameters, an operation is over sooner than a second core has joined it."""

_LogitsProcessors: Any = cb_logits_processors.ContinuousBatchingLogitsProcessorList
_Router: Any = continuous_api.OutputRouter
_Status: Any = continuous_api.BackgroundThreadStatus
_Models: Any = transformers.AutoModelForCausalLM


@dataclass(frozen=True, slots=True)
class Progress:
    """All that a request has sampled so far. `error` is set where it failed."""

    request_id: str
    ids: list[int]
    ended: bool
    error: str | None


class Draw:
    """How one request's tokens are drawn, and how much of its prompt was found in the cache."""

    def __init__(self, temperature: float, top_p: float, seed: int | None) -> None:
        self.temperature = temperature
        self.top_p = top_p
        self.random = random.Random(seed)
        self.cached: int | None = None

    def __deepcopy__(self, memo: dict[int, object]) -> Draw:
        # The manager copies a request that it puts back for lack of memory; its draws must go on.
        return self


class _Sampler(_LogitsProcessors):
    """Draws each row's token by its own request's rules.

    The manager takes the largest score of each row (its own sampling is off), so a drawn token's
    score is made infinite.
    """

    def __init__(self, vocab_size: int, one_core: bool) -> None:
        base: Any = super()
        base.__init__(transformers.LogitsProcessorList())
        self.do_processing = True
        self._one_core = one_core
        self._vocab_size = vocab_size
        self._rows: list[Draw] = []

    def check_kwargs(self, kwargs: dict[str, Any]) -> None:
        """Accepts `draw`, which the base class does not know."""

    def prepare_tensor_args(self, requests_in_batch: list[Any], arg_storage: Any) -> Any:
        """Notes whose rows the next scores are. Called in the batching thread before each step."""
        if self._one_core:
            _use_one_core()
            self._one_core = False
        self._rows = []
        for future in requests_in_batch:
            draw: Draw = future.state.logit_processor_kwargs["draw"]
            if draw.cached is None:
                # Already advanced by this step's ids: what is before them came from the cache.
                draw.cached = future.state.position_offset - future.query_length
            if future.has_new_token:
                self._rows.append(draw)
        return arg_storage

    def __call__(
        self, input_ids: torch.Tensor, scores: torch.Tensor, logits_processor_args: torch.Tensor
    ) -> torch.Tensor:
        # Rows of the embedding that the tokenizer has no token for.
        scores[:, self._vocab_size :] = -math.inf
        drawn = [(row, draw) for row, draw in enumerate(self._rows) if draw.temperature > 0]
        if drawn:
            rows = torch.tensor([row for row, _ in drawn])
            scores[rows, _sample(scores[rows], [draw for _, draw in drawn])] = math.inf
        return scores


def _use_one_core() -> None:
    """Holds this thread's operations to one core."""
    cores = torch.get_num_threads()
    torch.set_num_threads(1)
    # The call is also the default of threads to come: a thread of its own sets that back.
    restore = threading.Thread(target=torch.set_num_threads, args=(cores,))
    restore.start()
    restore.join()


def _sample(scores: torch.Tensor, draws: list[Draw]) -> torch.Tensor:
    """One token a row, by inverting the cumulative distribution at a number of its own."""
    temperatures = torch.tensor([draw.temperature for draw in draws], dtype=torch.float64)
    # In float64, a temperature near 0 stays apart from 0 and a number near 1 from 1.
    weights = (scores.double() / temperatures[:, None]).softmax(-1)
    order: torch.Tensor | None = None
    if any(draw.top_p < 1 for draw in draws):
        weights, order = weights.sort(-1, descending=True)
        top_p = torch.tensor([draw.top_p for draw in draws], dtype=torch.float64)
        weights[weights.cumsum(-1) - weights >= top_p[:, None]] = 0.0
    sums = weights.cumsum(-1)
    numbers = torch.tensor([draw.random.random() for draw in draws], dtype=torch.float64)
    places = torch.searchsorted(sums, (numbers * sums[:, -1])[:, None], right=True)
    places = places.clamp_(max=scores.shape[-1] - 1)
    return (places if order is None else order.gather(1, places))[:, 0]


class _Outlet(_Router):
    """Hands each step's outputs on in one call."""

    def __init__(self, deliver: Callable[[list[Progress]], None]) -> None:
        base: Any = super()
        base.__init__()
        self._deliver = deliver

    def deliver(self, output: Any) -> None:
        self.deliver_batch([output])

    def deliver_batch(self, outputs: list[Any]) -> None:
        self._deliver(
            [
                Progress(out.request_id, out.generated_tokens, out.is_finished(), out.error)
                for out in outputs
            ]
        )


class _ThreadStatus(_Status):
    """Tells when the batching thread ends, on whatever path: the manager itself tells nobody."""

    def __init__(self, stopped: Callable[[Exception | None], None]) -> None:
        base: Any = super()
        base.__init__()
        self._stopped = stopped

    def mark_as_stopped(self) -> None:
        base: Any = super()
        base.mark_as_stopped()
        self._stopped(self.fatal_error)


class Batcher:
    """A loaded model and the thread that batches its requests."""

    def __init__(
        self,
        model: Any,
        tokenizer: FileTokenizer,
        cache_tokens: int,
        deliver: Callable[[list[Progress]], None],
        stopped: Callable[[Exception | None], None],
    ) -> None:
        """Allocates the cache. The thread calls `deliver` once a step, `stopped` at its end."""
        self.tokenizer = tokenizer
        embedded: int = model.get_input_embeddings().num_embeddings
        self.vocab_size = min(tokenizer.vocab_size, embedded)
        pages = cache_tokens // PAGE_TOKENS
        # One request alone must always fit, or nothing could be put back to make room for it.
        room = (pages - 1) * PAGE_TOKENS
        self.context_length = min(int(model.config.max_position_embeddings), room)
        self.end_ids = _end_ids(model)
        small = sum(part.numel() for part in model.parameters()) < _SMALL_MODEL
        self._manager: Any = model.init_continuous_batching(
            generation_config=transformers.GenerationConfig(do_sample=False, eos_token_id=-1),
            continuous_batching_config=transformers.ContinuousBatchingConfig(
                page_size=PAGE_TOKENS,
                num_blocks=pages,
                max_batch_tokens=_BATCH_TOKENS,
                max_requests_per_batch=_BATCH_REQUESTS,
                max_blocks_per_request=0,
                use_async_batching=False,
                use_cuda_graph=False,
                auto_switch_to_flash=False,
            ),
        )
        attention.use_packed_attention(model)
        self._manager.logit_processor = _Sampler(self.vocab_size, one_core=small)
        self._manager.output_router = _Outlet(deliver)
        self._manager.background_thread_status = _ThreadStatus(stopped)
        self._manager.warmup()

    def start(self) -> None:
        """Starts the thread."""
        self._manager.start()

    def submit(self, request_id: str, prompt: Sequence[int], max_tokens: int, draw: Draw) -> None:
        """Queues a request; if the thread has ended, `stopped` was or will be called."""
        self._manager.add_request(
            list(prompt),
            request_id=request_id,
            max_new_tokens=max_tokens,
            streaming=True,
            eos_token_id=self.end_ids,
            draw=draw,
        )

    def cancel(self, request_id: str) -> None:
        """Ends a request at the next step. It is not heard of again."""
        self._manager.cancel_request(request_id)

    def known_ids(self) -> set[str]:
        """The requests that are queued, waiting, running or being cancelled."""
        manager = self._manager
        known = {state.request_id for state in list(manager.input_queue.queue)}
        known.update(list(manager.cancel_queue.queue))
        if manager.batch_processor is not None:
            scheduler = manager.batch_processor.scheduler
            known.update(list(scheduler.active_requests), list(scheduler.waiting_requests))
        return known

    def stop(self) -> None:
        """Ends the thread after the step it is in, and waits for it."""
        self._manager.stop(block=True, hard_stop=True)
        self._manager.destroy()


def load(
    folder: Path,
    cache_tokens: int,
    deliver: Callable[[list[Progress]], None],
    stopped: Callable[[Exception | None], None],
) -> Batcher:
    """Loads a Hugging Face folder in float32 on the CPU, without any network."""
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        model = _Models.from_pretrained(
            str(folder), dtype=torch.float32, local_files_only=True, attn_implementation="sdpa"
        )
    finally:
        if bars:
            transformers_logging.enable_progress_bar()
    tokenizer = FileTokenizer.load(folder)
    return Batcher(model.eval(), tokenizer, cache_tokens, deliver, stopped)


def _end_ids(model: Any) -> list[int]:
    """The ids that end an answer: the generation config's, else the model config's."""
    for config in (model.generation_config, model.config):
        ends = getattr(config, "eos_token_id", None)
        if ends is not None:
            return [ends] if isinstance(ends, int) else list(ends)
    return []
