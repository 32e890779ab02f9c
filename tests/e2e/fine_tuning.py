"""A small fine-tuning on runs of the Countdown searcher, which several tests share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from curate import samples
from curate.countdown import CountdownData, rft_sample, run_sample, runs, trajectories
from tests.curated import SMALL
from train.config import Settings, read_settings
from train.countdown import tokenizer
from train.countdown.model import ModelShape, build
from train.countdown.tokenizer import END

DEPRECATED = [
    # DeepSpeed's ZeRO 2 and 3 call these.
    pytest.mark.filterwarnings(f"ignore:`torch.distributed.{name}` is deprecated:FutureWarning")
    for name in ("all_gather_into_tensor", "reduce_scatter_tensor")
]
"""What DeepSpeed uses although torch deprecates it."""
SHAPE = ModelShape(hidden=32, layers=2, heads=2, feed_forward=48)
CONFIG = """
model = "{folder}/start"
out = "{out}"
every = 3
[data]
train = ["{folder}/train.jsonl"]
validation = ["{folder}/validation.jsonl"]
row_tokens = 3000
[budget]
tokens = 60_000
rows_per_update = 2
[rates]
peak = 3e-3
"""


def prepare(made: Path, shape: ModelShape = SHAPE) -> Path:
    """Writes a model to start from, and samples of the Countdown searcher: runs and sequential ones."""
    data = CountdownData(spaces=SMALL, trajectories=40, runs=25)
    packed = list(trajectories(data, "train"))
    written = [run_sample(run, data, len, number) for number, run in enumerate(runs(packed, data))]
    texts = [piece.text for sample in written for piece in sample.transcript.pieces]
    words = tokenizer.train(texts, 600)
    tokenizer.save(words, made / "start", shape.context_length)
    end = words.token_to_id(END)
    assert end is not None
    model = build(shape, words.get_vocab_size(), end, seed=0)
    model.save_pretrained(made / "start")
    samples.write(written[8:], made / "train.jsonl")
    samples.write(written[:8], made / "validation.jsonl")
    samples.write(map(rft_sample, packed), made / "sequential.jsonl")
    return made


def wanted(folder: Path, out: Path, extra: str = "", **changes: Any) -> Settings:
    """Returns the settings of a training on `folder` that writes to `out`."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "config.toml"
    path.write_text(CONFIG.format(folder=folder, out=out) + extra)
    return read_settings(path, {name.replace("__", "."): v for name, v in changes.items()})
