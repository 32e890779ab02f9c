"""Model folders with damaged or hostile files end in one line, in training and in the local engine."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("deepspeed")

import torch
import transformers
from safetensors.torch import load_file, save_file

from curate import samples
from sprint_agent.engines.local.engine import LocalEngine
from sprint_agent.errors import EngineUnavailable
from tests.unit.train.a_sample import SAMPLE
from tests.unit.train.test_load import byte_level
from train.config import Budget, Data, Settings
from train.errors import TrainingError
from train.finetune import finetune

Change = Callable[[Path], object]
NESTED = "[" * 100_000
PICKLE = b"\x80\x04cos\nsystem\n(S'touch %s'\ntR."
NORM = "model.norm.weight"


def write(name: str, content: str | bytes) -> Change:
    data = content if isinstance(content, bytes) else content.encode()
    return lambda folder: (folder / name).write_bytes(data)


def entry(name: str, value: object, file: str = "config.json") -> Change:
    def change(folder: Path) -> None:
        content = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps({**content, name: value}))

    return change


def weights(edit: Callable[[dict[str, torch.Tensor]], object]) -> Change:
    def change(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        edit(tensors)
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})

    return change


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(PICKLE % bytes(folder / "ran"))


def remote_code(folder: Path) -> None:
    entry("model_type", "evil")(folder)
    entry("auto_map", {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"})(folder)
    (folder / "evil.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\n")


def index(content: str) -> Change:
    def change(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        (folder / "model.safetensors.index.json").write_text(content)

    return change


BOTH: dict[str, Change] = {
    **{
        f"config.json is {content[:9]}": write("config.json", content)
        for content in ("", "{", "null", "1", "[]", '"a"', "{}", NESTED)
    },
    **{
        f"{name} is {value!r}": entry(name, value)
        for name, value in (
            ("hidden_size", "x"),
            ("hidden_size", -1),
            ("hidden_size", 0),
            ("hidden_size", 10**12),
            ("num_attention_heads", 0),
            ("num_attention_heads", 3),
            ("num_hidden_layers", 3),
            ("num_key_value_heads", 0),
            ("vocab_size", None),
            ("max_position_embeddings", "x"),
            ("max_position_embeddings", 1.5),
            ("rope_parameters", {"rope_type": [1]}),
            ("layer_types", "x"),
            ("eos_token_id", "x"),
            ("quantization_config", {"a": 1}),
            ("model_type", [1]),
            ("model_type", "nothing_like_it"),
        )
    },
    **{
        f"tokenizer.json is {content[:9]}": write("tokenizer.json", content)
        for content in ("", "{", "null", "[]", "{}", NESTED)
    },
    "a vocabulary with holes": entry(
        "model", {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}, "tokenizer.json"
    ),
    "a regular expression that does not end": entry(
        "pre_tokenizer",
        {
            "type": "Split",
            "pattern": {"Regex": "(a+)+$("},
            "behavior": "Isolated",
            "invert": False,
        },
        "tokenizer.json",
    ),
    "tokenizer_config.json is []": write("tokenizer_config.json", "[]"),
    "tokenizer_config.json is nested": write("tokenizer_config.json", NESTED),
    "no weights at all": lambda folder: (folder / "model.safetensors").unlink(),
    "weights are empty": write("model.safetensors", b""),
    "weights are zeros": write("model.safetensors", b"\0" * 100),
    "weights have a huge header": write("model.safetensors", struct.pack("<Q", 2**60) + b"{}"),
    "weights are cut": lambda folder: write(
        "model.safetensors", (folder / "model.safetensors").read_bytes()[:5000]
    )(folder),
    "a weight is missing": weights(lambda tensors: tensors.pop(NORM)),
    "a weight has another shape": weights(lambda tensors: tensors.update({NORM: torch.ones(3)})),
    "weights are pickled code": pickled,
    "the model is code": remote_code,
    "an index is a list": index('{"weight_map": []}'),
    "an index is nested": index(NESTED),
    "a file is a folder": lambda folder: (
        (folder / "tokenizer.json").unlink(),
        (folder / "tokenizer.json").mkdir(),
    ),
}
LOCAL: dict[str, Change] = {
    **BOTH,
    **{
        f"the generation's end is {value!r}": write(
            "generation_config.json", json.dumps({"eos_token_id": value})
        )
        for value in ("x", {"a": 1}, [None], 1.5)
    },
}
TRAINING: dict[str, Change] = {
    **BOTH,
    "weights are not numbers": weights(lambda tensors: tensors[NORM].mul_(float("nan"))),
    "an id is beyond the model": entry(
        "added_tokens",
        [
            {"id": 99_999, "content": "</Plan_1>", "special": False, "single_word": False}
            | dict.fromkeys(("lstrip", "rstrip", "normalized"), False)
        ],
        "tokenizer.json",
    ),
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tokenizer = byte_level()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text("{}")
    torch.manual_seed(0)
    options: dict[str, Any] = {
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": 0,
    }
    transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**options)).save_pretrained(folder)
    samples.write([SAMPLE], folder / "train.jsonl")
    return folder


def spoiled(good: Path, tmp_path: Path, change: Change) -> Path:
    folder = tmp_path / "model"
    shutil.copytree(good, folder)
    change(folder)
    return folder


def check_message(error: Exception, folder: Path) -> None:
    assert "\n" not in str(error)
    assert len(str(error)) < 800
    assert not (folder / "ran").exists()


def fine_tune(model: Path, out: Path) -> None:
    data = Data(train=(model / "train.jsonl",), row_tokens=2000)
    finetune(
        Settings(model=str(model), out=out, data=data, budget=Budget(updates=1, rows_per_update=1))
    )


@pytest.mark.parametrize("change", TRAINING.values(), ids=TRAINING)
@pytest.mark.filterwarnings("ignore")
def test_a_training_refuses_a_hostile_folder_in_one_line(
    good: Path, tmp_path: Path, change: Change
) -> None:
    folder = spoiled(good, tmp_path, change)
    with pytest.raises(TrainingError) as raised:
        fine_tune(folder, tmp_path / "out")
    check_message(raised.value, folder)
    assert not (tmp_path / "out" / "checkpoints").exists()


@pytest.mark.anyio
@pytest.mark.parametrize("change", LOCAL.values(), ids=LOCAL)
@pytest.mark.filterwarnings("ignore")
async def test_the_local_engine_refuses_a_hostile_folder_in_one_line(
    good: Path, tmp_path: Path, change: Change
) -> None:
    folder = spoiled(good, tmp_path, change)
    with pytest.raises(EngineUnavailable) as raised:
        async with LocalEngine(folder):
            pass
    check_message(raised.value, folder)


def test_the_unchanged_folder_is_trained(good: Path, tmp_path: Path) -> None:
    fine_tune(good, tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").exists()


@pytest.mark.anyio
async def test_the_unchanged_folder_is_loaded(good: Path) -> None:
    async with LocalEngine(good) as engine:
        assert engine.context_length == 512
