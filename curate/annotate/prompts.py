"""The queries to the model: the prompts in `prompts/*.md`, filled in, and the schemas of their answers.

The first line of a prompt's file is its version. Raise the version with every change of the text: the
keys of the kept answers contain it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from string import Template
from typing import Any

from curate.llm.endpoint import Kind, Message, Query
from curate.split.sentences import numbered
from curate.trajectory import Component, Trajectory
from sprint_agent.protocol.context import replace_surrogates


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt, as read from its file."""

    version: str
    system: str
    user: Template


@cache
def prompt(name: str) -> Prompt:
    """Reads the prompt in `prompts/{name}.md`.

    Raises:
        ValueError: if the file has no version or no user part.
    """
    text = (files("curate.annotate") / "prompts" / f"{name}.md").read_text(encoding="utf-8")
    head, _, body = text.partition("\n")
    label, _, version = head.partition(":")
    before, mark, user = body.partition("# User\n")
    if label != "version" or not version.strip() or not mark:
        raise ValueError(
            f"prompts/{name}.md needs a first line `version: …` and a heading `# User`"
        )
    system = before.partition("# System\n")[2]
    return Prompt(version.strip(), system.strip(), Template(user.strip()))


def steps(given: Trajectory, pieces: Sequence[str]) -> Query:
    """Asks for the components that the sentences of a trajectory form."""
    # The description is part of the cache's key: a change asks for all answers again.
    part = {"type": "string", "description": 'sentences, such as "4-6, 8"; "" for none'}
    fields = dict.fromkeys(("plan", "execution", "comment"), part)
    fields |= {name: {"type": "string"} for name in ("description", "prompt")}
    return _query(
        "steps",
        given,
        _list_schema("components", fields),
        question=given.question,
        count=str(len(pieces)),
        sentences=numbered(pieces),
    )


def dependencies(given: Trajectory, components: Sequence[Component]) -> Query:
    """Asks which components each component needs."""
    parents = {"type": "array", "items": {"type": "integer"}}
    return _query(
        "dependencies",
        given,
        _list_schema("components", {"number": {"type": "integer"}, "parents": parents}),
        question=given.question,
        count=str(len(components)),
        components="\n\n".join(_described(component) for component in components),
    )


def leaks(given: Trajectory, stages: Sequence[Sequence[Component]]) -> Query:
    """Asks which components use what only another component of the same stage found."""
    fields = {"component": {"type": "integer"}, "of": {"type": "integer"}}
    groups = (
        f"## Group {number}\n\n" + "\n\n".join(_described(component) for component in stage)
        for number, stage in enumerate(stages, 1)
    )
    return _query(
        "leaks",
        given,
        _list_schema("uses", fields | {"value": {"type": "string"}}),
        question=given.question,
        groups="\n\n".join(groups),
    )


def again(query: Query, answer: str, violation: str) -> Query:
    """Repeats a query, with the answer that broke a rule and a description of the violation."""
    request = prompt("again").user.substitute(violation=violation)
    return replace(
        query,
        attempt=query.attempt + 1,
        version=f"{query.version}/{prompt('again').version}",
        messages=(
            *query.messages,
            Message("assistant", replace_surrogates(answer)),
            Message("user", request),
        ),
    )


def _query(kind: Kind, given: Trajectory, schema: dict[str, Any], **values: str) -> Query:
    text = prompt(kind)
    messages = (Message("system", text.system), Message("user", text.user.substitute(values)))
    return Query(kind, given.key, 1, text.version, messages, schema)


def _list_schema(name: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Returns the schema of an object whose only field is a list of objects with `fields`."""
    return _object_schema({name: {"type": "array", "items": _object_schema(fields)}})


def _object_schema(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": fields,
        "required": list(fields),
        "additionalProperties": False,
    }


def _described(component: Component) -> str:
    lines = [f"### Component {component.number}: {component.description}".rstrip(": ")]
    for label in ("plan", "prompt", "execution", "comment"):
        text: str = getattr(component, label)
        if text.strip():
            lines.append(f"{label.capitalize()}: {text.strip()}")
    return "\n".join(lines)
