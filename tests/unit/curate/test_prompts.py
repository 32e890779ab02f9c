"""The prompts: read from their files, filled in, and versioned."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib.resources import files

import pytest

from curate.annotate import prompts
from curate.llm.endpoint import Message, Query
from curate.trajectory import Component, Trajectory

GIVEN = Trajectory("What costs $5?", "One. Two. ", "7")
COMPONENTS = (
    Component(1, plan="One. ", description="set up"),
    Component(2, prompt="Count ${it}", execution="Two. ", comment=" ", parents=frozenset({1})),
)
QUERIES: dict[str, Callable[[], Query]] = {
    "steps": lambda: prompts.steps(GIVEN, ("One. ", "Two. ")),
    "dependencies": lambda: prompts.dependencies(GIVEN, COMPONENTS),
    "leaks": lambda: prompts.leaks(GIVEN, [COMPONENTS]),
}
DIGESTS = {
    "steps": ("1", "5c6123a60a97942a"),
    "dependencies": ("1", "d9d1c31ab9e910d3"),
    "leaks": ("1", "6f841bfc7cf060fe"),
    "again": ("1", "564ea387b9d4d402"),
}
"""The version and the digest of each prompt. A change of a text needs a new version."""


@pytest.mark.parametrize("name", DIGESTS)
def test_a_changed_prompt_has_a_new_version(name: str) -> None:
    """The keys of the kept answers contain the version, and a new version is asked again."""
    data = (files("curate.annotate") / "prompts" / f"{name}.md").read_bytes()
    digest = hashlib.sha256(data).hexdigest()[:16]
    assert (prompts.prompt(name).version, digest) == DIGESTS[name]


@pytest.mark.parametrize("kind", QUERIES)
def test_a_query_is_filled_in_completely(kind: str) -> None:
    query = QUERIES[kind]()
    system, user = query.messages
    assert (query.kind, query.subject, query.attempt) == (kind, GIVEN.key, 1)
    assert (system.role, user.role) == ("system", "user")
    assert GIVEN.question in user.content
    # What looks like a placeholder in the data stays as it is, and none of the template's is left.
    assert user.content.replace("Count ${it}", "").count("${") == 0
    assert query.schema["additionalProperties"] is False


def test_components_are_described_by_their_parts() -> None:
    _, user = prompts.dependencies(GIVEN, COMPONENTS).messages
    assert "### Component 1: set up\nPlan: One.\n\n### Component 2" in user.content
    assert user.content.endswith("### Component 2\nPrompt: Count ${it}\nExecution: Two.")


def test_stages_are_groups() -> None:
    _, user = prompts.leaks(GIVEN, [COMPONENTS[:1], COMPONENTS[1:]]).messages
    assert "## Group 1\n\n### Component 1" in user.content
    assert "## Group 2\n\n### Component 2" in user.content


def test_a_violation_is_appended() -> None:
    query = QUERIES["steps"]()
    second = prompts.again(query, "my answer", "sentence 2 is missing")
    assert (second.kind, second.subject, second.schema) == (
        query.kind,
        query.subject,
        query.schema,
    )
    assert second.attempt == 2
    assert second.version == "1/1"
    assert second.messages[:2] == query.messages
    assert second.messages[2] == Message("assistant", "my answer")
    assert "sentence 2 is missing" in second.messages[3].content


def test_a_file_without_a_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Folder:
        def __truediv__(self, _: str) -> Folder:
            return self

        def read_text(self, encoding: str) -> str:
            return "# User\nhello"

    monkeypatch.setattr(prompts, "files", lambda _: Folder())
    with pytest.raises(ValueError, match="needs a first line"):
        prompts.prompt("no-such-prompt")
