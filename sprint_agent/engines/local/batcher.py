"""The part of the local engine that uses torch: a model folder in transformers' continuous batching.

Importing this module needs torch and transformers, so `sprint_agent.engines.local.engine` imports it
only when it loads a model. transformers is untyped, so its models and its manager are `Any` here.
Protocols describe the parts of its requests and outputs that this folder uses.
"""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import torch
import transformers
from transformers.generation.continuous_batching import cb_logits_processors, continuous_api
from transformers.utils import logging as transformers_logging

from sprint_agent.engines.local import attention
from sprint_agent.tokenizer import FileTokenizer

PAGE_TOKENS = 16
"""Ids in a page of the cache. Prefixes are shared in whole pages, so small pages share more."""

_BATCH_TOKENS = 512
_BATCH_REQUESTS = 256

_SMALL_MODEL = 20_000_000
"""Below this number of parameters, an operation ends before a second core has joined it."""

_LogitsProcessors: Any = cb_logits_processors.ContinuousBatchingLogitsProcessorList
_BaseRouter: Any = continuous_api.OutputRouter
_BaseStatus: Any = continuous_api.BackgroundThreadStatus
_Models: Any = transformers.AutoModelForCausalLM


@dataclass(frozen=True, slots=True)
class Progress:
    """All ids that a request has sampled so far."""

    request_id: str
    ids: list[int]
    ended: bool

    error: str | None
    """What went wrong, if the request failed."""


class SamplerState:
    """How one request's tokens are sampled, and how much of its prompt was found in the cache."""

    def __init__(self, temperature: float, top_p: float, seed: int | None) -> None:
        self.temperature = temperature
        self.top_p = top_p
        self.random: random.Random = random.Random(seed)
        self.cached: int | None = None

    def __deepcopy__(self, memo: dict[int, object]) -> SamplerState:
        # The manager copies a request that it returns to its queue for lack of memory. The copy must
        # continue the same random numbers.
        return self


class _RequestState(Protocol):
    """transformers' state of one request."""

    logit_processor_kwargs: Mapping[str, SamplerState]
    position_offset: int


class _ScheduledRequest(Protocol):
    """transformers' plan of what one request does in the next step."""

    state: _RequestState
    query_length: int
    has_new_token: bool


class _Output(Protocol):
    """transformers' report of what one request has generated so far."""

    request_id: str
    generated_tokens: list[int]
    error: str | None

    def is_finished(self) -> bool: ...


class _Sampler(_LogitsProcessors):
    """Samples each row's token with the settings of the row's request.

    The manager takes the largest score of each row, because its own sampling is off. So the score of a
    sampled token is made infinite.
    """

    def __init__(self, vocab_size: int, one_core: bool) -> None:
        _LogitsProcessors.__init__(self, transformers.LogitsProcessorList())
        self.do_processing = True
        self._one_core = one_core
        self._vocab_size = vocab_size
        self._rows: list[SamplerState] = []

    def check_kwargs(self, kwargs: dict[str, object]) -> None:
        """Accepts `sampler`, which the base class does not know."""

    def prepare_tensor_args(
        self, requests_in_batch: list[_ScheduledRequest], arg_storage: object
    ) -> object:
        """Records which request each row of the next scores belongs to.

        The batching thread calls it before each step.
        """
        if self._one_core:
            _use_one_core()
            self._one_core = False
        self._rows = []
        for future in requests_in_batch:
            sampler = future.state.logit_processor_kwargs["sampler"]
            if sampler.cached is None:
                # The offset already includes this step's ids. The ids before them came from the cache.
                sampler.cached = future.state.position_offset - future.query_length
            if future.has_new_token:
                self._rows.append(sampler)
        return arg_storage

    def __call__(
        self, input_ids: torch.Tensor, scores: torch.Tensor, logits_processor_args: torch.Tensor
    ) -> torch.Tensor:
        # The embedding may have more rows than the tokenizer has tokens.
        scores[:, self._vocab_size :] = -math.inf
        sampled = [(row, state) for row, state in enumerate(self._rows) if state.temperature > 0]
        if sampled:
            rows = torch.tensor([row for row, _ in sampled])
            scores[rows, _sample(scores[rows], [state for _, state in sampled])] = math.inf
        return scores


def _use_one_core() -> None:
    """Limits the operations of the calling thread to one core."""
    cores = torch.get_num_threads()
    torch.set_num_threads(1)
    # The call also sets the default for new threads. Another thread restores this default.
    restore = threading.Thread(target=torch.set_num_threads, args=(cores,))
    restore.start()
    restore.join()


def _sample(scores: torch.Tensor, samplers: list[SamplerState]) -> torch.Tensor:
    """Samples one token for each row of `scores`, which is [rows, vocabulary].

    It inverts the cumulative distribution at a random number from the row's own generator.
    """
    temperatures = torch.tensor([state.temperature for state in samplers], dtype=torch.float64)
    # In float64 a temperature near 0 does not become 0, and a random number near 1 does not become 1.
    weights = (scores.double() / temperatures[:, None]).softmax(-1)
    order: torch.Tensor | None = None
    if any(state.top_p < 1 for state in samplers):
        weights, order = weights.sort(-1, descending=True)
        top_p = torch.tensor([state.top_p for state in samplers], dtype=torch.float64)
        weights[weights.cumsum(-1) - weights >= top_p[:, None]] = 0.0
    sums = weights.cumsum(-1)
    numbers = torch.tensor([state.random.random() for state in samplers], dtype=torch.float64)
    indices = torch.searchsorted(sums, (numbers * sums[:, -1])[:, None], right=True)
    indices = indices.clamp_(max=scores.shape[-1] - 1)
    return (indices if order is None else order.gather(1, indices))[:, 0]


class _OutputRouter(_BaseRouter):
    """Delivers the outputs of each step in one call."""

    def __init__(self, deliver: Callable[[list[Progress]], None]) -> None:
        _BaseRouter.__init__(self)
        self._deliver = deliver

    def deliver(self, output: _Output) -> None:
        self.deliver_batch([output])

    def deliver_batch(self, outputs: list[_Output]) -> None:
        self._deliver(
            [
                Progress(out.request_id, out.generated_tokens, out.is_finished(), out.error)
                for out in outputs
            ]
        )


class _ThreadStatus(_BaseStatus):
    """Calls `on_stop` when the batching thread ends for any reason. The manager has no such hook."""

    def __init__(self, on_stop: Callable[[Exception | None], None]) -> None:
        _BaseStatus.__init__(self)
        self._on_stop = on_stop

    def mark_as_stopped(self) -> None:
        _BaseStatus.mark_as_stopped(self)
        self._on_stop(self.fatal_error)


class Batcher:
    """A loaded model and the thread that batches its requests."""

    def __init__(
        self,
        model: Any,
        tokenizer: FileTokenizer,
        cache_tokens: int,
        deliver: Callable[[list[Progress]], None],
        on_stop: Callable[[Exception | None], None],
    ) -> None:
        """Allocates the cache.

        The thread calls `deliver` once a step and `on_stop` when it ends.
        """
        self.tokenizer = tokenizer
        embedded: int = model.get_input_embeddings().num_embeddings
        self.vocab_size: int = min(tokenizer.vocab_size, embedded)
        pages = cache_tokens // PAGE_TOKENS
        # A single request must always fit: there would be no other request to make room for it.
        room = (pages - 1) * PAGE_TOKENS
        self.context_length: int = min(int(model.config.max_position_embeddings), room)
        self.end_ids: list[int] = _end_ids(model)
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
        self._manager.output_router = _OutputRouter(deliver)
        self._manager.background_thread_status = _ThreadStatus(on_stop)
        self._manager.warmup()

    def start(self) -> None:
        """Starts the thread."""
        self._manager.start()

    def submit(
        self, request_id: str, prompt: Sequence[int], max_tokens: int, sampler: SamplerState
    ) -> None:
        """Queues a request. If the thread has ended, `on_stop` was or will be called."""
        self._manager.add_request(
            list(prompt),
            request_id=request_id,
            max_new_tokens=max_tokens,
            streaming=True,
            eos_token_id=self.end_ids,
            sampler=sampler,
        )

    def cancel(self, request_id: str) -> None:
        """Ends a request at the next step. Nothing more is delivered for it."""
        self._manager.cancel_request(request_id)

    def known_ids(self) -> set[str]:
        """Returns the ids of the requests that are queued, waiting, running or being cancelled."""
        manager = self._manager
        known = {state.request_id for state in list(manager.input_queue.queue)}
        known.update(list(manager.cancel_queue.queue))
        if manager.batch_processor is not None:
            scheduler = manager.batch_processor.scheduler
            known.update(list(scheduler.active_requests), list(scheduler.waiting_requests))
        return known

    def stop(self) -> None:
        """Ends the thread after its current step, and waits for it."""
        self._manager.stop(block=True, hard_stop=True)
        self._manager.destroy()


def load(
    folder: Path,
    cache_tokens: int,
    deliver: Callable[[list[Progress]], None],
    on_stop: Callable[[Exception | None], None],
) -> Batcher:
    """Loads a Hugging Face folder in float32 on the CPU, without network access.

    Raises:
        ValueError: The folder lacks weights, or its end-of-sequence ids are not ids.
        Exception: The libraries raise errors of many types for files that they cannot read.
    """
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        model, info = _Models.from_pretrained(
            str(folder),
            dtype=torch.float32,
            local_files_only=True,
            attn_implementation="sdpa",
            output_loading_info=True,
            trust_remote_code=False,
        )
    finally:
        if bars:
            transformers_logging.enable_progress_bar()
    missing = sorted(info["missing_keys"])
    if missing:
        # transformers would give them random values, with a warning at most.
        raise ValueError(f"it has no weights for {missing[0]} and {len(missing) - 1} others")
    tokenizer = FileTokenizer.load(folder)
    return Batcher(model.eval(), tokenizer, cache_tokens, deliver, on_stop)


def _end_ids(model: Any) -> list[int]:
    """Returns the ids that end an answer, from the generation config or else the model config."""
    for config in (model.generation_config, model.config):
        ends: object = getattr(config, "eos_token_id", None)
        if ends is None:
            continue
        listed = cast("list[object]", ends) if isinstance(ends, list) else [ends]
        ids = [end for end in listed if isinstance(end, int)]
        if len(ids) < len(listed):
            raise ValueError(f"eos_token_id is {ends!r}, and must be an id or a list of ids")
        return ids
    return []
