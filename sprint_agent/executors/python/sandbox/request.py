"""What PythonExecutor asks of the process around a program, and what that process reports."""

from __future__ import annotations

PROGRAM = "main.py"
"""The file of the program, in the current folder."""
CONFINED, ENDED = "confined", "ended"
"""How the lines begin that say how a program is restricted and how it ended."""


class Request:
    """What PythonExecutor asks for, in the arguments of the command."""

    def __init__(self, arguments: list[str]) -> None:
        """Reads four arguments and the flags of the program's interpreter."""
        self.parent = int(arguments[0])
        """The process that asks."""
        self.memory = int(arguments[1])
        """The most bytes of address space."""
        self.seconds = int(arguments[2])
        """The most seconds, if nobody ends the program before."""
        self.without = arguments[3].split(",")
        """Layers to leave out, for tests: "landlock", "seccomp", "namespaces", "mount"."""
        self.flags = arguments[4:]
