"""The errors that end a training. Each message is one line and says what to do."""

from __future__ import annotations


class TrainingError(Exception):
    """A training cannot start or cannot continue. Everything that it saved before is intact."""


class OutOfMemory(TrainingError):
    """A row does not fit into memory."""


class Diverged(TrainingError):
    """A loss or a gradient is infinite or not a number. The last checkpoint is intact."""


class CheckpointFailed(TrainingError):
    """A checkpoint cannot be written, and the previous one is intact. Or it cannot be read."""


class ExportFailed(TrainingError):
    """The model cannot be written. The checkpoints that it comes from are intact."""


def one_line(error: BaseException) -> str:
    """Returns an error of another library as one line of limited length."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
