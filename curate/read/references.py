"""Reads the reference answer of a record.

A missing reference is missing, however a program wrote it down. A long one is a reference.
"""

from __future__ import annotations

from curate.read.claims import marked

_MISSING = frozenset(
    (
        *("nan", "NaN", "NAN", "None", "null", "NULL", "n/a", "N/A", "<NA>"),
        *("proof", "Proof", "PROOF", "notfound", "not found", "Not found"),
    )
)
"""What programs and people write if there is no answer. "none" may be an answer."""


def reference(text: str) -> str:
    """Returns the answer in the text of a reference, or "" if there is none.

    If the text is a solution that marks its answer (`\\boxed{…}`, `#### …`), the answer is what is
    marked.
    """
    answer = marked(text) or text.strip()
    return "" if answer.strip(" .") in _MISSING else answer
