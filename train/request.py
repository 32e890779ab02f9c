"""What a folder's training was begun with, kept beside it: what goes on there must be the same one.

A folder that was begun before such a file was kept is taken as it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from train.errors import TrainingError

NAME = "request.json"


def check(folder: Path, asked: Mapping[str, Any]) -> None:
    """Raises TrainingError where the training in `folder` was begun with anything else."""
    path = folder / NAME
    if not path.exists():
        return
    try:
        begun = _flat(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as cause:
        raise TrainingError(
            f"{path} cannot be read ({cause}): give another --out, or remove {folder}"
        ) from cause
    now = _flat(json.loads(json.dumps(asked)))
    changed = sorted(name for name in begun | now if begun.get(name) != now.get(name))
    if changed:
        raise TrainingError(
            f"the training in {folder} was begun with another {', '.join(changed)}: "
            f"give another --out, or remove it"
        )


def keep(folder: Path, asked: Mapping[str, Any]) -> None:
    """Writes down what a training in `folder` begins with; the file appears when it is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{NAME}.partial"
    partial.write_text(json.dumps(asked, indent=2) + "\n", encoding="utf-8")
    partial.replace(folder / NAME)


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """The values of nested objects by their dotted names."""
    if not isinstance(value, dict):
        return {name: value}
    inner = (_flat(held, f"{name}.{key}" if name else key) for key, held in value.items())
    return {key: held for part in inner for key, held in part.items()}
