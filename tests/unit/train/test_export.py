"""The errors of writing a model become one error with one line."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("deepspeed")

from safetensors import SafetensorError

from train.errors import ExportFailed
from train.loop.export import exporting


@pytest.mark.parametrize("kind", [OSError, RuntimeError, SafetensorError])
def test_an_error_of_writing_ends_in_one_line(tmp_path: Path, kind: type[Exception]) -> None:
    with pytest.raises(ExportFailed) as raised, exporting(tmp_path):
        raise kind("no space\n  left")
    message = str(raised.value)
    assert f"cannot be written to {tmp_path} (no space left); its checkpoints are intact" in message
    assert "\n" not in message
    assert isinstance(raised.value.__cause__, kind)


def test_an_error_of_the_program_is_not_hidden(tmp_path: Path) -> None:
    with pytest.raises(KeyError), exporting(tmp_path):
        raise KeyError("lm_head")
