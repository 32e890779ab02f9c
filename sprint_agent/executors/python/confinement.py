"""What keeps a program in: the layers that the kernel offers here, and what gets through without."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Confinement:
    """How the process of a program is restricted, as the process itself reported it.

    It reports before it becomes the program, so no program can change the report.
    """

    landlock: int = 0
    """The version of Landlock, or 0 if the kernel has none: which files the program can use."""
    seccomp: bool = False
    """Whether system calls are filtered."""
    namespaces: frozenset[str] = frozenset()
    """Which of these the program has for itself: "user", "pid", "mount", "network" and "ipc"."""

    @property
    def gaps(self) -> tuple[str, ...]:
        """What a hostile program could do here. Empty if all layers work."""
        return tuple(gap for gap, closed in self._table() if not closed)

    @classmethod
    def read(cls, report: str) -> Confinement:
        """Reads what `sandbox.start` reports."""
        landlock, seccomp, *names = report.split()
        namespaces = frozenset(names[0].split(",") if names else ())
        return cls(int(landlock), seccomp == "True", namespaces)

    def _table(self) -> tuple[tuple[str, bool], ...]:
        files = self.landlock > 0 or "mount" in self.namespaces
        calls, own = self.seccomp, self.namespaces
        return (
            ("use all files that your user can use, and read your environment variables", files),
            ("change the modes and times of your files", calls or "mount" in own),
            ("reach the network", calls or "network" in own),
            ("connect to sockets in the file system", calls or "mount" in own),
            ("send signals to your processes, or slow them down", calls or "pid" in own),
            ("start processes that outlive it", calls or "pid" in own),
            ("leave shared memory behind", (files and calls) or {"mount", "ipc"} <= own),
            ("fill the disk of the temporary folder while it runs", "mount" in own),
            ("use any system call, and so any fault of the kernel", calls),
        )
