#!/usr/bin/env python3
"""Finds words in docstrings, comments, error messages and pages that a reader has to translate first.

    scripts/words.py [FILE…]      the Python and Markdown files given, or all of the repository

CONTRIBUTING.md says how we write. Code in backticks and fenced blocks does not count. If a phrase is
right in its place, add it to ALLOWED.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RATHER = {
    r"behind": "after",
    r"anew": "again",
    r"whoever|whatever it is that": "the caller, the process …",
    r"(?:goes|gone|went) on": "continues, resumes",
    r"stands? (?:in|as|for)|stands": "is, means, replaces",
    r"comes to": "becomes, reaches, is",
    r"(?<!there )(?<!here )is (?:no(?! longer\b)|(?-i:none))": "is not a …, if there is no …",
    r"of (?:its|their) own(?! (?:accord|kind))": "own, separate",
    r"thereof|therein|wherein|whereof": "of it, in it, in which",
}
"""What to write rather than what the pattern finds."""
WORD = re.compile(r"\S+")
SENTENCE = re.compile(r"(?:^|[.!?:|*-] )(Where) (?!to\b|is\b|are\b|do\b|does\b)")
ALLOWED = (
    r"behind (?:(?:an?|the|its|its own|SGLang's) )?(?:[\w-]+ )?(?:router|proxy|gateway|firewall)",
    r"(?:lags?|falls?|leaves?|left|far|legs?) behind",
    r"processes? of (?:its|their) own",
)
"""Phrases in which a word of RATHER is right."""
NOT_PROSE = ("curate/annotate/prompts/",)
"""Texts that models read. They were tuned as they are."""
Prose = tuple[int, str]


def python_prose(source: str) -> Iterator[Prose]:
    """Yields the docstrings, the strings under fields, the comments and the messages of exceptions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            if isinstance(node.value.value, str):
                yield node.lineno, node.value.value
        elif isinstance(node, ast.Raise) and node.exc is not None:
            for part in ast.walk(node.exc):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield part.lineno, part.value
    first, comment = 0, ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        text = token.string.lstrip("#: ")
        if comment and token.start[0] == first + comment.count("\n") + 1:
            comment += "\n" + text
        else:
            yield first, comment
            first, comment = token.start[0], text
    yield first, comment


def page_prose(text: str) -> Iterator[Prose]:
    """Yields the paragraphs of a page without its headings and blocks of code."""
    blank = re.sub(r"```.*?```", lambda block: "\n" * block[0].count("\n"), text, flags=re.DOTALL)
    blank = re.sub(r"(?m)^(?:#.*|    .*)$", "", blank)
    yield 1, blank


def problems(prose: Prose) -> Iterator[tuple[int, str, str]]:
    """Yields the line, the words found and what to write rather."""
    line, text = prose
    text = re.sub(r"`[^`]*`", lambda code: re.sub(r"[^\n]", "_", code[0]), text)
    words = [(match[0], line + text.count("\n", 0, match.start())) for match in WORD.finditer(text)]
    flat = " ".join(word for word, _ in words)
    lines = [number for word, number in words for _ in range(len(word) + 1)]
    allowed = [match.span() for phrase in ALLOWED for match in re.finditer(phrase, flat)]
    for pattern, rather in RATHER.items():
        for match in re.finditer(rf"\b(?:{pattern})(?![\w-])", flat, re.IGNORECASE):
            if not any(start <= match.start() and match.end() <= end for start, end in allowed):
                yield lines[match.start()], match[0], rather
    for match in SENTENCE.finditer(flat):
        yield lines[match.start(1)], "Where …", "If …, When …"


def check(path: Path) -> int:
    """Prints what is found in a file and returns how much it is."""
    text = path.read_text(encoding="utf-8")
    found = 0
    for prose in python_prose(text) if path.suffix == ".py" else page_prose(text):
        for line, words, rather in problems(prose):
            print(f"{path}:{line}: “{words}”: rather {rather}")
            found += 1
    return found


def files() -> list[Path]:
    """Returns the Python files and pages of the repository."""
    command = ["git", "ls-files", "-co", "--exclude-standard", "*.py", "*.md", "scripts/mutate"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [Path(name) for name in listed.stdout.splitlines() if (ROOT / name).exists()]


def main() -> int:
    """Checks the files of the command line, or all."""
    paths = [Path(name) for name in sys.argv[1:]] or files()
    texts = [path for path in paths if not path.as_posix().startswith(NOT_PROSE)]
    me = Path(__file__).resolve()
    found = sum(
        check(path) for path in texts if path.suffix in {".py", ".md"} and path.resolve() != me
    )
    print(
        f"scripts/words.py: {found} to rewrite" if found else "scripts/words.py: nothing to rewrite"
    )
    return found > 0


if __name__ == "__main__":
    sys.exit(main())
