"""The errors that end a training. Each message is one line and says what to do."""

from __future__ import annotations


class TrainingError(Exception):
    """A training cannot start or cannot continue. Everything that it saved before is intact."""


class OutOfMemory(TrainingError):
    """A row does not fit into memory."""


class CheckpointFailed(TrainingError):
    """A checkpoint cannot be written. The previous checkpoint is intact."""


class ExportFailed(TrainingError):
    """The model cannot be written. The checkpoints that it comes from are intact."""
