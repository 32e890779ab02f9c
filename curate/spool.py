"""The spool: outcomes on disk, written as they come and read in the order of the input."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile

import msgspec

from curate.closing import HoldsFile
from curate.pipeline import Outcome


class Spool(HoldsFile):
    """Keeps outcomes in a file without a name, which goes when the process does."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = TemporaryFile(dir=folder)  # noqa: SIM115
        self._starts = array("q")
        self._encoder = msgspec.json.Encoder()

    def write(self, outcome: Outcome) -> None:
        """Keeps an outcome."""
        missing = outcome.position + 1 - len(self._starts)
        self._starts.extend([-1] * missing)
        self._starts[outcome.position] = self._file.tell()
        self._file.write(self._encoder.encode(outcome) + b"\n")

    def read(self) -> Iterator[Outcome]:
        """All outcomes, by position. Nothing may be written behind this."""
        decoder = msgspec.json.Decoder(Outcome)
        for start in self._starts:
            self._file.seek(start)
            yield decoder.decode(self._file.readline())
