"""A model that `train sft` exports has the same logits in each engine that loads it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("deepspeed")
pytest.importorskip("httpx2")

import httpx2
import torch
from transformers import AutoModelForCausalLM

from benchmarks.sglang_server import sglang_server
from sprint_agent.engine import Delta, Request, Sampling
from sprint_agent.engines.local import batcher
from sprint_agent.engines.local.engine import LocalEngine
from sprint_agent.tokenizer import FileTokenizer
from tests.e2e.fine_tuning import DEPRECATED, prepare, wanted
from tests.unit.train import test_older_names as families
from train import finetune

TRANSFORMERS4 = os.environ.get("SPRINT_TRANSFORMERS4_PYTHON", "")
SGLANG = os.environ.get("SPRINT_SGLANG_PYTHON", "")
QUESTION = "<Question>\nUse 3, 5, 7 and 11 to make 24.\n</Question>\n<think>\n"
TOKENS = 12
TOP = 20
pytestmark = [pytest.mark.slow, *DEPRECATED]


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("export")
    finetune.finetune(wanted(prepare(made), made / "out"))
    return made / "out"


@pytest.fixture(scope="module")
def prompt(export: Path) -> tuple[int, ...]:
    return tuple(FileTokenizer.load(export).encode(QUESTION))


@torch.no_grad()
def logits(export: Path, prompt: tuple[int, ...], generated: list[int]) -> torch.Tensor:
    """Returns the logits of transformers' own forward pass for the generated ids; [ids, vocabulary]."""
    model: Any = AutoModelForCausalLM.from_pretrained(export, dtype=torch.float32)
    result = model(torch.tensor([[*prompt, *generated]])).logits[0]
    return result[len(prompt) - 1 : -1]


@pytest.mark.anyio
async def test_in_this_process(
    export: Path, prompt: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[torch.Tensor] = []
    choose = batcher._Sampler.__call__

    def seen(
        self: Any, ids: torch.Tensor, scores: torch.Tensor, more: torch.Tensor
    ) -> torch.Tensor:
        steps.append(scores.clone())
        return choose(self, ids, scores, more)

    monkeypatch.setattr(batcher._Sampler, "__call__", seen)
    generated: list[int] = []
    async with LocalEngine(export) as engine:
        steps.clear()  # Removes the steps of the warm-up.
        request = Request(prompt, Sampling(max_tokens=TOKENS, temperature=0.0))
        async with engine.generate(request) as stream:
            async for event in stream:
                generated += event.ids if isinstance(event, Delta) else ()
    expected = logits(export, prompt, generated)
    assert len(generated) == len(steps)
    torch.testing.assert_close(torch.cat(steps), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.skipif(
    not SGLANG, reason="SPRINT_SGLANG_PYTHON is not set to an interpreter with SGLang"
)
def test_on_sglang(export: Path, prompt: tuple[int, ...]) -> None:
    body = {
        "input_ids": list(prompt),
        "sampling_params": {"temperature": 0.0, "max_new_tokens": TOKENS, "ignore_eos": True},
        "return_logprob": True,
        "top_logprobs_num": TOP,
    }
    with sglang_server(Path(SGLANG), export) as url:
        answered = httpx2.post(f"{url}/generate", json=body, timeout=120).json()
    generated: list[int] = answered["output_ids"]
    steps = answered["meta_info"]["output_top_logprobs"]
    expected = logits(export, prompt, generated).log_softmax(-1)
    assert len(generated) == len(steps) == TOKENS
    for step, row in zip(steps, expected, strict=True):
        found = torch.tensor([logprob for logprob, _, _ in step])
        ids = torch.tensor([token for _, token, _ in step])
        torch.testing.assert_close(found, row[ids], atol=1e-3, rtol=1e-3)
        assert set(ids.tolist()) == set(row.topk(TOP).indices.tolist())


READ = """
import json, sys, torch, transformers
ids = torch.tensor([json.loads(sys.argv[1])])
print(transformers.__version__)
for folder in sys.argv[2:]:
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        torch.save(model(ids).logits, folder + "/read.pt")
"""


@pytest.mark.skipif(
    not TRANSFORMERS4,
    reason="SPRINT_TRANSFORMERS4_PYTHON is not set to an interpreter with transformers 4.57",
)
def test_in_transformers_4(export: Path, tmp_path: Path) -> None:
    """Writes each supported family, with parameters of rotary embeddings that none has by default."""
    folders = {name: tmp_path / str(n) for n, name in enumerate(families.FAMILIES)}
    expected = {name: families.export(name, folder) for name, folder in folders.items()}
    folders["trained"] = export
    ids = families.IDS[0].tolist()
    with torch.no_grad():
        own: Any = AutoModelForCausalLM.from_pretrained(export, dtype=torch.float32)
        expected["trained"] = own(families.IDS).logits
    command = [TRANSFORMERS4, "-c", READ, json.dumps(ids), *map(str, folders.values())]
    # The other interpreter must not import this one's packages.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("4.")
    for name, folder in folders.items():
        read = torch.load(folder / "read.pt")
        torch.testing.assert_close(read, expected[name], atol=1e-4, rtol=1e-4, msg=name)
