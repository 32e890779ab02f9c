"""Prompts of the Python executor: fences and indentation."""

from __future__ import annotations

import pytest

from sprint_agent.executors.python.program import program_of

PROGRAM = "import math\nfor n in range(2):\n    print(n)\n"
INDENTED = "    import math\n    for n in range(2):\n        print(n)\n"


@pytest.mark.parametrize(
    "prompt",
    [
        PROGRAM,
        INDENTED,
        INDENTED.strip(),
        INDENTED.replace("    ", "\t").strip(),
        f"```python\n{PROGRAM}```",
        f"```python\n{INDENTED}```",
        f"~~~~ {{.python title='a'}}\n{INDENTED}~~~~\n",
        f"    ```python\n{INDENTED}    ```".strip(),
        f"\n\n{INDENTED}\n\n",
    ],
)
def test_the_program_is_the_same(prompt: str) -> None:
    assert program_of(prompt).replace("\t", "    ") == PROGRAM


@pytest.mark.parametrize("prompt", [PROGRAM, INDENTED.strip()])
def test_lines_may_end_in_crlf(prompt: str) -> None:
    assert program_of(prompt.replace("\n", "\r\n")).replace("\r", "") == PROGRAM


@pytest.mark.parametrize(
    "program",
    [
        "def f():\n    return 1\n",
        "for n in range(3):\n        print(n)\n",
        "if True: print('''\n    a\n    ''')\n",
        "x = (1 +\n    2)\n",
        "print('\\d')\n",
        "not python at all\n",
        "\n",
    ],
)
def test_other_programs_stay_as_they_are(program: str) -> None:
    assert program_of(program) == program


def test_a_block_whose_first_line_lost_its_indentation() -> None:
    assert program_of("if True:\n        print(1)\n    print(2)") == (
        "if True:\n    print(1)\nprint(2)\n"
    )


@pytest.mark.parametrize("program", ["(" * 10_000, "-" * 10_000 + "1", "[" * 300, "\0"])
def test_what_no_parser_can_read(program: str) -> None:
    assert program_of(f"{program}\n    x").startswith(program)
