"""Text whose dependencies are known: a seed writes the same text, and all needs are annotated."""

from __future__ import annotations

from benchmarks.reasoning_text import KINDS, documents


def test_the_same_seed_writes_the_same_documents() -> None:
    assert list(documents(5, seed=3)) == list(documents(5, seed=3))
    assert list(documents(5, seed=3)) != list(documents(5, seed=4))


def test_a_document_is_annotated_completely() -> None:
    kinds: set[str] = set()
    for document in documents(60):
        given = document.annotated
        whole = "".join(c.plan + c.execution + c.comment for c in given.components)
        assert whole == given.trajectory.text
        needed = {(c.number, parent) for c in given.components for parent in c.parents}
        assert needed == document.needs.keys()
        assert all(parent < number for number, parent in needed)
        kinds.update(document.needs.values())
    assert kinds == set(KINDS)
