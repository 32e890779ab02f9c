"""The program that a prompt means: without its fence, and without indentation of all of it."""

from __future__ import annotations

import ast
import textwrap
import warnings

from sprint_agent.executors.json_prompts import unfenced


def program_of(prompt: str) -> str:
    """Returns the program of a prompt, ending in a newline.

    Prompts are stripped, so of a program that is indented as a whole, the first line is not. If the
    program cannot be read as it is, the other lines lose the indentation that they share.
    """
    program = textwrap.dedent(unfenced(prompt)).strip("\r\n") + "\n"
    first, _, rest = program.partition("\n")
    inner = textwrap.dedent(rest)
    if first[:1].isspace() or inner == rest or _readable(program):
        return program
    return f"{first}\n{inner}"


def _readable(program: str) -> bool:
    with warnings.catch_warnings():
        # Python warns of it once more when the program runs.
        warnings.simplefilter("ignore")
        try:
            ast.parse(program)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False
    return True
