"""How fast training goes: ids a second, against TRL's trainer, and trees against a row for each context.

Runs are made up at the shapes of the paper's traces: 4.5 stages and 1.7 prompts a stage in the mean. All
methods train the same model from the same weights by AdamW, each for a few updates of the same size in
turn, round after round; what is reported is the median over rounds. Ids are those of the data, without
padding. A row for each context reads the same ids over and over: there they are counted once, as trees
hold them, so that both numbers are of the same work done.

* `linear`: our loop, one sequence for each run;
* `trl`, `trl_packed`: TRL's SFTTrainer on the same sequences, padded, and packed in its own way;
* `branched`: our loop, a tree for each run;
* `expanded`: our loop, a row for each context.
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
from train.loop import distributed as engines
from train.loop.loop import Plan, Step, TrainingObserver, train
from train.loop.schedule import KINDS, Rows, Update, kind_weights, updates
from train.model import flops
from train.model.loss import chunks

OURS = ("linear", "branched", "expanded")
PEERS = ("trl", "trl_packed")
METHODS = ("linear", *PEERS, "branched", "expanded")


@dataclass(frozen=True, slots=True)
class Sizes:
    """A model, runs, and how much is trained.

    `thought`, `prompt` and `execution` are lengths in ids: of what a plan says beside its prompts, of a
    prompt, and of an execution. An update has `rows` rows of at most `row_tokens` ids; the first of
    `updates` in each round is not counted.
    """

    hidden: int
    layers: int
    heads: int
    key_value_heads: int
    feed_forward: int
    vocabulary: int
    thought: int
    prompt: int
    execution: int
    row_tokens: int
    rows: int = 2
    updates: int = 4
    rounds: int = 3
    runs: int = 200
    checkpointing: bool = False


CPU = Sizes(
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
"""A model that two cores can train while one waits."""

GPU = Sizes(
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
"""Qwen2's shape of 1.5 billion parameters, and runs of the paper's lengths."""


@dataclass(frozen=True, slots=True)
class Speed:
    """A method's ids a second, by round, and its share of the device's operations, if known."""

    method: str
    rounds: tuple[float, ...]
    utilisation: float | None

    @property
    def tokens_per_second(self) -> float:
        """The median over rounds."""
        return statistics.median(self.rounds)


def runs(sizes: Sizes, seed: int = 0) -> list[Tree]:
    """Made-up runs, as trees: random ids in the places that a run's have."""
    rng = random.Random(seed)
    return [_run(sizes, rng) for _ in range(sizes.runs)]


def _run(sizes: Sizes, rng: random.Random) -> Tree:
    ids: list[int] = []
    kinds: list[int] = []
    branches: list[Branch] = []

    def add(mean: int, kind: int) -> list[int]:
        made = [
            rng.randrange(1, sizes.vocabulary) for _ in range(rng.randint(mean // 2, 3 * mean // 2))
        ]
        ids.extend(made)
        kinds.extend([kind] * len(made))
        return made

    add(sizes.prompt, READ)
    for _ in range(rng.choice((4, 5))):
        add(sizes.thought, PLAN)
        ends: list[int] = []
        # 1.7 prompts a stage, as in the paper's traces.
        for _ in range(rng.choices((1, 2, 3), (0.57, 0.16, 0.27))[0]):
            add(sizes.prompt, PROMPT)
            ends.append(len(ids))
        for end in ends:
            ids.append(1)
            kinds.append(READ)
            said = add(sizes.execution, READ)
            row = Row((2, *said), (READ, *[EXECUTION] * len(said)))
            branches.append(Branch(end, row))
    add(sizes.thought, ANSWER)
    return Tree(Row(tuple(ids), tuple(kinds)), tuple(branches))


def laid_out(tree: Tree, method: str) -> list[Tree]:
    """A run in the layout that a method trains on."""
    if method == "branched":
        return [tree]
    if method == "expanded":
        return [Tree(row) for row in tree.rows]
    held = tree.trunk
    # What the trunk reads behind the question is what executors wrote: learned where it stands.
    first = held.kinds.index(PLAN)
    return [
        Tree(
            Row(
                held.ids,
                tuple(k or (EXECUTION if n > first else READ) for n, k in enumerate(held.kinds)),
            )
        )
    ]


def measure(sizes: Sizes, methods: Sequence[str] = METHODS) -> Iterator[Speed]:
    """Trains by each method in turn, round after round; then what each was worth."""
    found: dict[str, list[tuple[float, float | None]]] = {method: [] for method in methods}
    for _ in range(sizes.rounds):
        for method in methods:
            found[method].append(_alone(sizes, method))
    for method, rounds in found.items():
        used = [share for _, share in rounds if share is not None]
        speeds = tuple(speed for speed, _ in rounds)
        yield Speed(method, speeds, statistics.median(used) if used else None)


def _alone(sizes: Sizes, method: str) -> tuple[float, float | None]:
    """Measures in a process of its own: trainers set up processes and devices as they like."""
    given = [sys.executable, "-m", "benchmarks.training", method, json.dumps(asdict(sizes))]
    env = engines.environment()
    done = subprocess.run(given, capture_output=True, text=True, env=env, check=False)
    if done.returncode:
        raise RuntimeError(f"{method} failed: {done.stderr.strip()[-500:]}")
    speed, used = json.loads(done.stdout.splitlines()[-1])
    return speed, used


def _one(sizes: Sizes, method: str) -> tuple[float, float | None]:
    given = runs(sizes)
    with tempfile.TemporaryDirectory() as folder:
        if method in PEERS:
            return _theirs(sizes, given, method, Path(folder))
        engines.start()
        return _ours(sizes, given, method, Path(folder))


def _model(sizes: Sizes) -> PreTrainedModel:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=sizes.vocabulary,
        hidden_size=sizes.hidden,
        intermediate_size=sizes.feed_forward,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.key_value_heads,
        max_position_embeddings=2 * sizes.row_tokens,
        tie_word_embeddings=True,
    )
    model = Qwen2ForCausalLM(config)
    if sizes.checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return model


class _Clock(TrainingObserver):
    """When updates ended, how many ids they had, and what they took in operations."""

    def __init__(self, costs: flops.FlopModel) -> None:
        self._costs = costs
        self.ends: list[float] = []
        self.tokens: list[int] = []
        self.operations: list[float] = []

    def on_step(self, step: Step, update: Update) -> None:
        self.ends.append(time.perf_counter())
        self.tokens.append(update.tokens)
        self.operations.append(self._costs(update.rows))  # type: ignore[arg-type]


def _ours(
    sizes: Sizes, given: Sequence[Tree], method: str, folder: Path
) -> tuple[float, float | None]:
    trees = [made for tree in given for made in laid_out(tree, method)]
    model = _model(sizes)
    clock = _Clock(flops.FlopModel.of(model))
    gpu = torch.cuda.is_available()
    rows = Rows(trees, sizes.row_tokens, 0, 1, padded=gpu)
    budget = Budget(updates=sizes.updates, rows_per_update=sizes.rows)
    stream = updates(rows, budget, Rates(), kind_weights(Weights()), seed=0)
    precision = {"bf16": {"enabled": True}} if gpu else {"torch_autocast": _BFLOAT16}
    adamw = {"type": "AdamW", "params": {"lr": 1e-5, "torch_adam": True}}
    told = deepspeed_base(sizes.rows, adamw, **precision)
    # No checkpoint but the one at the end, which stands behind the last clock.
    plan = Plan(told, folder, 10**9, KINDS, chunks(sizes.row_tokens))
    train(model, stream, [], plan, clock)
    seconds = clock.ends[-1] - clock.ends[0]
    once = sum(map(len, given)) / sum(map(len, trees)) if method == "expanded" else 1.0
    peak = flops.peak(torch.device("cuda")) if gpu else None
    used = sum(clock.operations[1:]) / seconds / peak if peak else None
    return sum(clock.tokens[1:]) * once / seconds, used


_BFLOAT16 = {"enabled": True, "dtype": "bfloat16"}


def _theirs(
    sizes: Sizes, given: Sequence[Tree], method: str, folder: Path
) -> tuple[float, float | None]:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerFast, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    ends: list[float] = []
    tokens: list[int] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            ends.append(time.perf_counter())

    sequences = [laid_out(tree, "linear")[0].trunk for tree in given]
    rows = [{"input_ids": list(row.ids), "labels": _labels(row)} for row in sequences]
    mean = sum(len(row.ids) for row in sequences) / len(sequences)
    packing = method == "trl_packed"
    config = SFTConfig(
        output_dir=str(folder),
        per_device_train_batch_size=1 if packing else max(1, round(sizes.row_tokens / mean)),
        gradient_accumulation_steps=sizes.rows,
        max_steps=sizes.updates,
        max_length=sizes.row_tokens,
        packing=packing,
        learning_rate=1e-5,
        bf16=True,
        use_cpu=not torch.cuda.is_available(),
        gradient_checkpointing=sizes.checkpointing,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    trainer = SFTTrainer(
        model=_model(sizes),
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=_words(sizes, PreTrainedTokenizerFast),
        callbacks=[Clock()],
    )
    collate = trainer.data_collator

    def counted(examples: list[dict[str, Any]]) -> Any:
        tokens.append(sum(len(example["input_ids"]) for example in examples))
        return collate(examples)

    trainer.data_collator = counted
    trainer.train()
    # The trainer fetches a batch ahead, so that the ids of an update are those at its place.
    done = tokens[sizes.rows : sizes.rows * len(ends)]
    return sum(done) / (ends[-1] - ends[0]), None


def _labels(row: Row) -> list[int]:
    return [i if kind != READ else -100 for i, kind in zip(row.ids, row.kinds, strict=True)]


def _words(sizes: Sizes, kind: Any) -> Any:
    """A tokenizer that nothing is ever asked of: the data are ids."""
    import tokenizers

    model = tokenizers.models.WordLevel({"<pad>": 0}, unk_token="<pad>")
    return kind(tokenizer_object=tokenizers.Tokenizer(model), pad_token="<pad>", eos_token="<pad>")


def to_json(sizes: Sizes, speeds: Sequence[Speed]) -> dict[str, Any]:
    """The figures for machines; TRL's is that of its faster way."""
    by_method = {speed.method: speed for speed in speeds}
    tokens = {name: speed.tokens_per_second for name, speed in by_method.items()}
    theirs = [tokens[name] for name in PEERS if name in tokens]
    found: dict[str, Any] = {
        "tokens_per_second": {**tokens, **({"trl": max(theirs)} if theirs else {})}
    }
    found["tokens_per_second"].pop("trl_packed", None)
    found["trl"] = {name: tokens[name] for name in PEERS if name in tokens}
    found["utilisation"] = {
        n: s.utilisation for n, s in by_method.items() if s.utilisation is not None
    }
    found["rounds"] = {name: list(speed.rounds) for name, speed in by_method.items()}
    trees = runs(sizes)
    branched = pack_row(trees).tokens
    found["ids_of_expanded_over_branched"] = (
        sum(len(made) for tree in trees for made in laid_out(tree, "expanded")) / branched
    )
    return found


if __name__ == "__main__":
    print(json.dumps(_one(Sizes(**json.loads(sys.argv[2])), sys.argv[1])))
