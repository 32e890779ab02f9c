"""Measures training in ids per second: against TRL's trainer, and trees against one row per context.

The runs are generated with the shapes of the paper's traces: 4.5 stages, and 1.7 prompts per stage on
average. All methods train the same model from the same weights with AdamW. In each round, each method
makes a few updates of the same size. The result is the median over the rounds. Ids are those of the
data, without padding. With one row per context, the same ids are read many times. They are counted once,
as a tree contains them, so that both speeds are those of the same work.

* `linear`: our loop, one sequence per run.
* `trl`, `trl_packed`: TRL's SFTTrainer on the same sequences, padded or packed in TRL's own way.
* `branched`: our loop, one tree per run.
* `expanded`: our loop, one row per context.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from train.config import Budget, Rates, Weights, deepspeed_base
from train.data.packing import pack_row
from train.data.rows import ANSWER, EXECUTION, PLAN, PROMPT, READ, Row
from train.data.trees import Branch, Tree
from train.loop import distributed
from train.loop.loop import Plan, Step, TrainingObserver, train
from train.loop.schedule import KINDS, Rows, Update, kind_weights, updates
from train.model import flops
from train.model.loss import chunks
from train.model.recomputation import enable_recomputation

OURS = ("linear", "branched", "expanded")
PEERS = ("trl", "trl_packed")
METHODS = ("linear", *PEERS, "branched", "expanded")


@dataclass(frozen=True, slots=True)
class Workload:
    """The model, the runs, and how much is trained."""

    hidden: int
    layers: int
    heads: int
    key_value_heads: int
    feed_forward: int
    vocabulary: int
    thought: int
    """Mean length in ids of a plan's text outside its prompts."""
    prompt: int
    """Mean length of a prompt in ids."""
    execution: int
    """Mean length of an execution in ids."""
    row_tokens: int
    """Maximum length of a row in ids."""
    rows: int = 2
    """Rows of an update."""
    updates: int = 4
    """Updates of a method in each round. The first one is not counted."""
    rounds: int = 3
    runs: int = 200
    checkpointing: bool = False


CPU = Workload(
    hidden=256,
    layers=6,
    heads=4,
    key_value_heads=2,
    feed_forward=1024,
    vocabulary=2048,
    thought=60,
    prompt=30,
    execution=120,
    row_tokens=4096,
)
"""A model small enough to train on two cores while a person waits."""

GPU = Workload(
    hidden=1536,
    layers=28,
    heads=12,
    key_value_heads=2,
    feed_forward=8960,
    vocabulary=151_936,
    thought=150,
    prompt=60,
    execution=400,
    row_tokens=16_384,
    updates=6,
    checkpointing=True,
)
"""The shape of Qwen2 with 1.5 billion parameters, and runs as long as the paper's."""


@dataclass(frozen=True, slots=True)
class Speed:
    """The speed of one method."""

    method: str
    rounds: tuple[float, ...]
    """Ids per second of each round."""
    utilisation: float | None
    """Share of the device's peak operations per second, or None if unknown."""

    @property
    def tokens_per_second(self) -> float:
        """Ids per second, median over the rounds."""
        return statistics.median(self.rounds)


def generate_runs(workload: Workload, seed: int = 0) -> list[Tree]:
    """Returns runs as trees. They have the structure of real runs, but random ids."""
    rng = random.Random(seed)
    return [_generate_run(workload, rng) for _ in range(workload.runs)]


def _generate_run(workload: Workload, rng: random.Random) -> Tree:
    ids: list[int] = []
    kinds: list[int] = []
    branches: list[Branch] = []

    def add(mean: int, kind: int) -> list[int]:
        length = rng.randint(mean // 2, 3 * mean // 2)
        added = [rng.randrange(1, workload.vocabulary) for _ in range(length)]
        ids.extend(added)
        kinds.extend([kind] * length)
        return added

    add(workload.prompt, READ)
    for _ in range(rng.choice((4, 5))):
        add(workload.thought, PLAN)
        ends: list[int] = []
        # 1.7 prompts per stage on average, as in the paper's traces.
        for _ in range(rng.choices((1, 2, 3), (0.57, 0.16, 0.27))[0]):
            add(workload.prompt, PROMPT)
            ends.append(len(ids))
        for end in ends:
            ids.append(1)
            kinds.append(READ)
            written = add(workload.execution, READ)
            row = Row((2, *written), (READ, *[EXECUTION] * len(written)))
            branches.append(Branch(end, row))
    add(workload.thought, ANSWER)
    return Tree(Row(tuple(ids), tuple(kinds)), tuple(branches))


def in_layout(tree: Tree, method: str) -> list[Tree]:
    """Returns a run in the layout on which a method trains."""
    if method == "branched":
        return [tree]
    if method == "expanded":
        return [Tree(row) for row in tree.rows]
    trunk = tree.trunk
    # After the question, what the trunk reads is executors' text. This layout learns it there.
    first = trunk.kinds.index(PLAN)
    kinds = [k or (EXECUTION if n > first else READ) for n, k in enumerate(trunk.kinds)]
    return [Tree(Row(trunk.ids, tuple(kinds)))]


def measure(workload: Workload, methods: Sequence[str] = METHODS) -> Iterator[Speed]:
    """Trains with each method in each round, and then yields the speed of each method.

    Raises:
        RuntimeError: A method failed.
        ValueError: There are no rounds.
    """
    if workload.rounds < 1:
        raise ValueError(f"--rounds must be at least 1, not {workload.rounds}")
    results: dict[str, list[tuple[float, float | None]]] = {method: [] for method in methods}
    for _ in range(workload.rounds):
        for method in methods:
            results[method].append(_measure_in_process(workload, method))
    for method, rounds in results.items():
        shares = [share for _, share in rounds if share is not None]
        speeds = tuple(speed for speed, _ in rounds)
        yield Speed(method, speeds, statistics.median(shares) if shares else None)


def _measure_in_process(workload: Workload, method: str) -> tuple[float, float | None]:
    """Measures one round in a new process, because trainers set up processes and devices globally.

    Returns the ids per second and the share of the device's peak operations, if known.
    """
    command = [sys.executable, "-m", "benchmarks.training", method, json.dumps(asdict(workload))]
    env = distributed.environment()
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    if done.returncode:
        raise RuntimeError(f"{method} failed: {done.stderr.strip()[-500:]}")
    speed, share = json.loads(done.stdout.splitlines()[-1])
    return speed, share


def _measure_round(workload: Workload, method: str) -> tuple[float, float | None]:
    runs = generate_runs(workload)
    with tempfile.TemporaryDirectory() as folder:
        if method in PEERS:
            return _measure_trl(workload, runs, method, Path(folder))
        distributed.start()
        return _measure_ours(workload, runs, method, Path(folder))


def _model(workload: Workload) -> PreTrainedModel:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=workload.vocabulary,
        hidden_size=workload.hidden,
        intermediate_size=workload.feed_forward,
        num_hidden_layers=workload.layers,
        num_attention_heads=workload.heads,
        num_key_value_heads=workload.key_value_heads,
        max_position_embeddings=2 * workload.row_tokens,
        tie_word_embeddings=True,
    )
    model = Qwen2ForCausalLM(config)
    if workload.checkpointing:
        enable_recomputation(model)
    return model


class _Clock(TrainingObserver):
    """Records when each update ended, its ids, and its floating-point operations."""

    def __init__(self, costs: flops.FlopModel) -> None:
        self._costs = costs
        self.ends: list[float] = []
        self.tokens: list[int] = []
        self.operations: list[float] = []

    def on_step(self, step: Step, update: Update) -> None:
        self.ends.append(time.perf_counter())
        self.tokens.append(update.tokens)
        self.operations.append(self._costs(update.rows))  # type: ignore[arg-type]


def _measure_ours(
    workload: Workload, runs: Sequence[Tree], method: str, folder: Path
) -> tuple[float, float | None]:
    trees = [tree for run in runs for tree in in_layout(run, method)]
    model = _model(workload)
    clock = _Clock(flops.FlopModel.of(model))
    gpu = torch.cuda.is_available()
    rows = Rows(trees, workload.row_tokens, 0, 1, padded=gpu)
    budget = Budget(updates=workload.updates, rows_per_update=workload.rows)
    stream = updates(rows, budget, Rates(), kind_weights(Weights()), seed=0)
    precision = {"bf16": {"enabled": True}} if gpu else {"torch_autocast": _BFLOAT16}
    adamw = {"type": "AdamW", "params": {"lr": 1e-5, "torch_adam": True}}
    config = deepspeed_base(workload.rows, adamw, **precision)
    # The only checkpoint is the one at the end, after the last time that is recorded.
    plan = Plan(config, folder, 10**9, KINDS, chunks(workload.row_tokens))
    train(model, stream, [], plan, clock)
    seconds = clock.ends[-1] - clock.ends[0]
    once = sum(map(len, runs)) / sum(map(len, trees)) if method == "expanded" else 1.0
    peak = flops.peak(torch.device("cuda")) if gpu else None
    share = sum(clock.operations[1:]) / seconds / peak if peak else None
    return sum(clock.tokens[1:]) * once / seconds, share


_BFLOAT16 = {"enabled": True, "dtype": "bfloat16"}


def _measure_trl(
    workload: Workload, runs: Sequence[Tree], method: str, folder: Path
) -> tuple[float, float | None]:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerFast, TrainerCallback
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    ends: list[float] = []
    tokens: list[int] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            ends.append(time.perf_counter())

    sequences = [in_layout(run, "linear")[0].trunk for run in runs]
    rows = [{"input_ids": list(row.ids), "labels": _labels(row)} for row in sequences]
    mean = sum(len(row.ids) for row in sequences) / len(sequences)
    packing = method == "trl_packed"
    config = SFTConfig(
        output_dir=str(folder),
        per_device_train_batch_size=1 if packing else max(1, round(workload.row_tokens / mean)),
        gradient_accumulation_steps=workload.rows,
        max_steps=workload.updates,
        max_length=workload.row_tokens,
        packing=packing,
        learning_rate=1e-5,
        bf16=True,
        use_cpu=not torch.cuda.is_available(),
        gradient_checkpointing=workload.checkpointing,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    trainer = SFTTrainer(
        model=_model(workload),
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=_placeholder_tokenizer(PreTrainedTokenizerFast),
        callbacks=[Clock()],
    )
    collate = trainer.data_collator

    def counted(examples: list[dict[str, Any]]) -> Any:
        tokens.append(sum(len(example["input_ids"]) for example in examples))
        return collate(examples)

    trainer.data_collator = counted
    trainer.train()
    # The trainer fetches batches ahead, so the ids of an update are found by its position.
    counted_tokens = tokens[workload.rows : workload.rows * len(ends)]
    return sum(counted_tokens) / (ends[-1] - ends[0]), None


def _labels(row: Row) -> list[int]:
    return [i if kind != READ else -100 for i, kind in zip(row.ids, row.kinds, strict=True)]


def _placeholder_tokenizer(kind: Any) -> Any:
    """Returns a tokenizer that is never used, because the data are ids."""
    import tokenizers

    model = tokenizers.models.WordLevel({"<pad>": 0}, unk_token="<pad>")
    return kind(tokenizer_object=tokenizers.Tokenizer(model), pad_token="<pad>", eos_token="<pad>")


def to_json(workload: Workload, speeds: Sequence[Speed]) -> dict[str, Any]:
    """Returns the results as one JSON object. The speed of "trl" is that of TRL's faster method."""
    by_method = {speed.method: speed for speed in speeds}
    tokens = {name: speed.tokens_per_second for name, speed in by_method.items()}
    theirs = [tokens[name] for name in PEERS if name in tokens]
    value: dict[str, Any] = {
        "tokens_per_second": {**tokens, **({"trl": max(theirs)} if theirs else {})}
    }
    value["tokens_per_second"].pop("trl_packed", None)
    value["trl"] = {name: tokens[name] for name in PEERS if name in tokens}
    value["utilisation"] = {
        n: s.utilisation for n, s in by_method.items() if s.utilisation is not None
    }
    value["rounds"] = {name: list(speed.rounds) for name, speed in by_method.items()}
    trees = generate_runs(workload)
    branched = pack_row(trees).tokens
    value["ids_of_expanded_over_branched"] = (
        sum(len(row) for tree in trees for row in in_layout(tree, "expanded")) / branched
    )
    return value


if __name__ == "__main__":
    print(json.dumps(_measure_round(Workload(**json.loads(sys.argv[2])), sys.argv[1])))
