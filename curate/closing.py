"""What holds a file, and lets it go when it is left."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self


class _File(Protocol):
    def close(self) -> None: ...


class HoldsFile:
    """A context manager that closes its `_file` on the way out."""

    _file: _File

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Closes the file."""
        self._file.close()
        self._closed(whole=exc is None)

    def _closed(self, *, whole: bool) -> None:
        """What is done with the closed file; `whole` says that no error was on the way out."""
