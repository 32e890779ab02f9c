"""What ends a training, in one line that says what to do."""

from __future__ import annotations


class TrainingError(Exception):
    """A training cannot begin, or cannot go on. What it kept before is whole."""


class OutOfMemory(TrainingError):
    """A row did not fit into memory."""


class CheckpointFailed(TrainingError):
    """A checkpoint could not be written; the one before it stands."""


class ExportFailed(TrainingError):
    """The model could not be written; the checkpoints that it comes from stand."""
