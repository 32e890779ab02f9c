"""Configurations: what is read, what is refused, and the record of what a folder was started with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from train.config import (
    RUN_RECORD,
    check_run_record,
    deepspeed_config,
    read_settings,
    run_record,
    write_run_record,
)
from train.errors import TrainingError

CONFIG = """
model = "start"
out = "runs/out"
[data]
train = ["train.jsonl"]
[budget]
epochs = 2
rows_per_update = 4
"""


def write(folder: Path, text: str = CONFIG) -> Path:
    path = folder / "config.toml"
    path.write_text(text)
    return path


def test_changes_replace_add_and_remove_entries(tmp_path: Path) -> None:
    changes = {"budget.epochs": None, "budget.updates": 7, "data.layout": "linear", "model": "m"}
    settings = read_settings(write(tmp_path), changes)
    assert (settings.budget.epochs, settings.budget.updates) == (None, 7)
    assert (settings.data.layout, settings.model) == ("linear", "m")
    assert settings.data.train == (Path("train.jsonl"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model = [", "cannot be read as a configuration"),
        (CONFIG + "tokens = 3", "exactly one of .* but contains epochs and tokens"),
        (CONFIG.replace("epochs = 2", ""), "but contains none of them"),
        (CONFIG + "epoch = 2", "unknown field `epoch`"),
        (CONFIG.replace("epochs = 2", "epochs = 0"), "> 0"),
        (CONFIG + "[deepspeed]\nscheduler = {}", r"\[deepspeed\] scheduler is computed"),
    ],
)
def test_a_bad_configuration_is_refused_in_one_line(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(TrainingError, match=message) as raised:
        read_settings(write(tmp_path, text), {})
    assert "\n" not in str(raised.value)


def test_rows_must_be_divisible_among_processes(tmp_path: Path) -> None:
    settings = read_settings(write(tmp_path), {})
    assert deepspeed_config(settings, 2)["gradient_accumulation_steps"] == 2
    with pytest.raises(TrainingError, match="4 rows cannot be divided evenly among 3 processes"):
        deepspeed_config(settings, 3)


def test_the_options_of_deepspeed_come_before_ours(tmp_path: Path) -> None:
    extra = "[deepspeed]\ngradient_clipping = 0.5\nzero_optimization = {stage = 3}\n"
    made = deepspeed_config(read_settings(write(tmp_path, CONFIG + extra), {}), 1)
    assert made["gradient_clipping"] == 0.5
    # Without it, the weights could not be exported.
    assert made["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"]


def started(folder: Path, processes: int = 1, **changes: Any) -> dict[str, Any]:
    files = {"train.jsonl": "{}\n", "validation.jsonl": "[]\n", "tokenizer.json": "{}"}
    for name, text in files.items():
        if not (folder / name).exists():
            (folder / name).write_text(text)
    named: dict[str, Any] = {name.replace("__", "."): value for name, value in changes.items()}
    given = {name: [str(folder / f"{name}.jsonl")] for name in ("train", "validation")}
    paths = {f"data.{name}": value for name, value in given.items()}
    return run_record(
        read_settings(write(folder), {"model": str(folder), **paths, **named}), processes
    )


def test_a_folder_is_refused_if_it_was_started_with_other_values(tmp_path: Path) -> None:
    write_run_record(tmp_path / "out", started(tmp_path))
    check_run_record(tmp_path / "out", started(tmp_path))
    other = started(tmp_path, data__layout="linear", budget__rows_per_update=2)
    names = r"budget\.rows_per_update, data\.layout"
    with pytest.raises(TrainingError, match=f"a different {names}: give another --out"):
        check_run_record(tmp_path / "out", other)


def test_settings_that_do_not_decide_the_result_may_change(tmp_path: Path) -> None:
    write_run_record(tmp_path, started(tmp_path))
    check_run_record(tmp_path, started(tmp_path, gradient_checkpointing=True, out="elsewhere"))


@pytest.mark.parametrize("name", ["train.jsonl", "validation.jsonl", "tokenizer.json"])
def test_the_content_of_files_is_part_of_what_a_folder_was_started_with(
    tmp_path: Path, name: str
) -> None:
    write_run_record(tmp_path / "out", started(tmp_path))
    # The length stays the same.
    (tmp_path / name).write_text((tmp_path / name).read_text().swapcase()[::-1])
    with pytest.raises(
        TrainingError, match=rf"a different content of {tmp_path / name}: give anot"
    ):
        check_run_record(tmp_path / "out", started(tmp_path))


def test_the_number_of_processes_is_part_of_what_a_folder_was_started_with(tmp_path: Path) -> None:
    write_run_record(tmp_path / "out", started(tmp_path, 2))
    check_run_record(tmp_path / "out", started(tmp_path, 2))
    with pytest.raises(TrainingError, match="a different number of processes: give another --out"):
        check_run_record(tmp_path / "out", started(tmp_path, 1))


def test_a_file_that_has_another_name_is_named_once(tmp_path: Path) -> None:
    write_run_record(tmp_path / "out", started(tmp_path))
    with pytest.raises(TrainingError, match="with a different model: give another --out"):
        check_run_record(tmp_path / "out", started(tmp_path, model="another"))


def test_a_record_of_an_older_version_is_accepted(tmp_path: Path) -> None:
    record = started(tmp_path)
    older = {name: value for name, value in record.items() if " of " not in name}
    assert len(older) == len(record) - 4
    write_run_record(tmp_path / "out", older)
    check_run_record(tmp_path / "out", record)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        TrainingError, match=r"missing\.jsonl cannot be read .* nothing was trained"
    ):
        started(tmp_path, data__train=[str(tmp_path / "missing.jsonl")])


def test_a_record_that_cannot_be_read_is_refused_and_a_missing_one_is_accepted(
    tmp_path: Path,
) -> None:
    check_run_record(tmp_path, {"a": 1})
    (tmp_path / RUN_RECORD).write_text("{")
    with pytest.raises(TrainingError, match=r"request\.json cannot be read .* give another --out"):
        check_run_record(tmp_path, {"a": 1})


def test_an_older_record_with_another_setting_is_refused_by_its_name(tmp_path: Path) -> None:
    record = started(tmp_path)
    (tmp_path / RUN_RECORD).write_text(json.dumps({**record, "dropout": 0.1}))
    with pytest.raises(TrainingError, match="a different dropout"):
        check_run_record(tmp_path, record)


@pytest.mark.parametrize("path", sorted(Path("train/configs").glob("*.toml")), ids=lambda p: p.name)
def test_the_configurations_can_be_read(path: Path) -> None:
    made = deepspeed_config(read_settings(path, {}), 1)
    assert made["gradient_accumulation_steps"] >= 2
    assert "lr" in made["optimizer"]["params"]
