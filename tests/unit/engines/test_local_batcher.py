"""The part of the local engine that uses torch: sampling, delivering outputs, and threads."""

from __future__ import annotations

import copy
import math
import threading
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from sprint_agent.engines.local import batcher
from sprint_agent.engines.local.batcher import SamplerState


def test_tokens_are_sampled_with_their_probability() -> None:
    scores = torch.tensor([[2.0, 1.0, 0.0, -50.0]])
    for temperature, top_p in ((1.0, 1.0), (2.0, 1.0), (1.0, 0.7)):
        sampler = batcher.SamplerState(temperature, top_p, seed=5)
        sampled = batcher._sample(scores.expand(4000, 4), [sampler] * 4000)
        counted = torch.bincount(sampled, minlength=4) / 4000
        expected = (scores[0] / temperature).softmax(-1)
        if top_p == 0.7:
            expected = torch.tensor([*expected[:2], 0.0, 0.0])
            expected /= expected.sum()
        assert (counted - expected).abs().max() < 0.03


def test_a_copied_sampler_continues_the_same_random_numbers() -> None:
    """The batch manager copies a request that it returns to its queue."""
    state = SamplerState(1.0, 1.0, seed=5)
    state.random.random()
    assert copy.deepcopy(state) is state


def request(state: SamplerState, *, offset: int, length: int, has_new_token: bool = True) -> Any:
    inner = SimpleNamespace(logit_processor_kwargs={"sampler": state}, position_offset=offset)
    return SimpleNamespace(state=inner, query_length=length, has_new_token=has_new_token)


def test_each_row_is_sampled_with_the_settings_of_its_request() -> None:
    sampler: Any = batcher._Sampler(vocab_size=3, one_core=False)
    greedy, narrow, waiting = (SamplerState(t, 1e-6, seed=1) for t in (0.0, 1.0, 1.0))
    requests = [
        request(greedy, offset=9, length=9),
        request(waiting, offset=4, length=4, has_new_token=False),
        request(narrow, offset=40, length=8),
    ]
    storage = object()
    assert sampler.prepare_tensor_args(requests, storage) is storage
    # The last id has no token, although it has the largest score.
    scores = torch.tensor([[1.0, 2.0, 0.0, 9.0], [2.0, 1.0, 0.0, 9.0]])
    result = sampler(torch.empty(0), scores, torch.empty(0))
    assert result.argmax(-1).tolist() == [1, 0]
    assert result[0].tolist() == [1.0, 2.0, 0.0, -math.inf]
    assert result[1, 0] == math.inf
    assert (greedy.cached, waiting.cached, narrow.cached) == (0, 0, 32)


def test_the_cached_ids_are_counted_once() -> None:
    sampler: Any = batcher._Sampler(vocab_size=3, one_core=False)
    state = SamplerState(0.0, 1.0, None)
    sampler.prepare_tensor_args([request(state, offset=40, length=8)], None)
    sampler.prepare_tensor_args([request(state, offset=41, length=1)], None)
    assert state.cached == 32


def test_the_outputs_of_a_step_are_delivered_in_one_call() -> None:
    delivered: list[list[batcher.Progress]] = []
    router: Any = batcher._OutputRouter(delivered.append)
    first, second = (
        SimpleNamespace(request_id=n, generated_tokens=[1], is_finished=lambda: True, error=None)
        for n in "ab"
    )
    router.deliver_batch([first, second])
    router.deliver(first)
    a, b = (batcher.Progress(name, [1], True, None) for name in "ab")
    assert delivered == [[a, b], [a]]


def test_one_core_applies_to_the_calling_thread_only() -> None:
    cores = torch.get_num_threads()
    seen: list[int] = []

    def limited() -> None:
        batcher._use_one_core()
        seen.append(torch.get_num_threads())

    def later() -> None:
        seen.append(torch.get_num_threads())

    for target in (limited, later):
        thread = threading.Thread(target=target)
        thread.start()
        thread.join()
    assert seen == [1, cores]


def test_the_end_ids_come_from_the_generation_config_or_the_model_config() -> None:
    def model(generation: object, config: object) -> Any:
        return SimpleNamespace(
            generation_config=SimpleNamespace(eos_token_id=generation),
            config=SimpleNamespace(eos_token_id=config),
        )

    assert batcher._end_ids(model([1, 2], 3)) == [1, 2]
    assert batcher._end_ids(model(None, 3)) == [3]
    assert batcher._end_ids(model(0, 3)) == [0]
    assert batcher._end_ids(model(None, None)) == []
